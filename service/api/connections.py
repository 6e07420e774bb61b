"""Limits of connections: how long a client may take, how large a head may be, and how many connections there are.

Uvicorn has no timeout for a client that sends a head or a body slowly, or connects and says nothing, and takes heads of
any size.
"""

import asyncio
import logging
from typing import Any, Final

from uvicorn import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import is_ssl
from uvicorn.server import ServerState

from service.api.held import HoldingProtocol
from service.api.middleware import new_id
from service.api.reaper import GRACE_S, Reaper
from service.errors import HeadTooLargeError, NotHttpError, ServiceError, TooManyConnectionsError
from service.logging import LOGGER, request_id

MAX_HEADERS: Final = 100
"""Headers of a request; nginx and Apache take as many by custom, clients send about ten."""

MIN_BYTES_S: Final = 4096
"""Bytes of a body that must arrive, or of an answer that must be read, for each second beyond the first few: a modem's
speed."""

_HEAD_END: Final = b"\r\n\r\n"


class LimitedProtocol(HoldingProtocol):
    """Uvicorn's HTTP/1.1 protocol with limits; the application's state holds `reaper`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._reaper: Reaper = app_state["reaper"]
        self._max_head_bytes = self._reaper.patience.head_bytes
        self.max_held_bytes = self._reaper.patience.body_bytes
        self._number = -1
        self._since = 0.0
        self._in_head = False
        self._in_body = False
        self._n_arrived = 0
        self._n_given = 0
        self._n_beside = 0
        self._n_unread = 0
        self._unread_since = 0.0
        self._fault: ServiceError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection on, unless there are too many."""
        # What uvicorn does here, but for asking the kernel in eight calls who talks to whom, which nobody reads.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self._writer = _Writer(transport)
        self._since = self.loop.time()
        self._number = self._reaper.add(self)
        most = self._reaper.patience.n_connections
        if len(self.connections) > most and not self._reaper.make_room():
            self._refuse(TooManyConnectionsError(most))

    def connection_lost(self, exc: Exception | None) -> None:
        """Look at it no longer."""
        self._reaper.remove(self._number)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let the server read, and hold it to the size of a head, and of what surrounds a body in chunks."""
        self._n_given = len(data)
        self._n_beside += len(data)
        super().data_received(data)
        if self._in_head:
            before = data.rfind(_HEAD_END)  # requests that came whole in the same bytes
            self._n_arrived += len(data) - (before + len(_HEAD_END) if before >= 0 else 0)
            n_bytes = self._n_arrived
        else:
            self._n_arrived += len(data)
            n_bytes = self._n_beside if self._in_body else 0
        if n_bytes > self._max_head_bytes and not self.transport.is_closing():
            self._end(HeadTooLargeError(self._max_head_bytes, MAX_HEADERS))

    def pause_writing(self) -> None:
        """Note since when an answer is not read."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def on_message_begin(self) -> None:
        """Note since when the parser is within a head."""
        self._in_head = True
        self._since = self.loop.time()
        self._n_arrived = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Refuse a head that is too large, before there is a request."""
        n_bytes = self._n_arrived + self._n_given  # no head is larger; most need no closer look
        if n_bytes > self._max_head_bytes:
            n_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if n_bytes > self._max_head_bytes or len(self.headers) > MAX_HEADERS:
            self._fault = HeadTooLargeError(self._max_head_bytes, MAX_HEADERS)
            raise self._fault
        if self.parser.should_upgrade():
            return
        self._in_head, self._in_body = False, True
        self._since = self.loop.time()
        self._n_arrived = 0
        self._n_beside = 0
        super().on_headers_complete()
        self.headers = _TRAILERS
        self.cycle.transport = self._writer  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Note that what arrived is not all beside the body."""
        self._n_beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is there."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note since when the connection is idle: the reaper ends it, so that no timer is set for each request."""
        if not self._in_body:
            self._since = self.loop.time()
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, as a problem."""
        self._refuse(self._fault or NotHttpError(msg))

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is being answered, so that the connection may be closed for others."""
        return self._in_head or self._in_body or not self.is_answering

    @property
    def is_answering(self) -> bool:
        """Whether the application is at a request."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def has_begun_a_request(self) -> bool:
        """Whether the client has begun a request, which nothing was answered to yet."""
        return self._in_head or (self._in_body and not self.cycle.response_started)

    def waits_since(self, now: float) -> float | None:
        """Return since when the client owes the rest of a request; None where it does not."""
        if self._in_body:
            if self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it is the service that does not read
                self._since = now
            return self._since + self._n_arrived / MIN_BYTES_S
        if self._in_head or self.cycle is None:
            return self._since
        return None

    def idle_since(self) -> float | None:
        """Return since when the connection is idle between two requests; None where it is not."""
        return self._since if self.cycle is not None and self.cycle.response_complete else None

    def keeps_waiting(self, now: float) -> bool:
        """Return whether the client has kept the service waiting for longer than most do."""
        since = self.waits_since(now)
        return since is not None and now - since > GRACE_S and not self.transport.is_closing()

    def is_idle(self, now: float) -> bool:
        """Return whether the connection has been between two requests for longer than most are."""
        since = self.idle_since()
        owes = self.waits_since(now) is not None
        return since is not None and not owes and now - since > GRACE_S and not self.transport.is_closing()

    def look(self, now: float) -> float:
        """End what has taken too long; return when to look again, where nothing begins meanwhile.

        Args:
            now: The event loop's time.
        """
        patience = self._reaper.patience
        if self.flow.write_paused or self.transport.is_closing():
            n_unread = self.transport.get_write_buffer_size()
            n_read = self._n_unread - n_unread
            if not self._unread_since:
                self._unread_since = now
            elif n_read > 0:
                self._unread_since = min(now, self._unread_since + n_read / MIN_BYTES_S)
            self._n_unread = n_unread
            if now - self._unread_since > patience.receive_s:
                self.leave()
            return now + GRACE_S
        self._unread_since = 0.0
        since = self.waits_since(now)
        if since is not None:
            if now - since <= patience.receive_s:
                if self._in_body and not self.is_held:
                    return now + GRACE_S  # whether it is the service that does not read is seen by looking alone
                return since + (patience.receive_s if now - since > GRACE_S else GRACE_S)
            self._end(self._reaper.slow)
            return now + GRACE_S
        idle_since = self.idle_since()
        if idle_since is None:
            return now + GRACE_S
        if now - idle_since > patience.idle_s:
            self.transport.close()
            return now + GRACE_S
        return idle_since + (patience.idle_s if now - idle_since > GRACE_S else GRACE_S)

    def leave(self) -> None:
        """Close the connection at once, whatever is still to be read or told."""
        if self.is_answering:
            self.cycle.disconnected = True  # what is still told reaches nobody
        self.transport.abort()

    def _end(self, error: ServiceError) -> None:
        """Close, and tell why where nothing was answered yet to what was begun."""
        if self.has_begun_a_request:
            self._refuse(error)
        else:
            self.transport.close()

    def _refuse(self, error: ServiceError) -> None:
        """Tell why, and close."""
        own_id = new_id()
        if LOGGER.isEnabledFor(logging.INFO):
            token = request_id.set(own_id)
            LOGGER.info("a connection is closed: %s", error)
            request_id.reset(token)
        status, told = self._reaper.refusals.of(error, own_id, self.server_state.default_headers)
        if self.is_answering:
            self.cycle.disconnected = True
            self.drop_held()
        self.transport.write(told)
        self.transport.close()
        self._reaper.count(status)


class _Trailers(list[tuple[bytes, bytes]]):
    """Where the headers behind a body in chunks are put, which mean nothing here: none is kept."""

    def append(self, _header: tuple[bytes, bytes]) -> None:
        """Forget it."""


_TRAILERS: Final = _Trailers()


class _Writer:
    """Where an answer is written: nowhere, once its connection is closed.

    A transport fails where it is written to after that, and a client that leaves between the parts of its answer would
    fill the log with failures of the service.

    Args:
        transport: The connection.
    """

    __slots__ = ("_write", "close", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._write = transport.write
        self.close = transport.close
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write, where somebody may read."""
        if not self.is_closing():
            self._write(data)
