"""The serving side's commands: `nalu serve`, `nalu predict`, `nalu models`."""

import typer

models_app = typer.Typer(help="List, show and verify published models.", no_args_is_help=True)


def serve() -> None:
    """Serve the models of a repository over HTTP."""


def predict() -> None:
    """Predict a CSV or Parquet file with a published model."""
