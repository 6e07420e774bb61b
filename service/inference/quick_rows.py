"""Reads the bodies that most requests have with validators compiled per model, and large ones in blocks.

The strict reader (`service.api.json_body`, `service.api.schemas`, `service.inference.encoding`) decides what is right
and says what is wrong. This one answers only where it is sure that the strict reader would accept the body and read the
same numbers; for anything else, wrong or merely unusual, it returns None and the strict reader takes over. So a fault
costs time, never another answer.

What a compiled validator cannot see is settled by counting: a repeated key, of which it would take the last, brings at
least two quotation marks more than the accepted content needs.

A body over `BLOCK_BYTES` is cut between rows: the body without its rows is validated as a small one, then the rows
block by block, with a breath between two blocks in which other threads get on. A block of nothing but numbers is read
by simdjson into one buffer, without a Python object per number. It flattens nested arrays, so the shape is checked
apart: what remains of a block when the characters of numbers and white space are removed must be the brackets and
commas of whole rows.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import le
from typing import Any, Final, NamedTuple

import numpy as np
import simdjson
from numpy.typing import NDArray
from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as schemas

from models.contract.manifest import CategoryColumn, Column, NumberColumn
from service.inference.encoding import Encoded
from service.inference.registry import Registry
from service.inference.session import ModelSession

BLOCK_BYTES: Final = 128 * 1024
"""Size of a block: about 250 rows of 28 numbers as records, read in about a millisecond."""

_NUMBER_CHARACTERS: Final = b"0123456789+-.eE \t\r\n"
_ROWS_START: Final = re.compile(rb'"(rows|data)"[ \t\r\n]*:[ \t\r\n]*\[')
_WHITE_SPACE: Final = b" \t\r\n"
_PARTING: Final = re.compile(rb"[ \t\r\n]*,")
_MAX_START: Final = 64 * 1024
"""Where the rows of a large body must have begun; 2,000 column names take less."""


class QuickRequest(NamedTuple):
    """A request that needs no second look.

    Attributes:
        session: The model that answers.
        encoded: Its rows.
        split: Whether it is in the split form, so that the answer is too.
    """

    session: ModelSession
    encoded: Encoded
    split: bool


class QuickReader:
    """Reads requests to the newest version of every loaded model that takes rows of numbers and closed categories.

    Args:
        registry: The models.
        max_rows: Most rows that a request may have.
    """

    def __init__(self, registry: Registry, max_rows: int) -> None:
        self._models = {}
        for name in registry.names:
            versions = registry.versions(name)
            session = versions.loaded.get(versions.latest)
            if session is not None and all(map(_is_quick, session.manifest.inputs)):
                self._models[name] = _QuickModel(session)
        self._max_rows = max_rows
        self._whole = {
            split: _any_model({name: model.request(split, max_rows) for name, model in self._models.items()})
            for split in (False, True)
        }
        self._without_rows = {
            split: _any_model({name: model.request(split, 0) for name, model in self._models.items()})
            for split in (False, True)
        }

    def read(self, body: bytes) -> QuickRequest | None:
        """Return the request in a body, or None where the strict reader has to decide."""
        if not self._models:
            return None
        try:
            return self._read_whole(body) if len(body) <= BLOCK_BYTES else self._read_blocks(body)
        except (ValidationError, ValueError):
            return None

    def _read_whole(self, body: bytes) -> QuickRequest | None:
        split = b'"columns"' in body
        request: dict[str, Any] = self._whole[split].validate_json(body)
        model = self._models[request["model"]]
        encoded = model.encode(request["data" if split else "rows"], split)
        if encoded is None or body.count(b'"') != model.quotes(request, split) + encoded[1]:
            return None
        return QuickRequest(model.session, encoded[0], split)

    def _read_blocks(self, body: bytes) -> QuickRequest | None:
        start = _ROWS_START.search(body, 0, _MAX_START)
        end = body.rfind(b"]")
        if start is None or end < start.end():
            return None
        split = start[1] == b"data"
        without_rows = body[: start.end()] + body[end:]
        request = self._without_rows[split].validate_json(without_rows)
        model = self._models[request["model"]]
        if without_rows.count(b'"') != model.quotes(request, split):
            return None
        read = model.block_reader(split)
        parts: list[Encoded] = []
        n_rows = 0
        for block in _blocks(body, start.end(), end, b"]" if split else b"}"):
            part = read(block)
            if part is None:
                return None
            n_rows += part.n_rows
            if n_rows > self._max_rows:
                return None
            parts.append(part)
            time.sleep(0)  # lets go of the interpreter's lock, so that small requests are answered in between
        return QuickRequest(model.session, _joined(parts), split)


class _QuickModel:
    """What the quick reader knows of one model, worked out once."""

    def __init__(self, session: ModelSession) -> None:
        manifest = session.manifest
        self.session = session
        self._manifest = manifest
        self._columns = [column for column in manifest.inputs if isinstance(column, NumberColumn | CategoryColumn)]
        self._names = [column.name for column in self._columns]
        self._dtype = np.dtype(manifest.graph.dtype)
        self._lowest = [column.minimum for column in manifest.numbers]
        self._highest = [column.maximum for column in manifest.numbers]
        self._minimum = np.array(self._lowest)
        self._maximum = np.array(self._highest)
        self._all_numbers = not manifest.categories
        self._number_at = [i for i, column in enumerate(self._columns) if isinstance(column, NumberColumn)]
        self._category_at = [i for i, column in enumerate(self._columns) if isinstance(column, CategoryColumn)]
        self._empty_row = b"[" + b"," * (len(self._names) - 1) + b"]"
        self._largest = float(np.finfo(self._dtype).max)
        self._buffered = self._all_numbers and not any(column.may_be_missing for column in manifest.numbers)
        self._blocks = {split: SchemaValidator(self._rows(split, 1, None)) for split in (False, True)}

    def request(self, split: bool, max_rows: int) -> schemas.CoreSchema:
        """Return the schema of a request with 1 to `max_rows` rows, or with none where that is 0."""
        rows = self._rows(split, min(1, max_rows), max_rows)
        version = self._manifest.version
        fields = {
            "model": schemas.typed_dict_field(schemas.str_schema(strict=True)),
            "version": schemas.typed_dict_field(
                schemas.nullable_schema(schemas.int_schema(strict=True, ge=version, le=version)), required=False
            ),
            "data" if split else "rows": schemas.typed_dict_field(rows),
        }
        if split:
            names: list[schemas.CoreSchema] = [schemas.literal_schema([name]) for name in self._names]
            fields["columns"] = schemas.typed_dict_field(schemas.tuple_schema(names))
        return schemas.typed_dict_schema(fields, extra_behavior="forbid")

    def _rows(self, split: bool, fewest: int, most: int | None) -> schemas.CoreSchema:
        values = [_value_schema(column, self._largest) for column in self._columns]
        row: schemas.CoreSchema
        if split:
            row = schemas.tuple_schema(values)
        else:
            fields = {name: schemas.typed_dict_field(value) for name, value in zip(self._names, values, strict=True)}
            row = schemas.typed_dict_schema(fields, extra_behavior="forbid")
        return schemas.list_schema(row, min_length=fewest, max_length=most)

    def quotes(self, request: Mapping[str, Any], split: bool) -> int:
        """Return the quotation marks of a request's keys, its model's name and its column names."""
        return 2 * (len(request) + 1 + (len(self._names) if split else 0))

    def encode(self, rows: Sequence[Any], split: bool) -> tuple[Encoded, int]:
        """Return validated rows as arrays, and the quotation marks of their keys and levels."""
        n_strings = 0 if split else len(rows) * len(self._names)
        values: Sequence[Sequence[Any]] = rows if split else [list(row.values()) for row in rows]
        if self._buffered and len(values) == 1:
            (row,) = values
            inside = all(map(le, self._lowest, row)) and all(map(le, row, self._highest))
            return Encoded(np.array(values, dtype=self._dtype), _NO_LEVELS, np.array([inside])), 2 * n_strings
        if self._all_numbers:
            return self._encoded(np.array(values, dtype=np.float64), _no_levels(len(rows))), 2 * n_strings
        columns = list(zip(*values, strict=True))
        numeric = np.empty((len(rows), len(self._number_at)))
        for j, i in enumerate(self._number_at):
            numeric[:, j] = columns[i]
        categorical = np.empty((len(rows), len(self._category_at)), dtype=object)
        for j, i in enumerate(self._category_at):
            categorical[:, j] = ["" if level is None else level for level in columns[i]]
            n_strings += sum(level is not None for level in columns[i])
        return self._encoded(numeric, categorical), 2 * n_strings

    def block_reader(self, split: bool) -> Callable[[bytes], Encoded | None]:
        """Return what reads a block of rows, given as a JSON array."""
        if split and self._buffered:
            parser = simdjson.Parser()
            return lambda block: self._read_numbers(parser, block)
        validator = self._blocks[split]
        return lambda block: self._read_block(validator, block, split)

    def _read_block(self, validator: SchemaValidator, block: bytes, split: bool) -> Encoded | None:
        encoded, n_quotes = self.encode(validator.validate_json(block), split)
        return encoded if block.count(b'"') == n_quotes else None

    def _read_numbers(self, parser: simdjson.Parser, block: bytes) -> Encoded | None:
        frame = block.translate(None, _NUMBER_CHARACTERS)
        n_rows = (len(frame) - 1) // (len(self._empty_row) + 1)
        if n_rows < 1 or frame != b"[" + b",".join([self._empty_row] * n_rows) + b"]":
            return None
        try:
            rows = parser.parse(block)
        except RuntimeError:  # what simdjson raises for an integer of more than 64 bits
            return None
        if not isinstance(rows, simdjson.Array):
            return None
        numbers = np.frombuffer(rows.as_buffer(of_type="d"))
        if len(numbers) != n_rows * len(self._names) or np.abs(numbers).max() > self._largest:
            return None
        return self._encoded(numbers.reshape(n_rows, -1), _no_levels(n_rows))

    def _encoded(self, numeric: NDArray[np.float64], categorical: NDArray[np.object_]) -> Encoded:
        outside = (numeric < self._minimum) | (numeric > self._maximum)
        inside = np.logical_not(outside.any(axis=1))
        return Encoded(numeric.astype(self._dtype, copy=False), categorical, inside)


def _is_quick(column: Column) -> bool:
    """Tell whether a compiled validator knows all values of a column: no dates, no levels yet to be seen."""
    return isinstance(column, NumberColumn) or (isinstance(column, CategoryColumn) and column.unseen == "refuse")


_NO_LEVELS: Final = np.empty((1, 0), dtype=object)


def _no_levels(n_rows: int) -> NDArray[np.object_]:
    return np.empty((n_rows, 0), dtype=object)


def _value_schema(column: NumberColumn | CategoryColumn, largest: float) -> schemas.CoreSchema:
    value: schemas.CoreSchema
    if isinstance(column, NumberColumn):
        value = schemas.float_schema(strict=True, allow_inf_nan=False, ge=-largest, le=largest)
    else:
        value = schemas.literal_schema(list(column.categories))
    return schemas.nullable_schema(value) if column.may_be_missing else value


def _any_model(requests: Mapping[str, schemas.CoreSchema]) -> SchemaValidator:
    return SchemaValidator(schemas.tagged_union_schema(dict(requests), discriminator="model"))


def _blocks(body: bytes, start: int, end: int, closer: bytes) -> Iterator[bytes]:
    """Cut the rows between `start` and `end` behind a row's last character, each block as an array of its own.

    Raises:
        ValueError: When two blocks are not parted by one comma.
    """
    while True:
        cut = body.find(closer, start + BLOCK_BYTES, end) + 1 or end
        yield b"[" + body[start:cut] + b"]"
        parting = _PARTING.match(body, cut, end)
        if parting is None:
            if body[cut:end].strip(_WHITE_SPACE):
                msg = "two rows must be parted by a comma"
                raise ValueError(msg)
            return
        start = parting.end()


def _joined(parts: Sequence[Encoded]) -> Encoded:
    return Encoded(
        np.concatenate([part.numeric for part in parts]),
        np.concatenate([part.categorical for part in parts]),
        np.concatenate([part.in_range for part in parts]),
    )
