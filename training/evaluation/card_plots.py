"""Plots of a model card, as PNG bytes: predictions, intervals, importance, and answers beyond the training range."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.contract.trust import Importance
from training.evaluation.plots import INSIDE, literal, png

Floats = NDArray[np.float64]

_MOST_OUTPUTS = 4
_MOST_POINTS = 3000
_MOST_COLUMNS = 20
_INK, _ACCENT = "#1f4e79", "#b85c00"


@dataclass(frozen=True)
class Curve:
    """What a model answers along one column, all others as in a typical row.

    Attributes:
        column: The column.
        inside: Its smallest and largest value seen in training.
        values: Its values, shape (n_points,).
        answers: The model's, shape (n_points, d_outputs).
        half: Half the width of the intervals of level 0.9, likewise; None without intervals.
    """

    column: str
    inside: tuple[float, float]
    values: Floats
    answers: Floats
    half: Floats | None


def predicted_plot(names: Sequence[str], targets: Floats, answers: Floats, marked: NDArray[np.bool_]) -> bytes:
    """Draw predictions against true values of held-out rows.

    Args:
        names: Names of the outputs; the first four are drawn.
        targets: Shape (n_rows, d_outputs).
        answers: Likewise.
        marked: Rows that the model marks as outside, shape (n_rows,).
    """
    shown = names[:_MOST_OUTPUTS]
    figure = Figure(figsize=(4.2 * len(shown), 4), layout="constrained")
    for j, axes in enumerate(np.atleast_1d(figure.subplots(1, len(shown)))):
        x, y = targets[:_MOST_POINTS, j], answers[:_MOST_POINTS, j]
        there = marked[:_MOST_POINTS]
        ends = [float(x.min()), float(x.max())]
        axes.plot(ends, ends, color="grey", linewidth=0.8, label="equal")
        axes.plot(x[~there], y[~there], ".", markersize=3, color=_INK, label="like the training rows")
        if there.any():
            axes.plot(x[there], y[there], "x", markersize=4, color=_ACCENT, label="marked as outside")
        axes.set(xlabel=f"true {literal(shown[j])}", ylabel="predicted")
        axes.legend(loc="upper left", fontsize="small")
    return png(figure)


def importance_plot(names: Sequence[str], importance: Sequence[Importance]) -> bytes:
    """Draw the most important columns, a bar for each output."""
    columns = importance[:_MOST_COLUMNS]
    shown = names[:_MOST_OUTPUTS]
    figure = Figure(figsize=(7, 1.2 + 0.32 * len(columns) * max(1.0, 0.5 * len(shown))), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(columns))[::-1]
    height = 0.8 / len(shown)
    for j, name in enumerate(shown):
        axes.barh(place - j * height, [one.rise[j] for one in columns], height=height, label=literal(name))
    axes.set_yticks(place - 0.4 + height / 2, [literal(one.column) for one in columns])
    axes.set(xlabel="rise of the root mean squared error when shuffled / spread of the target")
    if len(shown) > 1:
        axes.legend(loc="lower right", fontsize="small")
    return png(figure)


def coverage_plot(covered: Mapping[str, Mapping[float, float]]) -> bytes:
    """Draw the share of targets within intervals against their level.

    Args:
        covered: Where ("inside", "outside"), then level → share, the mean over outputs.
    """
    figure = Figure(figsize=(4.6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0.5, 1], [0.5, 1], color="grey", linewidth=0.8, label="as asked")
    for (name, shares), colour in zip(covered.items(), (_INK, _ACCENT), strict=False):
        axes.plot(list(shares), list(shares.values()), marker="o", markersize=4, color=colour, label=name)
    axes.set(xlabel="level of the interval", ylabel="share of targets within", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    return png(figure)


def curves_plot(names: Sequence[str], curves: Sequence[Curve]) -> bytes:
    """Draw answers along the main columns, half a range beyond what was seen on either side; a row for each output."""
    shown = names[:_MOST_OUTPUTS]
    figure = Figure(figsize=(3.8 * len(curves), 3.1 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), len(curves), squeeze=False)
    for j, name in enumerate(shown):
        for i, curve in enumerate(curves):
            axes = grid[j, i]
            axes.axvspan(*curve.inside, color=INSIDE, label="seen in training")
            if curve.half is not None:
                low, high = curve.answers[:, j] - curve.half[:, j], curve.answers[:, j] + curve.half[:, j]
                axes.fill_between(curve.values, low, high, color=_INK, alpha=0.18, linewidth=0, label="90 % interval")
            axes.plot(curve.values, curve.answers[:, j], color=_INK, label="prediction")
            axes.set(xlabel=literal(curve.column), ylabel=literal(name) if i == 0 else "")
    grid[0, 0].legend(loc="best", fontsize="small")
    return png(figure)
