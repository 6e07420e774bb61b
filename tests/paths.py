"""The ways of a prediction request: every test of one holds for the others."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
import pytest
from starlette.testclient import TestClient
from uvicorn import Config, Server

from service.api.protocol import PredictProtocol
from service.app import create_app
from service.inference.quick_rows import QuickReader
from service.settings import Settings

PATHS: Final = ("protocol", "short path", "ordinary route")


@contextmanager
def client_on(path: str, settings: Settings) -> Iterator[httpx2.Client]:
    """Serve, and give a client whose prediction requests take the path."""
    if path == "protocol":
        with (
            server_on(settings, PredictProtocol) as port,
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            yield client
        return
    with pytest.MonkeyPatch.context() as patch:
        if path == "ordinary route":
            patch.setattr(QuickReader, "read", lambda _reader, _body: None)
            patch.setattr(QuickReader, "read_small", lambda _reader, _body: None)
            patch.setattr(QuickReader, "read_at_once", lambda _reader, _body, _n_bytes: None)
        with TestClient(create_app(settings)) as test_client:
            yield test_client


@contextmanager
def server_on(settings: Settings, http: type[asyncio.Protocol]) -> Iterator[int]:
    """Serve in a thread with an HTTP protocol; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(
            Config(
                create_app(settings),
                http=http,
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
