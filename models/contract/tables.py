"""Tables of a user: CSV, Parquet and Arrow read in one place, so that training and serving see the same values.

- Format by extension: `.csv` and `.csv.gz` are delimited text, `.parquet` and `.pq` are Parquet, `.arrow`, `.feather`
  and `.ipc` are Arrow IPC files (Feather version 2) or streams.
- Delimited text is UTF-8, with or without byte-order mark, cut by comma, semicolon, tab or pipe, whichever fits header
  and rows; numbers may have a decimal comma where the delimiter is another character; blank lines are passed over.
- Column names are trimmed, distinct and not empty. White space around a value does not count.
- Missing: the values in `table_values.MISSING`, and the nulls of Parquet and Arrow. "None" and "-" are text: they name
  levels in process data.
- Numbers: `1`, `-1.5`, `+2e-3`. Infinities are refused, also as `1e999`.
- Booleans are text: `true` and `false` from Parquet and Arrow, as they stand from delimited text.
- Dates and times are text: ISO 8601 from Parquet and Arrow, as they stand from delimited text.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.errors import TableError
from models.contract.table_sources import Source, open_source
from models.contract.table_values import n_missing_texts, numbers_of, texts_of

_PASS_ROWS = 65_536
"""Rows read at a time by a pass over a whole table."""

Column = NDArray[np.float64] | NDArray[np.object_]


@dataclass(frozen=True)
class Text:
    """Why a column is text.

    Attributes:
        first: The first value that is no number, as it stands.
        row: Its row, from 0.
        mostly_numbers: Whether at least half of the values around it are numbers.
    """

    first: str
    row: int
    mostly_numbers: bool


@dataclass(frozen=True)
class Table:
    """A whole table.

    Attributes:
        names: Column names, in the file's order, without those passed over.
        columns: Name → float64 numbers, missing as NaN, or objects (str, missing as None); shape (n_rows,).
        n_rows: Rows.
        notes: What was decided while reading, for people.
        texts: Column that is text without being asked for → why.
    """

    names: tuple[str, ...]
    columns: dict[str, Column]
    n_rows: int
    notes: tuple[str, ...] = ()
    texts: Mapping[str, Text] = field(default_factory=dict)

    def is_number(self, name: str) -> bool:
        """Tell whether a column holds numbers."""
        return self.columns[name].dtype == np.float64


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a table.

    Attributes:
        first_row: Number of the first of them, from 0.
        columns: Name → float64 numbers, missing as NaN, or objects (str, missing as None); shape (n_rows,).
        raw: All columns of the file as a `pyarrow.RecordBatch`; text as it stands where the file is delimited text.
    """

    first_row: int
    columns: dict[str, Column]
    raw: Any


def column_names(path: Path) -> tuple[str, ...]:
    """Return the column names of a table.

    Raises:
        TableError: When the file is no table.
    """
    with open_source(path) as source:
        return source.names


def read_table(
    path: Path, *, skip: Sequence[str] = (), as_text: Sequence[str] = (), as_numbers: Sequence[str] = ()
) -> Table:
    r"""Read a whole table; a column whose every value is a number becomes numbers, any other text.

    Args:
        path: CSV, Parquet or Arrow file.
        skip: Columns passed over unread.
        as_text: Columns read as text though they hold numbers.
        as_numbers: Columns read as numbers though they hold text; what is no number becomes missing, with a note.

    Raises:
        TableError: When the file is no table, has no rows, or holds an infinity.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "steel.csv"
        >>> _ = file.write_text("C;grade\n0,45;C45\nNA;42CrMo4\n")
        >>> table = read_table(file)
        >>> table.columns["C"], table.columns["grade"]
        (array([0.45,  nan]), array(['C45', '42CrMo4'], dtype=object))
    """
    with open_source(path) as source:
        names = tuple(name for name in source.names if name not in set(skip))
        content = source.read(names)
        n_rows = int(content.num_rows)
        if n_rows == 0:
            msg = f"a table must have rows, however {path.name} has a header only"
            raise TableError(msg)
        columns: dict[str, Column] = {}
        notes: list[str] = []
        texts: dict[str, Text] = {}
        for name in names:
            raw = content.column(name)
            if name in as_text:
                columns[name] = texts_of(path.name, name, raw)
                continue
            values, unreadable = numbers_of(raw, source.decimal)
            n_unreadable = int(unreadable.sum())
            if n_unreadable and name not in as_numbers:
                columns[name] = texts_of(path.name, name, raw)
                texts[name] = _text(raw, values, unreadable)
                continue
            if n_unreadable:
                notes.append(f"column {name!r}: {n_unreadable} of {n_rows} values are no numbers and count as missing")
            _refuse_infinity(source, name, values, 0)
            columns[name] = values
    return Table(names, columns, n_rows, tuple(notes), texts)


@dataclass(frozen=True)
class Judged:
    """What the columns of a table hold, found in a pass over all rows.

    Attributes:
        n_rows: Rows.
        numbers: Columns whose every value is a number, and those that were to be taken as numbers.
        texts: The others → why, None for those that were asked for.
        n_missing: Column → missing values, those that are no numbers among them where it is to be a number.
        notes: What was decided while reading, for people.
    """

    n_rows: int
    numbers: tuple[str, ...]
    texts: dict[str, Text | None]
    n_missing: dict[str, int]
    notes: tuple[str, ...]


def has_more_rows(path: Path, n_rows: int) -> bool:
    """Tell whether a table has more rows, without reading more than it takes to know.

    Raises:
        TableError: When the file is no table.
    """
    with open_source(path) as source:
        seen = 0
        for raw in source.batches(_PASS_ROWS, source.names[:1]):
            seen += int(raw.num_rows)
            if seen > n_rows:
                return True
    return False


def judge_columns(
    path: Path, *, skip: Sequence[str] = (), as_text: Sequence[str] = (), as_numbers: Sequence[str] = ()
) -> Judged:
    """Find which columns are numbers as `read_table` does, in memory that does not grow with the file.

    Args:
        path: CSV, Parquet or Arrow file.
        skip: As the rest, see `read_table`.
        as_text: Columns read as text.
        as_numbers: Columns read as numbers.

    Raises:
        TableError: When the file is no table, or has no rows.
    """
    with open_source(path) as source:
        names = tuple(name for name in source.names if name not in set(skip))
        texts: dict[str, Text | None] = {name: None for name in names if name in as_text}
        unreadable = dict.fromkeys(names, 0)
        nulls, gaps = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        n_rows = 0
        for raw in source.batches(_PASS_ROWS, names):
            n_rows += int(raw.num_rows)
            for name in names:
                column = raw.column(name)
                nulls[name] += n_missing_texts(column)
                if name in texts:
                    continue
                values, wrong = numbers_of(column, source.decimal)
                unreadable[name] += int(wrong.sum())
                gaps[name] += int(np.isnan(values).sum())
                if wrong.any() and name not in as_numbers:
                    texts[name] = _text(column, values, wrong, n_rows - len(wrong))
        if n_rows == 0:
            msg = f"a table must have rows, however {path.name} has a header only"
            raise TableError(msg)
    return Judged(
        n_rows,
        tuple(name for name in names if name not in texts),
        {name: texts[name] for name in names if name in texts},
        {name: nulls[name] if name in texts else gaps[name] for name in names},
        tuple(
            f"column {name!r}: {unreadable[name]} of {n_rows} values are no numbers and count as missing"
            for name in names
            if name in as_numbers and unreadable[name]
        ),
    )


def iter_batches(
    path: Path,
    *,
    numbers: Sequence[str],
    texts: Sequence[str],
    lenient: Sequence[str] = (),
    n_rows: int = 16_384,
    whole: bool = True,
) -> Iterator[Batch]:
    """Read a table in batches of at most `n_rows` rows, in order, in memory that does not grow with the file.

    Args:
        path: CSV, Parquet or Arrow file.
        numbers: Columns to read as numbers.
        texts: Columns to read as text.
        lenient: Those among `numbers` in which what is no number is missing.
        n_rows: Most rows of a batch.
        whole: Whether `Batch.raw` has all columns of the file, or only those that are read.

    Raises:
        TableError: When the file is no table, has no rows, lacks columns (all are named), holds text where a number
            is due or an infinity (column and line are named).
    """
    with open_source(path) as source:
        missing = [name for name in (*numbers, *texts) if name not in source.names]
        if missing:
            shown = ", ".join(ascii(name) for name in missing)
            has = ", ".join(ascii(name[:80]) for name in source.names[:20])
            msg = f"the table must have the columns {shown}, however {path.name} lacks them; it has {has}"
            raise TableError(msg)
        first_row = 0
        for raw in source.batches(n_rows, source.names if whole else (*numbers, *texts)):
            columns: dict[str, Column] = {}
            for name in numbers:
                values, unreadable = numbers_of(raw.column(name), source.decimal)
                if unreadable.any() and name not in lenient:
                    row = int(np.flatnonzero(unreadable)[0])
                    observed = ascii(str(raw.column(name)[row].as_py())[:40])
                    msg = (
                        f"column {name!r} must hold numbers, however {source.place(first_row + row)} of {path.name} "
                        f"holds {observed}"
                    )
                    raise TableError(msg)
                _refuse_infinity(source, name, values, first_row)
                columns[name] = values
            for name in texts:
                columns[name] = texts_of(path.name, name, raw.column(name))
            yield Batch(first_row, columns, raw)
            first_row += int(raw.num_rows)
        if first_row == 0:
            msg = f"a table must have rows, however {path.name} has a header only"
            raise TableError(msg)


def place_of_row(path: Path, row: int) -> str:
    """Return where a row (from 0) stands, for a message: "line 7" of delimited text, "row 6" elsewhere."""
    with open_source(path) as source:
        return source.place(row)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, lower-case hexadecimal, read in pieces.

    Raises:
        TableError: When it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        msg = f"a table must be a readable file, however {path}: {error.strerror}; check the path"
        raise TableError(msg) from error


def _text(column: Any, values: NDArray[np.float64], unreadable: NDArray[np.bool_], first_row: int = 0) -> Text:
    row = int(np.flatnonzero(unreadable)[0])
    mostly_numbers = int(unreadable.sum()) <= int((~np.isnan(values)).sum())
    return Text(str(column[row].as_py()), first_row + row, mostly_numbers)


def _refuse_infinity(source: Source, name: str, values: NDArray[np.float64], first_row: int) -> None:
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        msg = (
            f"numbers must be finite, however column {name!r} has {infinite.size} infinite, the first at "
            f"{source.place(first_row + int(infinite[0]))} of {source.path.name}; "
            "leave the field empty where the value is not known"
        )
        raise TableError(msg)
