"""The training side's commands: `nalu train` and `nalu data`."""

import typer

train_app = typer.Typer(help="Train a network and publish it.", no_args_is_help=True)
data_app = typer.Typer(help="Make the project's own data sets.", no_args_is_help=True)
