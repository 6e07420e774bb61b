"""The rows of a bulk body, batch by batch: an Arrow IPC stream, or delimited text as `nalu predict` reads it.

What is wrong with a value is for the encoding of rows to say, as of a request in JSON. So values reach it as they are:
text stays text in a column that must hold numbers, and its row is named there.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.contract.delimited import HEAD_BYTES, judge_head
from models.contract.errors import ColumnNamesError, TableError
from models.contract.manifest import ImagesColumn, ModelManifest, NumberColumn, StepsColumn
from models.contract.table_sources import BLOCK_BYTES, open_delimited
from models.contract.table_values import numbers_of, texts_of
from service.arrow_messages import CheckedMessages
from service.body_pipe import Readable
from service.errors import BodyTooLargeError, Fault, InputShapeError, InvalidRequestError, UnreadableBodyError
from service.inference.encoding import Values, check_columns

BATCH_ROWS: Final = 8_192
"""Rows predicted at a time: 30 columns of float64 take 2 MB, which stay in a core's cache from reading to the run."""

_BODY: Final = Path("the body")
"""What a body is called in messages about tables."""

Rows = Mapping[str, Values]


def arrow_rows(stream: Readable, manifest: ModelManifest, max_bytes: int, max_rows: int) -> Iterator[Rows]:
    """Yield the rows of an Arrow IPC stream.

    Nulls are missing values, and so is NaN. Numbers may be of any integer, floating-point or decimal type; text may be
    dictionary-encoded; dates and times are text in ISO 8601.

    Args:
        stream: The body.
        manifest: The model's manifest.
        max_bytes: Most bytes that one batch may expand to.
        max_rows: Most rows of one batch.

    Raises:
        UnreadableBodyError: When it is no such stream.
        BodyTooLargeError: When a batch expands beyond the limit.
        InputShapeError: When a column is missing, unknown or repeated.
        InvalidRequestError: When a column has a type that is not read, or a batch too many rows.
    """
    import pyarrow as pa
    from pyarrow import ipc

    messages = CheckedMessages(stream, max_bytes, max_rows)
    try:
        reader = ipc.open_stream(pa.PythonFile(messages, mode="r"), options=ipc.IpcReadOptions(use_threads=False))
        check_columns(manifest, reader.schema.names)
        _check_types(reader.schema)
        for batch in reader:
            batch.validate(full=True)
            given = {column.name: batch.column(column.name) for column in manifest.inputs}
            floats = {name: column.to_numpy(zero_copy_only=True) for name, column in given.items() if _is_plain(column)}
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield {
                    name: floats[name][start : start + BATCH_ROWS]
                    if name in floats
                    else _values(column.slice(start, BATCH_ROWS), max_bytes)
                    for name, column in given.items()
                }
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = f"a body must be an Arrow IPC stream, however: {ascii(str(error).partition(chr(10))[0])[1:-1][:200]}"
        raise UnreadableBodyError(msg) from error


def _check_types(schema: Any) -> None:
    """Refuse a type that is not read; before a column is looked at, because pyarrow has no arrays of some types."""
    for column in schema:
        if not _is_read(column.type):
            rule = f"a column must hold numbers, text, dates or times, however it holds {str(column.type)[:80]}"
            raise InvalidRequestError([Fault(rule, column.name)])


def _is_read(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _is_read(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return _holds_numbers(kind) or _holds_times(kind) or is_text or bool(types.is_boolean(kind))


def _holds_numbers(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind))


def _holds_times(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_date(kind) or types.is_timestamp(kind))


def _values(column: Any, max_bytes: int) -> Values:
    """Return a column as an array of float64 where it holds numbers, else as Python's own values."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        levels = _values(column.dictionary, max_bytes)
        indices = column.indices
        if isinstance(levels, np.ndarray) and len(levels) and not indices.null_count:
            taken: NDArray[Any] = levels[indices.to_numpy(zero_copy_only=False)]
            return taken
        return [None if index is None else levels[index] for index in indices.to_pylist()]
    if _holds_numbers(kind):
        return _numbers(column)
    if pa.types.is_string_view(kind):
        _check_views(column, max_bytes)
    elif _holds_times(kind):
        column = column.cast(pa.string())
    listed: list[object] = column.to_pylist()
    return listed


def _numbers(column: Any) -> NDArray[np.floating[Any]]:
    if _is_plain(column):
        as_it_is: NDArray[np.floating[Any]] = column.to_numpy(zero_copy_only=True)
        return as_it_is
    return numbers_of(column, ".")[0]


def _is_plain(column: Any) -> bool:
    """Return whether a column's memory is an array of floats, none of them missing."""
    import pyarrow as pa

    return not column.null_count and (pa.types.is_float64(column.type) or pa.types.is_float32(column.type))


def _check_views(column: Any, max_bytes: int) -> None:
    """Refuse views, of which many may show the same text, where they show too much: 16 bytes each, length first."""
    views = np.frombuffer(column.buffers()[1], dtype=np.int32).reshape(-1, 4)
    shown = views[column.offset : column.offset + len(column), 0]
    if int(shown.astype(np.int64).sum()) > max_bytes:
        raise BodyTooLargeError(max_bytes)


def delimited_rows(stream: Readable, manifest: ModelManifest) -> Iterator[Rows]:
    """Yield the rows of delimited text, by the rules of `models.contract.tables`.

    Args:
        stream: The body.
        manifest: The model's manifest.

    Raises:
        UnreadableBodyError: When it is no delimited text in UTF-8.
        InputShapeError: When a column is missing, unknown or repeated, or a row has too many or too few fields.
        InvalidRequestError: When the model takes what does not fit a field.
    """
    import pyarrow as pa

    if isinstance(manifest.sequence, StepsColumn | ImagesColumn):
        rule = "sequences of numbers or images must be sent as JSON, however the body is delimited text"
        raise InvalidRequestError([Fault(rule, manifest.sequence.name)])
    head = bytes(stream.read(HEAD_BYTES))
    try:
        layout = judge_head(_BODY, head, whole=len(head) < HEAD_BYTES)
    except ColumnNamesError as error:
        raise InputShapeError([Fault(str(error))]) from error
    except TableError as error:
        raise UnreadableBodyError(str(error)) from error
    check_columns(manifest, layout.names)
    ragged: list[tuple[int, int]] = []

    def note(row: Any) -> str:
        ragged.append((row.number - 1 - layout.header_lines, row.actual_columns))
        return "error"

    try:
        for block in open_delimited(_Rejoined(head, stream), layout, layout.names, note):
            for start in range(0, block.num_rows, BATCH_ROWS):
                part = block.slice(start, BATCH_ROWS)
                yield {
                    column.name: _numbers_or_text(part.column(column.name), layout.decimal)
                    if isinstance(column, NumberColumn)
                    else texts_of(_BODY.name, column.name, part.column(column.name))
                    for column in manifest.inputs
                }
    except pa.ArrowInvalid as error:
        if ragged:
            row, n_fields = ragged[0]
            rule = f"a row must have one value per column ({len(layout.names)}), however it has {n_fields}"
            raise InputShapeError([Fault(rule, row=row)]) from error
        msg = (
            f"a body of delimited text must be UTF-8, and a row must have at most {BLOCK_BYTES} bytes, however it is "
            "not; look for a quote that is never closed"
        )
        raise UnreadableBodyError(msg) from error


def _numbers_or_text(column: Any, decimal: str) -> Values:
    numbers, unreadable = numbers_of(column, decimal)
    if not unreadable.any():
        return numbers
    values: list[object] = numbers.tolist()
    for i in np.flatnonzero(unreadable):
        values[i] = column[int(i)].as_py()
    return values


class _Rejoined(io.RawIOBase):
    """A stream with its beginning, which has been read, put back."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._head:
            taken, self._head = self._head[:size], self._head[size:]
            return taken
        return bytes(self._stream.read(size))
