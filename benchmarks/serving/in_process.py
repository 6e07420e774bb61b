"""Where the time of a small request goes: processor time between bytes in and bytes out, without sockets.

    python -m benchmarks.serving.in_process [--repeats 20] [--connections 16] [--json FILE]

Uvicorn's protocol is given the bytes of a request on each of 16 connections, and the event loop runs until all have
their answer. Servers take turns of 20 requests a connection; the least of the repeats is told.
"""

import argparse
import asyncio
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table
from uvicorn import Config
from uvicorn.server import ServerState

from benchmarks.serving import baselines
from benchmarks.serving.load import http_request
from benchmarks.serving.loads import LOADS, request_body
from benchmarks.serving.model import N_COLUMNS, NAME, publish_model
from service.api.protocol import PredictProtocol
from service.app import create_app
from service.logging import configure_logging
from service.settings import Settings

_N_TURNS = 20


class Wire(asyncio.Transport):
    """A connection without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: Any) -> None:
        """Keep what would be sent."""
        self.sent.append(data)

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def pause_reading(self) -> None:
        """Go on: nothing is read from a socket."""

    def resume_reading(self) -> None:
        """Go on."""

    def close(self) -> None:
        """Stay open."""


class Served:
    """An application behind uvicorn's protocol, with connections.

    Args:
        app: Makes the application.
        http: The protocol.
        lifespan: Whether the application has one.
    """

    def __init__(self, app: Callable[[], Any], http: Any = "httptools", *, lifespan: bool = False) -> None:
        self._config = Config(
            app, factory=True, http=http, lifespan="on" if lifespan else "off", log_config=None, access_log=False
        )
        self._connections: list[tuple[Any, Wire]] = []

    async def start(self, n_connections: int) -> None:
        """Start the application and connect."""
        self._config.load()
        self._lifespan: Any = self._config.lifespan_class(self._config)
        await self._lifespan.startup()
        state = ServerState()
        state.default_headers = [(b"date", b"Sat, 21 Nov 2026 12:00:00 GMT")]
        for _ in range(n_connections):
            protocol: Any = self._config.http_protocol_class(
                config=self._config,
                server_state=state,
                app_state=getattr(self._lifespan, "state", {}),
                _loop=asyncio.get_running_loop(),
            )
            wire = Wire()
            protocol.connection_made(wire)
            self._connections.append((protocol, wire))

    async def stop(self) -> None:
        """Stop the application."""
        await self._lifespan.shutdown()

    async def turn(self, requests: list[bytes]) -> float:
        """Answer requests on every connection; return the µs each took."""
        started = time.process_time_ns()
        for i in range(_N_TURNS):
            for j, (protocol, _wire) in enumerate(self._connections):
                protocol.data_received(requests[(i * len(self._connections) + j) % len(requests)])
            while not all(wire.sent and wire.sent[-1].endswith(b"}") for _protocol, wire in self._connections):
                await asyncio.sleep(0)
            for _protocol, wire in self._connections:
                wire.sent.clear()
        return (time.process_time_ns() - started) / 1e3 / (_N_TURNS * len(self._connections))


async def compare(repository: Path, n_repeats: int, n_connections: int) -> dict[str, dict[str, float]]:
    """Return the µs of a request: load → server → least."""
    settings = Settings(model_repository=repository, provider="cpu", workers=1, session_threads=1, log_level="warning")
    servers = {
        "raw ASGI, constant": Served(baselines.raw_constant),
        "raw ASGI, orjson, no validation": Served(baselines.raw_unvalidated),
        "FastAPI, async def": Served(baselines.plain_async),
        "nalu serve, NALU_HTTP=asgi": Served(lambda: create_app(settings), lifespan=True),
        "nalu serve": Served(lambda: create_app(settings), PredictProtocol, lifespan=True),
    }
    for served in servers.values():
        await served.start(n_connections)
    gc.collect()
    gc.freeze()
    random = np.random.default_rng(1)
    results: dict[str, dict[str, float]] = {}
    for load in LOADS[:2]:
        rows = random.uniform(0, 1, size=(64, 1, N_COLUMNS))
        requests = [http_request("/predict", request_body(load, row)) for row in rows]
        taken: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(n_repeats):
            for name, served in servers.items():
                taken[name].append(await served.turn(requests))
        results[f"single row, {load.form}"] = {name: min(one) for name, one in taken.items()}
    for served in servers.values():
        await served.stop()
    return results


def main() -> None:
    """Compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    configure_logging("error", "plain")
    with tempfile.TemporaryDirectory() as folder:
        manifest = publish_model(Path(folder))
        os.environ["NALU_BENCHMARK_MODEL"] = str(Path(folder) / NAME / str(manifest.version))
        results = uvloop.run(compare(Path(folder), given.repeats, given.connections))
    table = Table(title="Processor µs a request, without sockets", title_justify="left", box=None)
    table.add_column("server")
    for title in results:
        table.add_column(title, justify="right")
    for name in next(iter(results.values())):
        table.add_row(name, *(f"{one[name]:.1f}" for one in results.values()))
    Console(highlight=False, width=120).print(table)
    if given.json:
        kept = {"repeats": given.repeats, "connections": given.connections, "least_us": results}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
