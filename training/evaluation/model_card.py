"""A model card, as Markdown and as one HTML page without anything from elsewhere.

What it tells follows M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, arXiv:1810.03993: what the model
is, what it was trained on, how it was judged, where it is not to be used.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.contract.manifest import CategoryColumn, Column, DateColumn, ModelManifest, NumberColumn
from models.contract.repository import CARD_FILE, CARD_PAGE
from training.tabular.trunk_text import RESIDUAL

_MOST_LEVELS = 8
_MOST_FORMULA = 4000

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0.2rem; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d0d7de; padding-bottom: 0.2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #d0d7de; padding: 0.25rem 0.6rem; text-align: left; }
th { background: #f2f5f8; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #57606a; font-size: 0.9rem; }
code { background: #f2f5f8; padding: 0.1rem 0.3rem; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class CardPlot:
    """A plot of the card.

    Attributes:
        file: Name of its file beside the card.
        caption: What it shows, in a sentence.
        png: Its bytes.
    """

    file: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class _Section:
    title: str
    paragraphs: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    code: str = ""
    plots: tuple[CardPlot, ...] = ()


def model_card(manifest: ModelManifest, plots: Mapping[str, CardPlot], notes: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the files of a card.

    Args:
        manifest: The model's; its version is not told, because it is known only once the card is published.
        plots: Section ("errors", "outside", "curves", "importance", "intervals") → plot.
        notes: What was noticed while the table was read, one sentence each.

    Returns:
        File name → content: the card as Markdown and as HTML, and the plots.
    """
    sections = _sections(manifest, plots, notes)
    return {
        CARD_FILE: _markdown(manifest, sections).encode(),
        CARD_PAGE: _page(manifest, sections).encode(),
        **{plot.file: plot.png for plot in plots.values()},
    }


def _sections(manifest: ModelManifest, plots: Mapping[str, CardPlot], notes: Sequence[str]) -> list[_Section]:
    def plot(*names: str) -> tuple[CardPlot, ...]:
        return tuple(plots[name] for name in names if name in plots)

    provenance = manifest.provenance
    facts = [
        ("kind", f"{manifest.kind}, {manifest.graph.dtype}"),
        ("trained on", f"{provenance.task}, {provenance.n_rows:,} rows, seed {provenance.seed}"),
        ("SHA-256 of the data", provenance.data_sha256 or "none: the data is code"),
        ("SHA-256 of the graph", manifest.graph.sha256),
        ("published", provenance.created or "not told"),
        ("made with", ", ".join(f"{name} {release}" for name, release in provenance.versions.items())),
    ]
    remarks = [*([provenance.note] if provenance.note else []), *notes]
    sections = [
        _Section("Facts", tuple(remarks), ("", ""), tuple(facts)),
        _Section(
            "What it takes",
            ("Ranges are those of the training rows; outside them the model extrapolates and says so.",),
            ("column", "unit", "seen in training", "missing values"),
            tuple(_input_row(column) for column in manifest.inputs),
        ),
        _Section(
            "What it gives",
            (),
            ("output", "unit", "seen in training"),
            tuple((one.name, one.unit or "", f"{one.minimum:.6g} to {one.maximum:.6g}") for one in manifest.outputs),
        ),
        _Section("Errors", _error_text(manifest), *_errors(manifest), plots=plot("errors", "outside")),
    ]
    if manifest.leaderboard:
        sections.append(
            _Section("Beside other models", ("Root mean squared errors on the same rows.",), *_board(manifest))
        )
    if manifest.intervals is not None or manifest.joint_range is not None:
        sections.append(_Section("How far to trust it", _trust_text(manifest), plots=plot("intervals")))
    if plot("curves"):
        text = "Each column varies by itself, all others as in the most typical row; the shaded range was seen."
        sections.append(_Section("Beyond the training range", (text,), plots=plot("curves")))
    if manifest.importance:
        text = (
            "How much the root mean squared error on rows held out rises when a column is shuffled, in standard "
            "deviations of the target. Columns that say the same share their importance."
        )
        header = ("column", *(one.name for one in manifest.outputs))
        rows = tuple((one.column, *(f"{rise:.4f}" for rise in one.rise)) for one in manifest.importance)
        sections.append(_Section("Importance", (text,), header, rows, plots=plot("importance")))
    if manifest.formula is not None:
        text = manifest.formula.text
        shown = text if len(text) <= _MOST_FORMULA else f"{text[:_MOST_FORMULA]} …"
        told = "Rounded for reading; the graph is what computes."
        if f"+ {RESIDUAL}" in text:
            told += " The residual is boosted trees and networks."
        sections.append(_Section("Formula", (told,) if manifest.kind == "tabular" else (), code=shown))
    limits = (
        "It knows what the training rows showed. Where another mechanism begins outside their range, nothing learned "
        "inside can know it.",
        "Importance and terms say what the model does with a column, not what changing it would do.",
    )
    return [*sections, _Section("When not to use it", limits)]


def _input_row(column: Column) -> tuple[str, str, str, str]:
    if isinstance(column, NumberColumn):
        seen, unit = f"{column.minimum:.6g} to {column.maximum:.6g}", column.unit or ""
    elif isinstance(column, CategoryColumn):
        more = len(column.categories) - _MOST_LEVELS
        seen = ", ".join(column.categories[:_MOST_LEVELS]) + (f" and {more} more" if more > 0 else "")
        unit = ""
    elif isinstance(column, DateColumn) and column.span is not None:
        seen, unit = " to ".join(column.span), ""
    else:
        seen, unit = column.kind, ""
    missing = isinstance(column, NumberColumn | CategoryColumn | DateColumn) and column.may_be_missing
    return column.name, unit, seen, "answered" if missing else "refused"


_REGIONS = {
    "inside": "Inside: rows drawn at random and held out.",
    "group": "Group: whole groups of rows held out.",
    "time": "Time: the last rows in time held out.",
    "outside": "Outside: rows beyond the 80th percentile of the driving column, by a model fitted without them.",
}


def _error_text(manifest: ModelManifest) -> tuple[str, ...]:
    return (" ".join(_REGIONS[region] for region in manifest.metrics if region in _REGIONS),)


def _errors(manifest: ModelManifest) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    measured = [
        (region, output, values)
        for region, by_output in manifest.metrics.items()
        for output, values in by_output.items()
    ]
    metrics = list(dict.fromkeys(name for _, _, values in measured for name in values))
    rows = tuple(
        (region, output, *(f"{values[name]:.4g}" if name in values else "" for name in metrics))
        for region, output, values in measured
    )
    return ("rows", "output", *metrics), rows


def _board(manifest: ModelManifest) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    outputs = [one.name for one in manifest.outputs]
    rows = tuple(
        (
            region,
            model,
            *("overflow" if (error := errors.get(name)) is None else f"{error:.4g}" for name in outputs),
        )
        for region, board in manifest.leaderboard.items()
        for model, errors in board.items()
    )
    return ("rows", "model", *outputs), rows


def _trust_text(manifest: ModelManifest) -> tuple[str, ...]:
    texts = []
    if manifest.joint_range is not None:
        texts.append(
            "A row is marked (`in_range` false) where a number is outside its range, where the row is farther from "
            f"{manifest.joint_range.n_landmarks} training rows than {manifest.joint_range.limit:.4g}, or where the "
            f"answer is beyond those given in training; {manifest.joint_range.share:.1%} of rows like the training "
            "rows are marked all the same."
        )
    if manifest.intervals is not None:
        texts.append(
            f"Intervals up to a level of {manifest.intervals.largest_level:g} are calibrated on "
            f"{manifest.intervals.n_rows:,} training rows, each answered without it. Outside the training range their "
            "coverage is not guaranteed; they are widened there as errors grew on tails held out."
        )
    return tuple(texts)


def _markdown(manifest: ModelManifest, sections: Sequence[_Section]) -> str:
    parts = [f"# {_plain(manifest.name)}", _plain(manifest.description)]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [_plain(text) for text in section.paragraphs]
        if section.rows:
            lines = [section.header, ("---",) * len(section.header), *section.rows]
            parts.append("\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines))
        if section.code:
            fence = "`" * 4
            parts.append(f"{fence}text\n{section.code}\n{fence}")
        parts += [f"![{plot.caption}]({plot.file})" for plot in section.plots]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Return text of a user on one line, without markup of its own."""
    return " ".join(text.split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _plain(text).replace("|", r"\|")


def _page(manifest: ModelManifest, sections: Sequence[_Section]) -> str:
    body = [f"<h1>{html.escape(manifest.name)}</h1>", f"<p>{html.escape(manifest.description)}</p>"]
    for section in sections:
        body.append(f"<h2>{section.title}</h2>")
        body += [f"<p>{_with_code(text)}</p>" for text in section.paragraphs]
        if section.rows:
            body.append(_html_table(section))
        if section.code:
            body.append(f"<p><code>{html.escape(section.code)}</code></p>")
        for plot in section.plots:
            data = base64.b64encode(plot.png).decode()
            caption = html.escape(plot.caption)
            body.append(
                f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
                f"<figcaption>{caption}</figcaption></figure>"
            )
    head = (
        f'<meta charset="utf-8">\n<title>{html.escape(manifest.name)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>'
    )
    content = "\n".join(body)
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{content}\n</body>\n</html>\n'


def _with_code(text: str) -> str:
    """Escape text and set what stands in backticks as code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 and i < len(parts) - 1 else part for i, part in enumerate(parts))


def _html_table(section: _Section) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}{_numeric(cell)}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head = row(section.header, "th") if any(section.header) else ""
    return "<table>" + head + "".join(row(cells, "td") for cells in section.rows) + "</table>"


def _numeric(cell: str) -> str:
    try:
        float(cell)
    except ValueError:
        return ""
    return ' class="number"'
