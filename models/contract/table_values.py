"""The values of a table's columns: numbers, text, and what stands for a missing one.

Importing `pyarrow` takes a fifth of a second, and a service that answers JSON never needs it: functions import it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.errors import TableError

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL")
"""Values that stand for a missing one, in every column."""

_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity|nan)$"


def n_missing_texts(column: Any) -> int:
    """Return how many values of a column are missing as text, where it is text; else its nulls."""
    import pyarrow as pa

    n_missing = 0
    for chunk in _chunks(column):
        plain = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        textual = pa.types.is_string(plain.type) or pa.types.is_large_string(plain.type)
        n_missing += int((_trimmed(plain) if textual else plain).null_count)
    return n_missing


def _chunks(column: Any) -> list[Any]:
    return list(column.chunks) if hasattr(column, "chunks") else [column]


def _trimmed(chunk: Any) -> Any:
    """Return text without surrounding white space, missing values as nulls."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(chunk)
    return pc.if_else(pc.is_in(text, value_set=pa.array(MISSING, text.type)), pa.scalar(None, text.type), text)


def numbers_of(column: Any, decimal: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers of a `pyarrow` column, missing and unreadable values as NaN, and which are unreadable."""
    import pyarrow as pa

    values: list[NDArray[np.float64]] = []
    unreadable: list[NDArray[np.bool_]] = []
    for chunk in _chunks(column):
        plain = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        kind = plain.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            numbers = _parsed(_trimmed(plain), decimal)
            bad = np.asarray(numbers.is_null()) & np.asarray(_trimmed(plain).is_valid())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.null():
            numbers = plain.cast(pa.float64(), safe=False)
            bad = np.zeros(len(plain), dtype=np.bool_)
        else:
            numbers = pa.nulls(len(plain), pa.float64())
            bad = np.asarray(plain.is_valid())
        values.append(numbers.to_numpy(zero_copy_only=False).astype(np.float64))
        unreadable.append(bad.astype(np.bool_))
    if not values:
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    return np.concatenate(values), np.concatenate(unreadable)


def _parsed(text: Any, decimal: str) -> Any:
    """Return trimmed text as float64, nulls where it is missing or no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if decimal == ",":
        text = pc.if_else(pc.match_substring(text, "."), pa.scalar("no number", text.type), text)
        text = pc.replace_substring(text, ",", ".", max_replacements=1)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        return pc.if_else(pc.match_substring_regex(text, _NUMBER), text, pa.scalar(None, text.type)).cast(pa.float64())


def texts_of(table: str, name: str, column: Any) -> NDArray[np.object_]:
    """Return the text of a `pyarrow` column, missing values as None.

    Raises:
        TableError: When it holds something else; names table and column.
    """
    import pyarrow as pa

    parts: list[NDArray[np.object_]] = []
    for chunk in _chunks(column):
        try:
            plain = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
            plain.validate(full=True)
            if not pa.types.is_binary(plain.type):
                plain = plain.cast(pa.string())
            parts.append(_trimmed(plain).to_numpy(zero_copy_only=False).astype(object))
        except (pa.ArrowException, UnicodeDecodeError) as error:
            msg = (
                f"a column must hold numbers, text or times, however {name!r} of {table} holds "
                f"{str(chunk.type)[:80]}; leave it out or convert it"
            )
            raise TableError(msg) from error
    return np.concatenate(parts) if parts else np.zeros(0, dtype=object)
