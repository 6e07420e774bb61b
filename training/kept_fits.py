"""Finished fits of a run, kept until it is published, so that a run that was killed goes on where it was.

A fit is a tree of frozen dataclasses, tuples, dictionaries, numbers, text and arrays. It is written as one `.npz` file
without pickled objects: its arrays, and the rest as JSON; read back, every number is the same bit by bit. A file is
written beside its place and moved there, so that a kill leaves it whole or not at all.
"""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import typing
import uuid
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.config import RunConfig
from training.errors import TrainingError

UNFINISHED = ".unfinished"
"""Folder under that of the runs which keeps the fits of runs that have not ended."""

_NO_MATTER = frozenset({"repository", "runs", "note", "resume", "sign_key", "units"})
"""Settings that change no fit."""

_TREE = "tree"

Kind = TypeVar("Kind")


@dataclass
class KeptFits:
    """Fits kept in a folder, by name.

    Attributes:
        folder: Where they are; None keeps nothing.
        prefix: Put before every name.
        recalled: Names of the fits that were found.
    """

    folder: Path | None = None
    prefix: str = ""
    recalled: list[str] = field(default_factory=list)

    def within(self, part: str) -> Self:
        """Return the same fits, under names of their own."""
        return dataclasses.replace(self, prefix=f"{self.prefix}{part}-")

    def recall(self, name: str, kind: type[Kind]) -> Kind | None:
        """Return a fit that was kept, or None; a file that is damaged counts as none.

        Args:
            name: Letters, digits and hyphens.
            kind: What it is; only dataclasses that its fields name are made.
        """
        if self.folder is None:
            return None
        try:
            value = read_value((self.folder / f"{self.prefix}{name}.npz").read_bytes(), kind)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None
        self.recalled.append(f"{self.prefix}{name}")
        return value

    def keep(self, name: str, value: object) -> None:
        """Keep a fit.

        Raises:
            TrainingError: When it cannot be written.
        """
        if self.folder is None:
            return
        target = self.folder / f"{self.prefix}{name}.npz"
        staging = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with staging.open("wb") as stream:
                stream.write(write_value(value))
                stream.flush()
                os.fsync(stream.fileno())
            staging.replace(target)
        except OSError as error:
            reason = error.strerror or error
            msg = f"the folder for runs must be writable, however {reason} at {target}; name another --runs"
            raise TrainingError(msg) from error

    def discard(self) -> None:
        """Remove all that is kept."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


NOTHING_KEPT = KeptFits()
"""Keeps nothing and recalls nothing."""


def kept_fits(config: RunConfig, name: str, data_sha256: str, *, resume: bool) -> KeptFits:
    """Return the fits of a run: of the same settings on the same data by the same code.

    Args:
        config: The run's settings.
        name: The model's name.
        data_sha256: Checksum of the data.
        resume: Whether fits of a run that did not end are taken over; else they are removed.
    """
    settings = {key: value for key, value in json.loads(config.model_dump_json()).items() if key not in _NO_MATTER}
    key = hashlib.sha256(json.dumps([settings, data_sha256, _code()], sort_keys=True).encode()).hexdigest()[:16]
    kept = KeptFits(config.runs / UNFINISHED / f"{name}-{key}")
    if not resume:
        kept.discard()
    return kept


def write_value(value: object) -> bytes:
    """Return a value as the bytes of an `.npz` file.

    Raises:
        TypeError: When it holds something else than the module says.
    """
    arrays: dict[str, NDArray[Any]] = {}
    tree = json.dumps(_written(value, arrays))
    stream = io.BytesIO()
    np.savez(stream, **{_TREE: np.frombuffer(tree.encode(), dtype=np.uint8)}, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def read_value(content: bytes, kind: type[Kind]) -> Kind:
    """Return the value of a file.

    Args:
        content: From `write_value`.
        kind: What it must be.

    Raises:
        ValueError: When it is something else.
        KeyError: When it names a dataclass that `kind` does not lead to, or misses a part.

    Example:
        >>> read_value(write_value(Example((1, np.arange(2.0)), float("inf"))), Example)
        Example(pair=(1, array([0., 1.])), width=inf)
    """
    known: dict[str, type] = {}
    _collect(kind, known)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        value = _read(json.loads(arrays[_TREE].tobytes()), arrays, known)
    if not isinstance(value, kind):
        msg = f"a kept fit must be a {kind.__name__}, however: {type(value).__name__}"
        raise ValueError(msg)
    return value


@dataclass(frozen=True)
class Example:
    """A value with an array, for the documentation."""

    pair: tuple[int, NDArray[np.float64]]
    width: float


def _written(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            msg = "a kept array must hold numbers, however it holds objects"
            raise TypeError(msg)
        arrays[f"a{len(arrays)}"] = value
        return {"array": f"a{len(arrays) - 1}"}
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {one.name: _written(getattr(value, one.name), arrays) for one in dataclasses.fields(value)}
        return {"class": _name(type(value)), "fields": parts}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_written(one, arrays) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[_written(key, arrays), _written(one, arrays)] for key, one in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    msg = f"a kept fit must be made of dataclasses, tuples, numbers, text and arrays, however: {type(value).__name__}"
    raise TypeError(msg)


def _read(tree: Any, arrays: Any, known: dict[str, type]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "class" in tree:
        fields = {name: _read(one, arrays, known) for name, one in tree["fields"].items()}
        return known[tree["class"]](**fields)
    if "dict" in tree:
        return {_read(key, arrays, known): _read(one, arrays, known) for key, one in tree["dict"]}
    ((kind, parts),) = tree.items()
    values = [_read(one, arrays, known) for one in parts]
    return values if kind == "list" else tuple(values)


def _collect(kind: Any, known: dict[str, type]) -> None:
    """Find the dataclasses that a type's fields lead to."""
    for part in typing.get_args(kind):
        _collect(part, known)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and _name(kind) not in known:
        known[_name(kind)] = kind
        for hint in typing.get_type_hints(kind).values():
            _collect(hint, known)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _code() -> str:
    """Return the checksum of the code that fits: kept fits of another release are not taken over."""
    room = Path(__file__).parent
    files = sorted([*room.rglob("*.py"), *(room.parent / "models").rglob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
