"""What the two fronts share: the short path, an ASGI application, and the protocol, which answers before there is one.

A front answers the small prediction requests that the quick reader is sure of, together with those that are there at
the same time. It has no limits and no problems of its own: any other request is the ordinary application's.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sized
from http import HTTPStatus
from typing import Final, Protocol

from service.api.gathering import Shelf
from service.api.middleware import SECURITY_HEADERS, Traffic, log_answer, new_id, sane_id
from service.api.negotiation import PREDICT_PATH
from service.api.open_inference.bodies import JSON_LENGTH_HEADER
from service.api.open_inference.quick import QuickInfer
from service.api.predictions import INLINE_BODY_BYTES
from service.api.together import Joinable, Turn, answer_at_once, answer_together
from service.inference.joint_runs import MAX_ROWS
from service.inference.number_blocks import bytes_at_once
from service.inference.quick_rows import QuickReader
from service.logging import LOGGER, request_id

INFER_LABEL: Final = "/v2/models/…/infer"
"""What a request to `infer` counts under, as the frame has it."""

JSON_HEADER: Final = (b"content-type", b"application/json")

_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})

_UNUSUAL: Final = frozenset(
    {b"content-encoding", b"transfer-encoding", b"expect", b"origin", JSON_LENGTH_HEADER.lower().encode()}
)
"""Headers of which the ordinary application knows what to do."""


class Waiter(Protocol):
    """Who waits for an answer that comes at the end of the turn.

    Attributes:
        started: When its request came, on the performance counter.
        path: What its request asked.
    """

    started: float
    path: str

    def take(self, answer: bytes | None) -> bool:
        """Take the answer, None where the ordinary application has to decide; return whether it was sent."""


class Front:
    """Small predictions, whatever carries them.

    Args:
        reader: Reads them.
        max_body_bytes: Largest body that the frame lets in.
        traffic: The counters that the frame keeps too.

    Attributes:
        max_body_bytes: Largest body that a front answers together with others.
        max_large_bytes: Largest body of plain numbers that it answers at once, by what reading was measured to take.
        shelf: Memory for such bodies.
        read: Reads a small request to `/predict`.
        read_infer: Reads one to `infer` of the Open Inference Protocol.
        logs: Whether answers are logged.
    """

    def __init__(self, reader: QuickReader, *, max_body_bytes: int, traffic: Traffic) -> None:
        self.max_body_bytes = min(max_body_bytes, INLINE_BODY_BYTES)
        self.max_large_bytes = min(max_body_bytes, max(bytes_at_once(), self.max_body_bytes))
        self.shelf = Shelf(self.max_large_bytes)
        self.read = reader.read_small
        self.read_infer = QuickInfer(reader).read
        self._read_large = reader.read_at_once
        self._traffic = traffic
        self.logs = True
        self._turn = Turn()
        self._waiting: list[tuple[Joinable, Waiter]] = []

    def turn_with(self, request: Joinable) -> tuple[Turn, int]:
        """Let a request take part in this turn of the event loop; return the turn and its place there."""
        if self._turn.over:
            self._turn = Turn()
        return self._turn, self._turn.add(request)

    def answer_soon(self, request: Joinable, waiter: Waiter, loop: asyncio.AbstractEventLoop, waiters: Sized) -> None:
        """Give the waiter its answer once the event loop finds no other request that is there already.

        Args:
            request: Its request.
            waiter: Who waits.
            loop: The event loop.
            waiters: All who can have a request, each one at a time.
        """
        if not self._waiting:
            loop.call_soon(self._answer_what_is_there, loop, waiters, 0)
        self._waiting.append((request, waiter))

    def _answer_what_is_there(self, loop: asyncio.AbstractEventLoop, waiters: Sized, n_seen: int) -> None:
        """Look again as long as that finds requests: some have come while others were read."""
        n_waiting = len(self._waiting)
        if n_seen < n_waiting < min(MAX_ROWS, len(waiters)):
            loop.call_soon(self._answer_what_is_there, loop, waiters, n_waiting)
        else:
            self._answer_all()

    def answer_large(self, body: bytes | bytearray, n_bytes: int) -> bytes | None:
        """Return the answer to a large request at once, or None where it is the ordinary application's.

        Args:
            body: Memory that begins with the body.
            n_bytes: Length of the body.
        """
        request = self._read_large(body, n_bytes) if n_bytes <= self.max_large_bytes else None
        return None if request is None else answer_at_once(request)

    def _answer_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        answers = answer_together([request for request, _waiter in waiting])
        self.logs = LOGGER.isEnabledFor(logging.INFO)
        answered_at = time.perf_counter()
        durations = []
        for (_request, waiter), answer in zip(waiting, answers, strict=True):
            elapsed_s = answered_at - waiter.started
            try:
                path = waiter.path
                if not waiter.take(answer):
                    continue
                if path is PREDICT_PATH:
                    durations.append(elapsed_s)
                else:
                    self._traffic.count(INFER_LABEL, HTTPStatus.OK, elapsed_s)
            except Exception:
                LOGGER.exception("an answer could not be given")
        if durations:
            self._traffic.count_each(PREDICT_PATH, HTTPStatus.OK, durations)

    def count_large(self, started: float) -> None:
        """Count an answer to a large request."""
        self.logs = LOGGER.isEnabledFor(logging.INFO)
        self._traffic.count(PREDICT_PATH, HTTPStatus.OK, time.perf_counter() - started)

    def count(self, own_id: str, started: float, status: int = HTTPStatus.OK, path: str = PREDICT_PATH) -> None:
        """Count and log an answer as the frame does."""
        label = path if path is PREDICT_PATH else INFER_LABEL
        self._traffic.count(label, status, time.perf_counter() - started)
        if LOGGER.isEnabledFor(logging.INFO):
            self.log(own_id, started, status, path)

    def log(self, own_id: str, started: float, status: int = HTTPStatus.OK, path: str = PREDICT_PATH) -> None:
        """Log an answer as the frame does."""
        token = request_id.set(own_id)
        log_answer(logging.INFO, {"method": "POST", "path": path}, status, time.perf_counter() - started)
        request_id.reset(token)


def read_head(
    headers: Iterable[tuple[bytes, bytes]], max_body_bytes: int, *, any_type: bool = False
) -> tuple[int, bytes] | None:
    """Return the length of a body and the request id that a head tells, or None where it is not a front's to answer.

    Args:
        headers: Names in lower case, and values.
        max_body_bytes: Largest body that a front answers.
        any_type: Whether the body is JSON whatever its type is said to be.
    """
    plain, told, declared, packs = None, b"", b"", False
    for name, value in headers:
        if name == b"content-type":
            if plain is not None:
                return None
            plain = value in _JSON
        elif name == b"x-request-id":
            told = value
        elif name == b"content-length":
            declared = value
        elif name == b"accept-encoding":
            packs = value != b"identity"
        elif name in _UNUSUAL:
            return None
    if not (plain or any_type) or not declared.isdigit() or (n_body := int(declared)) > max_body_bytes:
        return None
    if packs and n_body > INLINE_BODY_BYTES:  # its answer may be compressed
        return None
    return n_body, told


def id_of(told: bytes) -> str:
    """Return the id that a client gave where it may be kept, else a new one."""
    return sane_id(told) or new_id()


def head_of_answers(default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return what every good answer over HTTP/1.1 begins with, up to the value of its content length."""
    headers = (*default_headers, JSON_HEADER, *SECURITY_HEADERS)
    return b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % header for header in headers) + b"content-length: "
