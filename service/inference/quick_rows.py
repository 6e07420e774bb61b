"""Reads the bodies that most requests have with validators compiled per model, and large ones in blocks.

The strict reader (`service.api.json_body`, `service.api.schemas`, `service.inference.encoding`) decides what is right
and says what is wrong. This one answers only where it is sure that the strict reader would accept the body and read the
same numbers; for anything else, wrong or merely unusual, it returns None and the strict reader takes over. So a fault
costs time, never another answer.

What a compiled validator cannot see is settled by counting: a repeated key, of which it would take the last, brings at
least two quotation marks more than the accepted content needs.

A body over `BLOCK_BYTES` is cut between rows (`service.inference.body_blocks`): the body without its rows is validated
as a small one, then the rows block by block, with a breath between two blocks in which other threads get on. A block of
nothing but numbers is read without a Python object per number (`service.inference.number_blocks`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from pydantic_core import ValidationError

from models.contract.manifest import CategoryColumn, Column, NumberColumn
from service.inference import body_blocks
from service.inference.body_blocks import find_rows, join_rows, rows_in_blocks
from service.inference.breath import Breath
from service.inference.encoding import Encoded
from service.inference.quick_models import QuickModel
from service.inference.registry import Registry
from service.inference.session import ModelSession


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

    model: QuickModel
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

    def compiled(self, registry: Registry) -> Mapping[str, QuickModel]:
        """Return what is to be known of the models of a registry; of sessions known already nothing is done again."""
        known, models = self._models, dict[str, QuickModel]()
        for name in registry.names:
            session = registry.versions(name).default
            if session is None or not all(map(_is_quick, session.manifest.inputs)):
                continue
            before = known.get(name)
            models[name] = before if before and before.session is session else QuickModel(session, self.max_rows)
        return models

    def take(self, models: Mapping[str, QuickModel]) -> None:
        """Read requests to these models from now on; one assignment, so that no request sees half of it."""
        self._models = models

    def model(self, name: str) -> QuickModel | None:
        """Return what is known of a model, None where its requests are not read here."""
        return self._models.get(name)

    def read(self, body: bytes) -> QuickRequest | None:
        """Return the request in a body, or None where the strict reader has to decide."""
        if not self._models:
            return None
        try:
            if len(body) > body_blocks.BLOCK_BYTES:
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

    def _model_around(self, without_rows: bytes, split: bool) -> QuickModel | None:
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


def _is_quick(column: Column) -> bool:
    """Tell whether a compiled validator knows all values of a column: no dates, no levels yet to be seen."""
    return isinstance(column, NumberColumn) or (isinstance(column, CategoryColumn) and column.unseen == "refuse")
