"""The training side's commands: `nalu train` and `nalu data`.

Importing this module is light; torch is imported by the command that trains.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from training.data_commands import data_app
from training.threads import hold_to_one_thread

if TYPE_CHECKING:
    from models.contract.manifest import ModelManifest
    from training.datasets import TrainingTable

__all__ = ["data_app", "train_app"]

train_app = typer.Typer(help="Train a network and publish it.", no_args_is_help=True, callback=hold_to_one_thread)

_console = Console(soft_wrap=True, highlight=False)

Name = Annotated[str | None, typer.Option(help="Name to publish under; by default the operation's or the file's.")]
Repository = Annotated[
    Path | None,
    typer.Option(envvar="NALU_MODEL_REPOSITORY", help="Model repository to publish to. [default: model_repository]"),
]
SignKey = Annotated[
    Path | None,
    typer.Option(envvar="NALU_SIGN_KEY", help="Private key that signs what is published, made by models make-key."),
]
Runs = Annotated[Path | None, typer.Option(help="Folder that keeps a folder per run. [default: runs]")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same result. [default: 0]")]
Restarts = Annotated[int | None, typer.Option(help="Fits of each candidate network, from different starts.")]
DtypeOption = Annotated[str | None, typer.Option(help="float64 or float32. [default: float64]")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch; results may differ between counts. [default: 1]")]
Structures = Annotated[
    list[str] | None, typer.Option(help="Structure of laws to offer; repeat it for several. [default: all]")
]
MaxTerms = Annotated[int | None, typer.Option(help="Products of powers in a sum of products at most. [default: 200]")]
Noise = Annotated[bool | None, typer.Option(help="Whether results may have noise or outliers. [default: noise]")]
AllowInexact = Annotated[
    bool | None, typer.Option("--allow-inexact", help="Publish the best approximation where no exact law is found.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; options on the command line win.")]


@train_app.command("arithmetic")
def train_arithmetic(
    operation: Annotated[str, typer.Argument(help="add, subtract, multiply, divide, square, sqrt or reciprocal.")],
    training_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="Training inputs, LOW HIGH. [default: -10 10]")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Training rows. [default: 512]")] = None,
    solver: Annotated[
        str | None, typer.Option(help="exact, or adam for first-order steps as published. [default: exact]")
    ] = None,
    structures: Structures = None,
    max_terms: MaxTerms = None,
    noise: Noise = None,
    allow_inexact: AllowInexact = None,
    name: Name = None,
    repository: Repository = None,
    sign_key: SignKey = None,
    runs: Runs = None,
    seed: Seed = None,
    restarts: Restarts = None,
    dtype: DtypeOption = None,
    threads: Threads = None,
    config: ConfigFile = None,
) -> None:
    """Learn an arithmetic operation from examples and publish the law found.

    The search is not told which operation it is; the result is judged at up to a million times the training range.
    """
    from training.arithmetic_run import run_arithmetic
    from training.config import ArithmeticConfig, load_config
    from training.progress import SearchProgress

    low, high = training_range or (None, None)
    settings = load_config(
        ArithmeticConfig,
        config,
        {
            "operation": operation,
            "low": low,
            "high": high,
            "rows": rows,
            "solver": solver,
            "structures": structures or None,
            "max_terms": max_terms,
            "noise": noise,
            "allow_inexact": allow_inexact,
            "name": name,
            "repository": repository,
            "sign_key": sign_key,
            "runs": runs,
            "seed": seed,
            "restarts": restarts,
            "dtype": dtype,
            "threads": threads,
        },
    )
    with SearchProgress(_console) as progress:
        result = run_arithmetic(settings, progress)
    manifest = result.manifest
    _tell_law(manifest, result.report)
    errors = {region: values["max"] for region, values in result.report["relative_error"].items()}
    inside, farthest = errors["inside"], list(errors)[-1]
    _console.print(
        f"{result.report['chosen']}: largest relative error {_told(inside)} inside the training range, "
        f"{_told(errors[farthest])} at {farthest} the range"
    )
    _tell_published(manifest.name, manifest.version, settings.repository, result.folder)


@train_app.command("law")
def train_law(
    data: Annotated[Path, typer.Argument(help="CSV, Parquet or Arrow file; every column of numbers may take part.")],
    target: Annotated[str | None, typer.Option("--target", help="Column to explain.")] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", help="Column to leave out; repeat it for several.")
    ] = None,
    number: Annotated[
        list[str] | None, typer.Option("--number", help="Text column to read as a number; repeatable.")
    ] = None,
    structures: Structures = None,
    factored: Annotated[
        bool | None,
        typer.Option("--factored", help="Look for powers of several sums with numbers of any size, too: some seconds."),
    ] = None,
    max_terms: MaxTerms = None,
    noise: Noise = None,
    allow_inexact: AllowInexact = None,
    name: Name = None,
    repository: Repository = None,
    sign_key: SignKey = None,
    runs: Runs = None,
    seed: Seed = None,
    restarts: Restarts = None,
    dtype: DtypeOption = None,
    threads: Threads = None,
    note: Annotated[str | None, typer.Option(help="What a reader of the model must know about the data.")] = None,
    config: ConfigFile = None,
) -> None:
    """Find the exact law behind a table's column and publish it with a certificate, or say that there is none.

    A law is at most a sum of products of powers inside a product of powers, with simple weights: (a + b) * (c - d),
    sqrt(a^2 + b^2), a * b / c. With --factored, numbers may be any: m * c / sqrt(c^2 - v^2), 0.0796 * q / (e * r).
    The published model takes only the columns that the law uses.
    """
    if not target and config is None:
        raise typer.BadParameter("name the column to explain", param_hint="--target")
    from training.config import LawConfig, load_config
    from training.law_run import run_law
    from training.progress import SearchProgress

    settings = load_config(
        LawConfig,
        config,
        {
            "data": data,
            "target": target,
            "drop": drop or None,
            "numbers": number or None,
            "structures": structures or None,
            "factored": factored,
            "max_terms": max_terms,
            "noise": noise,
            "allow_inexact": allow_inexact,
            "name": name,
            "repository": repository,
            "sign_key": sign_key,
            "runs": runs,
            "seed": seed,
            "restarts": restarts,
            "dtype": dtype,
            "threads": threads,
            "note": note,
        },
    )
    with SearchProgress(_console) as progress:
        result = run_law(settings, progress)
    for remark in result.report["notes"]:
        _console.print(f"note: {remark}", markup=False)
    _tell_law(result.manifest, result.report)
    _tell_published(result.manifest.name, result.manifest.version, settings.repository, result.folder)


@train_app.command("table")
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
    config: ConfigFile = None,
) -> None:
    """Learn a table's target columns from the others and publish the model.

    Prints a leaderboard against a mean, a linear and a gradient-boosted baseline, inside and outside the range.
    """
    if not target and config is None:
        raise typer.BadParameter("name at least one column to predict", param_hint="--target")
    from training.column_table import columns_table
    from training.config import TableConfig, load_config
    from training.progress import SearchProgress
    from training.table_run import run_table

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
            "card": card,
            "resume": resume,
            "note": note,
        },
    )
    told: set[str | None] = set()

    def tell(table: "TrainingTable") -> None:
        _console.print(columns_table(table.source, table.uses, settings.units))
        told.update(use.note for use in table.uses)

    with SearchProgress(_console) as progress:
        result = run_table(settings, progress, tell)
    for remark in result.notes:
        if remark not in told:
            _console.print(f"note: {remark}", markup=False)
    for region, board in result.leaderboards.items():
        table = Table(title=f"RMSE {region}", title_justify="left")
        table.add_column("model")
        for column in board[0].rmse:
            table.add_column(column, justify="right")
        for row in board:
            table.add_row(row.model, *(f"{value:.4g}" for value in row.rmse.values()))
        _console.print(table)
    _tell_published(result.manifest.name, result.manifest.version, settings.repository, result.folder)


@train_app.command("starters")
def train_starters(repository: Repository = None) -> None:
    """Make the starter models again: the seven operations and a small model of the synthetic forging data."""
    from models.contract.repository import ModelRepository
    from training.config import RunConfig
    from training.progress import SearchProgress
    from training.starters import make_starters

    target = repository or RunConfig().repository
    with SearchProgress(_console) as progress:
        manifests = make_starters(ModelRepository(target), progress)
    for manifest in manifests:
        _console.print(f"published {manifest.name} version {manifest.version} to {target}")


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


def _tell_law(manifest: "ModelManifest", report: dict[str, Any]) -> None:
    """Say the law and what its certificate proves, or why there is none."""
    from models.formula import name_text

    if manifest.formula is not None:
        _console.print(f"{name_text(manifest.outputs[0].name)} = {manifest.formula.text}", markup=False)
    certificate = manifest.certificate
    if certificate is None:
        _console.print(f"no exactness certificate: {report['remark']}", markup=False)
        return
    measured = [region for region in certificate.regions if region.max_relative_error is not None]
    evidence = certificate.evidence
    noise = f", noise {evidence.noise:.2g} in the rows" if evidence.noise else ""
    outliers = f", {evidence.outlier_share:.2%} of the rows not explained" if evidence.outlier_share else ""
    _console.print(
        f"certified: within {max(region.max_relative_error or 0.0 for region in measured):.2g} of arbitrary precision "
        f"up to {measured[-1].factor:g} times the training range{noise}{outliers}"
    )


def _told(error: float | None) -> str:
    return "overflow" if error is None else f"{error:.2g}"


def _tell_published(name: str, version: int, repository: Path, folder: Path) -> None:
    from models.contract.repository import ModelRepository

    _console.print(f"published {name} version {version} to {repository}; the run is kept in {folder}")
    active = ModelRepository(repository).activation(name).active
    if active is not None:
        _console.print(f"version {active} stays active; let this one answer: nalu models activate {name} {version}")
