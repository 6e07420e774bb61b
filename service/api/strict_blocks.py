"""Reads large bodies as the strict reader does, in blocks of rows.

Read whole, a body of 100,000 rows holds the interpreter's lock for seconds, and nothing else is answered meanwhile. So
it is cut between rows as the quick reader does, and each block goes through the strict reader's own functions. The
faults found are the same, listed block by block. Only a body whose JSON is faulty, or which cannot be cut because a
text in it looks like the end of a row, is read whole, in a way that lets other threads get on.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, NamedTuple

from models.contract.errors import NaluError
from service.api.json_body import parse_json
from service.api.schemas import PredictRequest, PredictSplitRequest, read_predict_request
from service.errors import FaultyInputError, InputShapeError, InvalidRequestError, UnreadableBodyError
from service.inference.batches import SequenceLimits
from service.inference.body_blocks import find_rows, join_rows, rows_in_blocks
from service.inference.breath import Breath
from service.inference.encoding import Encoded, encode_records, encode_split
from service.inference.faults import Faults
from service.inference.registry import Registry
from service.inference.session import ModelSession

_SEAL: Final = secrets.token_hex(16)
"""Stands for the rows while the rest of the body is read; no body can hold it elsewhere."""


class StrictRows(NamedTuple):
    """A large request, read.

    Attributes:
        session: The model that answers.
        content: The request without its rows.
        encoded: Its rows.
    """

    session: ModelSession
    content: PredictRequest
    encoded: Encoded


def read_strictly_in_blocks(
    registry: Registry, body: bytes, max_rows: int, limits: SequenceLimits
) -> StrictRows | None:
    """Return the request in a large body, or None where it has to be read whole.

    Args:
        registry: The models.
        body: The request, in the records or the split form.
        max_rows: Most rows to answer.
        limits: How much a model of sequences may be asked for.

    Raises:
        FaultyInputError: When it follows no form, or its rows are not ones that the model takes.
        ModelNotFoundError: When there is no such model or version.
        ModelNotReadyError: When the version could not be loaded.
    """
    found = find_rows(body, len(body))
    if found is None:
        return None
    start, end, split = found
    key = "data" if split else "rows"
    try:
        frame = parse_json(b'%b"%b"%b' % (body[:start], _SEAL.encode(), body[end:]))
    except (UnreadableBodyError, InvalidRequestError):
        return None
    if not isinstance(frame, dict) or frame.get(key) != [_SEAL]:
        return None
    frame[key] = []
    content = session = told = None
    try:
        content = read_predict_request(frame, max_rows)
        session = registry.get(content.model, content.version)
    except NaluError as error:
        told = error  # once the rows are known to be JSON, which comes first
    if session is not None and session.manifest.sequence is not None:  # its limits are for all rows together
        return None
    rows_read = _Rows(key, session, content, limits)
    blocks = rows_in_blocks(body, start, end, split=split)
    breath = Breath()
    try:
        first = next(blocks)
        for block in chain([first], blocks):
            rows = parse_json(block)
            if not isinstance(rows, list) or not (rows or block is first):  # a comma too many before the end
                return None
            rows_read.take(rows)
            breath.take()
    except (UnreadableBodyError, ValueError):
        return None
    if content is None and told is not None:
        raise told
    rows_read.refuse_form(max_rows)
    if told is not None:
        raise told
    if session is None or content is None:
        return None
    return StrictRows(session, content, rows_read.encoded())


class _Rows:
    """Rows and faults, collected block by block.

    Args:
        key: Where the rows are in the request.
        session: The model, or None where there is none: the rows are only looked at.
        content: The request without them.
        limits: How much a model of sequences may be asked for.
    """

    def __init__(
        self, key: str, session: ModelSession | None, content: PredictRequest | None, limits: SequenceLimits
    ) -> None:
        self._key = key
        self._session = session
        self._content = content
        self._limits = limits
        self._n_rows = 0
        self._parts: list[Encoded] = []
        self._ended: FaultyInputError | None = None
        self._form = Faults()
        self._shape = Faults()
        self._values = Faults()

    def take(self, rows: Sequence[Any]) -> None:
        """Encode the rows of the next block, or collect what is wrong with them."""
        first = self._n_rows
        self._n_rows += len(rows)
        kind: type[Any] = dict if self._key == "rows" else list
        if not all(isinstance(row, kind) for row in rows):
            name = "dictionary" if kind is dict else "list"
            for i, row in enumerate(rows):
                if not isinstance(row, kind):
                    self._form.add(f"{self._key}.{first + i}: Input should be a valid {name}")
        elif self._session is not None and self._ended is None:
            try:
                self._parts.append(self._encode(self._session, rows))
            except (InputShapeError, InvalidRequestError) as error:
                self._collect(error, first)

    def refuse_form(self, max_rows: int) -> None:
        """Refuse what are no rows, or too many.

        Raises:
            InvalidRequestError: When they are.
        """
        self._form.refuse(InvalidRequestError)
        if self._n_rows > max_rows:
            self._form.add(f"a request must have at most {max_rows} rows, however it has {self._n_rows}")
            self._form.refuse(InvalidRequestError)

    def encoded(self) -> Encoded:
        """Return all rows.

        Raises:
            FaultyInputError: When one of them is faulty.
        """
        if self._ended is not None:
            raise self._ended
        self._shape.refuse(InputShapeError)
        self._values.refuse(InvalidRequestError)
        return join_rows(self._parts)

    def _encode(self, session: ModelSession, rows: Sequence[Any]) -> Encoded:
        if isinstance(self._content, PredictSplitRequest):
            return encode_split(session.manifest, self._content.columns, rows, self._limits)
        return encode_records(session.manifest, rows, self._limits)

    def _collect(self, error: FaultyInputError, first: int) -> None:
        """Add the faults of a block to those of the request; one that concerns no row concerns all of them."""
        if any(fault.row is None for fault in error.faults):
            self._ended = error
            return
        faults = self._shape if isinstance(error, InputShapeError) else self._values
        for fault in error.faults:
            faults.add_fault(replace(fault, row=first + (fault.row or 0)))
        faults.n_faults += error.n_faults - len(error.faults)
