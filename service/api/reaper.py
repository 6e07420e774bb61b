"""When connections are looked at, so that those that take too long are ended, and who is closed for a newcomer.

One timer looks at those that may have taken too long: nothing is set or cancelled for a request, so that the limits
cost it nothing. Few are looked at a time, and each when it is due: ends that come together, and bring together those
who come back, keep others waiting. When connections were gathered 20 times a second, and still when 200 times, most
answers that came late came right after one.
"""

import asyncio
import heapq
from collections import OrderedDict
from itertools import count
from typing import Final, Protocol

from service.api.middleware import Traffic, counted_path
from service.api.patience import Patience
from service.api.refusals import Refusals
from service.errors import SlowRequestError
from service.logging import LOGGER

_MAX_LOOKED: Final = 10
"""Connections that are looked at a time, in 0.05 ms: among thousands none is in the processor's caches, so that a look
takes 4 µs, and 250 at a time kept every hundredth request of others waiting."""

_MAX_ENDED: Final = 1
"""Connections that are ended at a time, in 0.05 ms: a crowd that came at once and is slow together is ended by and by,
so that nobody waits for its end, nor for all of it coming back at once."""

_PAUSE_S: Final = 0.001
"""Time between two such times."""

GRACE_S: Final = 1.0
"""Time for which most clients keep the service waiting at most, after which connections are looked at first."""

_NO_PATH: Final = counted_path("")
"""What refusals are counted under."""


class Reapable(Protocol):
    """A connection that can be ended."""

    transport: asyncio.Transport

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is being answered, so that the connection may be closed for others."""

    def keeps_waiting(self, now: float) -> bool:
        """Return whether the client has kept the service waiting for longer than most do."""

    def is_idle(self, now: float) -> bool:
        """Return whether the connection has been between two requests for longer than most are."""

    def look(self, now: float) -> float:
        """End what has taken too long; return when to look again, where nothing begins meanwhile."""

    def leave(self) -> None:
        """Close the connection at once."""


class Reaper:
    """All connections of a process, and the one timer that looks at them.

    Args:
        patience: How much of a client is borne.
        traffic: Where refusals are counted.

    Attributes:
        patience: How much of a client is borne.
        refusals: What those are told that are closed.
        slow: What was wrong with those that took too long.
    """

    def __init__(self, patience: Patience, traffic: Traffic) -> None:
        self.patience = patience
        self.refusals = Refusals()
        self.slow = SlowRequestError(patience.receive_s)
        self._traffic = traffic
        self._shortest_s = min(patience.receive_s, patience.idle_s)
        self._numbers = count()
        self._connections: dict[int, Reapable] = {}
        self._due: list[tuple[float, int]] = []  # a heap; what is lost stays until its time, as a number alone
        # Those that were so when they were looked at; whether they still are is seen when one is closed for another.
        self._slow: OrderedDict[int, None] = OrderedDict()
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(GRACE_S, self._turn)

    def add(self, connection: Reapable) -> int:
        """Look at a connection from now on; return its number."""
        number = next(self._numbers)
        self._connections[number] = connection
        heapq.heappush(self._due, (self._loop.time() + GRACE_S, number))
        return number

    def remove(self, number: int) -> None:
        """Look at a connection no longer."""
        self._connections.pop(number, None)
        self._slow.pop(number, None)
        self._idle.pop(number, None)

    def make_room(self) -> bool:
        """Close the connection of a client that has kept the service waiting, or else an idle one.

        Returns:
            Whether there was one.
        """
        now = self._loop.time()
        while self._slow:
            connection = self._connections[self._slow.popitem(last=False)[0]]
            if connection.is_waiting and connection.keeps_waiting(now):
                connection.leave()
                return True
        while self._idle:
            connection = self._connections[self._idle.popitem(last=False)[0]]
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

    def _turn(self) -> None:
        now, n_looked, n_ended = self._loop.time(), 0, 0
        while self._due and self._due[0][0] <= now and n_looked < _MAX_LOOKED and n_ended < _MAX_ENDED:
            _, number = heapq.heappop(self._due)
            if number in self._connections:
                n_looked += 1
                n_ended += self._look(number, now)
        wait_s = GRACE_S  # before which nothing that begins meanwhile is due
        if self._due:
            wait_s = min(wait_s, max(self._due[0][0] - now, _PAUSE_S))
        self._timer = self._loop.call_at(now + wait_s, self._turn)

    def _look(self, number: int, now: float) -> bool:
        """Look at a connection, and note when to look again; return whether it is closed."""
        connection = self._connections[number]
        due, is_slow, is_idle = now + GRACE_S, False, False
        try:
            due = connection.look(now)
            is_slow, is_idle = connection.keeps_waiting(now), connection.is_idle(now)
        except Exception:
            LOGGER.exception("a connection could not be looked at")
        if number not in self._connections:  # it was lost by that
            return True
        # Whatever begins from now on takes the shortest time at least.
        heapq.heappush(self._due, (min(due, now + self._shortest_s), number))
        if is_slow:
            self._slow[number] = None
        elif is_idle:
            self._idle[number] = None
        return connection.transport.is_closing()
