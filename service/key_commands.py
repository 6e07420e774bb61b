"""`nalu keys`: make, list and revoke the API keys of a file."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

FileOption = Annotated[Path, typer.Option("--file", envvar="NALU_KEYS_FILE", help="File of keys.")]

DEFAULT_FILE = Path("keys.jsonl")


@keys_app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Who or what the key is for; letters, digits and ._-")],
    role: Annotated[
        Literal["predict", "admin"], typer.Option(help="admin may also change which models are served.")
    ] = "predict",
    days: Annotated[
        float | None, typer.Option(help="Days until it expires. [default: never]", min=0.001, max=36_500)
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second over time. [default: unlimited]")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once after a pause. [default: those of 1 s]")] = None,
    concurrent: Annotated[
        int | None, typer.Option(help="Large requests under way at once. [default: unlimited]")
    ] = None,
    file: FileOption = DEFAULT_FILE,
) -> None:
    """Make a key, add its hash to the file, and print the key, which is shown this once.

    A running service takes it within a second. Only the key goes to standard output: KEY=$(nalu keys new dashboard).
    """
    from pydantic import ValidationError

    from service.errors import KeyFileError
    from service.key_file import KeyRecord, add_record, hash_of, new_key
    from service.terminal import line_console

    key = new_key()
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) if days is not None else None
    try:
        record = KeyRecord(
            name=name,
            role=role,
            sha256=hash_of(key.encode()).hex(),
            expires=expires,
            rate=rate,
            burst=burst,
            concurrent=concurrent,
        )
    except ValidationError as error:
        fault = error.errors()[0]
        where = fault["loc"][0] if fault["loc"] else "burst"
        msg = f"a key must follow the rules of its file, however {where}: {fault['msg']}"
        raise KeyFileError(msg) from error
    add_record(file, record)
    typer.echo(key)
    line_console(stderr=True).print(
        f"added {name} ({role}) to {file}, which holds its hash; the key itself is not kept anywhere"
    )


@keys_app.command("list")
def list_keys(file: FileOption = DEFAULT_FILE) -> None:
    """List the keys of a file, without their hashes."""
    from rich.table import Table

    from service.key_file import read_records
    from service.terminal import table_console

    table = Table(box=None, header_style="bold")
    for heading in ("name", "role", "expires", "rate", "burst", "concurrent"):
        table.add_column(heading)
    for record in read_records(file):
        expires = f"{record.expires:%Y-%m-%d %H:%M %Z}" if record.expires else "never"
        limits = (format(value, "g") if value else "–" for value in (record.rate, record.burst, record.concurrent))
        table.add_row(record.name, record.role, f"{expires} (expired)" if record.has_expired else expires, *limits)
    table_console().print(table)


@keys_app.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Name of a key.")], file: FileOption = DEFAULT_FILE) -> None:
    """Take a key out of the file; a running service refuses it within a second."""
    from service.key_file import remove_record

    remove_record(file, name)
    typer.echo(f"revoked {name}", err=True)
