"""Asks a service on many connections at once, in every form, and compares each answer with the version it names."""

import json
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.faults.numbered import NAME, answer
from benchmarks.serving.load import split_answer

A, B = 3.0, 5.0

_RECEIVE_BYTES: Final = 1 << 16
_QUIET_S: Final = 30.0
"""Time without any answer after which those outstanding are taken for lost."""


@dataclass(frozen=True)
class Form:
    """A way to ask.

    Attributes:
        head: Method, path and content type.
        body: The body.
        read: Returns version and prediction of an answer, given its head and body.
    """

    head: str
    body: bytes
    read: Callable[[bytes, bytes], tuple[int, float]]

    def request(self, headers: Mapping[str, str]) -> bytes:
        """Return the request as it goes over the wire."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(self.body)}\r\n"
        return f"{self.head}\r\nHost: localhost\r\n{more}{length}\r\n".encode() + self.body


def _read_records(_head: bytes, body: bytes) -> tuple[int, float]:
    told = json.loads(body)
    return told["version"], told["predictions"][0]["y"]


def _read_split(_head: bytes, body: bytes) -> tuple[int, float]:
    told = json.loads(body)
    return told["version"], told["data"][0][0]


def _read_infer(_head: bytes, body: bytes) -> tuple[int, float]:
    told = json.loads(body)
    return int(told["model_version"]), told["outputs"][0]["data"][0]


def _read_table(head: bytes, body: bytes) -> tuple[int, float]:
    return int(head.split(b"nalu-version:")[1].split()[0]), float(body.split(b"\n")[1].split(b",")[0])


_JSON = "POST /predict HTTP/1.1\r\nContent-Type: application/json"
_RECORDS = {"model": NAME, "rows": [{"a": A, "b": B}]}
_TENSOR = {"name": "numeric", "datatype": "FP64", "shape": [1, 2], "data": [A, B]}

FORMS: Final[Mapping[str, Form]] = {
    "records": Form(_JSON, json.dumps(_RECORDS).encode(), _read_records),
    "split": Form(_JSON, json.dumps({"model": NAME, "columns": ["a", "b"], "data": [[A, B]]}).encode(), _read_split),
    "alias": Form(_JSON, json.dumps({**_RECORDS, "version": "champion"}).encode(), _read_records),
    "infer": Form(f"POST /v2/models/{NAME}/infer HTTP/1.1", json.dumps({"inputs": [_TENSOR]}).encode(), _read_infer),
    "table": Form(
        f"POST /predict?model={NAME} HTTP/1.1\r\nContent-Type: text/csv", f"a,b\n{A},{B}\n".encode(), _read_table
    ),
}

_MIX: Final = ("records",) * 6 + ("split",) * 5 + ("alias",) * 2 + ("infer",) * 2 + ("table",)


@dataclass
class _Connection:
    socket: socket.socket
    form: str = ""
    incoming: bytes = b""


class Asking(threading.Thread):
    """Keeps one request outstanding on each of many connections until told to stop; then waits for the answers.

    Args:
        port: Port on 127.0.0.1.
        n_connections: Connections kept open.
        headers: Headers of every request.

    Attributes:
        right: Form → answers that are those of the version they name.
        versions: Versions that answered.
        wrong: The first answers that are not, as they came.
        n_wrong: How many are not, lost ones included.
    """

    def __init__(self, port: int, n_connections: int, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.right = Counter[str]()
        self.versions = set[int]()
        self.wrong: list[str] = []
        self.n_wrong = 0
        self._ending = threading.Event()
        self._requests = {name: form.request(headers) for name, form in FORMS.items()}
        self._n_asked = 0
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        for _ in range(n_connections):
            opened = socket.create_connection(("127.0.0.1", port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[opened.fileno()] = _Connection(opened)
            self._poll.register(opened, select.EPOLLIN)

    def finish(self) -> None:
        """Ask nothing more, and wait for what is outstanding."""
        self._ending.set()
        self.join()

    def run(self) -> None:
        """Ask and compare."""
        for connection in list(self._connections.values()):
            self._ask(connection)
        while self._connections:
            events = self._poll.poll(_QUIET_S)
            if not events:
                self._note(f"{len(self._connections)} answers lost", len(self._connections))
                return
            for number, _event in events:
                self._hear(self._connections[number])

    def _ask(self, connection: _Connection) -> None:
        connection.form = _MIX[self._n_asked % len(_MIX)]
        connection.incoming = b""
        self._n_asked += 1
        connection.socket.sendall(self._requests[connection.form])

    def _hear(self, connection: _Connection) -> None:
        try:
            received = connection.socket.recv(_RECEIVE_BYTES)
        except ConnectionResetError:
            received = b""
        connection.incoming += received
        whole = _whole(connection.incoming)
        if whole is not None:
            self._compare(connection, *whole)
        elif not received:
            self._note(f"connection closed before an answer to {connection.form}: {connection.incoming!r}")
        else:
            return
        if self._ending.is_set() or not received:
            self._poll.unregister(connection.socket)
            del self._connections[connection.socket.fileno()]
            connection.socket.close()
        else:
            self._ask(connection)

    def _compare(self, connection: _Connection, head: bytes, body: bytes) -> None:
        try:
            version, value = FORMS[connection.form].read(head, body)
        except (ValueError, KeyError, IndexError, TypeError):
            self._note(f"{connection.form}: {head[:40]!r} {body[:300]!r}")
            return
        self.versions.add(version)
        if head.startswith(b"http/1.1 200") and value == answer(A, B, version):
            self.right[connection.form] += 1
        else:
            self._note(f"{connection.form}: version {version} answered {value}")

    def _note(self, what: str, n: int = 1) -> None:
        self.n_wrong += n
        if len(self.wrong) < 20:
            self.wrong.append(what)


def _whole(raw: bytes) -> tuple[bytes, bytes] | None:
    """Return head, in lower case, and body of an answer, or None while it is not whole."""
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, body = raw[:end].lower(), raw[end + 4 :]
    if b"transfer-encoding: chunked" not in head:
        return split_answer(raw)
    pieces = []
    while True:
        size, found, rest = body.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return None
        if not int(size, 16):
            return head, b"".join(pieces)
        pieces.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
