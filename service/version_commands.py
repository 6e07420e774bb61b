"""`nalu models activate | rollback | alias | remove | make-key | sign`: which version answers, and who published it."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands import DEFAULT_REPOSITORY, RepositoryOption, models_app

ModelArgument = Annotated[str, typer.Argument(help="Name of a published model.")]
UnverifiedOption = Annotated[bool, typer.Option("--unverified", help="Do not try first whether it can be loaded.")]
VersionArgument = Annotated[str, typer.Argument(help="Version of the model, or an alias of one.")]


@models_app.command("activate")
def activate_version(
    model: ModelArgument,
    version: Annotated[
        str, typer.Argument(help="Version to answer, an alias of one, or latest: the newest from now on.")
    ],
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Do not try first whether it can be loaded.")
    ] = False,
) -> None:
    """Let a version answer where none is asked for; services that run follow within a second.

    Exit code 1 where it cannot be loaded; what answered before goes on.
    """
    from models.contract.names import LATEST
    from models.contract.repository import ModelRepository
    from service import inventory

    published = ModelRepository(repository)
    number = None if version == LATEST else inventory.numbered(published, model, version)
    if number is not None and not unverified:
        inventory.check_loads(published, model, number)
    published.activate(model, number)
    _tell(repository, model)


@models_app.command("rollback")
def roll_back(
    model: ModelArgument, repository: RepositoryOption = DEFAULT_REPOSITORY, unverified: UnverifiedOption = False
) -> None:
    """Let the version answer that did before the last activation, or else the next older one.

    Exit code 1 where it cannot be loaded; what answered before goes on.
    """
    from models.contract.repository import ModelRepository
    from service import inventory

    published = ModelRepository(repository)
    published.path(model)  # tells where there is no such model
    number = published.activation(model).rolled_back(model, published.versions(model)).active
    if number is not None and not unverified:
        inventory.check_loads(published, model, number)
    published.change_activation(model, lambda now, there: now.rolled_back(model, there))
    _tell(repository, model)


@models_app.command("alias")
def set_alias(
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(help="Name to stand for a version, such as champion.")],
    version: Annotated[str | None, typer.Argument(help="Version of the model, or another alias.")] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    remove: Annotated[bool, typer.Option("--remove", help="Let it stand for none any more.")] = False,
) -> None:
    """Let a name stand for a version in requests."""
    from models.contract.repository import ModelRepository
    from service import inventory

    if remove == (version is not None):
        raise typer.BadParameter("give a version, or --remove, and not both", param_hint="VERSION")
    published = ModelRepository(repository)
    if version is None:
        published.change_activation(model, lambda now, _there: now.unaliased(model, alias))
    else:
        number = inventory.numbered(published, model, version)
        published.change_activation(model, lambda now, there: now.aliased(model, alias, number, there))
    _tell(repository, model)


@models_app.command("remove")
def remove_version(
    model: ModelArgument, version: VersionArgument, repository: RepositoryOption = DEFAULT_REPOSITORY
) -> None:
    """Remove a version that was not chosen and has no alias; its number is not given again."""
    from models.contract.repository import ModelRepository
    from service import inventory
    from service.terminal import line_console

    published = ModelRepository(repository)
    number = inventory.numbered(published, model, version)
    published.remove(model, number)
    line_console().print(f"removed {model} version {number}")


@models_app.command("make-key")
def make_key(
    file: Annotated[Path, typer.Argument(help="File to write the private key to; FILE.pub is the other.")],
) -> None:
    """Make a pair of keys: the private one signs models, the public one lets a service know them."""
    from models.contract.signing import make_key_pair
    from service.terminal import line_console

    public = make_key_pair(file)
    console = line_console()
    console.print(f"sign with {file}, and keep it to yourself: nalu models sign MODEL --key {file}")
    console.print(f"let services know it: NALU_SIGNATURE_KEYS_FILE={public}")


@models_app.command("sign")
def sign_version(
    model: ModelArgument,
    key: Annotated[Path, typer.Option(envvar="NALU_SIGN_KEY", help="Private key, made by make-key.")],
    version: Annotated[str | None, typer.Argument(help="Version of the model, or an alias. [default: all]")] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
) -> None:
    """Sign the manifest of a version, or of all, and with it its graphs; each is verified first."""
    from models.contract.repository import ModelRepository
    from models.contract.signing import Signer
    from service import inventory
    from service.terminal import line_console

    published = ModelRepository(repository, signer=Signer(key))
    published.path(model)  # tells where there is no such model
    wanted = published.versions(model) if version is None else [inventory.numbered(published, model, version)]
    for number in wanted:
        published.sign(model, number)
        line_console().print(f"signed {model} version {number}")


def _tell(repository: Path, model: str) -> None:
    """Say which version answers and what aliases there are."""
    from models.contract.repository import ModelRepository
    from service.terminal import line_console

    published = ModelRepository(repository)
    now = published.activation(model)
    what = f"{model}: version {now.chosen(published.versions(model))} answers"
    if now.active is None:
        what += ", and any newer one that is published"
    if now.aliases:
        what += "; " + ", ".join(f"{alias} is {version}" for alias, version in now.aliases.items())
    line_console().print(what)
