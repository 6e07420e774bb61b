"""The `nalu reproduce` command. Importing this module is light; torch is imported when an experiment runs."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from training.terminal import console, table_console
from training.threads import hold_to_one_thread

if TYPE_CHECKING:
    from training.reproduce.outcome import Outcome
    from training.reproduce.outcome import Table as Numbers


def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(
            help="identity, static, recurrent, number-words, digits, programs, gridworld, or all.", show_default=False
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="The published size as far as it goes, or seconds each.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds. [default: the experiment's own]", min=1, max=1000, show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for a JSON file and a figure of each experiment.")] = Path(
        "runs/reproduce"
    ),
    repository: Annotated[
        Path | None,
        typer.Option(help="Model repository to publish the models to. [default: nowhere]", show_default=False),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Run nothing; make the page and its figures from the results kept.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="With --report: change nothing; exit 1 where something is not as made.")
    ] = False,
    results: Annotated[Path, typer.Option(help="With --report: folder of the results kept.")] = Path(
        "benchmarks/results/reproduce"
    ),
    docs: Annotated[Path, typer.Option(help="With --report: folder of the page.")] = Path("docs"),
) -> None:
    """Run the NALU paper's experiments: its numbers, its recipe run here, and our own fits, side by side.

    Prints every table, writes `<out>/<name>.json` and `<out>/<name>.svg`, and publishes where a repository is named.
    """
    if report == (name is not None):
        raise typer.BadParameter("name an experiment, or ask for --report", param_hint="NAME")
    if report:
        from training.reproduce.page import write_report

        for path in write_report(results, docs, check=check):
            console.print(f"{'as made' if check else 'made'}: {path}")
        return
    if check:
        raise typer.BadParameter("goes with --report", param_hint="--check")
    hold_to_one_thread()
    from models.contract.repository import ModelRepository
    from training.progress import StepProgress
    from training.reproduce.figures import figure_svg
    from training.reproduce.outcome import write_record
    from training.reproduce.registry import chosen
    from training.reproduce.running import run_experiment

    for experiment in chosen(name or "all"):
        with StepProgress(console) as progress:
            record, manifests = run_experiment(
                experiment,
                "full" if full else "quick",
                seeds,
                progress,
                command=shlex.join(["nalu", *sys.argv[1:]]),
                repository=None if repository is None else ModelRepository(repository),
            )
        _tell(record.outcome)
        write_record(out / f"{experiment.name}.json", record)
        if record.outcome.panels:
            (out / f"{experiment.name}.svg").write_bytes(figure_svg(record.outcome))
        console.print(
            f"{experiment.name}: {record.cpu_seconds:.0f} s of processor time, kept as {out / experiment.name}.json",
        )
        for manifest in manifests:
            console.print(f"published {manifest.name} version {manifest.version} to {repository}")


def _tell(outcome: "Outcome") -> None:
    wide = table_console()
    for numbers in outcome.tables:
        wide.print(_table(numbers))
        for note in numbers.notes:
            wide.print(note)
    for claim in outcome.claims:
        said = ("met", "green") if claim.met else ("not met", "bold red")
        console.print(Text.assemble(said, f": {claim.what}: {claim.measured}, to be {claim.bound}"))
        if claim.note:
            console.print(f"  {claim.note}")


def _table(numbers: "Numbers") -> Table:
    from training.reproduce.showing import cell_text

    table = Table(title=numbers.title, title_justify="left")
    table.add_column("")
    table.add_column("")
    for column in numbers.columns:
        table.add_column(column, justify="right")
    for row in numbers.rows:
        cells = [cell_text(cell, numbers.decimals) for cell in row.cells]
        table.add_row(row.kind, row.label, *cells, style="bold" if row.kind == "ours" else None)
    return table
