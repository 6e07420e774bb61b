"""Limits of connections: how long a client may take, how large a head may be, and how many connections there are.

Uvicorn has no timeout for a client that sends a head or a body slowly, or connects and says nothing, and takes heads of
any size. Here one timer looks at those connections that may have taken too long: nothing is set or cancelled for a
request, so that the limits cost it nothing.
"""

import asyncio
import heapq
import logging
import math
import resource
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Final

from uvicorn import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import is_ssl
from uvicorn.server import ServerState

from service.api.held import HoldingProtocol
from service.api.middleware import Traffic, counted_path, new_id
from service.api.refusals import Refusals
from service.errors import (
    HeadTooLargeError,
    NotHttpError,
    ServiceError,
    SlowRequestError,
    TooManyConnectionsError,
)
from service.logging import LOGGER, request_id
from service.settings import Settings

_TICK_S: Final = 0.001
"""Connections that are due within the same tick are looked at together. They are few: ends that come together, and
bring together those who come back, keep others waiting. With ticks of 50 ms, and still of 5, most answers that came
late came right after one."""

_MAX_LOOKED: Final = 10
"""Connections that are looked at a time, in 0.05 ms: among thousands none is in the processor's caches, so that a look
takes 4 µs, and 250 at a time kept every hundredth request of others waiting."""

_MAX_ENDED: Final = 1
"""Connections that are ended at a time, in 0.05 ms: a crowd that came at once and is slow together is ended by and by,
so that nobody waits for its end, nor for all of it coming back at once."""

_PAUSE_S: Final = 0.001
"""Time between two such times."""

_GRACE_S: Final = 1.0
"""Time for which most clients keep the service waiting at most, after which connections are looked at first."""

MAX_HEADERS: Final = 100
"""Headers of a request; nginx and Apache take as many by custom, clients send about ten."""

MIN_BYTES_S: Final = 4096
"""Bytes of a body that must arrive for each second beyond the first few: a modem's speed."""

_HEAD_END: Final = b"\r\n\r\n"

_NO_PATH: Final = counted_path("")
"""What refusals are counted under."""

_SPARE_FILES: Final = 128
"""Open files that are no connections: models, logs, tables that are being read."""


@dataclass(frozen=True)
class Patience:
    """How much of a client is borne.

    Attributes:
        receive_s: Time for a head, for the first bytes of a connection, and for a body beside its share of
            `MIN_BYTES_S`; also for a client to read an answer further, or to close.
        idle_s: Time between two requests.
        head_bytes: Largest head.
        n_connections: Most connections.
    """

    receive_s: float
    idle_s: float
    head_bytes: int
    n_connections: int


def patience_of(settings: Settings) -> Patience:
    """Return what the settings say, with no more connections than this process can open files."""
    return Patience(settings.receive_timeout_s, settings.keep_alive_s, settings.max_head_bytes, room_of(settings))


def room_of(settings: Settings) -> int:
    """Return how many connections each port takes: as many as it may, where this process can open so many files."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    return min(settings.max_connections, max(1, (soft - _SPARE_FILES) // settings.n_ports))


def allow_files(n_files: int) -> None:
    """Let this process open as many files as it may, where it needs so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n_files + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted:
        LOGGER.warning("%d connections need %d open files; %d are allowed (ulimit -n)", n_files, wanted, granted)


class Wheel:
    """All connections of a process, and the one timer that looks at them.

    Args:
        patience: How much of a client is borne.
        traffic: Where refusals are counted.

    Attributes:
        patience: How much of a client is borne.
        refusals: What those are told that are closed.
        slow: What was wrong with those that took too long.
        max_connections: Most connections.
    """

    def __init__(self, patience: Patience, traffic: Traffic) -> None:
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = patience.n_connections if soft == resource.RLIM_INFINITY else max(1, soft - _SPARE_FILES)
        self.patience = patience
        self.refusals = Refusals()
        self.slow = SlowRequestError(patience.receive_s)
        self.max_connections = min(patience.n_connections, room)
        self._traffic = traffic
        self._shortest_s = min(patience.receive_s, patience.idle_s)
        self._ticks: dict[LimitedProtocol, int] = {}
        self._due: dict[int, dict[LimitedProtocol, None]] = {}
        self._coming: list[int] = []  # the ticks of `_due`, a heap
        self._left: deque[LimitedProtocol] = deque()
        # Those that were so when they were looked at; whether they still are is seen when one is closed for another.
        self._slow: OrderedDict[LimitedProtocol, None] = OrderedDict()
        self._idle: OrderedDict[LimitedProtocol, None] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_GRACE_S, self._turn)

    def add(self, connection: "LimitedProtocol") -> None:
        """Look at a connection from now on."""
        self._put(connection, self._loop.time() + _GRACE_S)

    def remove(self, connection: "LimitedProtocol") -> None:
        """Look at a connection no longer."""
        self._due.get(self._ticks.pop(connection, -1), {}).pop(connection, None)
        self._slow.pop(connection, None)
        self._idle.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection of a client that has kept the service waiting, or else an idle one.

        Returns:
            Whether there was one.
        """
        now = self._loop.time()
        while self._slow:
            connection, _ = self._slow.popitem(last=False)
            if connection.is_waiting and connection.keeps_waiting(now):
                connection.leave()
                return True
        while self._idle:
            connection, _ = self._idle.popitem(last=False)
            if connection.is_idle(now):
                connection.leave()
                return True
        return False

    def count(self, status: int) -> None:
        """Count a request that was refused before it was one."""
        self._traffic.count(_NO_PATH, status, 0.0)

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()

    def _put(self, connection: "LimitedProtocol", due: float) -> None:
        tick = self._ticks[connection] = math.ceil(due / _TICK_S)
        if tick not in self._due:
            self._due[tick] = {}
            heapq.heappush(self._coming, tick)
        self._due[tick][connection] = None

    def _turn(self) -> None:
        now, n_ended = self._loop.time(), 0
        while self._coming and self._coming[0] * _TICK_S <= now:
            self._left.extend(self._due.pop(heapq.heappop(self._coming)))
        for _ in range(min(len(self._left), _MAX_LOOKED)):
            if n_ended == _MAX_ENDED:
                break
            connection = self._left.popleft()
            if connection in self._ticks:  # it may have been lost meanwhile
                n_ended += self._look(connection, now)
        wait_s = _GRACE_S  # before which nothing that begins meanwhile is due
        if self._left:
            wait_s = _PAUSE_S
        elif self._coming:
            wait_s = min(wait_s, max(self._coming[0] * _TICK_S - now, _PAUSE_S))
        self._timer = self._loop.call_at(now + wait_s, self._turn)

    def _look(self, connection: "LimitedProtocol", now: float) -> bool:
        """Look at a connection, and note when to look again; return whether it is closed."""
        due, is_slow, is_idle = now + _GRACE_S, False, False
        try:
            due = connection.look(now)
            is_slow, is_idle = connection.keeps_waiting(now), connection.is_idle(now)
        except Exception:
            LOGGER.exception("a connection could not be looked at")
        if connection not in self._ticks:
            return True
        # Whatever begins from now on takes the shortest time at least.
        self._put(connection, min(due, now + self._shortest_s))
        if is_slow:
            self._slow[connection] = None
        elif is_idle:
            self._idle[connection] = None
        return connection.transport.is_closing()


class LimitedProtocol(HoldingProtocol):
    """Uvicorn's HTTP/1.1 protocol with limits; the application's state holds `wheel`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._wheel: Wheel = app_state["wheel"]
        self._max_head_bytes = self._wheel.patience.head_bytes
        self._since = 0.0
        self._in_head = False
        self._in_body = False
        self._n_arrived = 0
        self._n_given = 0
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
        self._wheel.add(self)
        if len(self.connections) > self._wheel.max_connections and not self._wheel.make_room():
            self._refuse(TooManyConnectionsError(self._wheel.max_connections))

    def connection_lost(self, exc: Exception | None) -> None:
        """Look at it no longer."""
        self._wheel.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let the server read, and hold it to the size of a head."""
        self._n_given = len(data)
        super().data_received(data)
        if not self._in_head:
            self._n_arrived += len(data)
            return
        before = data.rfind(_HEAD_END)  # requests that came whole in the same bytes
        self._n_arrived += len(data) - (before + len(_HEAD_END) if before >= 0 else 0)
        if self._n_arrived > self._max_head_bytes and not self.transport.is_closing():
            self._refuse(HeadTooLargeError(self._max_head_bytes, MAX_HEADERS))

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
        self._in_head, self._in_body = False, True
        self._since = self.loop.time()
        self._n_arrived = 0
        super().on_headers_complete()
        self.cycle.transport = self._writer  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """Note that the request is there."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note since when the connection is idle: the wheel ends it, so that no timer is set for each request."""
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
        return since is not None and now - since > _GRACE_S and not self.transport.is_closing()

    def is_idle(self, now: float) -> bool:
        """Return whether the connection has been between two requests for longer than most are."""
        since = self.idle_since()
        owes = self.waits_since(now) is not None
        return since is not None and not owes and now - since > _GRACE_S and not self.transport.is_closing()

    def look(self, now: float) -> float:
        """End what has taken too long; return when to look again, where nothing begins meanwhile.

        Args:
            now: The event loop's time.
        """
        patience = self._wheel.patience
        if self.flow.write_paused or self.transport.is_closing():
            n_unread = self.transport.get_write_buffer_size()
            if n_unread < self._n_unread or not self._unread_since:
                self._unread_since = now
            self._n_unread = n_unread
            if now - self._unread_since > patience.receive_s:
                self.leave()
            return now + _GRACE_S
        self._unread_since = 0.0
        since = self.waits_since(now)
        if since is not None:
            if now - since <= patience.receive_s:
                if self._in_body and not self.is_held:
                    return now + _GRACE_S  # whether it is the service that does not read is seen by looking alone
                return since + (patience.receive_s if now - since > _GRACE_S else _GRACE_S)
            if self.has_begun_a_request:
                self._refuse(self._wheel.slow)
            else:
                self.transport.close()
            return now + _GRACE_S
        idle_since = self.idle_since()
        if idle_since is None:
            return now + _GRACE_S
        if now - idle_since > patience.idle_s:
            self.transport.close()
            return now + _GRACE_S
        return idle_since + (patience.idle_s if now - idle_since > _GRACE_S else _GRACE_S)

    def leave(self) -> None:
        """Close the connection at once, whatever is still to be read or told."""
        if self.is_answering:
            self.cycle.disconnected = True  # what is still told reaches nobody
        self.transport.abort()

    def _refuse(self, error: ServiceError) -> None:
        """Tell why, and close."""
        own_id = new_id()
        if LOGGER.isEnabledFor(logging.INFO):
            token = request_id.set(own_id)
            LOGGER.info("a connection is closed: %s", error)
            request_id.reset(token)
        status, told = self._wheel.refusals.of(error, own_id, self.server_state.default_headers)
        if self.is_answering:
            self.cycle.disconnected = True
            self.drop_held()
        self.transport.write(told)
        self.transport.close()
        self._wheel.count(status)


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
