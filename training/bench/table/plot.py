"""Errors of all methods on all tasks, as a picture."""

import io
from collections.abc import Sequence

from training.bench.table.results import OURS, REFERENCE, Result
from training.bench.table.summary import ratios

_INCHES_A_ROW = 0.17
_SHOWN = (0.2, 3.0)
"""Ratios beyond are drawn at the edge."""


def errors_plot(results: Sequence[Result], kind: str) -> bytes:
    """Return a picture with a panel for each way to split and a line for each task.

    Args:
        results: What to draw.
        kind: "svg" or "png".
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_task = ratios(results)
    protocols = list(dict.fromkeys(task[0] for task in by_task))
    methods = [one for one in dict.fromkeys(result.method for result in results) if one not in (REFERENCE, OURS)]
    heights = [sum(task[0] == protocol for task in by_task) for protocol in protocols]
    with rc_context({"svg.hashsalt": "tables", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 1.2 + 0.4 * len(protocols) + _INCHES_A_ROW * sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(max(len(protocols), 1), squeeze=False, sharex=True, height_ratios=heights or None)
        for axes, protocol in zip(grid[:, 0], protocols, strict=False):
            rows = [(task, methods_of) for task, methods_of in by_task.items() if task[0] == protocol]
            for number, method in enumerate([*methods, OURS]):
                places = [place for place, (_, row) in enumerate(rows) if method in row]
                values = [min(max(rows[place][1][method], _SHOWN[0]), _SHOWN[1]) for place in places]
                ours = method == OURS
                axes.scatter(
                    values,
                    places,
                    s=28 if ours else 12,
                    marker="D" if ours else "o",
                    color="black" if ours else f"C{number % 10}",
                    alpha=1.0 if ours else 0.7,
                    label=method,
                    zorder=3 if ours else 2,
                )
            axes.axvline(1.0, color="grey", linewidth=0.8)
            axes.set_xscale("log")
            axes.set_xlim(_SHOWN[0] * 0.95, _SHOWN[1] * 1.05)
            ticks = [0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
            axes.set_yticks(range(len(rows)), [f"{task[1]}: {task[2]}" for task, _ in rows], fontsize=6)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_title(protocol, fontsize=9, loc="left")
            axes.grid(alpha=0.25)
        grid[-1, 0].set_xlabel(f"RMSE over {REFERENCE}'s (lower is better; beyond the edges at the edge)")
        if protocols:
            figure.legend(
                *grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False, fontsize=8
            )
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()
