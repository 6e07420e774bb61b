"""The `nalu` command.

The two command modules are light: torch, the web stack and the runtime are imported by the subcommand that needs them.
Exit codes: 0 done, 1 failed, 2 wrong use.
"""

import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

import service.commands
import service.key_commands
import service.version_commands
import training.bench_commands
import training.commands
import training.reproduce_commands
from models.contract.errors import NaluError, how_to_install

_EXTRA_OF = {
    "train": frozenset({"torch", "onnx", "onnx_ir", "onnxscript", "sklearn", "matplotlib", "scipy"}),
    "sign": frozenset({"cryptography"}),
    "serve": frozenset({"fastapi", "uvicorn", "starlette", "onnxruntime", "orjson", "pyarrow", "pydantic_settings"}),
}
"""Extra → the modules that it installs, to tell a user which one is missing."""

_INTERRUPTED = 130
"""Exit code by which typer tells that Ctrl-C ended a command."""

app = typer.Typer(
    name="nalu",
    help="Train neural arithmetic networks, publish them, and serve them over HTTP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("serve")(service.commands.serve)
app.command("predict")(service.commands.predict)
app.add_typer(service.commands.models_app, name="models")
app.add_typer(service.key_commands.keys_app, name="keys")
app.add_typer(training.commands.train_app, name="train")
app.add_typer(training.commands.data_app, name="data")
app.add_typer(training.bench_commands.bench_app, name="bench")
app.command("reproduce")(training.reproduce_commands.reproduce)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("nalu-serving"))
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the release and exit.")
    ] = False,
) -> None:
    pass


def _tell(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {escape(message)}")


def _fail(message: str) -> NoReturn:
    _tell(message)
    sys.exit(1)


def _end_interrupted() -> NoReturn:
    """End with exit code 1, every clean-up done.

    `sys.exit` would not do: where Ctrl-C once passed through code run from a string (a lazy import inside torch),
    CPython remembers it and ends by the signal whatever the exit code.
    """
    _tell("interrupted; nothing half-written was left")
    sys.stdout.flush()
    os._exit(1)


def main() -> NoReturn:
    """Run the command line; a failure is one message on standard error and exit code 1.

    SIGTERM ends a command as Ctrl-C does, so that it too leaves nothing half-written; `nalu serve` has handlers of its
    own.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            _end_interrupted()
        raise
    except NaluError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        for extra, modules in _EXTRA_OF.items():
            if missing in modules:
                _fail(
                    f"this command must have the packages of the extra {extra!r}, however {missing} is not installed; "
                    f"{how_to_install(extra)}"
                )
        raise
    except KeyboardInterrupt:  # while the command line itself was starting or ending
        _end_interrupted()
    sys.exit(0)


if __name__ == "__main__":
    main()
