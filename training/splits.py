"""Splits of a table's rows: random, by group, by time, and by the tail of a driving column."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingDataError

Index = NDArray[np.int64]
Floats = NDArray[np.float64]

_TEST_SHARE = 0.15
_VALIDATION_SHARE = 0.15
_LEAST_GROUPS = 3
_DRIVER_QUANTILE = 0.8
"""Rows above this quantile of the driving column are outside; the share that published comparisons of tabular models
under extrapolation commonly hold out."""

_MIN_TAIL_SHARE = 0.03
"""A tail with fewer rows than this share says too little; the next column is taken."""


@dataclass(frozen=True)
class Split:
    """Row numbers to fit on, to choose by and to judge by; disjoint."""

    train: Index
    validation: Index
    test: Index

    def without_validation(self) -> "Split":
        """Return the split for a model that chooses by the rows it is fitted on: those to choose by are among them."""
        return Split(np.concatenate([self.train, self.validation]), self.validation[:0], self.test)


@dataclass(frozen=True)
class DriverSplit:
    """A split whose test rows lie above what was trained on, in one column.

    Attributes:
        split: The rows.
        column: Number of the driving column.
        threshold: Largest value of it in training and validation.
    """

    split: Split
    column: int
    threshold: float


def random_split(n_rows: int, seed: int) -> Split:
    """Split rows at random: 15 % test, 15 % validation, the rest to fit on.

    Raises:
        TrainingDataError: When there are too few rows for one in each part.
    """
    order = np.random.default_rng(seed).permutation(n_rows)
    n_test = max(1, round(_TEST_SHARE * n_rows))
    n_validation = max(1, round(_VALIDATION_SHARE * n_rows))
    if n_rows - n_test - n_validation < 1:
        msg = f"a table must have rows for training, validation and test, however: {n_rows}; add rows"
        raise TrainingDataError(msg)
    return Split(order[n_test + n_validation :], order[n_test : n_test + n_validation], order[:n_test])


def group_split(groups: Index, seed: int) -> Split:
    """Split whole groups at random: about 15 % of the rows test, 15 % validation, the rest to fit on.

    Args:
        groups: Number of each row's group, shape (n_rows,).
        seed: Seed of the draw.

    Raises:
        TrainingDataError: When there are fewer than three groups.

    Example:
        >>> split = group_split(np.repeat(np.arange(20), 5), seed=0)
        >>> len(split.train), len(split.validation), len(split.test)
        (70, 15, 15)
    """
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < _LEAST_GROUPS:
        msg = f"a split by group must have at least {_LEAST_GROUPS} groups, however: {len(sizes)}; name another column"
        raise TrainingDataError(msg)
    order = np.random.default_rng(seed).permutation(len(sizes))
    part = np.zeros(len(sizes), dtype=np.int64)
    rest = order
    for which, share in ((2, _TEST_SHARE), (1, _VALIDATION_SHARE)):
        filled = np.cumsum(sizes[rest])
        n_taken = int(np.searchsorted(filled, share * len(groups), side="right"))
        n_taken = max(1, min(n_taken, len(rest) - which))
        part[rest[:n_taken]] = which
        rest = rest[n_taken:]
    row_part = part[number]
    return Split(*(np.flatnonzero(row_part == which) for which in (0, 1, 2)))


def time_split(times: Floats) -> Split:
    """Split by time: the last 15 % of the rows test, the 15 % before them validation, the earlier ones to fit on.

    Rows of one moment stay together, in the later part.

    Args:
        times: What orders the rows, shape (n_rows,), finite.

    Raises:
        TrainingDataError: When there are too few different times.

    Example:
        >>> split = time_split(np.arange(100.0)[::-1])
        >>> len(split.train), int(split.test.max()), int(split.validation.max())
        (70, 14, 29)
    """
    ordered = np.sort(times)
    n_rows = len(times)
    test_from = ordered[min(n_rows - 1, round((1 - _TEST_SHARE) * n_rows))]
    validation_from = ordered[min(n_rows - 1, round((1 - _TEST_SHARE - _VALIDATION_SHARE) * n_rows))]
    if validation_from == test_from:
        validation_from = ordered[ordered < test_from].max(initial=-np.inf)
    test = times >= test_from
    validation = (times >= validation_from) & ~test
    train = ~test & ~validation
    if not (test.any() and validation.any() and train.any()):
        msg = (
            "a split by time must have rows before, between and after two moments, however there are "
            f"{len(np.unique(times))} different times; name another column"
        )
        raise TrainingDataError(msg)
    return Split(np.flatnonzero(train), np.flatnonzero(validation), np.flatnonzero(test))


def driver_split(numeric: Floats, targets: Floats, seed: int) -> DriverSplit | None:
    """Split by the tail of the column that moves the targets most (mean absolute rank correlation).

    Args:
        numeric: Number columns, shape (n_rows, d_numeric), missing values as NaN.
        targets: Shape (n_rows, d_outputs).
        seed: Seed of the split into training and validation below the threshold.

    Returns:
        The split, or None where no column has a tail.
    """
    strength = rank_correlations(numeric, targets)
    for column in (int(j) for j in np.argsort(-strength, kind="stable") if strength[j] >= 0):
        values = numeric[:, column]
        known = ~np.isnan(values)
        threshold = float(np.quantile(values[known], _DRIVER_QUANTILE))
        outside = np.flatnonzero(known & (values > threshold))
        inside = np.flatnonzero(~(known & (values > threshold)))
        if len(outside) >= max(2, _MIN_TAIL_SHARE * len(values)) and len(inside) >= len(values) // 2:
            order = np.random.default_rng(seed).permutation(inside)
            n_validation = max(1, round(_VALIDATION_SHARE * len(order)))
            return DriverSplit(Split(order[n_validation:], order[:n_validation], outside), column, threshold)
    return None


def rank_correlations(numeric: Floats, targets: Floats) -> Floats:
    """Return the mean absolute rank correlation of each number column with the targets, shape (d_numeric,).

    A column that says nothing gets −1: one value, fewer than three known values, or a count of the rows, whose tail is
    the end of the file and not a region.
    """
    target_ranks = _ranks(targets)
    strength = np.full(numeric.shape[1], -1.0)
    for j in range(numeric.shape[1]):
        known = ~np.isnan(numeric[:, j])
        counts_rows = bool((np.diff(numeric[:, j]) == 1).all())
        if known.sum() < 3 or np.ptp(numeric[known, j]) == 0 or counts_rows:
            continue
        ranks = _ranks(numeric[known, j : j + 1])[:, 0]
        strength[j] = np.mean([abs(_correlation(ranks, target_ranks[known, t])) for t in range(targets.shape[1])])
    return strength


def _ranks(columns: Floats) -> Floats:
    """Return ranks by column, ties sharing their mean."""
    result = np.empty_like(columns)
    for j in range(columns.shape[1]):
        _, inverse, counts = np.unique(columns[:, j], return_inverse=True, return_counts=True)
        result[:, j] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return result


def _correlation(a: Floats, b: Floats) -> float:
    spread = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread > 0 else 0.0
