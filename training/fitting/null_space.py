"""Quotients of sums: y = (u·x) / (v·x) is u·x − y (v·x) = 0, so (u, v) spans the null space of [X, −yX]."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fit_quotient(inputs: Floats, targets: Floats) -> tuple[Floats, Floats] | None:
    """Return u and v of y = (u·x) / (v·x), up to a common factor.

    Columns are scaled to equal length and rows weighted by 1 / (1 + |y| / median|y|), so that neither a large input
    nor a result near a zero of the denominator drowns the rest.

    Args:
        inputs: Shape (n, d), finite.
        targets: Shape (n,), finite.

    Returns:
        u and v, shape (d,) each; None where there are fewer rows than weights or the scale is lost.
    """
    n_rows, d = inputs.shape
    if n_rows < 2 * d:
        return None
    size = np.abs(inputs).max(axis=0)
    height = float(np.median(np.abs(targets)))
    if height == 0 or not np.all(size > 0):
        return None
    scaled, y = inputs / size, targets / height
    rows = np.concatenate([scaled, -y[:, None] * scaled], axis=1) / (1 + np.abs(y))[:, None]
    _, triangle = np.linalg.qr(rows)
    null = np.linalg.svd(triangle)[2][-1]
    above, below = null[:d] / size * height, null[d:] / size
    largest = max(float(np.abs(above).max()), float(np.abs(below).max()))
    return above / largest, below / largest
