"""The file of API keys: one JSON object a line, each a key's name, role, hash and limits; never a key itself.

A key is 256 random bits, so its plain SHA-256 is as good as the slow hashes that passwords need: nobody can try 2^256
keys, however fast one try is, and a slow hash would only be a way to keep the service busy with wrong keys.
"""

import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import KeyFileError, quote

Role = Literal["predict", "admin"]
"""What a key may do: `predict` everything but change which models are served, `admin` everything."""

PREFIX: Final = "nalu_"
"""What every key begins with, so that scanners of source code for secrets find one that was committed."""

MAX_KEYS: Final = 1000
"""Keys of a file: each has its place in the memory that workers share."""

_N_RANDOM_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 1024 * 1024


class KeyRecord(BaseModel):
    """One line of the file.

    Attributes:
        name: Who or what the key is for; the only part of it that is ever logged.
        role: What it may do.
        sha256: SHA-256 of the key, in hexadecimal digits.
        expires: When it is no longer taken, with its time zone; never by default.
        rate: Requests a second that it may send over time; unlimited by default.
        burst: Requests that it may send at once where it sent none before; as many as it may in a second by default.
        concurrent: Requests that may be under way at once, without those answered at once; unlimited by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    expires: AwareDatetime | None = None
    rate: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    concurrent: Annotated[int, Field(ge=1, le=100_000)] | None = None

    @model_validator(mode="after")
    def _burst_has_a_rate(self) -> "KeyRecord":
        if self.burst is not None and self.rate is None:
            msg = "a burst must come with a rate"
            raise ValueError(msg)
        return self

    @property
    def has_expired(self) -> bool:
        """Whether it is no longer taken."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


def new_key() -> str:
    """Return a key that nobody has.

    Example:
        >>> new_key().startswith("nalu_"), len(new_key())
        (True, 48)
    """
    return PREFIX + secrets.token_urlsafe(_N_RANDOM_BYTES)


def hash_of(key: bytes) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key).digest()


def read_records(path: Path) -> tuple[KeyRecord, ...]:
    """Read a file of keys; empty lines, and lines that begin with #, are let pass.

    Raises:
        KeyFileError: When it cannot be read, or a line is no key; no line is ever shown.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        msg = f"the keys file must be readable, however {path}: {error.strerror}; make one with: nalu keys new NAME"
        raise KeyFileError(msg) from error
    if len(content) > _MAX_FILE_BYTES:
        msg = f"a keys file must not exceed {_MAX_FILE_BYTES} bytes, however {path} does"
        raise KeyFileError(msg)
    records = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            records.append(_read_line(path, number, line))
    for field in ("name", "sha256"):
        if len({getattr(record, field) for record in records}) < len(records):
            msg = f"every key of a file must have a {field} of its own, however in {path} two have the same"
            raise KeyFileError(msg)
    if len(records) > MAX_KEYS:
        msg = f"a keys file must hold at most {MAX_KEYS} keys, however {path} holds {len(records)}"
        raise KeyFileError(msg)
    return tuple(records)


def read_some_records(path: Path) -> tuple[KeyRecord, ...]:
    """Read a file of keys to begin with.

    Raises:
        KeyFileError: As `read_records`, and when the file holds no key.
    """
    records = read_records(path)
    if not records:
        msg = f"a keys file must hold a key, however {path} holds none; make one with: nalu keys new NAME"
        raise KeyFileError(msg)
    return records


def _read_line(path: Path, number: int, line: bytes) -> KeyRecord:
    try:
        return KeyRecord.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        msg = f"every line of a keys file must be a key, however line {number} of {path}: {where} {fault['msg']}"
        raise KeyFileError(msg) from None  # what it stems from shows the line


def add_record(path: Path, record: KeyRecord) -> None:
    """Add a key to a file, which is made where it is not there yet.

    Raises:
        KeyFileError: When the name is taken, or the file cannot be read or written.
    """
    with _locked(path):
        records = read_records(path) if path.exists() else ()
        if any(known.name == record.name for known in records):
            msg = f"every key must have a name of its own, however {path} has a key {quote(record.name)} already"
            raise KeyFileError(msg)
        _write(path, (*records, record))


def remove_record(path: Path, name: str) -> None:
    """Take a key out of a file.

    Raises:
        KeyFileError: When it is not there, or the file cannot be read or written.
    """
    with _locked(path):
        records = read_records(path)
        kept = [record for record in records if record.name != name]
        if len(kept) == len(records):
            msg = f"a key to revoke must be in the file, however {path} has no key {quote(name)}; see: nalu keys list"
            raise KeyFileError(msg)
        _write(path, kept)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let nobody else change the file meanwhile."""
    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY)
    except OSError as error:
        msg = f"a keys file must lie in a folder that is there, however {path.absolute().parent}: {error.strerror}"
        raise KeyFileError(msg) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, records: Iterable[KeyRecord]) -> None:
    """Replace the file as a whole, readable by its owner alone unless it was readable by others already."""
    lines = [json.dumps(record.model_dump(mode="json", exclude_none=True)) + "\n" for record in records]
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".keys-")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.writelines(lines)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        msg = f"the keys file must be writable, however {path}: {error.strerror}"
        raise KeyFileError(msg) from error
