"""Values of a column that lie far from all others, as a slip of a decimal point or a sentinel does.

Such a value widens the range that is taken for seen, and as a target it makes nearly all of the error.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LARGEST_SHARE = 0.01
"""Of the values; more than these are a part of what the column holds."""

_FEWEST_DIFFERENT = 10
"""Different values among the others, for these to show a range that others would lie in."""

_SHOWN = 3


@dataclass(frozen=True)
class LoneValues:
    """Values farther from all others than these are from each other.

    Attributes:
        rows: Their rows; of those on one side the farthest first.
        values: The values in these rows.
        low: The smallest of the others.
        high: The largest of the others.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    low: float
    high: float

    def told(self, numbers: NDArray[np.int64] | None) -> str:
        """Return it in words.

        Args:
            numbers: Number of each row in its file, from 0; None where they are the file's rows in order.
        """
        n_values = len(self.rows)
        in_file = self.rows if numbers is None else numbers[self.rows]
        shown = [
            f"{value:g} in row {row + 1}"
            for row, value in zip(in_file[:_SHOWN].tolist(), self.values[:_SHOWN].tolist(), strict=True)
        ]
        if n_values > _SHOWN:
            shown.append(f"{n_values - _SHOWN} more")
        what = "a value" if n_values == 1 else f"{n_values} values"
        return (
            f"has {what} far from all others, which are {self.low:g} to {self.high:g}: {' and '.join(shown)}; "
            "correct a slip, or leave its cell empty"
        )


def lone_values(values: NDArray[np.float64]) -> LoneValues | None:
    """Return the values that a gap wider than the range of all others parts from these, or None.

    Gaps are those of logarithms where all values are positive, so that long tails are none.

    Args:
        values: A column, missing as NaN, shape (n_rows,).
    """
    present = np.flatnonzero(~np.isnan(values))
    others = present[np.argsort(values[present], kind="stable")]
    n_at_most = max(1, int(_LARGEST_SHARE * len(others)))
    lone: list[NDArray[np.int64]] = []
    while n := _n_parted(values[others], n_at_most):
        lone.append(others[:n] if n > 0 else others[n:][::-1])
        others = others[n:] if n > 0 else others[:n]
    if not lone or len(np.unique(values[others])) < _FEWEST_DIFFERENT:
        return None
    rows = np.concatenate(lone)
    return LoneValues(rows, values[rows], float(values[others[0]]), float(values[others[-1]]))


def _n_parted(ascending: NDArray[np.float64], n_at_most: int) -> int:
    """Return how many values from below are parted from the others, as a negative number how many from above, or 0."""
    if len(ascending) < n_at_most + 2:
        return 0
    places = np.log(ascending) if ascending[0] > 0 else ascending
    for heights, sign in ((places, 1), (-places[::-1], -1)):
        with np.errstate(over="ignore"):
            gaps, ranges = np.diff(heights[: n_at_most + 1]), heights[-1] - heights[1 : n_at_most + 1]
        parted = np.flatnonzero(gaps > ranges)
        if parted.size:
            return sign * int(parted[-1] + 1)
    return 0
