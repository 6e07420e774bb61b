"""The command `nalu train table`. Importing this module is light; torch is imported by the command that trains."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from training.command_options import (
    ConfigFile,
    DtypeOption,
    Name,
    Repository,
    Restarts,
    Runs,
    Seed,
    SignKey,
    Threads,
    tell_formula,
    tell_published,
)
from training.terminal import console

if TYPE_CHECKING:
    from training.datasets import TrainingTable

_READABLE = 300
"""Characters of a formula that is worth printing; `nalu models show` shows longer ones."""


def train_table(
    data: Annotated[Path, typer.Argument(help="CSV, Parquet or Arrow file.")],
    target: Annotated[
        list[str] | None, typer.Option("--target", help="Column to predict; repeat it for several.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", help="Column to leave out; repeat it for several.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Number column to read as a category; repeatable.")
    ] = None,
    number: Annotated[
        list[str] | None, typer.Option("--number", help="Text column to read as a number; repeatable.")
    ] = None,
    date: Annotated[
        list[str] | None,
        typer.Option("--date", help="Column of dates to take as days elapsed, year, month, weekday, hour; repeatable."),
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(help="What a level never seen gets from the service: refuse or other. [default: refuse]"),
    ] = None,
    max_rows: Annotated[
        int | None, typer.Option(help="Rows to fit on at most; of a longer table as many are drawn. [default: 200000]")
    ] = None,
    weight: Annotated[str | None, typer.Option(help="Column of how much each row counts.")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Which rows judge: random, group, time or outside. [default: by what columns are named for]"),
    ] = None,
    group: Annotated[str | None, typer.Option(help="Column whose equal values are held out together.")] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Column of numbers or dates in whose order the last rows are held out.")
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", help="COLUMN=UNIT, kept in the manifest and shown; repeatable."),
    ] = None,
    name: Name = None,
    repository: Repository = None,
    sign_key: SignKey = None,
    runs: Runs = None,
    seed: Seed = None,
    restarts: Restarts = None,
    dtype: DtypeOption = None,
    threads: Threads = None,
    family: Annotated[
        str | None,
        typer.Option(help="trunk: arithmetic and boosted trees; network: trained by gradients. [default: trunk]"),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="Where to be accurate: inside the training range, outside, or balanced. [default: balanced]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes of a network over the rows at most. [default: 200]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows of a network's step. [default: by the table's length]")
    ] = None,
    outside: Annotated[
        bool | None, typer.Option(help="Fit once more without the driving column's tail, to measure the error outside.")
    ] = None,
    all_rows: Annotated[
        bool | None,
        typer.Option("--all-rows", help="Publish a model fitted once more to all rows, those that judged too."),
    ] = None,
    card: Annotated[
        bool | None, typer.Option(help="Measure the columns' importance and publish a model card with plots.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Time to search for better settings, such as 60s or 1h. [default: no search]"),
    ] = None,
    resume: Annotated[
        bool | None, typer.Option("--resume", help="Go on with a run of the same settings and data that was killed.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of a search at most, for each target of a fit.")] = None,
    note: Annotated[str | None, typer.Option(help="What a reader of the model must know about the data.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what each column is taken for, and fit nothing.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Learn a table's target columns from the others and publish the model.

    Prints a leaderboard against a mean, a linear and a gradient-boosted baseline, inside and outside the range.
    """
    if not target and config is None:
        raise typer.BadParameter("name at least one column to predict", param_hint="--target")
    from training.column_table import columns_table
    from training.config import TableConfig, load_config

    settings = load_config(
        TableConfig,
        config,
        {
            "data": data,
            "targets": target or None,
            "drop": drop or None,
            "categories": category or None,
            "numbers": number or None,
            "dates": date or None,
            "unseen": unseen,
            "max_rows": max_rows,
            "weight": weight,
            "split": split,
            "group": group,
            "time_column": time_column,
            "units": _units(unit) if unit else None,
            "name": name,
            "repository": repository,
            "sign_key": sign_key,
            "runs": runs,
            "seed": seed,
            "restarts": restarts,
            "dtype": dtype,
            "threads": threads,
            "family": family,
            "objective": objective,
            "max_epochs": epochs,
            "batch_size": batch_size,
            "search_s": None if time is None else _seconds(time),
            "search_trials": trials,
            "outside": outside,
            "all_rows": all_rows,
            "card": card,
            "resume": resume,
            "note": note,
        },
    )
    told: set[str | None] = set()

    def tell(table: "TrainingTable") -> None:
        console.print(columns_table(table.source, table.uses, settings.units))
        told.update(use.note for use in table.uses)

    if dry_run:
        from training.datasets import table_of

        table = table_of(settings)
        tell(table)
        _tell_notes(table.notes, told)
        return
    from training.progress import SearchProgress
    from training.table_run import run_table

    with SearchProgress(console) as progress:
        result = run_table(settings, progress, tell)
    _tell_notes(result.notes, told)
    for region, board in result.leaderboards.items():
        shown = Table(title=f"RMSE {region}", title_justify="left")
        shown.add_column("model")
        for column in board[0].rmse:
            shown.add_column(column, justify="right")
        for row in board:
            shown.add_row(row.model, *(f"{value:.4g}" for value in row.rmse.values()))
        console.print(shown)
    tell_formula(result.manifest, _READABLE)
    tell_published(result.manifest, settings.repository, result.folder)


def _tell_notes(notes: Iterable[str], told: Collection[str | None]) -> None:
    for note in notes:
        if note not in told:
            console.print(f"note: {note}")


def _units(given: list[str]) -> dict[str, str]:
    """Read "COLUMN=UNIT"; the last "=" parts them."""
    units = {}
    for pair in given:
        column, _, unit = pair.rpartition("=")
        if not column or not unit:
            raise typer.BadParameter(f"a unit is given as COLUMN=UNIT, however: {pair[:80]!r}", param_hint="--unit")
        units[column] = unit
    return units


def _seconds(given: str) -> float:
    """Read a time such as 60s, 1.5m, 2h, or plain seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", given.strip())
    if found is None:
        raise typer.BadParameter(f"a time is given as 60s, 10m or 1h, however: {given[:40]!r}", param_hint="--time")
    return float(found[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[found[2]]
