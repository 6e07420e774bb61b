"""Weighted automata: every token maps a small state linearly, and a result is read off the last state linearly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Word = tuple[int, ...]
"""Positions of tokens in a vocabulary."""


@dataclass(frozen=True)
class Words:
    """Words side by side.

    Attributes:
        tokens: Shape (n, longest); behind its end a word has `n_tokens`.
        n_tokens: Tokens in the vocabulary.
    """

    tokens: Ints
    n_tokens: int

    @classmethod
    def of(cls, words: Sequence[Word], n_tokens: int) -> "Words":
        """Return words side by side.

        Raises:
            ConfigError: When there is no word or a token lies outside the vocabulary.
        """
        if not words:
            msg = "there must be a word at least, however there is none"
            raise ConfigError(msg)
        tokens = np.full((len(words), max(len(word) for word in words)), n_tokens, dtype=np.intp)
        for row, word in zip(tokens, words, strict=True):
            if word and not 0 <= min(word) <= max(word) < n_tokens:
                msg = f"a token must lie in a vocabulary of {n_tokens}, however: {word}"
                raise ConfigError(msg)
            row[: len(word)] = word
        return cls(tokens, n_tokens)

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.tokens)


@dataclass(frozen=True)
class WeightedAutomaton:
    r"""A function of words that a small state computes.

    .. math:: f(c_1 \dots c_n) = \omega^T M_{c_n} \cdots M_{c_1} \alpha

    Source:
        Schützenberger, "On the definition of a family of automata", Information and Control 4 (1961): such functions
        are the rational series. One that takes k states at least is determined by its values on short words, up to a
        change of the state's basis (Carlyle and Paz, 1971).

    Attributes:
        initial: α, shape (k,).
        maps: M, one matrix a token, shape (n_tokens, k, k).
        readout: ω, shape (k,).
    """

    initial: Floats
    maps: Floats
    readout: Floats

    @property
    def n_states(self) -> int:
        """Numbers in the state."""
        return len(self.initial)

    @classmethod
    def from_vector(cls, weights: Floats, n_tokens: int, n_states: int) -> "WeightedAutomaton":
        """Return the automaton whose `vector` is `weights`."""
        k = n_states
        return cls(weights[:k], weights[k:-k].reshape(n_tokens, k, k), weights[-k:])

    def vector(self) -> Floats:
        """Return all weights in a row: α, M, ω."""
        return np.concatenate([self.initial, self.maps.ravel(), self.readout])

    def states(self, words: Words) -> Floats:
        """Return the state after each word, shape (n, k)."""
        maps = self._with_end()
        state: Floats = np.broadcast_to(self.initial, (len(words), self.n_states))
        for column in words.tokens.T:
            state = np.matmul(maps[column], state[:, :, None])[:, :, 0]
        return state

    def evaluate(self, words: Words) -> Floats:
        """Return f of each word, shape (n,)."""
        return np.asarray(self.states(words) @ self.readout)

    def jacobian(self, words: Words) -> tuple[Floats, Floats]:
        """Return f of each word, and its derivative by every weight, shape (n, weights)."""
        n, k = len(words), self.n_states
        maps = self._with_end()[words.tokens]
        states = [np.broadcast_to(self.initial, (n, k))]
        for step in range(words.tokens.shape[1]):
            states.append(np.matmul(maps[:, step], states[-1][:, :, None])[:, :, 0])
        by_map = np.zeros((n, words.n_tokens + 1, k * k))
        covector = np.broadcast_to(self.readout, (n, k))
        rows = np.arange(n)
        for step in reversed(range(words.tokens.shape[1])):
            by_map[rows, words.tokens[:, step]] += (covector[:, :, None] * states[step][:, None, :]).reshape(n, -1)
            covector = np.matmul(covector[:, None, :], maps[:, step])[:, 0]
        of_maps = by_map[:, : words.n_tokens].reshape(n, -1)
        return np.asarray(states[-1] @ self.readout), np.concatenate([covector, of_maps, states[-1]], axis=1)

    def _with_end(self) -> Floats:
        return np.concatenate([self.maps, np.eye(self.n_states)[None]])
