"""Rates solved, as a picture."""

import io
from collections.abc import Sequence

from training.bench.results import CellResult
from training.bench.terminal import describe

_INCHES_A_ROW = 0.18


def rates_plot(results: Sequence[CellResult]) -> bytes:
    """Return a PNG with one line a cell and method: the rate solved and its 95 % interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.5 + _INCHES_A_ROW * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = range(len(results))
    rates = [100 * result.n_solved / result.n_seeds for result in results]
    below = [max(0.0, rate - 100 * result.interval[0]) for rate, result in zip(rates, results, strict=True)]
    above = [max(0.0, 100 * result.interval[1] - rate) for rate, result in zip(rates, results, strict=True)]
    axes.errorbar(rates, rows, xerr=[below, above], fmt="o", markersize=3, elinewidth=1)
    axes.set_yticks(rows, [f"{describe(result.cell)}, {result.method}" for result in results], fontsize=5)
    axes.set_ylim(len(results), -1)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("solved, % of the seeds, with Wilson's 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
