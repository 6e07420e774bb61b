"""When a result counts as solved, and how sure a rate is.

Sources: Madsen and Johansen, "Measuring Arithmetic Extrapolation Performance", arXiv:1910.01888 (a nearly perfect
solution as the threshold, Wilson's interval); Mistry et al., arXiv:2101.09530, for the single module task.
"""

from functools import cache
from math import sqrt

import numpy as np

from training.bench import arithmetic_dataset, single_module
from training.bench.cell import N_TEST_ROWS, Cell, Floats, Numbers

EPSILON = 1e-5
"""How far the weights of a nearly perfect solution are off."""

EXACT = 1e-9
"""Largest relative error of a law that counts as the exact one, where labels have noise: a wrong weight on the grid is
off by a thousandth and more, float64 rounding by 1e-10 where sums cancel."""

_N_SETS = 20

_Z = 1.959963984540054
"""Normal quantile of a 95 % interval."""


@cache
def threshold(cell: Cell) -> float:
    """Return the mean squared error on extrapolation rows below which a result is solved, by Monte Carlo.

    It is the median over 20 sets of 10,000 rows. Where the mean of the squared error exists, the median is within
    2 % of it; where it does not, as for quotients with denominators near zero, the published mean over a million rows
    is carried by its few largest, and the median is the stricter.
    """
    nearly = arithmetic_dataset if cell.task == "dataset" else single_module
    generator = cell.generator(0, "threshold")
    errors = [
        np.mean(
            nearly.nearly_perfect_error(
                cell, cell.input_range.draw_outside(N_TEST_ROWS, cell.d_inputs, generator), EPSILON
            )
            ** 2
        )
        for _ in range(_N_SETS)
    ]
    return float(np.median(errors))


def has_threshold(cell: Cell) -> bool:
    """Return whether a cell's results are judged by the threshold; otherwise by exactness."""
    return cell.task in ("single", "dataset")


def mean_squared_error(predictions: Floats, truth: Numbers) -> float:
    """Return the mean squared error in the precision of the truth; infinite where a prediction is not finite."""
    if not np.isfinite(predictions).all():
        return float("inf")
    return float(np.mean((predictions.astype(truth.dtype) - truth) ** 2))


def largest_relative_error(predictions: Floats, truth: Numbers) -> float:
    """Return the largest |ŷ − y| / |y|, in the precision of the truth; 0 where both are 0."""
    if not np.isfinite(predictions).all():
        return float("inf")
    gap = np.abs(predictions.astype(truth.dtype) - truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.where(gap == 0, 0, gap / np.abs(truth))))


def wilson_interval(n_solved: int, n_seeds: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate.

    Example:
        >>> [round(100 * bound, 1) for bound in wilson_interval(100, 100)]
        [96.3, 100.0]
    """
    rate = n_solved / n_seeds
    centre = rate + _Z**2 / (2 * n_seeds)
    width = _Z * sqrt(rate * (1 - rate) / n_seeds + _Z**2 / (4 * n_seeds**2))
    scale = 1 + _Z**2 / n_seeds
    return max(0.0, (centre - width) / scale), min(1.0, (centre + width) / scale)
