"""Ten thousand idle or slow connections, and what they cost those who behave.

    python -m benchmarks.faults.slow_clients

A process of its own holds the connections against a real `nalu serve`: a quarter say nothing, a quarter send a head, a
quarter a body, byte by byte, and a quarter ask once and stay. Whichever the service ends is opened again at once.
Clients that behave ask one after the other: with nobody there, with the crowd at another service on the same machine,
which is what the crowd's own work costs, and with the crowd at theirs.
"""

import argparse
import json
import multiprocessing
import os
import resource
import selectors
import socket
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.report import CHECKOUT, Figure, keep
from benchmarks.serving.load import http_request, split_answer
from tests.serving import serve

_BODY: Final = b'{"model": "multiply", "rows": [{"a": 3, "b": 5}]}'
_START: Final = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n"
KINDS: Final = {
    "silent": (b"", b""),
    "slow head": (_START + b"X-Slow: ", b"x"),
    "slow body": (_START + b"\r\n{", b" "),
    "idle": (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}
"""Kind → what it sends at first, and once a second after that."""

_TRICKLE_S: Final = 1.0
_N_HEALTHY: Final = 4
_PAUSE_S: Final = 0.002
_LONGEST_TURN_S: Final = 0.05
"""Time for which is made up at once; where this process had to wait for a core, its clients did not all wait for it."""

_RAMP_S: Final = 10.0
"""Time in which the crowd comes, so that it is not ended all at once either."""


class Crowd:
    """Slow connections, kept at a number.

    Args:
        port: Where the service listens.
        n_wanted: How many.
    """

    def __init__(self, port: int, n_wanted: int) -> None:
        self._port = port
        self._n_wanted = n_wanted
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, str] = {}
        self._begun = set[socket.socket]()
        self._kinds = list(KINDS)
        self._due = deque[socket.socket]()
        self._turned = time.monotonic()
        self.counts = Counter[str]()

    @property
    def n_open(self) -> int:
        """Connections open now."""
        return len(self._begun)

    def turn(self) -> None:
        """Open some of what is missing, hear what was closed, and trickle."""
        now = time.monotonic()
        passed = min(now - self._turned, _LONGEST_TURN_S)
        missing = self._n_wanted - len(self._open)
        for _ in range(min(missing, int(passed * self._n_wanted / _RAMP_S) + 1)):
            self._connect()
        for key, events in self._selector.select(0.02):
            connection: Any = key.fileobj
            if events & selectors.EVENT_WRITE:
                self._begin(connection)
            elif not self._hear(connection):
                self._close(connection)
        n_due = int(passed * len(self._begun) / _TRICKLE_S) + 1
        self._turned = now
        for _ in range(min(n_due, len(self._due))):  # not all in one breath, as no crowd is
            connection = self._due.popleft()
            if connection in self._begun:
                self._due.append(connection)
                self._send(connection, KINDS[self._open[connection]][1])

    def _connect(self) -> None:
        kind = self._kinds[self.counts["opened"] % len(self._kinds)]
        connection = socket.socket()
        connection.setblocking(False)
        # Another address for each few, so that there are ports enough for those that were closed.
        connection.bind((f"127.0.0.{2 + self.counts['opened'] % 8}", 0))
        self.counts["opened"] += 1
        self._open[connection] = kind
        connection.connect_ex(("127.0.0.1", self._port))
        self._selector.register(connection, selectors.EVENT_WRITE)

    def _begin(self, connection: socket.socket) -> None:
        self._selector.modify(connection, selectors.EVENT_READ)
        self._begun.add(connection)
        self._due.append(connection)
        self._send(connection, KINDS[self._open[connection]][0])

    def _send(self, connection: socket.socket, content: bytes) -> None:
        try:
            if content:
                connection.send(content)
        except OSError:
            self._close(connection)

    def _hear(self, connection: socket.socket) -> bool:
        try:
            said = connection.recv(4096)
        except OSError:
            return False
        if said:
            self.counts[said[9:12].decode(errors="replace")] += 1
        return bool(said)

    def _close(self, connection: socket.socket) -> None:
        if connection in self._open:
            self.counts[f"ended: {self._open.pop(connection)}"] += 1
            self._begun.discard(connection)
            self._selector.unregister(connection)
            connection.close()


def _hold(port: int, n_wanted: int, line: Connection) -> None:
    """Hold a crowd until told to stop; tell when it is there."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd, least, told = Crowd(port, n_wanted), n_wanted, False
    while not line.poll():
        crowd.turn()
        if told:
            least = min(least, crowd.n_open)
        elif crowd.n_open >= n_wanted * 0.98:
            told = True
            line.send(crowd.n_open)
    line.send({"least_open": least, **crowd.counts})


@contextmanager
def crowded(port: int, n_connections: int) -> Iterator[dict[str, Any]]:
    """Hold slow connections meanwhile; what became of them is in the dictionary given once they are gone."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(port, n_connections, theirs), daemon=True)
    process.start()
    found: dict[str, Any] = {}
    try:
        if not ours.poll(120):
            msg = f"{n_connections} connections must be open within 120 s, however they are not"
            raise TimeoutError(msg)
        found["open"] = ours.recv()
        yield found
        ours.send("stop")
        found |= ours.recv() if ours.poll(60) else {}
    finally:
        process.terminate()
        process.join()


def healthy(port: int, seconds: float) -> tuple[list[float], int]:
    """Ask on a few connections in turn; return the time of each answer, and how many were not right."""
    request, times, n_wrong = http_request("/predict", _BODY), [], 0
    connections = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(_N_HEALTHY)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for at, connection in enumerate(connections):
            began = time.perf_counter()
            try:
                connection.sendall(request)
                raw = b""
                while split_answer(raw) is None:
                    raw += (part := connection.recv(65536))
                    if not part:
                        raise ConnectionResetError
                n_wrong += b'"predictions":[{"y":15.0}]' not in raw.replace(b" ", b"")
            except OSError:
                n_wrong += 1
                connections[at] = socket.create_connection(("127.0.0.1", port), timeout=30)
            times.append(time.perf_counter() - began)
        time.sleep(_PAUSE_S)
    for connection in connections:
        connection.close()
    return times, n_wrong


def p99(times: list[float]) -> float:
    """Return the time within which 99 of 100 answers came."""
    return statistics.quantiles(times, n=100)[98]


def run(repository: Path, n_connections: int, n_rounds: int, seconds: float, workers: int = 2) -> dict[str, Any]:
    """Ask without a crowd, beside one at another service, and among one; return what was measured."""
    alone: list[float] = []
    among: list[float] = []
    beside: list[float] = []
    counts: Counter[str] = Counter()
    n_wrong, n_open, memory, cpu_s, among_s = 0, [], 0, 0.0, 0.0
    options = ("--workers", str(workers))
    with (
        serve(repository, *options, NALU_LOG_LEVEL="warning") as served,
        serve(repository, *options, NALU_LOG_LEVEL="warning") as twin,
    ):
        for one in (served, twin):
            one.wait_until_ready()
        healthy(served.port, min(1.0, seconds))
        for _ in range(n_rounds):
            times, wrong = healthy(served.port, seconds)
            alone += times
            with crowded(twin.port, n_connections):
                elsewhere, wrong_beside = healthy(served.port, seconds)
                beside += elsewhere
            with crowded(served.port, n_connections) as found:
                began, before = time.monotonic(), _cpu_of_group(served.process.pid)
                more, also_wrong = healthy(served.port, seconds)
                cpu_s += _cpu_of_group(served.process.pid) - before
                among_s += time.monotonic() - began
                among += more
                memory = max(memory, _memory_of_group(served.process.pid))
            n_wrong += wrong + wrong_beside + also_wrong
            n_open.append(found["open"])
            counts.update({name: n for name, n in found.items() if name not in ("open", "least_open")})
    return {
        "n_connections": min(n_open),
        "n_healthy": len(alone) + len(beside) + len(among),
        "n_wrong": n_wrong,
        "alone_ms": {"p50": 1000 * statistics.median(alone), "p99": 1000 * p99(alone)},
        "among_ms": {"p50": 1000 * statistics.median(among), "p99": 1000 * p99(among)},
        "beside_ms": {"p50": 1000 * statistics.median(beside), "p99": 1000 * p99(beside)},
        "ratio_p99": p99(among) / p99(alone),
        "ratio_p99_beside": p99(among) / p99(beside),
        "slow": dict(counts),
        "ended_s": sum(n for name, n in counts.items() if name.startswith("ended")) / among_s,
        "cpu_share": cpu_s / among_s,
        "memory_bytes": memory,
    }


def _memory_of_group(supervisor: int) -> int:
    """Return the memory of a service's processes together, each page counted once."""
    total = 0
    for pid in _group(supervisor):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += int(rollup.split("\nPss:")[1].split()[0]) * 1024
    return total


def _cpu_of_group(supervisor: int) -> float:
    """Return the processor time that a service's processes have taken, in seconds."""
    ticks = 0
    for pid in _group(supervisor):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _group(supervisor: int) -> list[str]:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()
    return [str(supervisor), *children]


def main() -> None:
    """Run and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10_300)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    arguments = parser.parse_args()
    found = run(CHECKOUT / "model_repository", arguments.connections, arguments.rounds, arguments.seconds)
    holds = not found["n_wrong"] and found["ratio_p99"] <= 2
    quick, slow = found["alone_ms"], found["among_ms"]
    elsewhere = found["beside_ms"]
    told = (
        f"{found['n_connections']:,} connections, {found['ended_s']:.0f} ended and opened again a second; p99 of "
        f"{found['n_healthy']:,} answers {slow['p99']:.1f} ms among them, {elsewhere['p99']:.1f} ms with the same "
        f"crowd at another service of this machine ({found['ratio_p99_beside']:.2f} ×), {quick['p99']:.1f} ms without "
        f"({found['ratio_p99']:.2f} ×); p50 {slow['p50']:.2f}, {elsewhere['p50']:.2f} and {quick['p50']:.2f} ms; "
        f"{found['n_wrong']} wrong; two workers take {found['memory_bytes'] / 1024**2:.0f} MiB and "
        f"{100 * found['cpu_share']:.0f} % of a core"
    )
    print(told, json.dumps(found["slow"]), f"load {os.getloadavg()[0]:.1f}", sep="\n")
    if arguments.dry:
        sys.exit(not holds)
    figure = Figure(
        "idle connections, and heads and bodies sent byte by byte, opened again when they are ended",
        "10,000 of them, healthy clients' p99 within 2 ×",
        told,
        holds and found["n_connections"] >= 10_000,
    )
    keep("slow-clients", "python -m benchmarks.faults.slow_clients", [figure], found)


if __name__ == "__main__":
    main()
