"""The serving side's commands: `nalu serve`, `nalu predict`, `nalu models`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

models_app = typer.Typer(help="List, show and verify published models.", no_args_is_help=True)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None,
        typer.Option(help="TCP port to listen on; 0 takes a free one.", min=0, max=65535, show_default="8000"),
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="Folder of published models.", show_default="model_repository")
    ] = None,
    provider: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Execution provider.", show_default="auto")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes.", min=1, max=64, show_default="1")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Print the settings, load every model, and exit without serving.")
    ] = False,
) -> None:
    """Serve the models of a repository over HTTP.

    Every option, and more, can be set by a NALU_* environment variable; see docs/settings.md.
    """
    from service.server import check as check_models
    from service.server import serve_models
    from service.settings import read_settings

    settings = read_settings(
        {"host": host, "port": port, "model_repository": repository, "provider": provider, "workers": workers}
    )
    if check:
        check_models(settings)
    else:
        serve_models(settings)


def predict() -> None:
    """Predict a CSV or Parquet file with a published model."""
