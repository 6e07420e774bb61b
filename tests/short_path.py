"""Connections that answer small predictions by themselves, without sockets."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from models.contract.repository import ModelRepository
from service.api.front import Front
from service.api.heads import Heads
from service.api.middleware import Traffic
from service.api.patience import patience_of
from service.api.protocol import PredictProtocol
from service.api.reaper import Reaper
from service.inference.quick_rows import QuickReader
from service.inference.registry import load_registry
from service.metrics import Counts
from service.settings import Settings
from tests.published import publish_arithmetic
from tests.wires import Wire, settle


class Served:
    """Connections to one server, whose application says only what it was asked."""

    def __init__(self, reader: QuickReader, max_body_bytes: int = 10_000) -> None:
        self.traffic = Traffic(Counts().slot(0))
        self.front = Front(reader, max_body_bytes=max_body_bytes, traffic=self.traffic)
        self.reaper = Reaper(patience_of(Settings()), self.traffic)
        self.heads = Heads(self.front.max_large_bytes)
        self.app_state = {"front": self.front, "heads": self.heads, "reaper": self.reaper}
        self.asked: list[tuple[str, bytes]] = []
        self.config = Config(self._app, interface="asgi3", proxy_headers=False, log_config=None, access_log=False)
        self.state = ServerState()

    def connect(self) -> tuple[PredictProtocol, Wire]:
        protocol = PredictProtocol(self.config, self.state, self.app_state, asyncio.get_running_loop())
        wire = Wire()
        protocol.connection_made(wire)
        return protocol, wire

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", scope["path"] != "/early"
        message: Message = {"type": "http.request"}
        while more:
            message = await receive()
            more = message["type"] == "http.request" and message["more_body"]
            body += message.get("body", b"")
        self.asked.append((scope["path"] if message["type"] == "http.request" else message["type"], body))
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def quick_reader(root: Path) -> QuickReader:
    """Publish `add` and `divide`, and return what answers them."""
    for operation in ("add", "divide"):
        publish_arithmetic(root, operation)
    return QuickReader(load_registry(ModelRepository(root), provider="cpu"), 100)


def request(a: float, b: float = 1, model: str = "add", more: str = "") -> bytes:
    body = json.dumps({"model": model, "rows": [{"a": a, "b": b}]})
    head = f"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def answers(wire: Wire) -> list[Any]:
    """Return the outputs sent over a connection, and the status where the application answered."""
    found = []
    for part in wire.sent.split(b"HTTP/1.1 ")[1:]:
        body = part.partition(b"\r\n\r\n")[2]
        found.append(json.loads(body)["predictions"][0]["y"] if body else int(part[:3]))
    return found


def run(reader: QuickReader, scenario: Callable[[Served], Awaitable[None]], max_body_bytes: int = 10_000) -> Served:
    async def main() -> Served:
        served = Served(reader, max_body_bytes)
        await scenario(served)
        await settle()
        served.reaper.close()
        return served

    return asyncio.run(main())
