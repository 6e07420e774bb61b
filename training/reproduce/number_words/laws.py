"""Our recurrent arithmetic unit on numbers in words: its law found, chosen, told, and put into a network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.networks import SequenceNetwork
from models.simple_numbers import exact_value
from models.units import NAU, RecurrentArithmetic
from training.errors import FitError
from training.fitting.word_freedom import Parameter, open_parameters
from training.fitting.word_law import WordLaw
from training.fitting.word_laws import FoundLaws, find_word_laws
from training.tasks.number_words import NumberSplit, in_words, tokens

_NUMBERS_AT_ONCE = 20_000
"""Of up to 11 words among 31: 55 MB."""


@dataclass(frozen=True)
class ChosenLaw:
    """The law of a split.

    Attributes:
        law: The law.
        n_simplest: Laws of its length that give all training numbers; more than one where training does not decide.
        validated: Share of the validation numbers that each of them gives exactly, this law's first.
        open: What training leaves open of its parameters, each in words; of the two-register law only of those
            that do something.
        open_at_all: The same of all parameters.
        n_open: Parameters in `open_at_all`.
        n_tried: Sets of entries tried.
    """

    law: WordLaw
    n_simplest: int
    validated: tuple[float, ...]
    open: tuple[str, ...]
    open_at_all: tuple[str, ...]
    n_open: int
    n_tried: int

    @property
    def n_parameters(self) -> int:
        """Number of all parameters."""
        return self.law.scale.size + self.law.shift.size

    @property
    def decided_by_validation(self) -> bool:
        """Whether training left several laws and validation told them apart."""
        return self.n_simplest > 1 and self.validated[0] > max(self.validated[1:])


def choose_law(split: NumberSplit) -> ChosenLaw:
    """Find the simplest laws of the training numbers and choose among equally simple ones by the validation numbers.

    Raises:
        FitError: When no law gives the training numbers.
    """
    sentences = tokens([in_words(number) for number in split.train], split.words)
    found: FoundLaws = find_word_laws(sentences, split.train, len(split.words))
    if not found.laws:
        msg = f"a law must give every training number, however none of {found.n_tried} tried does"
        raise FitError(msg)
    asked = tokens([in_words(number) for number in split.validation], split.words)
    shares = [float(np.mean(law.evaluate(asked) == np.array(split.validation))) for law in found.laws]
    order = sorted(range(len(shares)), key=lambda index: -shares[index])
    law = found.laws[order[0]]
    k = law.n_registers
    every = open_parameters(law, sentences)
    groups = open_parameters(law, sentences, only_used=True) if k > 1 else every
    return ChosenLaw(
        law,
        len(found.laws),
        tuple(shares[index] for index in order),
        _told(groups, split.words, k),
        _told(every, split.words, k),
        sum(map(len, every)),
        found.n_tried,
    )


def _told(groups: tuple[tuple[Parameter, ...], ...], words: Sequence[str], n_registers: int) -> tuple[str, ...]:
    return tuple(" with ".join(one.told(words, n_registers) for one in group) for group in groups)


def law_network(law: WordLaw) -> SequenceNetwork:
    """Return a law as a network: one-hot words → recurrent arithmetic unit → the sum of the registers that count.

    Args:
        law: The law; a register counts with a weight within ±1, as those of a NAU.
    """
    n_words, k = law.shift.shape
    words = nn.Embedding.from_pretrained(torch.eye(n_words, dtype=torch.float64))  # type: ignore[no-untyped-call]
    unit = RecurrentArithmetic(n_words, k, dtype=torch.float64)
    total = NAU(k, 1, dtype=torch.float64)
    with torch.no_grad():
        unit.A.copy_(torch.from_numpy(law.scale - np.eye(k)))
        unit.B.copy_(torch.from_numpy(law.shift.T.copy()))
        total.W.copy_(torch.from_numpy(np.ones(k) if law.readout is None else law.readout)[None])
    return SequenceNetwork(words, unit, total, torch.zeros(k, dtype=torch.float64))


@torch.no_grad()
def absolute_errors(network: SequenceNetwork, numbers: Sequence[int], words: Sequence[str]) -> NDArray[np.float64]:
    """Return the absolute error of each number, sentences of one length being read at once."""
    errors = np.empty(len(numbers))
    for start in range(0, len(numbers), _NUMBERS_AT_ONCE):
        part = numbers[start : start + _NUMBERS_AT_ONCE]
        sentences = tokens([in_words(number) for number in part], words)
        lengths = np.array([len(sentence) for sentence in sentences])
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            answers = network(torch.tensor([sentences[row] for row in rows.tolist()]))[:, 0].numpy()
            errors[start + rows] = np.abs(answers - np.array([part[row] for row in rows.tolist()]))
    return errors


def law_text(law: WordLaw, words: Sequence[str]) -> str:
    """Return a law in words of a calculator.

    Example:
        >>> law = WordLaw(np.array([[[1.0]], [[100.0]]]), np.array([[3.0], [0.0]]))
        >>> law_text(law, ["three", "hundred"])
        's = 0; three: s + 3; hundred: 100 * s; answer s'
    """
    k = law.n_registers
    names = ["s"] if k == 1 else [f"s{register + 1}" for register in range(k)]
    said = [" = ".join([*names, "0"])]
    for word, scale, shift in zip(words, law.scale, law.shift, strict=True):
        changed = [
            (names[row], _sum(scale[row], shift[row], names))
            for row in range(k)
            if shift[row] or (scale[row] != np.eye(k)[row]).any()
        ]
        what = ", ".join(text if k == 1 else f"{name} = {text}" for name, text in changed)
        said.append(f"{word}: {what or 'nothing'}")
    return "; ".join([*said, f"answer {_sum(np.ones(k) if law.readout is None else law.readout, 0.0, names)}"])


def _sum(scale: NDArray[np.float64], shift: float, names: Sequence[str]) -> str:
    terms = [
        name if factor == 1 else f"{exact_value(factor)} * {name}"
        for factor, name in zip(scale.tolist(), names, strict=True)
        if factor
    ]
    if shift or not terms:
        terms.append(str(exact_value(float(shift))))
    return " + ".join(terms).replace("+ -", "- ")
