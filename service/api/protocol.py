"""uvicorn's HTTP/1.1 protocol, answering small predictions before there is an application.

The tasks, messages and queues between a socket and an ASGI application take as long as reading, running and writing a
prediction together. A request is answered here when it arrives while nothing else is under way on its connection, its
head is one whose every byte the server's own parser has read before, and the quick reader is sure of its body. Any
other, and any that turns out to have no answer, is handed to the parser untouched, as if this class were not there:
there is no other way into the application, so that nothing is parsed, limited or refused here.
"""

import asyncio
import time
from typing import Any, Final

from uvicorn import Config
from uvicorn.server import ServerState

from service.api.connections import LimitedProtocol
from service.api.front import Front, id_of
from service.api.gathering import PATIENCE_S, Gathering
from service.api.heads import Heads
from service.api.middleware import CLIENT_LEFT
from service.api.negotiation import PREDICT_PATH
from service.api.open_inference.quick import InferRows
from service.inference.quick_rows import SmallRequest
from service.key_limits import Limit

_STARTS: Final = (b"POST /predict HTTP/1.1\r\n", b"POST /v2/models/")
_HEAD_END: Final = b"\r\n\r\n"

_MAX_HEAD_BYTES: Final = 8 * 1024
"""Longest head that is looked at here; nginx gives heads as much."""

_CLOSE: Final = b"connection: close\r\n"
_VARY: Final = b"vary: Accept-Encoding\r\n"


class PredictProtocol(LimitedProtocol):
    """Protocol for `uvicorn.Config(http=…)`, over an application whose state holds `front`, `heads` and `reaper`.

    Only what is there is joined in one run: answers go out once the event loop has read all requests that have come.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._front: Front = app_state["front"]
        self._heads: Heads = app_state["heads"]
        self._max_small_bytes = self._front.max_body_bytes
        self._body: Gathering | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._mid_message = False
        self.started = 0.0
        self.path = PREDICT_PATH
        self._told = b""
        self._limit: Limit | None = None
        self._first_part = b""
        self._taken = b""
        self._behind = b""
        self._ends = False
        self._gone = False
        self._idle_since = 0.0

    def data_received(self, data: bytes) -> None:
        """Answer a request, or let the server do it."""
        if self._taken:
            self._behind += data
            return
        first_part, self._first_part = self._first_part, b""
        if first_part:
            data = first_part + data
        if (
            self._mid_message
            or not data.startswith(_STARTS)
            or (self.cycle is not None and not self.cycle.response_complete)
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            super().data_received(data)
            return
        if not first_part:
            self.started = time.perf_counter()
        end = data.find(_HEAD_END, 0, _MAX_HEAD_BYTES) + len(_HEAD_END)
        told = self._heads.read(data[:end]) if end > len(_HEAD_END) else None
        if told is None:
            super().data_received(data)
            return
        n_body, self._told, limit, infer = told
        if n_body > self._max_small_bytes:
            self.path = PREDICT_PATH
            if limit is None:
                self._begin_body(data, end, n_body)
            else:  # the guard counts what is under way
                super().data_received(data)
            return
        if len(data) < end + n_body:
            if first_part:  # a body in many small parts is the server's to collect
                super().data_received(data)
            else:
                self._first_part = data
            return
        body = data[end : end + n_body]
        request: SmallRequest | InferRows | None
        if infer is None:
            self.path = PREDICT_PATH
            request = self._front.read(body)
        else:
            self.path, name, version = infer
            request = self._front.read_infer(name, version, body)
        if request is None or (limit is not None and limit.take()):  # the server's to ask again, and to refuse
            super().data_received(data)
            return
        self._limit = limit
        self._taken, self._behind = data[: end + n_body], data[end + n_body :]
        self._front.answer_soon(request, self, self.loop, self.connections)

    def take(self, answer: bytes | None) -> bool:
        """Send the answer to the request that was taken, then go on with what came behind it."""
        taken, self._taken = self._taken, b""
        behind, self._behind = self._behind, b""
        if answer is None:
            if self._limit is not None:
                self._limit.give_back()
            self._hand_on(taken + behind)
            return False
        self._send(answer, behind)
        return True

    def _begin_body(self, data: bytes, end: int, n_body: int) -> None:
        """Answer a large request, now or once its body is there."""
        if len(data) >= end + n_body:
            answer = self._front.answer_large(data[end : end + n_body], n_body)
            if answer is None:
                super().data_received(data)
            else:
                self._send_large(answer, data[end + n_body :])
            return
        memory = self._front.shelf.take()
        if memory is None:
            super().data_received(data)
            return
        self._body = Gathering(self, data[:end], memoryview(data)[end:], n_body, memory)
        self._patience = self.loop.call_later(PATIENCE_S, self._hand_on_body)
        self.transport.set_protocol(self._body)

    def gathered(self) -> None:
        """Answer the request whose body is there."""
        if self._body is None:
            return
        answer = self._front.answer_large(self._body.memory, self._body.n_bytes)
        if answer is None:
            self._hand_on_body()
        else:
            self._leave_body(self._body)
            self._send_large(answer, b"")

    def _hand_on_body(self) -> None:
        """Give the server what has come of a large request, where one has begun; the rest it receives itself."""
        if self._body is not None:
            received = self._body.received()
            self._leave_body(self._body)
            super().data_received(received)

    def _leave_body(self, body: Gathering) -> None:
        self._body = None
        if self._patience is not None:
            self._patience.cancel()
        self._front.shelf.give_back(body.memory)
        self.transport.set_protocol(self)

    def _send_large(self, answer: bytes, behind: bytes) -> None:
        self._front.count_large(self.started)
        self._send(answer, behind, _VARY)

    def _send(self, answer: bytes, behind: bytes, more: bytes = b"") -> None:
        """Send an answer, then go on with what came behind its request."""
        own_id = id_of(self._told)
        start = self._heads.of_answers(self.server_state.default_headers)
        closing = self._heads.closing
        last = closing or (self._ends and not behind)
        if not self.transport.is_closing():
            self.transport.write(
                b"%b%d\r\nx-request-id: %b\r\n%b\r\n%b"
                % (
                    start,
                    len(answer),
                    own_id.encode(),
                    more + _CLOSE if last and not closing else more,
                    answer,
                )
            )
        if self._front.logs:
            self._front.log(own_id, self.started, path=self.path)
        self.server_state.total_requests += 1
        if last:
            self.transport.close()
        elif self._ends:
            self._hand_on(behind)
        elif behind:
            self.data_received(behind)
        else:
            self._idle_since = self.loop.time()

    def _hand_on(self, data: bytes) -> None:
        """Give the server what was kept from it, a wish to end included."""
        if self._gone:
            self._front.count(id_of(self._told), self.started, CLIENT_LEFT, self.path)
            return
        super().data_received(data)
        if self._ends:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the server count a request that was broken off."""
        self._hand_on_body()
        first_part, self._first_part = self._first_part, b""
        if first_part:
            super().data_received(first_part)
        self._gone = True
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish what was begun, then close."""
        if self._taken:
            self._ends = True
            return
        self._hand_on_body()
        first_part, self._first_part = self._first_part, b""
        if first_part:
            super().data_received(first_part)
        super().shutdown()

    def on_message_begin(self) -> None:
        """Note that the parser is within a message."""
        self._mid_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that the parser is between two messages, unless another protocol was asked for."""
        self._mid_message = self.parser.should_upgrade()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note since when the connection is idle."""
        super().on_response_complete()
        self._idle_since = self.loop.time()

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is being answered, so that the connection may be closed for others."""
        return not self._taken and self._body is None and super().is_waiting

    @property
    def has_begun_a_request(self) -> bool:
        """Whether the client has begun a request, which nothing was answered to yet."""
        return bool(self._first_part) or super().has_begun_a_request

    def waits_since(self, now: float) -> float | None:
        """Return since when the client owes the rest of a request; None where it does not."""
        if self._taken or self._body is not None:
            return None
        if self._first_part:
            return now - (time.perf_counter() - self.started)
        if self._idle_since and not self._mid_message and not self.is_answering:
            return None
        return super().waits_since(now)

    def idle_since(self) -> float | None:
        """Return since when the connection is idle between two requests; None where it is not."""
        if self._taken or self._first_part or self._body is not None or self.is_answering:
            return None
        return self._idle_since or None
