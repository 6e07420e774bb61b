"""Reads the bodies that most requests have with validators compiled per model, and large ones in blocks.

The strict reader (`service.api.json_body`, `service.api.schemas`, `service.inference.encoding`) decides what is right
and says what is wrong. This one answers only where it is sure that the strict reader would accept the body and read the
same numbers; for anything else, wrong or merely unusual, it returns None and the strict reader takes over. So a fault
costs time, never another answer.

What a compiled validator cannot see is settled by counting: a repeated key, of which it would take the last, brings at
least two quotation marks more than the accepted content needs.

A body over `BLOCK_BYTES` is cut between rows: the body without its rows is validated as a small one, then the rows
block by block, with a breath between two blocks in which other threads get on. A block of nothing but numbers is read
without a Python object per number (`service.inference.number_blocks`).
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter, le
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as schemas

from models.contract.manifest import CategoryColumn, Column, NumberColumn
from service.inference.breath import Breath
from service.inference.costs import rows_at_once
from service.inference.encoding import Encoded
from service.inference.joint_runs import runs_jointly
from service.inference.number_blocks import column_extremes, read_numbers
from service.inference.registry import Registry
from service.inference.session import ModelSession

BLOCK_BYTES: Final = 128 * 1024
"""Size of a block: about 250 rows of 28 numbers as records, read in about a millisecond."""

PLAIN: Final = frozenset({float, int})
"""What numbers are parsed as; a boolean is neither."""

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


class SmallRequest(NamedTuple):
    """A small request that needs no second look but at how large its numbers are.

    Attributes:
        model: The model that answers.
        rows: Its values in the order of the model's columns: a list for each row, or the bytes of all of them as
            float64 where the model takes plain numbers.
        n_rows: How many rows they are.
        split: Whether it is in the split form.
    """

    model: "QuickModel"
    rows: list[list[Any]] | bytes
    n_rows: int
    split: bool

    def written(self, rows: Sequence[bytes], in_range: Sequence[bool]) -> bytes:
        """Return the answer, given each row's outputs as text and whether it lay inside the range seen in training."""
        return self.model.session.answers.write(rows, in_range, split=self.split)


class QuickReader:
    """Reads requests to the default version of every loaded model that takes rows of numbers and closed categories.

    Args:
        registry: The models.
        max_rows: Most rows that a request may have.

    Attributes:
        max_rows: The same.
    """

    def __init__(self, registry: Registry, max_rows: int) -> None:
        self.max_rows = max_rows
        self._models: Mapping[str, QuickModel] = {}
        self.take(self.compiled(registry))

    def compiled(self, registry: Registry) -> Mapping[str, "QuickModel"]:
        """Return what is to be known of the models of a registry; of sessions known already nothing is done again."""
        known, models = self._models, dict[str, QuickModel]()
        for name in registry.names:
            session = registry.versions(name).default
            if session is None or not all(map(_is_quick, session.manifest.inputs)):
                continue
            before = known.get(name)
            models[name] = before if before and before.session is session else QuickModel(session, self.max_rows)
        return models

    def take(self, models: Mapping[str, "QuickModel"]) -> None:
        """Read requests to these models from now on; one assignment, so that no request sees half of it."""
        self._models = models

    def model(self, name: str) -> "QuickModel | None":
        """Return what is known of a model, None where its requests are not read here."""
        return self._models.get(name)

    def read(self, body: bytes) -> QuickRequest | None:
        """Return the request in a body, or None where the strict reader has to decide."""
        if not self._models:
            return None
        try:
            if len(body) > BLOCK_BYTES:
                return self._read_blocks(body)
            small = self.read_small(body)
            if small is None:
                return None
            return QuickRequest(small.model.session, small.model.encode([small.rows]), small.split)
        except (ValidationError, ValueError, TypeError, KeyError):
            return None

    def read_small(self, body: bytes) -> SmallRequest | None:
        """Return the request in a body of at most `BLOCK_BYTES`, or None where the strict reader has to decide."""
        try:
            request = orjson.loads(body)
            model = self._models[request["model"]]
            split = "rows" not in request
            rows: Any
            if model.plain_numbers:
                given = request["data" if split else "rows"]
                packed = model.pack(request, given, self.max_rows, split=split)
                if packed is None:
                    return None
                rows, n_rows = packed, len(given)
            else:
                request = model.whole[split].validate_json(body)
                rows = request["data"] if split else [list(row.values()) for row in request["rows"]]
                n_rows = len(rows)
        except (ValidationError, ValueError, TypeError, KeyError):
            return None
        n_strings = 0 if split else n_rows * len(model.names)
        if not model.all_numbers:
            n_strings += model.n_levels(rows)
        if body.count(b'"') != model.quotes(request, split) + 2 * n_strings:
            return None
        return SmallRequest(model, rows, n_rows, split)

    def read_at_once(self, body: bytes | bytearray, n_bytes: int) -> QuickRequest | None:
        """Return the request in a body of plain numbers in the split form, read without a pause.

        Args:
            body: Memory that begins with the body.
            n_bytes: Length of the body.

        Returns:
            The request, or None where the model takes other than plain numbers, where it would run for longer than an
            event loop may be held up, or where the strict reader has to decide.
        """
        found = find_rows(body, n_bytes)
        if found is None or not found[2]:
            return None
        start, end, split = found
        try:
            model = self._model_around(bytes(body[:start] + body[end:n_bytes]), split)
            if model is None or not model.plain_numbers:
                return None
            with memoryview(body) as view, view[start - 1 : end + 1] as rows:
                encoded = model.read_numbers(rows, min(self.max_rows, model.rows_at_once))
        except (ValidationError, ValueError, TypeError, KeyError):
            return None
        return None if encoded is None else QuickRequest(model.session, encoded, split)

    def _model_around(self, without_rows: bytes, split: bool) -> "QuickModel | None":
        """Return the model that a large body without its rows asks, or None where there is something else in it.

        Raises:
            ValidationError: When it is no request.
            ValueError: When it is not even JSON.
            TypeError: When it is no object, or names no model by a text.
            KeyError: When it names none that is known.
        """
        model = self._models[orjson.loads(without_rows)["model"]]
        request = model.without_rows[split].validate_json(without_rows)
        return model if without_rows.count(b'"') == model.quotes(request, split) else None

    def _read_blocks(self, body: bytes) -> QuickRequest | None:
        found = find_rows(body, len(body))
        if found is None:
            return None
        start, end, split = found
        model = self._model_around(body[:start] + body[end:], split)
        if model is None:
            return None
        read = model.block_reader(split)
        breath = Breath()
        parts: list[Encoded] = []
        n_rows = 0
        for block in rows_in_blocks(body, start, end, split=split):
            part = read(block)
            if part is None:
                return None
            n_rows += part.n_rows
            if n_rows > self.max_rows:
                return None
            parts.append(part)
            breath.take()
        return QuickRequest(model.session, join_rows(parts), split)


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


def _is_quick(column: Column) -> bool:
    """Tell whether a compiled validator knows all values of a column: no dates, no levels yet to be seen."""
    return isinstance(column, NumberColumn) or (isinstance(column, CategoryColumn) and column.unseen == "refuse")


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


def find_rows(body: bytes | bytearray, n_bytes: int) -> tuple[int, int, bool] | None:
    """Return where the rows of a large body seem to begin and to end, and whether in the split form.

    What is there is rows only where what is around it proves to be a request.

    Args:
        body: Memory that begins with the body.
        n_bytes: Length of the body.
    """
    start = _ROWS_START.search(body, 0, min(n_bytes, _MAX_START))
    end = body.rfind(b"]", 0, n_bytes)
    return None if start is None or end < start.end() else (start.end(), end, start[1] == b"data")


def rows_in_blocks(body: bytes, start: int, end: int, *, split: bool) -> Iterator[bytes]:
    """Cut the rows between `start` and `end` behind a row's last character, each block as an array of its own.

    Where every block is JSON, their elements are those of the rows: a cut within a text would leave it open.

    Raises:
        ValueError: When two blocks are not parted by one comma.
    """
    closer = b"]" if split else b"}"
    view = memoryview(body)
    while True:
        cut = body.find(closer, start + BLOCK_BYTES, end) + 1 or end
        yield b"".join((b"[", view[start:cut], b"]"))
        parting = _PARTING.match(body, cut, end)
        if parting is None:
            if body[cut:end].strip(_WHITE_SPACE):
                msg = "two rows must be parted by a comma"
                raise ValueError(msg)
            return
        start = parting.end()


def join_rows(parts: Sequence[Encoded]) -> Encoded:
    """Return the rows of all parts."""
    return Encoded(
        np.concatenate([part.numeric for part in parts]),
        np.concatenate([part.categorical for part in parts]),
        np.concatenate([part.in_range for part in parts]),
    )
