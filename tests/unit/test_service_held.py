"""When the application begins with a request whose body is still on its way."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service.api.connections import LimitedProtocol
from service.api.held import HELD_BYTES
from service.api.middleware import Traffic
from service.api.patience import Patience
from service.api.reaper import Reaper
from service.metrics import Counts
from tests.wires import Wire, run_with, settle

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n%b\r\n"


class Server:
    """An application that tells what it begins with and what it reads."""

    def __init__(self) -> None:
        self.traffic = Traffic(Counts().slot(0))
        self.reaper = Reaper(
            Patience(receive_s=10, idle_s=60, head_bytes=4096, body_bytes=2_000_000, n_connections=9), self.traffic
        )
        self.config = Config(self._app, interface="asgi3", proxy_headers=False, log_config=None, access_log=False)
        self.state = ServerState()
        self.begun: list[str] = []
        self.read: list[bytes | None] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def connect(self) -> tuple[LimitedProtocol, Wire]:
        protocol = LimitedProtocol(self.config, self.state, {"reaper": self.reaper}, asyncio.get_running_loop())
        wire = Wire()
        protocol.connection_made(wire)
        return protocol, wire

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        message: Message = {"more_body": True}
        body = b""
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        self.read.append(body if message["type"] == "http.request" else None)
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def run(scenario: Callable[[Server], Awaitable[None]]) -> None:
    run_with(Server, scenario)


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        (b"Content-Length: 6\r\n", (b"", b"abc", b"def")),
        (b"Transfer-Encoding: chunked\r\n", (b"", b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n")),
    ],
    ids=["length", "chunks"],
)
def test_the_application_begins_once_the_body_is_whole(header: bytes, parts: tuple[bytes, ...]) -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(HEAD % header)
        for part in parts:
            assert not server.begun
            assert not server.state.tasks
            protocol.data_received(part)
            await settle()
        assert server.read == [b"abcdef"]
        assert wire.sent.startswith(b"HTTP/1.1 202")

        protocol.data_received(HEAD % header + b"".join(parts) + b"GET /next HTTP/1.1\r\n\r\n")
        await settle()
        assert server.begun == ["/predict", "/predict", "/next"]

    run(scenario)


def test_a_long_body_is_not_waited_for() -> None:
    async def scenario(server: Server) -> None:
        protocol, _wire = server.connect()
        largest = b"Content-Length: 2000000\r\n"
        protocol.data_received(HEAD % largest + b"x" * (HELD_BYTES - 1))
        await settle()
        assert not server.begun
        protocol.data_received(b"x")
        await settle()
        assert server.begun == ["/predict"]
        assert not server.read

    run(scenario)


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 9\r\nExpect: 100-continue\r\n",
        b"Content-Type: text/csv\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 2000001\r\n",
        b"",
    ],
    ids=["who waits to be told", "a table", "larger than may be", "no body"],
)
def test_some_are_begun_at_once(header: bytes) -> None:
    async def scenario(server: Server) -> None:
        protocol, _wire = server.connect()
        protocol.data_received(HEAD % header)
        await settle()
        assert server.begun == ["/predict"]

    run(scenario)


def test_a_client_that_leaves_is_the_application_s_to_count() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(HEAD % b"Content-Length: 9\r\n" + b"x")
        wire.closed = True
        protocol.connection_lost(None)
        await settle()
        assert server.read == [None]

    run(scenario)


def test_a_client_that_is_refused_is_not() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(HEAD % b"Content-Length: 9\r\n" + b"x")
        protocol.look(asyncio.get_running_loop().time() + 11)
        assert wire.sent.startswith(b"HTTP/1.1 408")
        protocol.connection_lost(None)
        await settle()
        assert not server.begun
        assert server.traffic.answered == {408: 1}

    run(scenario)


def test_a_body_behind_another_request_is_waited_for_in_its_turn() -> None:
    async def scenario(server: Server) -> None:
        server.may_answer.clear()
        protocol, wire = server.connect()
        protocol.data_received(b"GET /first HTTP/1.1\r\n\r\n" + HEAD % b"Content-Length: 4\r\n" + b"ab")
        await settle()
        server.may_answer.set()
        await settle()
        assert server.begun == ["/first"]
        protocol.data_received(b"cd")
        await settle()
        assert server.read == [b"", b"abcd"]
        assert wire.sent.count(b"HTTP/1.1 202") == 2

    run(scenario)
