"""How far a row is from the training rows in all columns together: the distance to the nearest of some of them.

Ranges by column say nothing of combinations: a short heat at a high temperature may be new although both were seen.
On sixteen data sets and their tails the distance to the nearest of 128 to 500 training rows, on columns as they are or
on logarithms, marked the same rows to within a few hundredths; the Mahalanobis distance marked fewer, because training
rows lie in clusters and not in one cloud.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from training.tabular.rows import Columns, Floats, Rows

N_LANDMARKS = 256
"""Training rows kept. They travel in the graph: 60 columns take 120 kB."""

_MAX_INDICATORS = 12
"""Categories of at most this many codes take part; of more, most pairs of rows differ."""


@dataclass(frozen=True)
class Landmarks:
    """Training rows that distances are measured from.

    Attributes:
        columns: Columns in which they are measured, standardised; levels are 0 or 1.
        points: The rows, shape (n_landmarks, width).
    """

    columns: Columns
    points: Floats

    @classmethod
    def fit(cls, rows: Rows, n_codes: tuple[int, ...], seed: int) -> Self:
        """Draw landmarks from training rows."""
        few = tuple(n if n <= _MAX_INDICATORS else 0 for n in n_codes)
        columns = Columns.fit(rows, few, "raw")
        index = np.sort(np.random.default_rng(seed).permutation(len(rows))[:N_LANDMARKS])
        return cls(columns, columns(rows.take(index)))

    def distance(self, rows: Rows) -> Floats:
        """Return the distance to the nearest landmark, in standard deviations of a mean column, shape (n_rows,)."""
        block = self.columns(rows)
        squares = (self.points**2).sum(axis=1) - 2 * block @ self.points.T
        nearest = squares.min(axis=1) + (block**2).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(nearest, 0.0) / max(self.columns.width, 1)))
