"""The figure of an outcome, as SVG. The same outcome gives the same bytes."""

import io
import math
from typing import TYPE_CHECKING, Any, Literal

from training.reproduce.outcome import Curve, Outcome, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = Literal["-", "--", ":", "-."]

_TRAINED = "#d9ead3"
_MOST_IN_A_ROW = 3
_PANEL_INCHES = (4.6, 3.4)
_LINES: tuple[Line, ...] = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nalu reproduce",
    "svg.fonttype": "path",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.fontsize": 8.0,
}


def figure_svg(outcome: Outcome) -> bytes:
    """Return the figure of an outcome as SVG: its panels side by side, with one legend.

    A curve of one name has one colour in every panel; the range seen in training is shaded, bands go from the best to
    the worst seed, published numbers are dashed.
    """
    return _drawn(outcome, "svg")


def figure_png(outcome: Outcome) -> bytes:
    """Return the same figure as PNG, for a reader without a browser."""
    return _drawn(outcome, "png")


def _drawn(outcome: Outcome, form: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    labels = list(dict.fromkeys(curve.label for panel in outcome.panels for curve in panel.curves))
    colours = {label: _colour(position, len(labels)) for position, label in enumerate(labels)}
    n_columns = min(_MOST_IN_A_ROW, len(outcome.panels))
    n_rows = math.ceil(len(outcome.panels) / n_columns)
    n_in_legend = len(labels) + any(panel.trained is not None for panel in outcome.panels)
    legend_columns = min(7, math.ceil(n_in_legend / max(1, math.ceil(n_in_legend / (2.3 * n_columns)))))
    legend_inches = 0.25 * math.ceil(n_in_legend / legend_columns) + 0.1
    with mpl.rc_context(_STYLE):
        size = (_PANEL_INCHES[0] * n_columns, _PANEL_INCHES[1] * n_rows + legend_inches)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axes, panel in zip(grid, outcome.panels, strict=False):
            _draw_panel(axes, panel, colours)
        for axes in grid[len(outcome.panels) :]:
            axes.set_axis_off()
        handles: list[Line2D | Patch] = [
            Line2D([], [], color=colours[label][0], linestyle=colours[label][1], label=_literal(label))
            for label in labels
        ]
        if any(panel.trained is not None for panel in outcome.panels):
            handles.append(Patch(color=_TRAINED, label="seen in training"))
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns)
        stream = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(stream, format=form, dpi=110, metadata=metadata)
        return stream.getvalue()


def _colour(position: int, n_labels: int) -> tuple[str, Line]:
    """Return colour and line of a curve: ten colours, then the same with other lines."""
    n_colours = 10
    return f"C{position % n_colours}", _LINES[position // n_colours % len(_LINES)] if n_labels > n_colours else "-"


def _draw_panel(axes: "Axes", panel: Panel, colours: dict[str, tuple[str, Line]]) -> None:
    if panel.trained is not None:
        axes.axvspan(*panel.trained, color=_TRAINED, zorder=0)
    bars = [curve for curve in panel.curves if curve.style == "bars"]
    for curve in panel.curves:
        _draw_curve(axes, curve, panel, colours[curve.label], bars)
    axes.set_title(_literal(panel.title))
    axes.set_xlabel(_literal(panel.x_label))
    axes.set_ylabel(_literal(panel.y_label))
    if panel.x_scale != "linear":
        axes.set_xscale(panel.x_scale)
    if panel.y_scale == "symlog":
        axes.set_yscale("symlog", linthresh=panel.y_floor or 1.0)
    elif panel.y_scale == "log":
        axes.set_yscale("log")
        axes.set_ylim(bottom=(panel.y_floor or 1.0) / 2)
    if panel.y_ceiling is not None:
        axes.set_ylim(top=panel.y_ceiling)
    if panel.ticks is not None:
        turned = sum(len(tick) for tick in panel.ticks) > 45
        names = [_literal(tick) for tick in panel.ticks]
        axes.set_xticks(range(len(names)), names, rotation=45 if turned else 0, ha="right" if turned else "center")


def _draw_curve(axes: "Axes", curve: Curve, panel: Panel, look: tuple[str, Line], bars: list[Curve]) -> None:
    colour, line = look
    lowest = panel.y_floor if panel.y_scale == "log" else None
    y = _lifted(curve.y, lowest)
    low = None if curve.low is None else _lifted(curve.low, lowest)
    high = None if curve.high is None else _lifted(curve.high, lowest)
    if curve.style == "bars":
        width = 0.8 / len(bars)
        x = [one + width * (bars.index(curve) - (len(bars) - 1) / 2) for one in curve.x]
        axes.bar(x, y, width, color=colour)
        if low is not None and high is not None:
            spans = [[one - end for one, end in zip(y, low, strict=True)]]
            spans.append([end - one for one, end in zip(y, high, strict=True)])
            axes.errorbar(x, y, yerr=spans, fmt="none", ecolor="black", elinewidth=0.8)
        return
    if curve.style == "points":
        axes.plot(curve.x, y, ".", color=colour, markersize=4)
    else:
        marker = "." if len(curve.x) <= 30 else ""
        style: Line = "--" if curve.kind == "published" else line
        width = 2.2 if curve.kind == "ours" else 1.3
        axes.plot(curve.x, y, color=colour, linestyle=style, linewidth=width, marker=marker)
    if low is not None and high is not None:
        axes.fill_between(curve.x, low, high, color=colour, alpha=0.15, linewidth=0)


def _lifted(values: tuple[float, ...], lowest: float | None) -> list[float]:
    return list(values) if lowest is None else [max(value, lowest) for value in values]


def _literal(text: str) -> str:
    """Return text that is drawn as it is, also where it holds the mathematics marker."""
    return text.replace("$", r"\$")
