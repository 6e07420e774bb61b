"""Two laws that tests look for, their rows, and the search."""

import numpy as np

from training.tabular.rows import Rows
from training.tabular.terms import Law
from training.tabular.trunks import Link, find_law

N_CODES = (2,)
GRADE = 10
"""Number of the first level, behind five columns and their gaps."""

MIXED: Law = (((0, 1.0), (1, 1.0), (2, -1.0)), ((3, 0.5),), ((GRADE, 1.0),))

PRICE: Law = (((0, 1.0),), ((1, 1.0),), ((11, 1.0),), ((12, 1.0),))
"""Two of five columns, and two of the three levels."""


def rows_of(n_rows: int, seed: int, high: float = 9.0) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows(rng.uniform(1, high, (n_rows, 5)), rng.integers(0, 2, (n_rows, 1)))


def noise(n_rows: int, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n_rows)


def mixed(rows: Rows) -> np.ndarray:
    """3 a b / c − 8 √d + 5 where the level is the first: negative here and there, so that no logarithm is of use."""
    a, b, c, d, _ = rows.numeric.T
    return np.asarray(3 * a * b / c - 8 * np.sqrt(d) + 5 * (rows.codes[:, 0] == 0))


def priced_rows(n_rows: int, seed: int, high: float = 9.0) -> Rows:
    rows = rows_of(n_rows, seed, high)
    return Rows(rows.numeric, np.random.default_rng(seed).integers(0, 3, (n_rows, 1)))


def priced(rows: Rows, spread: float = 0.0) -> np.ndarray:
    """3 a^1.3 b^−0.7, 1.3 and 0.7 times as much where the level is the second or the third; the noise is multiplied."""
    a, b, *_ = rows.numeric.T
    level = np.array([1.0, 1.3, 0.7])[rows.codes[:, 0]]
    return np.asarray(3 * a**1.3 * b**-0.7 * level * np.exp(spread * noise(len(rows), 1)))


def law_of(rows: Rows, n_codes: tuple[int, ...], targets: np.ndarray, link: Link = "identity") -> Law | None:
    kind = find_law(rows, n_codes, targets, link)
    return None if kind is None else kind.law
