"""Connections without a socket, for tests of what a server does with one."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from uvicorn.server import ServerState

from service.api.reaper import Reaper


class Wire(asyncio.Transport):
    """A connection without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unread = 0
        self.closed = self.aborted = self.paused = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: Any) -> None:
        if self.closed:
            msg = "the handler is closed"
            raise RuntimeError(msg)
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    @property
    def problem(self) -> tuple[int, str]:
        """Status and type of what was sent last."""
        head, _, body = self.sent.rpartition(b"\r\n\r\n")
        assert b"connection: close" in head
        assert b"application/problem+json" in head
        return int(head.rpartition(b"HTTP/1.1 ")[2][:3]), json.loads(body)["type"]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Connected(Protocol):
    """A server with connections."""

    reaper: Reaper
    state: ServerState


Server = TypeVar("Server", bound=Connected)


def run_with(make: Callable[[], Server], scenario: Callable[[Server], Awaitable[None]]) -> None:
    """Run a scenario on a server of its own, made within the event loop."""

    async def main() -> None:
        server = make()
        await scenario(server)
        server.reaper.close()
        for task in server.state.tasks:
            task.cancel()

    asyncio.run(main())


async def settle() -> None:
    """Let what is due in the event loop happen."""
    for _ in range(10):
        await asyncio.sleep(0)
