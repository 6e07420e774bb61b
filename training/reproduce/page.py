"""The page of the experiments, made whole from the records kept, so that it cannot say anything else."""

from collections.abc import Sequence
from pathlib import Path

from training.errors import ConfigError
from training.reproduce.outcome import NAMES, Claim, Outcome, Record, Table, read_record
from training.reproduce.showing import cell_text, has_spread

_KIND = {"published": "published", "reproduction": "reproduction", "ours": "**ours**"}

_INTRODUCTION = """# The paper's experiments

This page is made by `nalu reproduce --report` from the results in `benchmarks/results/reproduce`; do not edit it.

The experiments are those of Trask et al., "Neural Arithmetic Logic Units" (arXiv:1808.00508).
Each is one command, here with its size:

```sh
nalu reproduce static --full --out benchmarks/results/reproduce
nalu reproduce all --quick
```

`--quick` makes each small enough to run in tests; the tables below are of the size that each one names.
With `--repository model_repository` the models are published and `nalu serve` answers for them.

In the tables, **published** rows are the numbers of others, with their source.
**Reproduction** rows are the paper's recipe run here, and **ours** are the same tasks by this project's fitting.
A cell is the mean over the seeds ± their standard deviation, with the worst seed in brackets.
A cell in which a seed gave no finite number has no mean.
Checkpoints, restarts and settings are chosen by rows of the training range only.
What lies outside is looked at once, at the end.
"""


def read_records(folder: Path) -> list[Record]:
    """Read the records of a folder, in the paper's order.

    Raises:
        ConfigError: When there is none, or a file is no record.
    """
    records = [read_record(path) for path in sorted(folder.glob("*.json"))]
    if not records:
        msg = f"there must be results to report, however {folder} has no JSON file; run `nalu reproduce all --out`"
        raise ConfigError(msg)
    return sorted(records, key=lambda record: NAMES.index(record.outcome.name))


def render(records: Sequence[Record]) -> str:
    """Return the page."""
    parts = [_INTRODUCTION, _overview([record.outcome for record in records]) + "\n"]
    parts += [_section(record) for record in records]
    return "\n".join(parts)


def _overview(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        met = sum(claim.met for claim in outcome.claims)
        link = f"[`{outcome.name}`](#{_anchor(_heading(outcome))})"
        rows.append((link, outcome.title, outcome.size, str(outcome.seeds), f"{met} of {len(outcome.claims)}"))
    return _markdown(("Experiment", "What it shows", "Size", "Seeds", "Claims met"), rows, "llllr")


def _heading(outcome: Outcome) -> str:
    return f"{outcome.name}: {outcome.title}"


def _anchor(heading: str) -> str:
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in "_- ")
    return kept.replace(" ", "-")


def _section(record: Record) -> str:
    outcome = record.outcome
    machine = record.machine
    parts = [f"## {_heading(outcome)}", "\n".join(outcome.about)]
    if outcome.panels:
        parts.append(f"![{outcome.title}](figures/{outcome.name}.svg)")
    parts.append(_claims(outcome.claims))
    parts += [_table(table) for table in outcome.tables]
    if outcome.setup:
        parts.append("How this differs from the paper's setup:")
        parts.append("\n".join(f"- {one}" for one in outcome.setup))
    if outcome.served:
        parts.append("Served, once published:")
        parts.append(
            "```sh\n"
            + "\n".join(
                "curl -s http://127.0.0.1:8000/predict -H 'Content-Type: application/json' -d "
                f"'{served.request}'  # {served.model}"
                for served in outcome.served
            )
            + "\n```"
        )
    parts.append(
        f"`{record.command}`: {outcome.size} size, {outcome.seeds} seed{'s' if outcome.seeds > 1 else ''}, "
        f"{record.cpu_seconds:.0f} s of processor time ({record.seconds:.0f} s by the clock) on "
        f"{machine.get('processor', 'an unknown processor')}, torch {machine.get('versions', {}).get('torch', '?')}."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _claims(claims: Sequence[Claim]) -> str:
    rows = [
        (claim.what, claim.bound, claim.measured, ("yes" if claim.met else "**no**"), claim.note) for claim in claims
    ]
    header = ("To reach", "Bound", "Measured", "Met", "Remark")
    if not any(claim.note for claim in claims):
        header, rows = header[:4], [row[:4] for row in rows]  # type: ignore[assignment,misc]
    return _markdown(header, rows, "lrrll")


def _table(table: Table) -> str:
    rows = [
        (_KIND[row.kind], row.label, *(cell_text(cell, table.decimals) for cell in row.cells)) for row in table.rows
    ]
    text = f"**{table.title}**\n\n" + _markdown(("", "", *table.columns), rows, "ll" + "r" * len(table.columns))
    notes = list(table.notes)
    if not has_spread(table) and any(row.kind != "published" for row in table.rows):
        notes.append("One number a cell: no spread.")
    return text + ("\n\n" + "\n".join(notes) if notes else "")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    rule = ["---:" if side == "r" else "---" for side, _ in zip(align, header, strict=False)]
    lines = [[_escaped(cell) for cell in header], rule, *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def write_report(results: Path, docs: Path, *, check: bool = False) -> list[Path]:
    """Write the page and the figures, or only see whether they are as they should be.

    Args:
        results: Folder of records.
        docs: Folder of the page; figures go into its folder `figures`.
        check: Whether to change nothing.

    Returns:
        The files.

    Raises:
        ConfigError: When there are no results, or with `check` a file is not as made from them.
    """
    from training.reproduce.figures import figure_svg

    records = read_records(results)
    files = {docs / "experiments.md": render(records).encode()}
    files |= {
        docs / "figures" / f"{record.outcome.name}.svg": figure_svg(record.outcome)
        for record in records
        if record.outcome.panels
    }
    for path, content in files.items():
        if check and (not path.is_file() or path.read_bytes() != content):
            msg = f"a page must show the results of {results}, however {path} differs; run `nalu reproduce --report`"
            raise ConfigError(msg)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".part")
            aside.write_bytes(content)
            aside.replace(path)
    return list(files)
