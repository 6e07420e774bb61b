"""Errors of predictions, per target."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metrics = dict[str, dict[str, float]]
"""Target name → metric name → value."""


def regression_metrics(
    targets: Floats, predictions: Floats, names: tuple[str, ...], weights: Floats | None = None
) -> Metrics:
    """Return mean absolute error, root mean squared error and coefficient of determination of each target.

    Args:
        targets: Shape (n_rows, d_outputs).
        predictions: Shape (n_rows, d_outputs).
        names: Target names.
        weights: Weights of the rows, shape (n_rows,); None for equal ones.

    Returns:
        "mae" and "rmse" in the target's unit, "r2" relative to the mean of `targets`; a metric that is not finite
        (overflow far outside a range, or no spread in the targets) is left out.
    """
    result: Metrics = {}
    with np.errstate(all="ignore"):
        for j, name in enumerate(names):
            error = predictions[:, j] - targets[:, j]
            squared = float(np.average(error**2, weights=weights))
            centre = np.average(targets[:, j], weights=weights)
            spread = float(np.average((targets[:, j] - centre) ** 2, weights=weights))
            values = {
                "mae": float(np.average(np.abs(error), weights=weights)),
                "rmse": squared**0.5,
                "r2": 1 - squared / spread if spread > 0 else float("nan"),
            }
            result[name] = {metric: value for metric, value in values.items() if np.isfinite(value)}
    return result


def relative_error(targets: Floats, predictions: Floats) -> Floats:
    """Return |prediction − target| / |target| by element; the absolute error where the target is zero."""
    with np.errstate(all="ignore"):
        error = np.abs(predictions - targets)
        return np.asarray(np.where(targets == 0, error, error / np.abs(targets)), dtype=np.float64)


def finite_or_none(value: float) -> float | None:
    """Return a number for JSON: itself, or None where it is infinite or not a number."""
    return float(value) if np.isfinite(value) else None
