"""Fits of word laws with given entries, many at once: additions in closed form, entries by Levenberg–Marquardt.

For given A_w the answer is linear in the additions b_w, which linear least squares gives (variable projection, Golub
and Pereyra, SIAM J. Numer. Anal. 10, 1973); the entries' steps are Kaufman's (BIT 15, 1975), which leave out the
derivative of the projection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError
from training.fitting.word_law import Floats, Sentence

Ints = NDArray[np.intp]

_CHUNK = 64
"""Candidates in one batch: with 400 sentences of 31 words they take 6 MB, which a cache still holds."""

_RIDGE = 1e-12
"""Of the mean diagonal: words whose additions the sentences leave open get none, and the factor exists."""

_CREEP, _MOST_DAMPED = 1e-3, 1e3
"""A fit ends with a step that gains less than this share, or once its steps are damped so far without a gain."""

_SMALLEST = 1e-300


@dataclass(frozen=True)
class Sentences:
    """Sentences of unequal length as one array, filled up at the end with a word that does nothing.

    Attributes:
        words: Shape (n, length).
        numbers: Shape (n,).
        weights: One over the size of each number, so that all are fitted to one relative error.
        n_words: Words without the one that does nothing, which has this position.
    """

    words: Ints
    numbers: Floats
    weights: Floats
    n_words: int

    @classmethod
    def of(cls, sentences: Sequence[Sentence], numbers: Sequence[int], n_words: int) -> Self:
        """Return sentences as arrays.

        Raises:
            ConfigError: When there is no sentence, one is empty, a position lies outside the vocabulary, or there is
                not one number a sentence.
        """
        if not sentences or len(sentences) != len(numbers) or min(map(len, sentences)) == 0:
            msg = (
                "there must be sentences of at least one word and one number each, however: "
                f"{len(sentences)} sentences, {len(numbers)} numbers"
            )
            raise ConfigError(msg)
        used = {word for sentence in sentences for word in sentence}
        if min(used) < 0 or max(used) >= n_words:
            msg = f"a word must lie from 0 to {n_words - 1}, however: {min(used)} to {max(used)}"
            raise ConfigError(msg)
        words = np.full((len(sentences), max(map(len, sentences))), n_words, dtype=np.intp)
        for row, sentence in zip(words, sentences, strict=True):
            row[: len(sentence)] = sentence
        y = np.asarray(numbers, dtype=np.float64)
        return cls(words, y, 1 / np.maximum(np.abs(y), 1), n_words)

    def some(self, n: int) -> Self:
        """Return about `n` of the sentences, evenly spread, or all where there are not so many."""
        step = max(1, len(self.words) // n)
        return replace(self, words=self.words[::step], numbers=self.numbers[::step], weights=self.weights[::step])


@dataclass(frozen=True)
class Candidates:
    """Laws to fit: the same number of entries each.

    Attributes:
        entries: (word, row, column) of each entry that is not neutral, shape (n, n_entries, 3).
        values: Their values, shape (n, n_entries).
        costs: Mean square of the relative errors, shape (n,); infinite where not yet fitted.
    """

    entries: Ints
    values: Floats
    costs: Floats

    def take(self, index: Ints) -> "Candidates":
        """Return the candidates at `index`."""
        return Candidates(self.entries[index], self.values[index], self.costs[index])

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.values)


def measured(sentences: Sentences, n_registers: int, candidates: Candidates) -> Candidates:
    """Return the candidates with the cost of their values, the additions being the best for them."""
    costs = np.concatenate(
        [
            _Projection(
                sentences, n_registers, candidates.entries[at : at + _CHUNK], candidates.values[at : at + _CHUNK]
            ).costs
            for at in range(0, len(candidates), _CHUNK)
        ]
    )
    return Candidates(candidates.entries, candidates.values, costs)


def refined(sentences: Sentences, n_registers: int, candidates: Candidates, *, iterations: int) -> Candidates:
    """Return the candidates with values improved by Levenberg–Marquardt steps."""
    parts = [
        _levenberg(
            sentences, n_registers, candidates.take(np.arange(at, min(at + _CHUNK, len(candidates)))), iterations
        )
        for at in range(0, len(candidates), _CHUNK)
    ]
    return Candidates(
        candidates.entries,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.costs for part in parts]),
    )


def additions(sentences: Sentences, scale: Floats) -> Floats:
    """Return the design of the additions to the last register for given A_w, shape (n, n_words)."""
    padded = np.concatenate([scale, np.eye(scale.shape[1])[None]])[None]
    return _design(sentences, padded)[0][0, :, :-1]


def _levenberg(sentences: Sentences, k: int, start: Candidates, iterations: int) -> Candidates:
    values = start.values.copy()
    current = _Projection(sentences, k, start.entries, values)
    costs = current.costs.copy()
    if not values.shape[1]:
        return Candidates(start.entries, values, costs)
    damping = np.full(len(values), 1e-2)
    curvature, slope = current.steps()
    open_ = np.flatnonzero(np.isfinite(costs))
    for _ in range(iterations):
        if not len(open_):
            break
        diagonal = np.einsum("cii->ci", curvature[open_])
        lift = damping[open_, None] * diagonal + _SMALLEST
        step = np.linalg.solve(curvature[open_] + lift[..., None] * np.eye(values.shape[1]), slope[open_, :, None])
        trial_values = values[open_] + step[..., 0]
        trial = _Projection(sentences, k, start.entries[open_], trial_values)
        better = trial.costs < costs[open_]
        creeps = trial.costs > (1 - _CREEP) * costs[open_]
        accepted = open_[better]
        values[accepted], costs[accepted] = trial_values[better], trial.costs[better]
        more_curvature, more_slope = trial.steps()
        curvature[accepted], slope[accepted] = more_curvature[better], more_slope[better]
        damping[open_] *= np.where(better, 0.1, 10)
        open_ = open_[np.where(better, ~creeps, damping[open_] < _MOST_DAMPED) & (costs[open_] > _SMALLEST)]
    return Candidates(start.entries, values, costs)


class _Projection:
    """Candidates at given values: the best additions, and what the entries do beyond them."""

    def __init__(self, sentences: Sentences, k: int, entries: Ints, values: Floats) -> None:
        self.sentences, self.entries = sentences, entries
        n = len(values)
        scale = np.broadcast_to(np.eye(k), (n, sentences.n_words + 1, k, k)).copy()
        which = np.arange(n)[:, None]
        scale[which, entries[..., 0], entries[..., 1], entries[..., 2]] = values
        self.scale = scale
        design, self.after = _design(sentences, scale)
        self.design = design[..., :-1] * sentences.weights[:, None]
        gram = self.design.transpose(0, 2, 1) @ self.design
        ridge = _RIDGE * np.einsum("cww->c", gram) / gram.shape[1] + _SMALLEST
        self.gram = gram + ridge[:, None, None] * np.eye(gram.shape[1])
        target = sentences.numbers * sentences.weights
        self.shift = np.linalg.solve(self.gram, (self.design.transpose(0, 2, 1) @ target)[..., None])[..., 0]
        self.residual = target - (self.design @ self.shift[..., None])[..., 0]
        with np.errstate(all="ignore"):
            costs = np.mean(self.residual**2, axis=1)
        self.costs = np.where(np.isfinite(costs), costs, np.inf)

    def steps(self) -> tuple[Floats, Floats]:
        """Return the curvature (n, e, e) and the slope (n, e) of the entries, additions following."""
        words = self.sentences.words
        n, k = len(self.shift), self.scale.shape[-1]
        shift = np.concatenate([self.shift, np.zeros((n, 1))], axis=1)
        state = [np.zeros((n, len(words))) for _ in range(k)]
        jacobian = np.zeros((n, len(words), self.entries.shape[1]))
        which = np.arange(n)
        for position, after in enumerate(self.after):
            word = words[:, position]
            after_rows, state_columns = np.stack(after), np.stack(state)
            for e in range(jacobian.shape[2]):
                w, r, c = self.entries[:, e].T
                jacobian[..., e] += (word == w[:, None]) * after_rows[r, which] * state_columns[c, which]
            here = self.scale[:, word]
            state = [_sum([here[..., i, j] * state[j] for j in range(k)]) for i in range(k)]
            state[-1] = state[-1] + shift[:, word]
        jacobian *= self.sentences.weights[:, None]
        across = self.design.transpose(0, 2, 1) @ jacobian
        jacobian -= self.design @ np.linalg.solve(self.gram, across)
        turned = jacobian.transpose(0, 2, 1)
        return turned @ jacobian, (turned @ self.residual[..., None])[..., 0]


def _design(sentences: Sentences, scale: Floats) -> tuple[Floats, list[list[Floats]]]:
    """Return what an addition at each word gives in the end, and what each register after each position does to it."""
    words = sentences.words
    n, k = len(scale), scale.shape[-1]
    after = [np.ones((n, len(words))) for _ in range(k)]
    design = np.zeros((n, len(words), sentences.n_words + 1))
    rows = np.arange(len(words))
    backwards = []
    columns = scale.transpose(2, 3, 0, 1).copy()
    for position in range(words.shape[1] - 1, -1, -1):
        word = words[:, position]
        backwards.append(after)
        design[:, rows, word] += after[-1]
        after = [_sum([columns[i, j].take(word, axis=1) * after[i] for i in range(k)]) for j in range(k)]
    return design, backwards[::-1]


def _sum(parts: list[Floats]) -> Floats:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
