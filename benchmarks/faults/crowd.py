"""A crowd of slow connections, held in a process of its own that takes what time of the machine nobody else wants.

A quarter say nothing, a quarter send a head and a quarter a body, a byte a second each, and a quarter ask for one
prediction and stay. Whichever the service ends is opened again at once.

The crowd stands for other machines, so it must neither take the processor from those that are measured nor send in
bursts that no crowd would: it runs as `SCHED_IDLE`, below any nice value, each connection has a millisecond of its own
in every second, and a byte costs it one system call.
"""

import multiprocessing
import os
import random
import resource
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from benchmarks.serving.load import http_request

REQUEST: Final = http_request("/predict", b'{"model": "multiply", "rows": [{"a": 3, "b": 5}]}')
_START: Final = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n"
KINDS: Final = {
    "silent": (b"", b""),
    "slow head": (_START + b"X-Slow: ", b"x"),
    "slow body": (_START + b"\r\n{", b" "),
    "idle": (REQUEST, b""),
}
"""Kind → what it sends at first, and once a second after that."""

_N_SLOTS: Final = 1000
_SLOT_S: Final = 0.001
"""The slots of the timer wheel, one turn of which takes a second; independent clients spread over it by chance."""

_MOST_LATE_S: Final = 0.05
"""Time for which is made up; where this process had to wait longer for a core, its clients did not all wait for it."""

RAMP_S: Final = 30.0
"""Time in which the crowd comes, evenly, so that it is not ended all at once either; those that were ended come back
at most as fast. It is the time after which a service by default ends the slow ones, so that as the last come the first
are ended."""

_MOST_AT_ONCE: Final = 8
_N_ADDRESSES: Final = 8
"""Addresses that the crowd comes from, so that there are ports enough for connections that were closed."""

_IP_BIND_ADDRESS_NO_PORT: Final = 24
"""From `linux/in.h`: the port is chosen as the connection is made, which is far cheaper among thousands."""


@dataclass
class _Client:
    connection: socket.socket
    kind: str
    to_send: bytes


class Crowd:
    """Slow connections, kept at a number.

    Args:
        port: Where the service listens.
        n_wanted: How many.
        ramp_s: Time in which they come.

    Attributes:
        counts: Connections opened and ended by kind, bytes sent one by one, and answers by status.
    """

    def __init__(self, port: int, n_wanted: int, ramp_s: float) -> None:
        self._port = port
        self._n_wanted = n_wanted
        self._opened_a_slot = n_wanted / ramp_s * _SLOT_S
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._slots: list[deque[_Client]] = [deque() for _ in range(_N_SLOTS)]
        self._n_slots_done = 0
        self._allowance = 0.0
        self._since = time.monotonic()
        self._kinds = list(KINDS)
        self._chance = random.Random(1)  # noqa: S311 - no secret
        self.counts = Counter[str]()

    @property
    def n_open(self) -> int:
        """Connections open now."""
        return len(self._clients)

    def turn(self) -> None:
        """Send what is due, open some of what is missing, and hear what was answered or closed."""
        now = time.monotonic()
        n_due = int((now - self._since) / _SLOT_S)
        if (late := (n_due - self._n_slots_done) * _SLOT_S - _MOST_LATE_S) > 0:
            self._since += late
            n_due = int((now - self._since) / _SLOT_S)
        while self._n_slots_done < n_due:
            self._n_slots_done += 1
            self._send_slot(self._n_slots_done % _N_SLOTS)
            self._allowance = min(self._allowance + self._opened_a_slot, _MOST_AT_ONCE)
            while self._allowance >= 1 and len(self._clients) < self._n_wanted:
                self._allowance -= 1
                self._open()
        for number, _event in self._poll.poll(_SLOT_S):
            self._hear(number)

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.connection.close()
        self._poll.close()

    def _open(self) -> None:
        kind = self._kinds[self.counts["opened"] % len(self._kinds)]
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((f"127.0.0.{2 + self.counts['opened'] // len(self._kinds) % _N_ADDRESSES}", 0))
        connection.connect_ex(("127.0.0.1", self._port))
        self._poll.register(connection, select.EPOLLIN)
        self.counts["opened"] += 1
        client = self._clients[connection.fileno()] = _Client(connection, kind, KINDS[kind][0])
        if client.to_send:
            self._slots[(self._n_slots_done + 1) % _N_SLOTS].append(client)

    def _send_slot(self, at: int) -> None:
        slot = self._slots[at]
        for _ in range(len(slot)):
            client = slot.popleft()
            try:
                client.connection.send(client.to_send)
            except BlockingIOError:  # not connected yet
                slot.append(client)
                continue
            except OSError:  # it was closed; what it hears tells
                continue
            more = KINDS[client.kind][1]
            if not more:
                continue
            if client.to_send is more:
                self.counts["bytes"] += 1
                slot.append(client)
            else:
                client.to_send = more
                self._slots[self._chance.randrange(_N_SLOTS)].append(client)

    def _hear(self, number: int) -> None:
        client = self._clients[number]
        said = b""
        with suppress(OSError):
            said = client.connection.recv(4096)
        if said:
            self.counts[said[9:12].decode(errors="replace")] += 1
            if client.kind == "idle":
                return
        del self._clients[number]
        self.counts[f"ended: {client.kind}"] += 1
        client.connection.close()


def _hold(port: int, n_wanted: int, ramp_s: float, line: Connection) -> None:
    """Hold a crowd until told to stop; tell when it is there, and what it did since it was told to count."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(port, n_wanted, ramp_s)
    while crowd.n_open < n_wanted * 0.99:
        crowd.turn()
    line.send(crowd.n_open)
    crowd.counts.clear()
    began, least, cpu_s = time.monotonic(), crowd.n_open, time.process_time()
    while not line.poll():
        for _ in range(20):
            crowd.turn()
        least = min(least, crowd.n_open)
    seconds = time.monotonic() - began
    line.send({"least_open": least, "seconds": seconds, "cpu_s": time.process_time() - cpu_s, "counts": crowd.counts})
    crowd.close()


@contextmanager
def crowded(port: int, n_connections: int, ramp_s: float = RAMP_S) -> Iterator[dict[str, Any]]:
    """Hold slow connections meanwhile.

    Args:
        port: Where the service listens.
        n_connections: How many.
        ramp_s: Time in which they come.

    Yields:
        A dictionary that is filled as the block ends: `least_open` connections at any time, and `counts` of what
        became of them, all within `seconds`, and `cpu_s`, the processor time that the crowd itself took.

    Raises:
        TimeoutError: When they are not open in time.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(port, n_connections, ramp_s, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its end is heard
    found: dict[str, Any] = {}
    try:
        if not ours.poll(120):
            msg = f"{n_connections} connections must be open within 120 s, however they are not"
            raise TimeoutError(msg)
        ours.recv()
        yield found
        ours.send("stop")
        found |= ours.recv() if ours.poll(60) else {}
    finally:
        process.terminate()
        process.join()
