"""The body of one large request, read from the socket straight into memory that is kept for the next one.

On its way through a parser and an application's messages a body is copied four times, which takes as long as to read
the numbers in it. Here the event loop writes it where it is read. Only bodies that come at once are gathered, a few at
a time: one that takes its time is handed to the ordinary application, which has places and deadlines for it.
"""

import asyncio
from typing import Final, Protocol

MAX_GATHERED: Final = 8
"""Bodies gathered at once by a process. Each takes as much memory as the largest that is answered at once, 2 MB."""

PATIENCE_S: Final = 0.25
"""Time in which a body must have come; 2 MB take 0.16 s over 100 Mbit/s."""


class Shelf:
    """Memory for bodies.

    Args:
        n_bytes: Largest body.
    """

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._free: list[bytearray] = []
        self._n_taken = 0

    def take(self) -> bytearray | None:
        """Return memory for a body, or None where too many are being gathered."""
        if self._n_taken >= MAX_GATHERED:
            return None
        self._n_taken += 1
        return self._free.pop() if self._free else bytearray(self._n_bytes)

    def give_back(self, memory: bytearray) -> None:
        """Take memory back."""
        self._n_taken -= 1
        self._free.append(memory)


class Owner(Protocol):
    """The protocol whose request it is."""

    def gathered(self) -> None:
        """Go on: the body is there."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""

    def eof_received(self) -> bool | None:
        """Note that the client sends no more."""

    def pause_writing(self) -> None:
        """Note that the client does not read."""

    def resume_writing(self) -> None:
        """Note that it reads again."""


class Gathering(asyncio.BufferedProtocol):
    """A protocol for the transport until the body is there.

    Args:
        owner: The protocol before and after.
        head: The request up to the body.
        begun: What has come of the body.
        n_bytes: Length of the body.
        memory: Where it is put.

    Attributes:
        memory: Begins with the body.
        n_bytes: Length of the body.
    """

    def __init__(self, owner: Owner, head: bytes, begun: memoryview, n_bytes: int, memory: bytearray) -> None:
        self.memory = memory
        self.n_bytes = n_bytes
        self._owner = owner
        self._head = head
        self._n_come = len(begun)
        memory[: len(begun)] = begun

    def received(self) -> bytes:
        """Return what has come of the request, its head included."""
        return self._head + self.memory[: self._n_come]

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Say where the rest of the body goes."""
        return memoryview(self.memory)[self._n_come : self.n_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        """Note what has come."""
        self._n_come += nbytes
        if self._n_come == self.n_bytes:
            self._owner.gathered()

    def eof_received(self) -> bool | None:
        """Tell the owner."""
        return self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the owner."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Tell the owner."""
        self._owner.resume_writing()
