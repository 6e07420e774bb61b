"""How large an error is to be expected of a row: what intervals are wide by.

Inside the training range a small forest says it from the columns. Outside, where no row was, it grows with how far
outside the row is, at the rate that the tails held out for the choice of trunks showed.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from training.tabular.forest import Forest
from training.tabular.reach import Reach
from training.tabular.residual import TreeColumns, cross_fit_forest
from training.tabular.rows import Floats, Rows
from training.tabular.tree_settings import TreeSettings
from training.threads import AT_A_TIME

_TREES = TreeSettings(n_trees=200, n_leaves=8, least_rows=30)
"""Errors are noisy: few leaves of many rows, averaged over five ensembles."""

_LEAST = 0.2
"""Share of the mean error that is expected at least: an interval of no width is never right."""

_FEW_ROWS = 2000
"""Up to so many rows what is expected of a training row comes from all ensembles of a forest that has not seen it, as
it does for a new row; the one ensemble of five that has not seen it says it less well, and scores came out too large.
Of new rows of 14 tasks of 170 to 1,200 rows 93.0 % lay within 90 % so, in the mean of three seeds, and with all
ensembles 92.2 %, in intervals narrower by 4 %. Of ten tasks of 3,000 rows and more 90.1 % did with the one."""

_N_PARTS = 10
"""Of the rows, each of which one forest is learned without."""

_CAP = 0.995
"""Errors beyond this quantile are cut to it before the forest learns them: one outlier makes no region."""

GROWTHS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
"""Growths of the expected error per range outside that are offered."""


@dataclass(frozen=True)
class TailErrors:
    """What the chosen model got wrong on tails that it had not seen.

    Attributes:
        rows: The rows, those of all tails one after another.
        errors: Absolute errors, shape (n_rows,).
        outside: How many ranges each row was outside, shape (n_rows,).
    """

    rows: Rows
    errors: Floats
    outside: Floats

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self | None:
        """Return several tails as one, None for no tail."""
        if not parts:
            return None
        return cls(
            Rows(
                np.concatenate([one.rows.numeric for one in parts]), np.concatenate([one.rows.codes for one in parts])
            ),
            np.concatenate([one.errors for one in parts]),
            np.concatenate([one.outside for one in parts]),
        )


@dataclass(frozen=True)
class Difficulty:
    """The error expected.

    Attributes:
        mean: Mean absolute error.
        columns: Columns of the trees; None without a forest.
        forest: What is added to the mean; None where no column says anything.
        growth: Growth per range outside.
    """

    mean: float
    columns: TreeColumns | None
    forest: Forest | None
    growth: float

    @classmethod
    def fit(
        cls, rows: Rows, n_codes: tuple[int, ...], errors: Floats, tails: TailErrors | None, seed: int
    ) -> tuple[Self, Floats]:
        """Learn from errors of a model that had not seen the rows.

        Args:
            rows: Training rows.
            n_codes: Codes of each category column.
            errors: Absolute errors, shape (n_rows,).
            tails: Errors on tails held out, or None.
            seed: Seed of the trees.

        Returns:
            The difficulty, and what it expects of each training row without having seen its error.
        """
        cut = np.minimum(errors, np.quantile(errors, _CAP))
        plain, left_out = cls._learned(rows, n_codes, cut, seed)
        if plain.forest is not None and len(rows) <= _FEW_ROWS:
            expected = cls._unseen(rows, n_codes, cut, seed)
        else:
            expected = np.maximum(plain.mean + left_out, plain.least)
        growth = _growth(plain, errors / expected, tails)
        return replace(plain, growth=growth), expected

    @classmethod
    def _unseen(cls, rows: Rows, n_codes: tuple[int, ...], errors: Floats, seed: int) -> Floats:
        """Return what is expected of each row by what learned without it, shape (n_rows,)."""
        part = np.random.default_rng(seed + 1).permutation(len(rows)) % _N_PARTS  # others than those of the errors

        def expected(i: int) -> Floats:
            seen = np.flatnonzero(part != i)
            learned, _ = cls._learned(rows.take(seen), n_codes, errors[seen], seed)
            return learned.expected(rows.take(np.flatnonzero(part == i)))

        answers = np.empty(len(rows))
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            for i, one in enumerate(threads.map(expected, range(_N_PARTS))):
                answers[part == i] = one
        return answers

    @classmethod
    def _learned(cls, rows: Rows, n_codes: tuple[int, ...], errors: Floats, seed: int) -> tuple[Self, Floats]:
        """Return what does not grow outside, and what an ensemble adds to the mean for rows that it has not seen."""
        mean = max(float(errors.mean()), np.finfo(np.float64).tiny)
        columns = TreeColumns.fit(rows.codes, n_codes, errors)
        forest, left_out = cross_fit_forest(columns(rows), errors - mean, _TREES, seed)
        return cls(mean, None if forest is None else columns, forest, 0.0), left_out

    @property
    def least(self) -> float:
        """Error expected at least."""
        return _LEAST * self.mean

    def expected(self, rows: Rows) -> Floats:
        """Return the error expected inside the range, shape (n_rows,)."""
        if self.forest is None or self.columns is None:
            return np.full(len(rows), self.mean)
        return np.maximum(self.mean + self.forest.predict(self.columns(rows)), self.least)

    def __call__(self, rows: Rows, reach: Reach, trunk: Floats) -> Floats:
        """Return the error expected anywhere, shape (n_rows,).

        Args:
            rows: Any rows.
            reach: The ranges seen in training.
            trunk: The trunk's answers, held, shape (n_rows,).
        """
        return self.expected(rows) * (1 + self.growth * reach.outside(trunk, reach.distance(rows)))


_LEVEL = 0.9
"""Level of the intervals that the growth is found for."""


def _growth(difficulty: Difficulty, scores: Floats, tails: TailErrors | None) -> float:
    """Return the growth with the least interval score on the tails: width, and 2 / (1 − level) times what is missed.

    The score is least for the true quantiles (T. Gneiting and A. Raftery, J. Am. Stat. Assoc. 102, 2007,
    doi:10.1198/016214506000001437, section 6.2). Asking for a coverage instead would take the largest growth wherever
    the target alone is outside, which no growth helps.
    """
    if tails is None:
        return 0.0
    half = float(np.quantile(scores, _LEVEL)) * difficulty.expected(tails.rows)

    def score(growth: float) -> float:
        wide = half * (1 + growth * tails.outside)
        return float(np.mean(2 * wide + 2 / (1 - _LEVEL) * np.maximum(tails.errors - wide, 0)))

    return min(GROWTHS, key=score)
