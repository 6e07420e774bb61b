"""Least squares in float64: the solver behind every structure that is linear in its weights after a transformation."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RANK_TOLERANCE = 1e-11
"""Smallest singular value, as a share of the largest after scaling the columns, at which weights count as determined:
below it rounding of 1e-16 would move them by more than 1e-5."""


def least_squares(columns: Floats, targets: Floats) -> Floats | None:
    """Return the weights w that minimise |columns · w − targets|².

    Columns are scaled to equal length first, so that magnitudes from 1e-30 to 1e30 may stand side by side.

    Args:
        columns: Shape (n, k), finite.
        targets: Shape (n,), finite.

    Returns:
        Shape (k,), or None where the rows do not determine the weights: fewer rows than columns, a column of zeros, or
        columns that depend on each other.
    """
    n_rows, n_columns = columns.shape
    if n_columns == 0 or n_rows < n_columns:
        return None
    size = np.abs(columns).max(axis=0)
    height = float(np.abs(targets).max())
    if height == 0:
        return np.zeros(n_columns) if np.all(size > 0) else None
    if not np.all(size > 0):
        return None
    orthogonal, triangle = np.linalg.qr(columns / size)
    diagonal = np.abs(np.diag(triangle))
    if diagonal.min() <= _RANK_TOLERANCE * diagonal.max():
        return None
    weights = np.linalg.solve(triangle, orthogonal.T @ (targets / height))
    return np.asarray(weights * (height / size), dtype=np.float64)
