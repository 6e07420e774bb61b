"""Plots of error inside and outside the training range, as PNG bytes."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

Floats = NDArray[np.float64]

INSIDE = "#d9ead3"
_N_BINS = 24
_SMALLEST_ERROR = 1e-18
"""Where an exact zero is drawn on a logarithmic axis, below one unit in the last place of float64."""

_LARGEST_ERROR = 1e18
"""Where an overflow is drawn."""


def relative_error_plot(title: str, inside: float, magnitude: Floats, error: Floats) -> bytes:
    """Draw the relative error of an arithmetic model against the magnitude of its inputs.

    Args:
        title: Title of the plot.
        inside: Largest magnitude seen in training.
        magnitude: Largest input magnitude of each row, shape (n_rows,).
        error: Relative error of each row, shape (n_rows,).
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(magnitude.min(), inside, color=INSIDE, label="seen in training")
    axes.plot(magnitude, np.clip(error, _SMALLEST_ERROR, _LARGEST_ERROR), ".", markersize=3, label="test rows")
    axes.axhline(np.finfo(np.float64).eps, color="grey", linewidth=0.8, linestyle="--", label="float64 resolution")
    axes.set(
        xscale="log", yscale="log", xlabel="largest input magnitude", ylabel="relative error", title=literal(title)
    )
    axes.legend(loc="upper left")
    return png(figure)


def driver_error_plot(title: str, column: str, threshold: float, driver: Floats, errors: Mapping[str, Floats]) -> bytes:
    """Draw mean absolute errors against the driving column, below and above the largest value seen in training.

    Args:
        title: Title of the plot.
        column: Name of the driving column.
        threshold: Largest value of it in training.
        driver: Value of it in each row, shape (n_rows,).
        errors: Model → absolute error of each row over the target's spread, shape (n_rows,).
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    edges = np.unique(np.quantile(driver, np.linspace(0, 1, _N_BINS + 1)))
    place = np.clip(np.searchsorted(edges, driver, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = np.unique(place)
    centres = np.array([driver[place == b].mean() for b in bins])
    axes.axvspan(driver.min(), threshold, color=INSIDE, label="seen in training")
    for name, error in errors.items():
        axes.plot(centres, [float(np.mean(error[place == b])) for b in bins], marker=".", label=name)
    axes.set(xlabel=literal(column), ylabel="mean |error| / spread of the target", title=literal(title), yscale="log")
    axes.legend(loc="upper left")
    return png(figure)


def literal(text: str) -> str:
    """Return text that is drawn as it is: a column name may hold the mathematics marker."""
    return text.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, the same bytes each time."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()
