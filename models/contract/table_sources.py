"""Tables on disk, opened by their extension: delimited text, Parquet, and Arrow's own files, batch by batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from models.contract.delimited import (
    Layout,
    check_names,
    first_ragged_row,
    first_undecodable_line,
    judge_layout,
    line_of_row,
    open_bytes,
)
from models.contract.errors import TableError

ARROW_EXTENSIONS = (".arrow", ".feather", ".ipc")
PARQUET_EXTENSIONS = (".parquet", ".pq")
EXTENSIONS = (".csv", ".csv.gz", *PARQUET_EXTENSIONS, *ARROW_EXTENSIONS)

BLOCK_BYTES = 1024 * 1024
"""Bytes of text parsed at a time; a single row must fit. Four times as many take 200 MB more where rows are short."""

_BATCH_ROWS = 65_536
"""Rows of Parquet read at a time by `Source.read`."""


def is_delimited(path: Path) -> bool:
    """Tell whether a file is delimited text by its name; any other is taken for Parquet or Arrow, or refused."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


class Source(Protocol):
    """A table on disk, open."""

    path: Path
    names: tuple[str, ...]
    decimal: str

    def batches(self, n_rows: int, names: tuple[str, ...]) -> Iterator[Any]:
        """Yield record batches of some columns, of at most `n_rows` rows, in order."""

    def read(self, names: tuple[str, ...]) -> Any:
        """Return a `pyarrow.Table` of some columns."""

    def place(self, row: int) -> str:
        """Return where a row stands."""


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a table.

    Raises:
        TableError: When the file is no table.
    """
    if is_delimited(path):
        layout = judge_layout(path)
        with open_bytes(path) as stream:
            yield _Delimited(path, stream, layout)
    elif path.name.lower().endswith(PARQUET_EXTENSIONS):
        with open_bytes(path) as stream:
            yield _Parquet(path, stream)
    elif path.name.lower().endswith(ARROW_EXTENSIONS):
        with open_bytes(path) as stream:
            yield _Arrow(path, stream)
    else:
        known = ", ".join(EXTENSIONS)
        msg = f"a table must be a file named {known}, however: {path.name[-80:]!a}; convert or rename it"
        raise TableError(msg)


def open_delimited(
    stream: Any, layout: Layout, names: tuple[str, ...], on_ragged: Callable[[Any], str] | None = None
) -> Any:
    """Return what reads record batches of text from delimited text, block by block.

    Args:
        stream: The text, from its beginning.
        layout: How it is laid out.
        names: Columns to read.
        on_ragged: Told of a row with too many or too few fields, as a `pyarrow.csv.InvalidRow`; returns "error". Rows
            are then read in one thread, so that they are numbered.
    """
    import pyarrow as pa
    from pyarrow import csv

    return csv.open_csv(
        stream,
        read_options=csv.ReadOptions(
            column_names=layout.names,
            skip_rows=layout.header_lines,
            block_size=BLOCK_BYTES,
            use_threads=on_ragged is None,
        ),
        parse_options=csv.ParseOptions(
            delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=on_ragged
        ),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(layout.names, pa.string()), include_columns=names, strings_can_be_null=False
        ),
    )


class _Delimited:
    """Delimited text; every column is read as text."""

    def __init__(self, path: Path, stream: Any, layout: Layout) -> None:
        self.path = path
        self.names = layout.names
        self.decimal = layout.decimal
        self._stream = stream
        self._layout = layout

    def batches(self, n_rows: int, names: tuple[str, ...]) -> Iterator[Any]:
        import pyarrow as pa

        try:
            for block in open_delimited(self._stream, self._layout, names):
                for start in range(0, block.num_rows, n_rows):
                    yield block.slice(start, n_rows)
        except pa.ArrowInvalid as error:
            raise self._fault(error) from error

    def read(self, names: tuple[str, ...]) -> Any:
        import pyarrow as pa

        try:
            return open_delimited(self._stream, self._layout, names).read_all()
        except pa.ArrowInvalid as error:
            raise self._fault(error) from error

    def place(self, row: int) -> str:
        return f"line {line_of_row(self.path, self._layout, row)}"

    def _fault(self, error: Exception) -> TableError:
        line = first_undecodable_line(self.path)
        if line is not None:
            return TableError(
                f"a delimited table must be UTF-8 text, however line {line} of {self.path.name} is not; "
                "save it as UTF-8"
            )
        ragged = first_ragged_row(self.path, self._layout)
        if ragged is not None:
            return TableError(
                f"every row must have as many fields as the header, {len(self.names)}, however line {ragged[0]} of "
                f"{self.path.name} has {ragged[1]}; complete that row, or quote fields that hold the delimiter"
            )
        return TableError(
            f"a row must have at most {BLOCK_BYTES} bytes, however {self.path.name}: {str(error)[:200]}; "
            "look for a quote that is never closed"
        )


class _Parquet:
    """A Parquet file."""

    decimal = "."

    def __init__(self, path: Path, stream: Any) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.path = path
        try:
            # pre-buffering keeps what was read until the end: memory would grow with the file
            self._file = parquet.ParquetFile(stream, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise self._fault(error) from error
        self.names: tuple[str, ...] = tuple(self._file.schema_arrow.names)
        check_names(path, self.names)

    def read(self, names: tuple[str, ...]) -> Any:
        import pyarrow as pa

        batches = list(self.batches(_BATCH_ROWS, names))
        if not batches:
            return self._file.schema_arrow.empty_table().select(list(names))
        return pa.Table.from_batches(batches)

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def batches(self, n_rows: int, names: tuple[str, ...]) -> Iterator[Any]:
        import pyarrow as pa

        try:
            for batch in self._file.iter_batches(batch_size=n_rows, columns=list(names)):
                if batch.num_rows:
                    yield batch
        except (pa.ArrowException, OSError) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> TableError:
        return TableError(
            f"a Parquet table must be whole, however {self.path.name}: {str(error)[:200]}; write or copy the file again"
        )


class _Arrow:
    """An Arrow IPC file (also Feather version 2), or a stream of record batches."""

    decimal = "."

    def __init__(self, path: Path, stream: Any) -> None:
        self.path = path
        self._stream = stream
        with self._faults():
            self._schema = self._reader(None).schema
        self.names: tuple[str, ...] = tuple(self._schema.names)
        check_names(path, self.names)

    def batches(self, n_rows: int, names: tuple[str, ...]) -> Iterator[Any]:
        with self._faults():
            reader = self._reader([self.names.index(name) for name in names])
            for batch in _record_batches(reader):
                chosen = batch.select(list(names))
                for start in range(0, chosen.num_rows, n_rows):
                    yield chosen.slice(start, n_rows)

    def read(self, names: tuple[str, ...]) -> Any:
        import pyarrow as pa

        with self._faults():
            reader = self._reader([self.names.index(name) for name in names])
            batches = [batch.select(list(names)) for batch in _record_batches(reader)]
            schema = pa.schema([self._schema.field(name) for name in names])
            return pa.Table.from_batches(batches, schema)

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def _reader(self, fields: list[int] | None) -> Any:
        """Return a reader of a file, which begins with a magic word, or else of a stream."""
        import pyarrow as pa
        from pyarrow import ipc

        self._stream.seek(0)
        magic = self._stream.read(len(_ARROW_MAGIC))
        self._stream.seek(0)
        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        source = pa.PythonFile(self._stream, mode="r")
        open_reader = ipc.open_file if magic == _ARROW_MAGIC else ipc.open_stream
        return open_reader(source, options=options)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            msg = (
                f"an Arrow table must be a whole IPC file or stream, however {self.path.name}: {str(error)[:200]}; "
                "write or copy the file again"
            )
            raise TableError(msg) from error


_ARROW_MAGIC = b"ARROW1"


def _record_batches(reader: Any) -> Iterator[Any]:
    """Yield the batches of a file's or a stream's reader, one in memory at a time.

    Nothing in the format keeps an offset within its buffer, so each batch is validated before a kernel reads it.
    """
    in_file = hasattr(reader, "num_record_batches")
    for batch in map(reader.get_batch, range(reader.num_record_batches)) if in_file else reader:
        batch.validate(full=True)
        yield batch
