"""How a delimited text file is laid out: its delimiter, decimal sign and header, judged from its beginning."""

import codecs
import contextlib
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from models.contract.errors import ColumnNamesError, TableError

HEAD_BYTES = 1024 * 1024
"""Bytes looked at to judge the layout: thousands of rows, read in milliseconds."""

DELIMITERS = (",", ";", "\t", "|")
"""Delimiters that are recognised; an earlier one wins a tie."""

_SAMPLE_RECORDS = 1000
_DECIMAL_POINT = re.compile(r"\s*[+-]?\d*\.\d+(?:[eE][+-]?\d+)?\s*")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Layout:
    """How a file is laid out.

    Attributes:
        delimiter: One of `DELIMITERS`.
        decimal: "." or ",", the latter only where the delimiter is another character.
        names: Column names, trimmed.
        header_lines: Lines up to and with the header.
    """

    delimiter: str
    decimal: str
    names: tuple[str, ...]
    header_lines: int


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed where its name ends in `.gz`.

    Raises:
        TableError: When it is missing, is a folder, cannot be read, or its compression is broken.
    """
    try:
        with cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        msg = f"a table must be a readable file, however {path}: {reason}; check the path"
        raise TableError(msg) from error


def judge_layout(path: Path) -> Layout:
    """Judge the layout of a file from its first mebibyte.

    The delimiter is the one that cuts the header into most columns and every row into as many; where none does, the one
    that cuts the header into most. The decimal sign is a comma where the delimiter is not one and more fields look like
    `1,5` than like `1.5`.

    Raises:
        TableError: When the file is empty, is not UTF-8 text, has no header, or repeats or leaves out a column name.
    """
    with open_bytes(path) as stream:
        head = stream.read(HEAD_BYTES)
        whole = not stream.read(1)
    return judge_head(path, head, whole=whole)


def judge_head(path: Path, head: bytes, *, whole: bool) -> Layout:
    """Judge the layout of a file, or of what comes under a name, from its beginning.

    Args:
        path: What it is called in messages.
        head: Its beginning, `HEAD_BYTES` or all there is.
        whole: Whether that is all.

    Raises:
        TableError: As `judge_layout`.
    """
    text = _decode(path, head, whole=whole)
    if not text.strip():
        msg = f"a table must have a header and rows, however {path.name} is empty"
        raise TableError(msg)
    lines = list(io.StringIO(text, newline=""))  # not splitlines, which also cuts at U+2028 and the like
    samples = {delimiter: _records(lines, delimiter, whole=whole) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda one: _fitness(samples[one]))
    header = next(_numbered(lines, delimiter))
    names = tuple(name.strip() for name in header.fields)
    check_names(path, names)
    if all(_NUMBER.fullmatch(name) for name in names):
        msg = (
            f"the first line of a table must name its columns, however that of {path.name} holds numbers; add a header"
        )
        raise TableError(msg)
    return Layout(delimiter, _decimal(samples[delimiter][1:], delimiter), names, header.last_line)


def check_names(path: Path, names: tuple[str, ...]) -> None:
    """Refuse column names that are empty or repeated.

    Raises:
        ColumnNamesError: When a name is empty or occurs twice; names the column.
    """
    unnamed = [number for number, name in enumerate(names, start=1) if not name]
    if unnamed:
        msg = (
            f"every column must have a name, however column {unnamed[0]} of {path.name} has none; "
            "name it in the header, or remove it (pandas leaves a row index out with index=False)"
        )
        raise ColumnNamesError(msg)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        shown = ", ".join(ascii(name[:80]) for name in repeated[:10])
        msg = (
            f"column names must be distinct, however {path.name} repeats {shown}; rename or remove the repeated columns"
        )
        raise ColumnNamesError(msg)


def line_of_row(path: Path, layout: Layout, row: int) -> int:
    """Return the line, from 1, on which row `row` (from 0, after the header, blank lines not counted) begins."""
    with open_bytes(path) as stream:
        record = next(islice(_numbered(_text_lines(stream), layout.delimiter), row + 1, None), None)
        return record.first_line if record else layout.header_lines + row + 1


def first_ragged_row(path: Path, layout: Layout) -> tuple[int, int] | None:
    """Return line and number of fields of the first row that has not as many fields as the header, or None."""
    with open_bytes(path) as stream:
        for record in _numbered(_text_lines(stream), layout.delimiter):
            if len(record.fields) != len(layout.names):
                return record.first_line, len(record.fields)
    return None


def first_undecodable_line(path: Path) -> int | None:
    """Return the first line, from 1, that is not UTF-8, or None."""
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _decode(path: Path, head: bytes, *, whole: bool) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        msg = f"a delimited table must be UTF-8 text, however {path.name} is UTF-16; save it as UTF-8"
        raise TableError(msg)
    if b"\0" in head:
        msg = f"a delimited table must be UTF-8 text, however {path.name} holds binary data; check the file"
        raise TableError(msg)
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=whole)
    except UnicodeDecodeError as error:
        line = head.count(b"\n", 0, error.start) + 1
        msg = f"a delimited table must be UTF-8 text, however line {line} of {path.name} is not; save it as UTF-8"
        raise TableError(msg) from error


def _text_lines(stream: BinaryIO) -> Iterator[str]:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as lines:
        yield from lines


class _Record(NamedTuple):
    first_line: int
    last_line: int
    fields: list[str]


def _numbered(lines: Iterable[str], delimiter: str) -> Iterator[_Record]:
    """Yield each record with the lines it spans, from 1; blank lines are passed over."""
    reader = csv.reader(lines, delimiter=delimiter)
    before = 0
    try:
        for fields in reader:
            if fields:
                yield _Record(before + 1, reader.line_num, fields)
            before = reader.line_num
    except csv.Error as error:
        msg = f"fields must be plain or quoted text, however line {reader.line_num}: {error}; check the quotes there"
        raise TableError(msg) from error


def _records(lines: list[str], delimiter: str, *, whole: bool) -> list[list[str]]:
    records: list[list[str]] = []
    with contextlib.suppress(TableError):  # a broken quote: the reader will tell where
        records.extend(record.fields for record in islice(_numbered(lines, delimiter), _SAMPLE_RECORDS))
    cut = not whole and 1 < len(records) < _SAMPLE_RECORDS  # the end of the head goes through the last record
    return records[:-1] if cut else records


def _fitness(records: list[list[str]]) -> tuple[bool, int]:
    if not records:
        return False, 0
    n_columns = len(records[0])
    return n_columns > 1 and all(len(record) == n_columns for record in records), n_columns


def _decimal(records: list[list[str]], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    fields = [field for record in records for field in record]
    n_commas = sum(1 for field in fields if _DECIMAL_COMMA.fullmatch(field))
    n_points = sum(1 for field in fields if _DECIMAL_POINT.fullmatch(field))
    return "," if n_commas > n_points else "."
