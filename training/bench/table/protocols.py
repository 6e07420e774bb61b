"""How rows are split to judge a model: inside at random, outside by driver or target, by group, by time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.bench.table.data_sets import BenchTable

Index = NDArray[np.int64]

TEST_SHARE = 0.2
"""Share of rows (or of groups) that is held out; outside, those beyond this upper quantile."""

MAX_TRAINING_ROWS = 10_000
_MIN_TEST_ROWS = 10
_MIN_TRAINING_ROWS = 50

Split = tuple[Index, Index]


def _inside(table: BenchTable, rng: np.random.Generator) -> Split:
    order = rng.permutation(table.table.n_rows)
    n_test = round(TEST_SHARE * len(order))
    return order[n_test:], order[:n_test]


def _above(values: NDArray[np.float64]) -> Split:
    """Split at the upper quantile; where so many rows share the largest value that none lies above, before that value.

    The four wind speeds of the airfoil data are such a case.
    """
    threshold = np.nanquantile(values, 1 - TEST_SHARE)
    outside = values > threshold
    if not outside.any():
        outside = values >= threshold
    return np.flatnonzero(~outside), np.flatnonzero(outside)


def _driver(table: BenchTable, rng: np.random.Generator) -> Split | None:  # noqa: ARG001 - one signature for all
    return None if table.driver is None else _above(table.driver)


def _target(table: BenchTable, rng: np.random.Generator) -> Split | None:  # noqa: ARG001 - one signature for all
    return _above(table.table.targets[:, 0])


def _group(table: BenchTable, rng: np.random.Generator) -> Split | None:
    if table.groups is None:
        return None
    names = np.unique(table.groups.astype(str))
    held_out = rng.permutation(names)[: max(1, round(TEST_SHARE * len(names)))]
    there = np.isin(table.groups.astype(str), held_out)
    return np.flatnonzero(~there), np.flatnonzero(there)


def _time(table: BenchTable, rng: np.random.Generator) -> Split | None:  # noqa: ARG001 - one signature for all
    if table.order is None:
        return None
    n_test = round(TEST_SHARE * len(table.order))
    return table.order[:-n_test], table.order[-n_test:]


PROTOCOLS: dict[str, Callable[[BenchTable, np.random.Generator], Split | None]] = {
    "inside": _inside,
    "driver": _driver,
    "target": _target,
    "group": _group,
    "time": _time,
}
"""Name → rows to fit on and rows to judge by, or None where the task does not have it."""


def split(protocol: str, table: BenchTable, seed: int) -> Split | None:
    """Split a task's rows; at most `MAX_TRAINING_ROWS` are fitted on, drawn by the seed.

    Returns:
        The rows, or None where the task does not have the protocol or too few rows for it.
    """
    rng = np.random.default_rng(seed)
    parts = PROTOCOLS[protocol](table, rng)
    if parts is None or len(parts[0]) < _MIN_TRAINING_ROWS or len(parts[1]) < _MIN_TEST_ROWS:
        return None
    train, test = parts
    if np.ptp(table.table.targets[train]) == 0:
        return None
    return rng.permutation(train)[:MAX_TRAINING_ROWS], test
