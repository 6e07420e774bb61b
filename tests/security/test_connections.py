"""Clients that mean it harm, over real sockets: each is ended by the server itself, and others are served meanwhile."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import httpx2
import pytest

from service.api.connections import LimitedProtocol
from service.api.protocol import PredictProtocol
from service.settings import Settings
from tests.paths import server_on
from tests.published import publish_all

PATIENCE_S = 30
GOOD = {"model": "multiply", "rows": [{"a": 3, "b": 5}]}
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"


@pytest.fixture(name="port", scope="module", params=[PredictProtocol, LimitedProtocol])
def _port(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[int]:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    settings = Settings(model_repository=root, receive_timeout_s=0.5, keep_alive_s=1, max_head_bytes=4096)
    with server_on(settings, request.param) as port:
        yield port


def ended(connection: socket.socket, trickle: bytes = b"") -> bytes:
    """Return what the server says until it closes; send a byte now and then meanwhile."""
    connection.settimeout(0.1)
    deadline, said = time.monotonic() + PATIENCE_S, b""
    while True:
        assert time.monotonic() < deadline, said
        try:
            if trickle:
                connection.send(trickle[:1])
                trickle = trickle[1:] or trickle
            part = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not part:
            return said
        said += part


SLOW: Final = {
    "silent": (b"", b"", None),
    "empty lines": (b"", b"\r", None),
    "half a head": (HEAD, b"", 408),
    "slow head": (HEAD + b"X-Slow: ", b"x" * 1000, 408),
    "no body": (HEAD + b"\r\n", b"", 408),
    "slow body": (HEAD + b'\r\n{"model": ', b"     ", 408),
    "slow chunks": (HEAD.replace(b"Content-Length: 50", b"Transfer-Encoding: chunked") + b"\r\n", b"00000", 408),
    "slow large body": (HEAD.replace(b"50", b"9000000") + b"\r\n[", b" ", 408),
    "idle": (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", b"", 200),
    "idle with empty lines": (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", b"\n", 200),
    "slow tensors": (b"POST /v2/models/add/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", b" ", 408),
}
"""Kind of client → what it sends at first, what it sends byte by byte, and the status of the only answer it gets."""


def test_slow_clients_are_ended_by_the_server_itself(port: int) -> None:
    def told(begun: bytes, trickle: bytes) -> int | None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(begun)
            said = ended(connection, trickle)
        assert said.count(b"HTTP/1.1 ") <= 1
        return int(said[9:12]) if said else None

    with ThreadPoolExecutor(len(SLOW)) as threads:
        running = {name: threads.submit(told, begun, trickle) for name, (begun, trickle, _status) in SLOW.items()}
        assert httpx2.post(f"http://127.0.0.1:{port}/predict", json=GOOD).json()["predictions"] == [{"y": 15.0}]
    assert {name: one.result() for name, one in running.items()} == {
        name: status for name, (_begun, _trickle, status) in SLOW.items()
    }


def test_a_client_that_asks_and_never_reads_is_ended(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline
            try:
                connection.sendall(
                    b"GET /static/vendor/swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20
                )
            except TimeoutError:
                continue
            except OSError:
                break


@pytest.mark.parametrize("n_headers", [101, 10_000])
def test_a_head_of_countless_headers_is_refused(port: int, n_headers: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /models HTTP/1.1\r\n" + b"A:b\r\n" * n_headers + b"\r\n")
        assert ended(connection).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


@pytest.mark.parametrize(("begun", "more"), [(b"0\r\n", b"A: b\r\n"), (b"0\r\nA: ", b"x" * 6), (b"1;", b"x" * 6)])
def test_what_surrounds_chunks_without_end_is_refused(port: int, begun: bytes, more: bytes) -> None:
    head = HEAD.replace(b"Content-Length: 50", b"Transfer-Encoding: chunked") + b"\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        with suppress(OSError):
            connection.sendall(head + begun + more * 100_000)
        said = ended(connection)
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")  # what was said is lost where more was on its way


def test_two_lengths_of_one_body_are_refused(port: int) -> None:
    for more in (b"Transfer-Encoding: chunked\r\n", b"Content-Length: 49\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(HEAD + more + b"\r\n" + b"0\r\n\r\n")
            assert ended(connection).startswith(b"HTTP/1.1 400 ")
