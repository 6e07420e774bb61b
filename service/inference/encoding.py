"""From rows and columns to the graph's input tensors, checked against the manifest."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract.columns import UNSEEN_LEVEL
from models.contract.dates import read_moments
from models.contract.manifest import CategoryColumn, DateColumn, ModelManifest, NumberColumn
from service.errors import InputShapeError, InvalidRequestError, quote
from service.inference.batches import UNLIMITED, Batch, SequenceLimits
from service.inference.faults import Faults, kind_of
from service.inference.sequence_encoding import encode_sequences

Values = Sequence[object] | NDArray[Any]

_MAX_LEVELS_LISTED = 20
_MUST_BE_GIVEN = "a value must be given (the model does not answer for a missing one), however it is missing"
_NUMBER_TYPES = frozenset({int, float, type(None)})
_TEXT_OR_MISSING = frozenset({str, type(None)})


class Encoded(NamedTuple):
    """Rows as the graph takes them.

    Attributes:
        numeric: Number columns in the graph's dtype, missing values as NaN, shape (n_rows, d_numeric).
        categorical: Category columns as text, missing values as "", shape (n_rows, d_categorical).
        in_range: Whether every number and date of the row, and the length of a sequence, lies in the range seen in
            training and every level was seen there, shape (n_rows,); a missing value counts as inside.
        sequences: What a model of sequences is given run by run.
    """

    numeric: NDArray[np.floating[Any]]
    categorical: NDArray[np.object_]
    in_range: NDArray[np.bool_]
    sequences: tuple[Batch, ...] = ()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.in_range)


def encode_records(
    manifest: ModelManifest, rows: Sequence[Mapping[str, object]], limits: SequenceLimits = UNLIMITED
) -> Encoded:
    """Encode rows given as one mapping each.

    Args:
        manifest: The model's manifest.
        rows: Column name → value, for each row; None is a missing value.
        limits: How much a model of sequences is asked for.

    Raises:
        InputShapeError: When there is no row, or a row lacks a column or has one that the model does not know.
        InvalidRequestError: When a value is not one that the column takes.
    """
    names = [column.name for column in manifest.inputs]
    wanted = set(names)
    faults = Faults()
    for i, row in enumerate(rows):
        if row.keys() != wanted:
            _compare_names(names, row, faults, i)
            if faults.full:
                break
    faults.refuse(InputShapeError)
    return encode_columns(manifest, {name: [row[name] for row in rows] for name in names}, limits)


def encode_split(
    manifest: ModelManifest,
    columns: Sequence[str],
    data: Sequence[Sequence[object]],
    limits: SequenceLimits = UNLIMITED,
) -> Encoded:
    """Encode rows given as lists of values in the order of `columns`.

    Args:
        manifest: The model's manifest.
        columns: Column names, each once, in any order.
        data: One list of values per row; None is a missing value.
        limits: How much a model of sequences is asked for.

    Raises:
        InputShapeError: When there is no row, a column is repeated, missing or unknown, or rows are ragged.
        InvalidRequestError: When a value is not one that the column takes.
    """
    faults = Faults()
    _refuse_repeated(columns, faults)
    for i, row in enumerate(data):
        if len(row) != len(columns):
            faults.add(f"a row must have one value per column ({len(columns)}), however it has {len(row)}", row=i)
    faults.refuse(InputShapeError)
    by_column: Iterable[Sequence[object]] = zip(*data, strict=True) if data else [()] * len(columns)
    return encode_columns(manifest, dict(zip(columns, by_column, strict=True)), limits)


def encode_columns(
    manifest: ModelManifest, columns: Mapping[str, Values], limits: SequenceLimits = UNLIMITED
) -> Encoded:
    """Encode columns of values.

    Arrays of integers or floating-point numbers are taken as they are, without a loop in Python; other sequences are
    checked value by value. None and NaN are missing values; in a category column, so is "".

    Args:
        manifest: The model's manifest.
        columns: Column name → values, all of one length.
        limits: How much a model of sequences is asked for.

    Raises:
        InputShapeError: When there is no row, a column is missing or unknown, or columns differ in length.
        InvalidRequestError: When a value is not one that the column takes: text or a boolean for a number, a number
            that is infinite or too large for the graph's dtype, text that is no date, a missing value or a level that
            the model does not know.
    """
    n_rows = _check_shape(manifest, columns)
    if manifest.sequence is not None:
        values = columns[manifest.sequence.name]
        given = values.tolist() if isinstance(values, np.ndarray) else values
        sequences, in_range = encode_sequences(manifest.sequence, manifest.graph.dtype, given, limits)
        return Encoded(np.empty((n_rows, 0)), np.empty((n_rows, 0), dtype=object), in_range, sequences)
    dtype = np.dtype(manifest.graph.dtype)
    largest = float(np.finfo(dtype).max)
    faults = Faults()
    numbers, categories = manifest.numbers, manifest.categories
    raw = np.empty((n_rows, len(numbers)))
    ranged = np.ones(len(numbers), dtype=np.bool_)
    j = 0
    for column in manifest.inputs:
        if isinstance(column, NumberColumn):
            values = columns[column.name]
            if isinstance(values, np.ndarray) and _is_inside(column, values, largest):
                raw[:, j], ranged[j] = values, False
            else:
                raw[:, j] = _encode_numbers(column, values, dtype, faults)
            j += 1
        elif isinstance(column, DateColumn):
            raw[:, j : j + len(column.parts)] = _encode_dates(column, columns[column.name], faults)
            j += len(column.parts)
    categorical = np.empty((n_rows, len(categories)), dtype=object)
    seen = np.ones(n_rows, dtype=np.bool_)
    for j, category in enumerate(categories):
        categorical[:, j] = _encode_levels(category, columns[category.name], faults)
        if category.unseen == "other":
            seen &= categorical[:, j] != UNSEEN_LEVEL
    faults.refuse(InvalidRequestError)
    for j in np.flatnonzero(ranged).tolist():
        seen &= ~((raw[:, j] < numbers[j].minimum) | (raw[:, j] > numbers[j].maximum))
    return Encoded(raw.astype(dtype, copy=False), categorical, seen)


def _is_inside(column: NumberColumn, values: NDArray[Any], largest: float) -> bool:
    """Return whether an array of floats lies in the range seen in training, which leaves nothing else to check.

    Smallest and largest take a tenth of the time of looking for infinities, missing values and rows outside.
    """
    if values.dtype.kind != "f":
        return False
    lowest, highest = float(values.min()), float(values.max())  # compared as float64, whatever the array holds
    return max(column.minimum, -largest) <= lowest and highest <= min(column.maximum, largest)


def check_columns(manifest: ModelManifest, columns: Sequence[str]) -> None:
    """Compare the columns given with those of a model, before there are rows.

    Raises:
        InputShapeError: When a column is repeated, missing or unknown.
    """
    faults = Faults()
    _refuse_repeated(columns, faults)
    _compare_names([column.name for column in manifest.inputs], dict.fromkeys(columns), faults)
    faults.refuse(InputShapeError)


def _refuse_repeated(columns: Sequence[str], faults: Faults) -> None:
    for name, times in Counter(columns).items():
        if times > 1:
            faults.add(f"a column must be named once, however it is named {times} times", name)


def _check_shape(manifest: ModelManifest, columns: Mapping[str, Values]) -> int:
    faults = Faults()
    _compare_names([column.name for column in manifest.inputs], columns, faults)
    faults.refuse(InputShapeError)
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        faults.add(f"columns must be equally long, however their lengths run from {min(lengths)} to {max(lengths)}")
    elif lengths == {0}:
        faults.add("a request must have at least one row, however it has none")
    faults.refuse(InputShapeError)
    return lengths.pop()


def _compare_names(wanted: Sequence[str], given: Mapping[str, object], faults: Faults, row: int | None = None) -> None:
    for name in wanted:
        if name not in given:
            faults.add("the column is missing; send every column, null for a missing value", name, row)
    known = set(wanted)
    if unknown := [name for name in given if name not in known]:
        message = f"the model does not know this column; it takes: {_listed(wanted)}"
        for name in unknown:
            faults.add(message, name, row)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LEVELS_LISTED
    return ", ".join(quote(name) for name in names[:_MAX_LEVELS_LISTED]) + (f" and {more} more" if more > 0 else "")


def _encode_numbers(
    column: NumberColumn, values: Values, dtype: np.dtype[np.floating[Any]], faults: Faults
) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        encoded = values.astype(np.float64)
    elif not isinstance(values, np.ndarray) and set(map(type, values)) <= _NUMBER_TYPES:
        try:
            encoded = np.array(values, dtype=np.float64)
        except OverflowError:
            encoded = _each(values, column, faults, _number)
    else:
        encoded = _each(values, column, faults, _number)
    infinite = np.flatnonzero(np.isinf(encoded))
    faults.add_rows("a number must be finite, however it is infinite or too large for float64", column.name, infinite)
    if dtype == np.float32:
        too_large = np.flatnonzero((np.abs(encoded) > np.finfo(np.float32).max) & np.isfinite(encoded))
        faults.add_rows("a number must fit this model's float32, however it is too large", column.name, too_large)
    if not column.may_be_missing:
        faults.add_rows(_MUST_BE_GIVEN, column.name, np.flatnonzero(np.isnan(encoded)))
    return encoded


def _each(
    values: Values, column: NumberColumn, faults: Faults, read: Callable[[object], float | str]
) -> NDArray[np.float64]:
    """Read value by value; where `read` returns text, that is the fault and the value counts as 0."""
    encoded = np.zeros(len(values))
    for i, value in enumerate(values):
        number = read(value)
        if isinstance(number, str):
            faults.add(f"a value must be a number, however it is {number}", column.name, i)
        else:
            encoded[i] = number
    return encoded


def _number(value: object) -> float | str:
    if value is None:
        return float("nan")
    if isinstance(value, bool | np.bool_):
        return "a boolean"
    if isinstance(value, int | float | np.integer | np.floating):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return kind_of(value)


def _encode_dates(column: DateColumn, values: Values, faults: Faults) -> NDArray[np.float64]:
    given: list[str | None] = []
    for i, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
        if value is None or isinstance(value, str):
            given.append(value)
            continue
        given.append(None)
        if not (isinstance(value, float) and value != value):
            faults.add(f"a date must be text such as 2026-03-01, however it is {kind_of(value)}", column.name, i)
    moments, unreadable = read_moments(given)
    for i in unreadable:
        faults.add(
            f"a date must be text such as 2026-03-01, 2026-03-01T14:30 or 01.03.2026, however: {quote(str(given[i]))}",
            column.name,
            i,
        )
    if not column.may_be_missing:
        faults.add_rows(_MUST_BE_GIVEN, column.name, np.flatnonzero([value is None or not value for value in given]))
    return column.values(moments)


def _encode_levels(column: CategoryColumn, values: Values, faults: Faults) -> NDArray[np.object_]:
    given: Sequence[object] = values.tolist() if isinstance(values, np.ndarray) else values
    known = set(column.categories)
    if not set(map(type, given)) <= _TEXT_OR_MISSING:
        given = [None if isinstance(value, float) and value != value else value for value in given]
    unseen = f"a level must be one seen in training ({_listed(column.categories)}), however: "
    encoded = np.empty(len(given), dtype=object)
    for i, value in enumerate(given):
        if value is None or (isinstance(value, str) and not value):
            encoded[i] = ""
            if not column.may_be_missing:
                faults.add(_MUST_BE_GIVEN, column.name, i)
        elif not isinstance(value, str):
            faults.add(f"a value must be text, however it is {kind_of(value)}", column.name, i)
        elif value not in known and column.unseen == "other":
            encoded[i] = UNSEEN_LEVEL
        elif value not in known:
            faults.add(unseen + quote(value), column.name, i)
        else:
            encoded[i] = value
    return encoded
