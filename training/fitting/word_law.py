"""A law of words: what each word does to a small state."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.simple_numbers import MAX_DENOMINATOR

Floats = NDArray[np.float64]
Sentence = tuple[int, ...]
"""Positions of words in the vocabulary."""


@dataclass(frozen=True)
class WordLaw:
    """What each word does: s ← A_w s + b_w from s = 0, the sum of the registers, or of some, being the answer.

    It is what `models.units.RecurrentArithmetic` computes on words. A parameter is *neutral* where it does nothing: 1
    on the diagonal of A_w, 0 elsewhere.

    Attributes:
        scale: A_w of every word, shape (n_words, k, k).
        shift: b_w of every word, shape (n_words, k).
        readout: What each register counts in the answer, shape (k,); 1 for all where None.
    """

    scale: Floats
    shift: Floats
    readout: Floats | None = None

    @property
    def n_registers(self) -> int:
        """Number of registers."""
        return int(self.shift.shape[1])

    def answers(self, states: Floats) -> Floats:
        """Return the answers of registers, shape (..., k) → (...)."""
        return states.sum(axis=-1) if self.readout is None else np.asarray(states @ self.readout)

    def n_not_neutral(self) -> int:
        """Return how many parameters do something: the length of the law."""
        return int(np.count_nonzero(self.scale != np.eye(self.n_registers)) + np.count_nonzero(self.shift))

    def description(self) -> float:
        """Return the binary digits of all parameters that do something: it orders laws of one length."""
        values = [*self.scale[self.scale != np.eye(self.n_registers)], *self.shift[self.shift != 0]]
        fractions = [Fraction(value).limit_denominator(MAX_DENOMINATOR) for value in values]
        return float(sum(np.log2(1 + abs(f.numerator)) + np.log2(f.denominator) for f in fractions))

    def states(self, sentence: Sentence) -> Floats:
        """Return the registers before the first word and after each, shape (length + 1, k)."""
        states = [np.zeros(self.n_registers)]
        for word in sentence:
            states.append(self.scale[word] @ states[-1] + self.shift[word])
        return np.array(states)

    def evaluate(self, sentences: Sequence[Sentence]) -> Floats:
        """Return the answer to each sentence, shape (n,)."""
        return np.array([self.answers(self.states(sentence)[-1]) for sentence in sentences])

    def is_exact(self, sentences: Sequence[Sentence], numbers: Sequence[int]) -> bool:
        """Return whether every sentence gets its number, reckoned in fractions and not in floating point."""
        scale = [[[Fraction(x) for x in row] for row in matrix] for matrix in self.scale.tolist()]
        shift = [[Fraction(x) for x in row] for row in self.shift.tolist()]
        counts = [Fraction(x) for x in (np.ones(self.n_registers) if self.readout is None else self.readout).tolist()]
        for sentence, number in zip(sentences, numbers, strict=True):
            state = [Fraction(0)] * self.n_registers
            for word in sentence:
                state = [
                    sum((a * s for a, s in zip(row, state, strict=True)), b)
                    for row, b in zip(scale[word], shift[word], strict=True)
                ]
            if sum(count * s for count, s in zip(counts, state, strict=True)) != number:
                return False
        return True
