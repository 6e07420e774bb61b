"""Tables for a user, CSV, Parquet and Arrow: written beside their target and moved in one step.

Nothing half-written is ever read.
"""

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from models.contract.errors import TableError
from models.contract.table_sources import ARROW_EXTENSIONS, PARQUET_EXTENSIONS
from models.contract.tables import Column

WRITTEN_EXTENSIONS = (".csv", *PARQUET_EXTENSIONS, *ARROW_EXTENSIONS)

_ROWS_AT_ONCE = 16_384
"""Rows turned into text at a time: a few megabytes."""


class TableWriter(Protocol):
    """Takes a table piece by piece."""

    def write(self, batch: Any) -> None:
        """Append a `pyarrow.RecordBatch`; all have the same columns."""


def check_output(path: Path, extensions: tuple[str, ...] = WRITTEN_EXTENSIONS) -> None:
    """Refuse a path that cannot be written to, before any work is done.

    Args:
        path: The path.
        extensions: Those that are written; by default those of tables.

    Raises:
        TableError: When the extension is unknown, the folder is not there, or the path is a folder.
    """
    if not path.name.lower().endswith(extensions):
        known = ", ".join(extensions)
        msg = f"an output must be a file named {known}, however: {path.name[-80:]!a}; rename it"
        raise TableError(msg)
    if not path.parent.is_dir() or path.is_dir():
        msg = f"an output must be a file in a folder that exists, however: {path}; make the folder or correct the path"
        raise TableError(msg)


@contextlib.contextmanager
def open_table_writer(path: Path | None, *, delimiter: str = ",", decimal: str = ".") -> Iterator[TableWriter]:
    """Open a writer; the table appears at `path` when the block ends, and not at all when it fails or is interrupted.

    Args:
        path: CSV, Parquet or Arrow file, replaced if it exists; None writes CSV to standard output as it comes.
        delimiter: Delimiter of CSV.
        decimal: Decimal sign of numbers in CSV.

    Raises:
        TableError: When the file cannot be written.
    """
    if path is None:
        yield DelimitedWriter(sys.stdout.buffer, delimiter, decimal)
        sys.stdout.buffer.flush()
        return
    check_output(path)
    with open_staged(path) as stream, contextlib.closing(_writer(path, stream, delimiter, decimal)) as writer:
        yield writer


def _writer(path: Path, stream: BinaryIO, delimiter: str, decimal: str) -> "DelimitedWriter | _Parquet | _Arrow":
    name = path.name.lower()
    if name.endswith(".csv"):
        return DelimitedWriter(stream, delimiter, decimal)
    return _Parquet(stream) if name.endswith(PARQUET_EXTENSIONS) else _Arrow(stream)


@contextlib.contextmanager
def open_staged(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` when the block ends, and not at all when it fails or is interrupted.

    Raises:
        TableError: When the file cannot be written.
    """
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with staging.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(path)
    except OSError as error:
        msg = f"an output must be writable, however {error.strerror or error} at {path}; nothing was written there"
        raise TableError(msg) from error
    finally:
        with contextlib.suppress(OSError):
            staging.unlink()


def write_table(path: Path, columns: Mapping[str, Column]) -> None:
    """Write a table; NaN and None are missing values.

    Raises:
        TableError: When the file cannot be written; nothing is left behind.
    """
    import pyarrow as pa

    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    with open_table_writer(path) as writer:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            writer.write(batch)


class DelimitedWriter:
    """Writes fields as they are, quoted only where they must be.

    Args:
        stream: Where to.
        delimiter: Delimiter.
        decimal: Decimal sign of numbers.
    """

    def __init__(self, stream: BinaryIO, delimiter: str = ",", decimal: str = ".") -> None:
        self._stream = stream
        self._delimiter = delimiter
        self._decimal = decimal
        self._started = False

    def write(self, batch: Any) -> None:
        """Append a `pyarrow.RecordBatch`, the first one with a header."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._started:
            header = self._quoted(pa.array(batch.schema.names, pa.string())).to_pylist()
            self._stream.write((self._delimiter.join(header) + "\n").encode())
            self._started = True
        fields = [self._field(column) for column in batch.columns]
        if len(fields) == 1:  # a blank line would be passed over by readers
            fields = [pc.if_else(pc.equal(fields[0], ""), '""', fields[0])]
        lines = pc.binary_join_element_wise(*fields, self._delimiter).to_pylist()
        self._stream.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Do nothing: the stream is its owner's."""

    def _field(self, column: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        text = pc.fill_null(column.cast(pa.string()), "")
        if pa.types.is_floating(column.type) and self._decimal != ".":
            text = pc.replace_substring(text, ".", self._decimal)
        return self._quoted(text)

    def _quoted(self, text: Any) -> Any:
        import pyarrow.compute as pc

        special = pc.match_substring_regex(text, f'[{self._delimiter}"\r\n]')
        doubled = pc.replace_substring(text, '"', '""')
        return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), text)


class _Parquet:
    """Writes a row group per batch."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writer: Any = None

    def write(self, batch: Any) -> None:
        from pyarrow import parquet

        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._stream, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Arrow:
    """Writes an IPC file, a record batch per batch."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writer: Any = None

    def write(self, batch: Any) -> None:
        from pyarrow import ipc

        if self._writer is None:
            self._writer = ipc.new_file(self._stream, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def array_of(values: Column) -> Any:
    """Return a column as a `pyarrow` array, NaN and None as nulls."""
    import pyarrow as pa

    return pa.array(values, from_pandas=True, type=pa.float64() if values.dtype == np.float64 else pa.string())
