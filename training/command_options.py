"""What the commands of `nalu train` share: their options, and how they end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.terminal import console

if TYPE_CHECKING:
    from models.contract.manifest import ModelManifest
    from models.contract.repository import ModelRepository

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
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; options on the command line win.")]


def tell_formula(manifest: "ModelManifest", longest: int | None = None) -> None:
    """Say a model's formula, where it has one that is no longer than so many characters."""
    from models.formula import name_text

    formula = manifest.formula
    if formula is not None and (longest is None or len(formula.text) <= longest):
        alone = len(manifest.outputs) == 1  # the formulas of several are named in the text
        console.print(f"{name_text(manifest.outputs[0].name)} = {formula.text}" if alone else formula.text)


def tell_published(manifest: "ModelManifest", repository: Path, folder: Path) -> None:
    """Say what was published, and what to do where another version answers or other columns are asked for."""
    from models.contract.repository import ModelRepository

    name, version = manifest.name, manifest.version
    console.print(f"published {name} version {version} to {repository}; the run is kept in {folder}")
    published = ModelRepository(repository)
    active = published.activation(name).active
    if active is not None:
        console.print(f"version {active} stays active; let this one answer: nalu models activate {name} {version}")
    before = active or max((one for one in published.versions(name) if one < version), default=None)
    if before is not None:
        _tell_other_inputs(manifest, published, before)


def _tell_other_inputs(manifest: "ModelManifest", published: "ModelRepository", before: int) -> None:
    from models.contract.errors import ContractError

    try:
        old = [column.name for column in published.manifest(manifest.name, before).inputs]
    except ContractError:  # a version that cannot be read answers nobody
        return
    new = [column.name for column in manifest.inputs]
    changes = [f"+ {name}" for name in new if name not in old] + [f"- {name}" for name in old if name not in new]
    if changes:
        console.print(
            f"its inputs are not those of version {before} ({', '.join(changes)}): requests must follow, "
            "or publish it under another name with --name"
        )
