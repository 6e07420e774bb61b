"""A load generator in one thread: keep-alive connections, one request outstanding on each, every answer compared.

    python -m benchmarks.serving.load PLAN.json

It is faster than any Python server it drives: two system calls and a comparison of bytes per request.
"""

import base64
import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_RECEIVE_BYTES = 1 << 18


@dataclass
class _Connection:
    socket: socket.socket
    asked: int = 0
    sent_at: float = 0.0
    outgoing: memoryview = field(default_factory=lambda: memoryview(b""))
    incoming: bytes = b""


def http_request(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """Return a POST request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def split_answer(raw: bytes) -> tuple[bytes, bytes] | None:
    """Return head and body of a response with a content length, or None while it is not whole."""
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = raw[:end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    if len(raw) < end + 4 + length:
        return None
    return head, raw[end + 4 :]


def drive(
    port: int,
    requests: list[bytes],
    expected: list[bytes],
    n_connections: int,
    seconds: float,
    rate: float | None = None,
) -> dict[str, Any]:
    """Ask in turn until the time is over.

    Args:
        port: Port on 127.0.0.1.
        requests: What to send, each with its head.
        expected: The body of the answer to each, byte for byte.
        n_connections: Connections kept open.
        seconds: How long to send; answers outstanding at the end are waited for.
        rate: Requests a second to keep to, as far as connections are free; None for as many as are answered. A
            latency then counts from when its request was due, so that a pause of the server tells.

    Returns:
        Number of answers, errors (a wrong status, wrong bytes, a closed connection), seconds, and latencies in ms.
    """
    poll = select.epoll()
    connections: dict[int, _Connection] = {}
    latencies: list[float] = []
    errors = 0
    following = 0
    free: list[_Connection] = []

    def ask_what_is_due() -> None:
        while rate is not None and free and (due := started + following / rate) <= time.perf_counter():
            connection = free.pop()
            ask(connection)
            connection.sent_at = due

    def ask(connection: _Connection) -> None:
        nonlocal following
        connection.asked = following % len(requests)
        following += 1
        connection.incoming = b""
        connection.outgoing = memoryview(requests[connection.asked])
        connection.sent_at = time.perf_counter()
        push(connection)

    def push(connection: _Connection) -> None:
        try:
            while connection.outgoing:
                connection.outgoing = connection.outgoing[connection.socket.send(connection.outgoing) :]
        except BlockingIOError:
            poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def close(connection: _Connection) -> None:
        poll.unregister(connection.socket)
        del connections[connection.socket.fileno()]
        connection.socket.close()

    for _ in range(n_connections):
        opened = socket.create_connection(("127.0.0.1", port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        connections[opened.fileno()] = _Connection(opened)
        poll.register(opened, select.EPOLLIN)
    started = time.perf_counter()
    for connection in list(connections.values()):
        if rate is None:
            ask(connection)
        else:
            free.append(connection)
    heard_at = started
    while connections:
        ask_what_is_due()
        wait_s = 30.0 if rate is None or not free else max(0.0, started + following / rate - time.perf_counter())
        events = poll.poll(wait_s)
        now = time.perf_counter()
        if events:
            heard_at = now
        elif now - heard_at > 30:
            errors += len(connections)
            break
        if rate is not None and now - started >= seconds:
            for connection in free:
                close(connection)
            free.clear()
        for number, event in events:
            connection = connections[number]
            if event & select.EPOLLOUT:
                poll.modify(connection.socket, select.EPOLLIN)
                push(connection)
            if not event & ~select.EPOLLOUT:
                continue
            try:
                received = connection.socket.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                received = b""
            if not received:
                errors += 1
                close(connection)
                continue
            connection.incoming += received
            answer = split_answer(connection.incoming)
            if answer is None:
                continue
            now = time.perf_counter()
            latencies.append((now - connection.sent_at) * 1000)
            if not answer[0].startswith(b"http/1.1 200") or answer[1] != expected[connection.asked]:
                errors += 1
            if now - started < seconds and rate is None:
                ask(connection)
            elif now - started < seconds:
                free.append(connection)
            else:
                close(connection)
    elapsed = time.perf_counter() - started
    latencies.sort()
    return {
        "n_answers": len(latencies),
        "n_errors": errors,
        "seconds": elapsed,
        "per_second": len(latencies) / elapsed,
        "p50_ms": latencies[len(latencies) // 2] if latencies else None,
        "p99_ms": latencies[int(len(latencies) * 0.99)] if latencies else None,
        "max_ms": latencies[-1] if latencies else None,
    }


def main() -> None:
    """Read a plan, drive, print the result as JSON."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    decoded = {key: [base64.b64decode(one) for one in plan[key]] for key in ("requests", "expected")}
    figures = drive(
        plan["port"],
        **decoded,
        n_connections=plan["connections"],
        seconds=plan["seconds"],
        rate=plan.get("rate"),
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
