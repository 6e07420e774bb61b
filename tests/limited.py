"""Connections with limits and no sockets, on a clock of a test's own."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service.api.connections import LimitedProtocol
from service.api.middleware import Traffic
from service.api.patience import Patience
from service.api.reaper import Reaper
from service.metrics import Counts
from tests.wires import Wire, run_with

PATIENCE = Patience(receive_s=10, idle_s=60, head_bytes=4096, body_bytes=2_000_000, n_connections=3)
GET = b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


class Clock:
    """The event loop's, ahead by as much as a test wants."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ahead = 0.0

    def time(self) -> float:
        return self._loop.time() + self.ahead

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at(when - self.ahead, callback)


class Server:
    """An application that reads `/now` and answers, waits on `/wait`, and answers `/early` before it has read.

    Attributes:
        headers: Those of each request that was answered.
        read: Path and body of each.
    """

    def __init__(self, patience: Patience = PATIENCE) -> None:
        self.traffic = Traffic(Counts().slot(0))
        self.reaper = Reaper(patience, self.traffic)
        self.clock = Clock()
        self.reaper._loop = self.clock  # type: ignore[assignment]
        self.state = ServerState()
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.read: list[tuple[str, bytes]] = []
        self.config = Config(self._app, interface="asgi3", proxy_headers=False, log_config=None, access_log=False)

    def connect(self) -> tuple[LimitedProtocol, Wire]:
        loop = asyncio.get_running_loop()
        protocol, wire = LimitedProtocol(self.config, self.state, {"reaper": self.reaper}, loop), Wire()
        protocol.connection_made(wire)
        return protocol, wire

    def turn(self) -> None:
        """Let the reaper turn now."""
        self.reaper._timer.cancel()
        self.reaper._turn()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        message: Message = {"more_body": scope["path"] != "/early"}
        while message.get("more_body"):
            if scope["path"] == "/wait":
                await asyncio.Event().wait()
            message = await receive()
            body += message.get("body", b"")
        self.headers.append(scope["headers"])
        self.read.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def run(scenario: Callable[[Server], Awaitable[None]], patience: Patience = PATIENCE) -> None:
    run_with(lambda: Server(patience), scenario)


def after(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
