"""How large an error is to be expected of a row: what intervals are wide by.

Inside the training range a small forest says it from the columns. Outside, where no row was, it grows with how far
outside the row is, at the rate that the tails held out for the choice of trunks showed.

A law's answers are followed far beyond all tails. What they may be off because its numbers were fitted to noisy rows is
known there, by their standard error; and where its errors are in proportion to its answers, the proportion is learned.
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

MEAN_OF_NORMAL = float(np.sqrt(2 / np.pi))
"""Mean absolute value of a normal distribution over its standard deviation."""


@dataclass(frozen=True)
class Errors:
    """What a model got wrong on rows that it had not seen.

    Attributes:
        rows: The rows.
        absolute: Absolute errors, shape (n_rows,).
        trunk: The trunk's answers, shape (n_rows,).
        standard: Standard errors of a law's answers, 0 of a committee's, shape (n_rows,).
        outside: How many ranges each row was outside, 0 inside, shape (n_rows,).
    """

    rows: Rows
    absolute: Floats
    trunk: Floats
    standard: Floats
    outside: Floats

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self | None:
        """Return those of several tails one after another, None for no tail."""
        if not parts:
            return None
        return cls(
            Rows(
                np.concatenate([one.rows.numeric for one in parts]), np.concatenate([one.rows.codes for one in parts])
            ),
            np.concatenate([one.absolute for one in parts]),
            np.concatenate([one.trunk for one in parts]),
            np.concatenate([one.standard for one in parts]),
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
        least_answer: None where errors are in units of the target; otherwise they are shares of the trunk's answer, and
            of a smaller one shares of this.
    """

    mean: float
    columns: TreeColumns | None
    forest: Forest | None
    growth: float
    least_answer: float | None = None

    @classmethod
    def fit(
        cls,
        errors: Errors,
        n_codes: tuple[int, ...],
        tails: Errors | None,
        seed: int,
        least_answer: float | None = None,
    ) -> tuple[Self, Floats]:
        """Learn from errors of a model that had not seen the rows.

        Args:
            errors: Of training rows.
            n_codes: Codes of each category column.
            tails: Of tails held out, or None.
            seed: Seed of the trees.
            least_answer: Positive: shares of answers of at least so much are learned too, and taken where errors are
                less surprising for them. None for errors in units of the target alone.

        Returns:
            The difficulty, and what it expects of each training row without having seen its error.
        """
        difficulty, expected = cls._fitted(errors, n_codes, tails, seed, None)
        if least_answer is not None:
            in_shares, from_shares = cls._fitted(errors, n_codes, tails, seed, least_answer)
            if _surprise(errors.absolute, from_shares) < _surprise(errors.absolute, expected):
                return in_shares, from_shares
        return difficulty, expected

    @classmethod
    def _fitted(
        cls,
        errors: Errors,
        n_codes: tuple[int, ...],
        tails: Errors | None,
        seed: int,
        least_answer: float | None,
    ) -> tuple[Self, Floats]:
        sizes = _sizes(errors.trunk, least_answer)
        shares = errors.absolute / sizes
        cut = np.minimum(shares, np.quantile(shares, _CAP))
        learned, left_out = cls._learned(errors.rows, n_codes, cut, seed)
        if learned.forest is not None and len(cut) <= _FEW_ROWS:
            expected = cls._unseen(errors.rows, n_codes, cut, seed)
        else:
            expected = np.maximum(learned.mean + left_out, learned.least)
        expected = np.maximum(_with_standard(expected * sizes, errors.standard), np.finfo(np.float64).tiny)
        learned = replace(learned, least_answer=least_answer)
        return replace(learned, growth=_growth(learned, errors.absolute / expected, tails)), expected

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
        """Return the error expected inside the range, in units of the target or in shares, shape (n_rows,)."""
        if self.forest is None or self.columns is None:
            return np.full(len(rows), self.mean)
        return np.maximum(self.mean + self.forest.predict(self.columns(rows)), self.least)

    def near(self, rows: Rows, trunk: Floats, standard: Floats) -> Floats:
        """Return the error expected without growth, in units of the target, shape (n_rows,)."""
        return _with_standard(self.expected(rows) * _sizes(trunk, self.least_answer), standard)

    def __call__(self, rows: Rows, reach: Reach, trunk: Floats, standard: Floats) -> Floats:
        """Return the error expected anywhere, shape (n_rows,).

        Args:
            rows: Any rows.
            reach: The ranges seen in training.
            trunk: The trunk's answers, held, shape (n_rows,).
            standard: Their standard errors, shape (n_rows,).
        """
        grown = 1 + self.growth * reach.outside(trunk, reach.distance(rows))
        return self.near(rows, trunk, standard) * grown


def _sizes(trunk: Floats, least_answer: float | None) -> Floats:
    """Return what errors are shares of, shape (n_rows,)."""
    return np.ones(len(trunk)) if least_answer is None else np.maximum(trunk, least_answer)


def _with_standard(expected: Floats, standard: Floats) -> Floats:
    """Return the absolute error expected of a scatter around an answer that has a standard error, shape (n_rows,)."""
    return np.hypot(expected, MEAN_OF_NORMAL * standard)


def _surprise(errors: Floats, expected: Floats) -> float:
    """Return the mean negative logarithm of the density of errors that are exponential with the means expected."""
    return float(np.mean(np.log(expected) + errors / expected))


_LEVEL = 0.9
"""Level of the intervals that the growth is found for."""


def _growth(difficulty: Difficulty, scores: Floats, tails: Errors | None) -> float:
    """Return the growth with the least interval score on the tails: width, and 2 / (1 − level) times what is missed.

    The score is least for the true quantiles (T. Gneiting and A. Raftery, J. Am. Stat. Assoc. 102, 2007,
    doi:10.1198/016214506000001437, section 6.2). Asking for a coverage instead would take the largest growth wherever
    the target alone is outside, which no growth helps.
    """
    if tails is None:
        return 0.0
    half = float(np.quantile(scores, _LEVEL)) * difficulty.near(tails.rows, tails.trunk, tails.standard)

    def score(growth: float) -> float:
        wide = half * (1 + growth * tails.outside)
        return float(np.mean(2 * wide + 2 / (1 - _LEVEL) * np.maximum(tails.absolute - wide, 0)))

    return min(GROWTHS, key=score)
