"""Snapping: fitted weights put on a grid of simple values.

Without noise a fitted weight lies next to its grid value and is rounded. With noise several grid points are likely,
and which one is decided by the error that a point adds and by its description length: a simpler value needs less
evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Simple values in ascending order.

    Attributes:
        values: The values, 0 among them.
        costs: Description length of each in nats, 0 for the value 0.
    """

    values: Floats
    costs: Floats

    def round(self, weights: Floats) -> Floats:
        """Return the nearest value to each weight."""
        middle = (self.values[1:] + self.values[:-1]) / 2
        return self.values[np.searchsorted(middle, weights)]

    def cost(self, weights: Floats) -> float:
        """Return the description length of weights on the grid: their values, and which inputs they stand at."""
        index = np.searchsorted(self.values, weights)
        return float(self.costs[index].sum() + np.count_nonzero(weights) * np.log(max(weights.size, 1)))


def _grid(tiers: list[tuple[float, list[float]]]) -> Grid:
    pairs = [(0.0, 0.0)]
    pairs += [(sign * value, cost) for cost, values in tiers for value in values for sign in (1, -1)]
    pairs.sort()
    return Grid(np.array([value for value, _ in pairs]), np.array([cost for _, cost in pairs]))


SUM_GRID = _grid(
    [
        (1.0, [1]),
        (3.0, [2, 1 / 2]),
        (4.5, [3, 4, 5, 1 / 4, 3 / 2]),
        (6.0, [6, 7, 8, 9, 10, 1 / 3, 2 / 3, 3 / 4, 5 / 2]),
    ]
)
"""Values of weights in sums. The costs are code lengths, e^−cost summing to less than 1: ±1 is what the NAU's
regulariser draws weights to, the rest grows rarer as it grows less simple."""

POWER_GRID = _grid([(1.0, [1]), (2.0, [2, 1 / 2]), (4.0, [3, 3 / 2]), (6.0, [4, 5 / 2, 7 / 2, 1 / 3, 2 / 3])])
"""Values of powers."""


def lattice(
    centre: Floats, precision: Floats, grids: Sequence[Grid], *, n_best: int = 8, beam: int = 128
) -> list[Floats]:
    """Return the grid points z with the least ½ (z − centre)ᵀ precision (z − centre) + cost(z), best first.

    The search goes through the weights one by one, as a sphere decoder does, keeping the `beam` best beginnings.

    Args:
        centre: Fitted weights, shape (k,).
        precision: Inverse of their covariance, shape (k, k).
        grids: Values allowed for each weight.
        n_best: Points to return.
        beam: Beginnings kept.
    """
    k = len(centre)
    order = np.argsort(np.diag(precision))  # the last is decided first: the surest
    triangle = _upper(precision[np.ix_(order, order)])
    target = triangle @ centre[order]
    points = np.zeros((1, k))
    costs = np.zeros(1)
    for j in range(k - 1, -1, -1):
        grid = grids[order[j]]
        price = grid.costs + np.where(grid.values != 0, np.log(k), 0.0)
        rest = target[j] - points[:, j + 1 :] @ triangle[j, j + 1 :]
        added = 0.5 * (rest[:, None] - triangle[j, j] * grid.values[None]) ** 2 + price
        total = (costs[:, None] + added).ravel()
        n_kept = min(beam, len(total))
        kept = np.argpartition(total, n_kept - 1)[:n_kept]
        parent, value = np.divmod(kept, len(grid.values))
        points = points[parent]
        points[:, j] = grid.values[value]
        costs = total[kept]
    best = np.argsort(costs)[:n_best]
    result = np.empty((len(best), k))
    result[:, order] = points[best]
    return list(result)


def _upper(precision: Floats) -> Floats:
    """Return R with RᵀR = precision."""
    scale = np.sqrt(np.diag(precision))
    scaled = precision / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(scaled)
    root = np.sqrt(np.maximum(values, 1e-15 * values.max()))[:, None] * vectors.T
    return np.asarray(np.linalg.qr(root, mode="r") * scale, dtype=np.float64)
