"""How far outside a row is, what the trunk may say there, and how much of the residual counts."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from training.tabular.rows import Floats, Rows, ranges_seen

ROOM, ROOM_PER_DISTANCE = 1.0, 8.0
"""The trunk may leave the targets' range by this many ranges, and by this many more per range that a column is outside.

Inside the columns' ranges one range is more than any tail of targets needs; a product of three factors whose ranges are
doubled grows eightfold and has room for it."""


@dataclass(frozen=True)
class Reach:
    """The ranges seen in training.

    Attributes:
        lower: Smallest value of each number column, shape (d_numeric,).
        upper: Largest value.
        target_range: Smallest and largest target.
    """

    lower: Floats
    upper: Floats
    target_range: tuple[float, float]

    @classmethod
    def fit(cls, rows: Rows, targets: Floats) -> Self:
        """Learn the ranges from training rows; a column without any value is zero throughout."""
        return cls(*ranges_seen(rows.numeric), (float(targets.min()), float(targets.max())))

    @property
    def spread(self) -> Floats:
        """Width of each column's range, 1 where it is a point."""
        return np.where(self.upper > self.lower, self.upper - self.lower, 1.0)

    @property
    def target_spread(self) -> float:
        """The unit of how far outside a trunk is: the targets' range, 1 where all of them are the same."""
        low, high = self.target_range
        return high - low or 1.0

    def distance(self, rows: Rows) -> Floats:
        """Return how many ranges the worst column of each row is outside, 0 inside, shape (n_rows,)."""
        numeric = np.where(np.isnan(rows.numeric), self.lower, rows.numeric)
        beyond = np.maximum(numeric - self.upper, self.lower - numeric) / self.spread
        return np.asarray(beyond.max(axis=1, initial=0.0))

    def clipped(self, rows: Rows) -> Rows:
        """Return the rows with each number column brought to the border of its range where it is outside."""
        return replace(rows, numeric=np.clip(rows.numeric, self.lower, self.upper))

    def held(self, trunk: Floats, distance: Floats) -> Floats:
        """Return the trunk's answers within the room that the distance leaves them, shape (n_rows,)."""
        low, high = self.target_range
        room = (high - low) * (ROOM + ROOM_PER_DISTANCE * distance)
        return np.minimum(np.maximum(trunk, low - room), high + room)

    def share(self, trunk: Floats, distance: Floats, width: float) -> Floats:
        """Return the share of the residual that counts, shape (n_rows,).

        It is 1 where columns and trunk are inside, and falls to 0 at `width` ranges outside; with an infinite width it
        is 1 everywhere.

        Args:
            trunk: The trunk's answers, held, shape (n_rows,).
            distance: Of each row, shape (n_rows,).
            width: Positive.
        """
        return np.clip(1 - self.outside(trunk, distance) / width, 0.0, 1.0)

    def outside(self, trunk: Floats, distance: Floats) -> Floats:
        """Return how many ranges the worst of columns and trunk is outside, 0 inside, shape (n_rows,)."""
        low, high = self.target_range
        return np.asarray(np.maximum(distance, np.maximum(trunk - high, low - trunk) / self.target_spread))
