"""Rates solved, as a picture."""

import io
from collections.abc import Sequence

from training.bench.results import CellResult
from training.bench.terminal import describe

_INCHES_A_ROW = 0.18


def rates_plot(results: Sequence[CellResult]) -> bytes:
    """Return a PNG with one line a cell and method, a colour a method: the rate solved and its 95 % interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.5 + _INCHES_A_ROW * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    methods = list(dict.fromkeys(result.method for result in results))
    for number, method in enumerate(methods):
        rows = [row for row, result in enumerate(results) if result.method == method]
        rates = [100 * results[row].n_solved / results[row].n_seeds for row in rows]
        intervals = [tuple(100 * bound for bound in results[row].interval) for row in rows]
        below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, intervals, strict=True)]
        above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, intervals, strict=True)]
        axes.errorbar(
            rates, rows, xerr=[below, above], fmt="o", markersize=3, elinewidth=1, color=f"C{number}", label=method
        )
    if len(methods) > 1:
        figure.legend(loc="outside upper center", ncols=len(methods), frameon=False)
    axes.set_yticks(
        range(len(results)), [f"{describe(result.cell)}, {result.method}" for result in results], fontsize=5
    )
    axes.set_ylim(len(results), -1)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("solved, % of the seeds, with Wilson's 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
