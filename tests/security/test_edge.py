"""The edge's configuration in a real nginx, where one is installed, in front of the real service."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.published import publish_arithmetic
from tests.serving import Served, serve

EDGE = Path(__file__).resolve().parents[2] / "deploy" / "edge"
pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx and openssl are not installed"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Edge:
    """nginx in front of the service.

    Attributes:
        port: Where it listens.
        folder: Where its files lie.
    """

    def __init__(self, folder: Path, served: Served) -> None:
        self.port, self.folder = free_port(), folder
        text = (EDGE / "nginx.conf").read_text(encoding="utf-8")
        for there, here in (
            ("server service:8000", f"server 127.0.0.1:{served.port}"),
            ("listen 8443", f"listen 127.0.0.1:{self.port}"),
            ("/tmp/", f"{folder}/"),  # noqa: S108 - as the configuration has it
            ("/dev/stdout", f"{folder}/access.log"),
            ("/dev/stderr", f"{folder}/error.log"),
            ("client_header_timeout 5s", "client_header_timeout 1s"),
            ("client_body_timeout 10s", "client_body_timeout 1s"),
        ):
            assert there in text
            text = text.replace(there, here)
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        self.trust = ssl.create_default_context(cafile=str(folder / "tls.crt"))

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.trust.wrap_socket(plain, server_hostname="localhost")

    def exchange(self, request: bytes) -> bytes:
        """Send bytes; return all that comes until the connection is closed."""
        with self.connect() as connection:
            connection.sendall(request)
            received = b""
            while part := connection.recv(65536):
                received += part
        return received


@pytest.fixture(name="edge", scope="module")
def _edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    publish_arithmetic(folder / "models", "multiply")
    subprocess.run(
        ["sh", EDGE / "certificate.sh"],
        env={"PATH": f"{Path(shutil.which('openssl') or '').parent}:/bin", "TLS_FOLDER": str(folder)},
        check=True,
        capture_output=True,
    )
    nginx = shutil.which("nginx") or ""
    with serve(folder / "models", "--workers", "1", NALU_LOG_LEVEL="warning") as served:
        edge = Edge(folder, served)
        command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        assert "warn" not in tested.stderr
        process = subprocess.Popen([*command, "-g", "daemon off;"])
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    edge.connect().close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield edge
        finally:
            process.terminate()
            process.wait(30)


def test_a_certificate_is_made_for_its_owner_alone(edge: Edge) -> None:
    assert (edge.folder / "tls.key").stat().st_mode & 0o077 == 0


def test_a_certificate_that_is_there_is_taken(tmp_path: Path) -> None:
    script = (EDGE / "certificate.sh").read_text(encoding="utf-8").replace("/certificates", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "own" / name).write_text(f"own {name}")
    subprocess.run(["sh", "-c", script], env={"PATH": "/bin:/usr/bin", "TLS_FOLDER": str(tmp_path)}, check=True)

    assert (tmp_path / "tls.key").read_text() == "own tls.key"


def test_predictions_are_answered_over_tls(edge: Edge) -> None:
    body = b'{"model": "multiply", "rows": [{"a": 3, "b": 5}]}'
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Request-Id: mine\r\n"
    answer = edge.exchange(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    told, _, content = answer.partition(b"\r\n\r\n")

    assert told.startswith(b"HTTP/1.1 200 OK")
    assert b"Strict-Transport-Security: max-age=31536000" in told
    assert b"x-request-id: mine" in told
    assert re.search(rb"(?im)^server: nginx\r?$", told)
    assert json.loads(content)["predictions"] == [{"y": 15.0}]


@pytest.mark.parametrize("path", ["/metrics", "/admin/models", "/v2/repository/models/multiply/load"])
def test_what_is_for_operators_is_not_for_the_outside(edge: Edge, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

    assert edge.exchange(request).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n", b"413"),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", b"408"),
        (b"GET /models HTTP/1.1\r\nHost: localh", b""),
    ],
    ids=["large body", "large header", "two lengths", "two hosts", "slow body", "slow header"],
)
def test_what_is_too_large_too_slow_or_ambiguous_ends_here(edge: Edge, request_bytes: bytes, status: bytes) -> None:
    started = time.monotonic()
    try:
        answer = edge.exchange(request_bytes)
    except ConnectionResetError:
        answer = b""

    assert answer == b"" or answer.split()[1] == status
    assert time.monotonic() - started < 25
