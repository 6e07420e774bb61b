"""A real `nalu serve` process on a free port of 127.0.0.1, for tests that need sockets and signals."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NALU = Path(sys.executable).parent / "nalu"
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with no `NALU_*` variables but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("NALU_")}
    return {**kept, **variables}


class Served:
    """A running service.

    Attributes:
        process: The process started.
        port: Where it listens.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = 0
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait_for_port()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self.lines)

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], Any]:
        """Send a request on a connection of its own; return status, headers and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
            return response.status, dict(response.getheaders()), json.loads(content) if content else None
        finally:
            connection.close()

    def predict(self, **request: object) -> tuple[int, Mapping[str, str], Any]:
        """Send a prediction request."""
        return self.request("POST", "/predict", json.dumps(request).encode(), {"Content-Type": "application/json"})

    def wait_until_ready(self) -> None:
        """Wait until a worker answers that it is ready."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.request("GET", "/health/ready")[0] != 200:
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(_STOP_TIMEOUT_S)
        self._reader.join(_STOP_TIMEOUT_S)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)", self.output)) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(self.output)
            time.sleep(0.02)
        self.port = int(found[1])


@contextmanager
def serve(repository: Path, *options: str, **variables: str) -> Iterator[Served]:
    """Run `nalu serve` over a repository; what is left of it at the end is killed."""
    process = subprocess.Popen(
        [_NALU, "serve", "--port", "0", "--repository", str(repository), *options],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Served(process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
