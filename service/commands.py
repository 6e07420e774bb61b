"""The serving side's commands: `nalu serve`, `nalu predict`, `nalu models`."""

import gc
from pathlib import Path
from typing import Annotated, Literal

import typer

models_app = typer.Typer(
    help="List, show and verify published models, choose which version answers, and sign them.", no_args_is_help=True
)

DEFAULT_REPOSITORY = Path("model_repository")

RepositoryOption = Annotated[Path, typer.Option(envvar="NALU_MODEL_REPOSITORY", help="Folder of published models.")]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None,
        typer.Option(help="TCP port to listen on; 0 takes a free one.", min=0, max=65535, show_default="8000"),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            help="TCP port of the Open Inference Protocol over gRPC; 0 takes a free one.",
            min=0,
            max=65535,
            show_default="no gRPC",
        ),
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="Folder of published models.", show_default="model_repository")
    ] = None,
    provider: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Execution provider.", show_default="auto")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Server processes; 0 for one per core.", min=0, max=64, show_default="0")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Print the settings, load every model, and exit without serving.")
    ] = False,
) -> None:
    """Serve the models of a repository over HTTP.

    Every option, and more, can be set by a NALU_* environment variable; see docs/settings.md.
    """
    gc.disable()  # what modules make stays: to look for garbage among it takes a fifth of the start
    from service.server import check as check_models
    from service.server import serve_models
    from service.settings import read_settings

    gc.freeze()
    gc.enable()
    settings = read_settings(
        {
            "host": host,
            "port": port,
            "grpc_port": grpc_port,
            "model_repository": repository,
            "provider": provider,
            "workers": workers,
        }
    )
    if check:
        check_models(settings)
    else:
        serve_models(settings)


def predict(
    model: Annotated[str, typer.Argument(help="Name of a published model.")],
    file: Annotated[
        Path, typer.Argument(help="CSV, Parquet, Arrow or JSON-lines file with the model's input columns.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, of the same kinds, by its extension; by default standard output."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="Version of the model. [default: the active one]", min=1)] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    provider: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(envvar="NALU_PROVIDER", help="Execution provider.")
    ] = "auto",
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Column of the file to keep beside the predictions; repeat it for several. [default: all]"),
    ] = None,
    on_error: Annotated[
        Literal["refuse", "null"],
        typer.Option(help="Whether rows that the model does not answer refuse the file, or are left empty."),
    ] = "refuse",
    interval: Annotated[
        float | None,
        typer.Option(help="Level of prediction intervals, such as 0.9: adds a lower and an upper column per output."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the terms that each prediction is the sum of, a column each.")
    ] = False,
) -> None:
    """Predict a CSV, Parquet, Arrow or JSON-lines (.jsonl) file with a published model.

    The file may be larger than memory and may have more columns than the model takes. The output has its rows in order,
    with a column per output of the model, and in_range: whether the row is like those seen in training.
    Models of sequences of numbers or images take JSON lines, models of texts any of these.
    """
    from models.contract.repository import ModelRepository
    from service.inference.session import load_session
    from service.inference.trust import Asked
    from service.machine import usable_cores
    from service.offline import predict_file
    from service.terminal import line_console

    if interval is not None and not 0 < interval < 1:
        raise typer.BadParameter(f"a level must lie between 0 and 1, however: {interval:g}", param_hint="--interval")
    models = ModelRepository(repository)
    published = models.load(model, version or models.activation(model).active)
    session = load_session(published, provider, min(2, usable_cores()))
    asked = Asked(interval, explain)
    summary = predict_file(session, file, out, keep=keep or None, on_error=on_error, asked=asked)
    parts = [f"predicted {summary.n_rows - summary.n_empty} rows with {model} version {published.manifest.version}"]
    if summary.n_outside:
        parts.append(f"{summary.n_outside} outside the range seen in training")
    if summary.n_empty:
        parts.append(f"{summary.n_empty} left empty")
    line_console(stderr=True).print("; ".join(parts) + (f"; wrote {out}" if out else ""))


@models_app.command("list")
def list_models(
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """List the models of a repository."""
    from models.contract.repository import ModelRepository
    from service import inventory
    from service.terminal import table_console

    models = inventory.list_models(ModelRepository(repository))
    if json:
        inventory.print_json([model.as_json() for model in models])
    else:
        table_console().print(inventory.models_table(models, repository))


@models_app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="Name of a published model.")],
    version: Annotated[int | None, typer.Option(help="Version of the model. [default: the latest]", min=1)] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Show what a model takes, gives, was trained on and was measured at."""
    from models.contract.repository import ModelRepository
    from service import inventory
    from service.terminal import table_console

    published = ModelRepository(repository)
    manifest = published.manifest(model, version)
    if json:
        inventory.print_json(manifest.model_dump(mode="json"))
    else:
        table_console().print(inventory.model_card(manifest, published.path(model, version)))


@models_app.command("verify")
def verify_models(
    model: Annotated[str | None, typer.Argument(help="Name of a published model. [default: all]")] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
    trusted: Annotated[
        Path | None,
        typer.Option(envvar="NALU_SIGNATURE_KEYS_FILE", help="Public keys, of which one must have signed each model."),
    ] = None,
) -> None:
    """Verify models as the service would on loading them; exit code 1 when one cannot be served.

    Checks the checksum and the graph, loads it into the runtime, and compares its answer to the sample in the manifest.
    """
    from models.contract.repository import ModelRepository
    from models.contract.signing import TrustedKeys
    from service import inventory
    from service.terminal import line_console

    console = line_console()
    results = []
    published = ModelRepository(repository, trusted=None if trusted is None else TrustedKeys(trusted))
    for result in inventory.verify_models(published, model):
        results.append(result)
        if not json:
            console.print(f"{result.name} version {result.version}: {result.fault or 'good'}")
    if json:
        inventory.print_json([result.as_json() for result in results])
    if any(result.fault for result in results):
        raise typer.Exit(1)
