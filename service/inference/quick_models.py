"""What the quick reader knows of a model: validators compiled for it, and how its rows become arrays."""

import struct
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter, le
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import SchemaValidator
from pydantic_core import core_schema as schemas

from models.contract.manifest import CategoryColumn, NumberColumn
from service.inference.costs import rows_at_once
from service.inference.encoding import Encoded
from service.inference.joint_runs import runs_jointly
from service.inference.number_blocks import column_extremes, read_numbers
from service.inference.session import ModelSession

PLAIN: Final = frozenset({float, int})
"""What numbers are parsed as; a boolean is neither."""


class QuickModel:
    """What the quick reader knows of one model, worked out once.

    Args:
        session: The model, of rows of numbers and categories.
        max_rows: Most rows that a request may have.

    Attributes:
        session: The model.
        whole: Whether in the split form → validates a small request.
        without_rows: The same for a large one whose rows were cut out.
        names: Its columns.
        all_numbers: Whether every column holds numbers.
        plain_numbers: Whether, besides, every one of them must be given.
        runs_jointly: Whether rows of several requests may be answered in one run.
        rows_at_once: Most rows that it runs on the event loop, by what a run was measured to take.
    """

    def __init__(self, session: ModelSession, max_rows: int) -> None:
        manifest = session.manifest
        self.session = session
        self.runs_jointly = runs_jointly(session)
        self.rows_at_once = rows_at_once(session)
        self._manifest = manifest
        self._columns = [column for column in manifest.inputs if isinstance(column, NumberColumn | CategoryColumn)]
        self.names = [column.name for column in self._columns]
        self._dtype = np.dtype(manifest.graph.dtype)
        self._lowest = [column.minimum for column in manifest.numbers]
        self._highest = [column.maximum for column in manifest.numbers]
        self._minimum = np.array(self._lowest)
        self._maximum = np.array(self._highest)
        self.all_numbers = not manifest.categories
        self._number_at = [i for i, column in enumerate(self._columns) if isinstance(column, NumberColumn)]
        self._category_at = [i for i, column in enumerate(self._columns) if isinstance(column, CategoryColumn)]
        self._largest = float(np.finfo(self._dtype).max)
        self._range_fits = bool((np.abs([self._minimum, self._maximum]) <= self._largest).all())
        packing = struct.Struct(f"{len(self.names)}d")
        self._packed, self._unpacked = packing.pack, packing.unpack
        self.plain_numbers = self.all_numbers and not any(column.may_be_missing for column in manifest.numbers)
        if len(self.names) > 1:
            self._in_order: Callable[[dict[str, Any]], Sequence[Any]] = itemgetter(*self.names)
        else:
            (only,) = self.names
            self._in_order = lambda row: [row[only]]
        self._blocks = {split: SchemaValidator(self._rows(split, 1, None)) for split in (False, True)}
        self.whole = {split: SchemaValidator(self._request(split, max_rows)) for split in (False, True)}
        self.without_rows = {split: SchemaValidator(self._request(split, 0)) for split in (False, True)}

    def _request(self, split: bool, max_rows: int) -> schemas.CoreSchema:
        """Return the schema of a request with 1 to `max_rows` rows, or with none where that is 0."""
        rows = self._rows(split, min(1, max_rows), max_rows)
        version = self._manifest.version
        fields = {
            "model": schemas.typed_dict_field(schemas.literal_schema([self._manifest.name])),
            "version": schemas.typed_dict_field(
                schemas.nullable_schema(schemas.int_schema(strict=True, ge=version, le=version)), required=False
            ),
            "data" if split else "rows": schemas.typed_dict_field(rows),
        }
        if split:
            names: list[schemas.CoreSchema] = [schemas.literal_schema([name]) for name in self.names]
            fields["columns"] = schemas.typed_dict_field(schemas.tuple_schema(names))
        return schemas.typed_dict_schema(fields, extra_behavior="forbid")

    def _rows(self, split: bool, fewest: int, most: int | None) -> schemas.CoreSchema:
        values = [_value_schema(column, self._largest) for column in self._columns]
        row: schemas.CoreSchema
        if split:
            row = schemas.tuple_schema(values)
        else:
            fields = {name: schemas.typed_dict_field(value) for name, value in zip(self.names, values, strict=True)}
            row = schemas.typed_dict_schema(fields, extra_behavior="forbid")
        return schemas.list_schema(row, min_length=fewest, max_length=most)

    def pack(self, request: dict[str, Any], rows: Any, max_rows: int, *, split: bool) -> bytes | None:
        """Return the rows of a parsed request to a model of plain numbers, or None where something is unusual.

        For these models it takes a third of the time of a compiled validator, since a row is looked at as a whole.

        Raises:
            KeyError: When a name is missing.
            TypeError: When something is of another type altogether.
        """
        if len(request) != 2 + split:
            if "version" not in request or len(request) != 3 + split:
                return None
            version = request["version"]
            if version is not None and (type(version) is not int or version != self._manifest.version):
                return None
        if type(rows) is not list or not 0 < len(rows) <= max_rows:
            return None
        width = len(self.names)
        if split:
            if request["columns"] != self.names:
                return None
            for row in rows:
                if type(row) is not list or len(row) != width or not set(map(type, row)) <= PLAIN:
                    return None
            return b"".join([self._packed(*row) for row in rows])
        packed = []
        for row in rows:
            if type(row) is not dict or len(row) != width:
                return None
            found = self._in_order(row)
            if not set(map(type, found)) <= PLAIN:
                return None
            packed.append(self._packed(*found))
        return b"".join(packed)

    def quotes(self, request: Mapping[str, Any], split: bool) -> int:
        """Return the quotation marks of a request's keys, its model's name and its column names."""
        return 2 * (len(request) + 1 + (len(self.names) if split else 0))

    def n_levels(self, rows: Sequence[Sequence[Any]]) -> int:
        """Return how many levels validated rows name."""
        return sum(row[i] is not None for row in rows for i in self._category_at)

    def encode(self, parts: Sequence[Any]) -> Encoded:
        """Return the rows of requests as arrays.

        Raises:
            ValueError: When a number is too large for the graph's type.
        """
        if self.plain_numbers:
            return self._encode_packed(b"".join(parts))
        return self._encode_rows([row for rows in parts for row in rows])

    def _encode_packed(self, packed: bytes) -> Encoded:
        numeric = np.frombuffer(packed).reshape(-1, len(self.names))
        n_rows = len(numeric)
        if n_rows == 1:
            row = self._unpacked(packed)
            inside = all(map(le, self._lowest, row)) and all(map(le, row, self._highest))
        else:
            inside = b"\0" not in ((numeric >= self._minimum) & (numeric <= self._maximum)).tobytes()
        if not (inside and self._range_fits) and np.abs(numeric).max() > self._largest:
            msg = "a number must fit the graph's type"
            raise ValueError(msg)
        if n_rows == 1:
            return Encoded(numeric.astype(self._dtype, copy=False), _NO_LEVELS, _INSIDE if inside else _OUTSIDE)
        in_range = np.ones(n_rows, dtype=np.bool_)
        if not inside:
            in_range[:] = ((numeric >= self._minimum) & (numeric <= self._maximum)).all(axis=1)
        return Encoded(numeric.astype(self._dtype, copy=False), _no_levels(n_rows), in_range)

    def _encode_rows(self, rows: Sequence[Sequence[Any]]) -> Encoded:
        """Return validated rows as arrays."""
        if self.all_numbers:
            return self._ranged(np.array(rows, dtype=np.float64), _no_levels(len(rows)))
        columns = list(zip(*rows, strict=True))
        numeric = np.empty((len(rows), len(self._number_at)))
        for j, i in enumerate(self._number_at):
            numeric[:, j] = columns[i]
        categorical = np.empty((len(rows), len(self._category_at)), dtype=object)
        for j, i in enumerate(self._category_at):
            categorical[:, j] = ["" if level is None else level for level in columns[i]]
        return self._ranged(numeric, categorical)

    def block_reader(self, split: bool) -> Callable[[bytes], Encoded | None]:
        """Return what reads a block of rows, given as a JSON array."""
        if split and self.plain_numbers:
            return self.read_numbers
        validator = self._blocks[split]
        return lambda block: self._read_block(validator, block, split)

    def _read_block(self, validator: SchemaValidator, block: bytes, split: bool) -> Encoded | None:
        validated = validator.validate_json(block)
        rows = validated if split else [list(row.values()) for row in validated]
        n_strings = (0 if split else len(rows) * len(self.names)) + (0 if self.all_numbers else self.n_levels(rows))
        return self._encode_rows(rows) if block.count(b'"') == 2 * n_strings else None

    def read_numbers(self, block: bytes | memoryview, most_rows: int | None = None) -> Encoded | None:
        """Read rows of plain numbers in the split form, or return None where the strict reader has to decide.

        Args:
            block: The rows, as a JSON array.
            most_rows: Most rows to read, or None for no limit.

        Raises:
            ValueError: When it is no JSON.
        """
        numeric = read_numbers(block, len(self.names), most_rows)
        if numeric is None:
            return None
        lowest, highest = column_extremes(numeric)
        if max(highest.max(), -lowest.min()) > self._largest:
            return None
        return self._encoded(numeric, _no_levels(len(numeric)), lowest, highest)

    def _ranged(self, numeric: NDArray[np.float64], categorical: NDArray[np.object_]) -> Encoded:
        lowest, highest = numeric.min(axis=0, initial=np.inf), numeric.max(axis=0, initial=-np.inf)
        return self._encoded(numeric, categorical, lowest, highest)

    def _encoded(
        self,
        numeric: NDArray[np.float64],
        categorical: NDArray[np.object_],
        lowest: NDArray[np.float64],
        highest: NDArray[np.float64],
    ) -> Encoded:
        """Return rows as the graph takes them, given the smallest and the largest value of each column."""
        if (lowest >= self._minimum).all() and (highest <= self._maximum).all():  # false where a value is missing
            inside = np.ones(len(numeric), dtype=np.bool_)
        else:
            outside = (numeric < self._minimum) | (numeric > self._maximum)
            inside = np.logical_not(outside.any(axis=1))
        return Encoded(numeric.astype(self._dtype, copy=False), categorical, inside)


_NO_LEVELS: Final = np.empty((1, 0), dtype=object)
_INSIDE: Final = np.array([True])
_OUTSIDE: Final = np.array([False])
for _shared in (_INSIDE, _OUTSIDE):
    _shared.setflags(write=False)


def _no_levels(n_rows: int) -> NDArray[np.object_]:
    return np.empty((n_rows, 0), dtype=object)


def _value_schema(column: NumberColumn | CategoryColumn, largest: float) -> schemas.CoreSchema:
    value: schemas.CoreSchema
    if isinstance(column, NumberColumn):
        value = schemas.float_schema(strict=True, allow_inf_nan=False, ge=-largest, le=largest)
    else:
        value = schemas.literal_schema(list(column.categories))
    return schemas.nullable_schema(value) if column.may_be_missing else value
