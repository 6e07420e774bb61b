"""The training side's commands: `nalu train` and `nalu data`.

Importing this module is light; torch is imported by the command that trains.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from training.data_commands import data_app
from training.table_command import train_table
from training.terminal import console
from training.threads import hold_to_one_thread

if TYPE_CHECKING:
    from models.contract.manifest import ModelManifest

__all__ = ["data_app", "train_app"]

train_app = typer.Typer(help="Train a network and publish it.", no_args_is_help=True, callback=hold_to_one_thread)

Structures = Annotated[
    list[str] | None, typer.Option(help="Structure of laws to offer; repeat it for several. [default: all]")
]
MaxTerms = Annotated[int | None, typer.Option(help="Products of powers in a sum of products at most. [default: 200]")]
Noise = Annotated[bool | None, typer.Option(help="Whether results may have noise or outliers. [default: noise]")]
AllowInexact = Annotated[
    bool | None, typer.Option("--allow-inexact", help="Publish the best approximation where no exact law is found.")
]


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
    with SearchProgress(console) as progress:
        result = run_arithmetic(settings, progress)
    manifest = result.manifest
    _tell_law(manifest, result.report)
    errors = {region: values["max"] for region, values in result.report["relative_error"].items()}
    inside, farthest = errors["inside"], list(errors)[-1]
    console.print(
        f"{result.report['chosen']}: largest relative error {_told(inside)} inside the training range, "
        f"{_told(errors[farthest])} at {farthest} the range"
    )
    tell_published(manifest, settings.repository, result.folder)


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
    with SearchProgress(console) as progress:
        result = run_law(settings, progress)
    for remark in result.report["notes"]:
        console.print(f"note: {remark}")
    _tell_law(result.manifest, result.report)
    tell_published(result.manifest, settings.repository, result.folder)


train_app.command("table")(train_table)


@train_app.command("starters")
def train_starters(repository: Repository = None) -> None:
    """Make the starter models again: the seven operations and a small model of the synthetic forging data."""
    from models.contract.repository import ModelRepository
    from training.config import RunConfig
    from training.progress import SearchProgress
    from training.starters import make_starters

    target = repository or RunConfig().repository
    with SearchProgress(console) as progress:
        manifests = make_starters(ModelRepository(target), progress)
    for manifest in manifests:
        console.print(f"published {manifest.name} version {manifest.version} to {target}")


def _tell_law(manifest: "ModelManifest", report: dict[str, Any]) -> None:
    """Say the law and what its certificate proves, or why there is none."""
    tell_formula(manifest)
    certificate = manifest.certificate
    if certificate is None:
        console.print(f"no exactness certificate: {report['remark']}")
        return
    measured = [region for region in certificate.regions if region.max_relative_error is not None]
    evidence = certificate.evidence
    noise = f", noise {evidence.noise:.2g} in the rows" if evidence.noise else ""
    outliers = f", {evidence.outlier_share:.2%} of the rows not explained" if evidence.outlier_share else ""
    console.print(
        f"certified: within {max(region.max_relative_error or 0.0 for region in measured):.2g} of arbitrary precision "
        f"up to {measured[-1].factor:g} times the training range{noise}{outliers}"
    )


def _told(error: float | None) -> str:
    return "overflow" if error is None else f"{error:.2g}"
