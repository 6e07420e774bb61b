"""The HTTP protocol that answers small predictions beside the server's own: over a socket they are the same."""

import json
import re
import socket
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.connections import LimitedProtocol
from service.api.protocol import PredictProtocol
from service.settings import Settings
from tests.paths import server_on
from tests.published import publish_all

LIMIT: Final = 4096
JSON: Final = b"Content-Type: application/json\r\n"
BODY: Final = b'{"model": "multiply", "rows": [{"a": 3, "b": 5}]}'
INFER: Final = b'{"inputs": [{"name": "numeric", "shape": [1, 2], "datatype": "FP64", "data": [3, 5]}]}'
INFER_START: Final = b"POST /v2/models/multiply/infer HTTP/1.1"
WISH: Final = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
LAST: Final = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(name="ports", scope="module")
def _ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Give the ports of our protocol and of the server's own, over the same models."""
    chosen = Settings(model_repository=publish_all(tmp_path_factory.mktemp("repository")), max_body_bytes=LIMIT)
    with server_on(chosen, PredictProtocol) as ours, server_on(chosen, LimitedProtocol) as theirs:
        yield ours, theirs


def post(body: bytes, *headers: bytes, start: bytes = b"POST /predict HTTP/1.1", length: bool = True) -> bytes:
    declared = [b"Content-Length: %d\r\n" % len(body)] if length else []
    return b"".join((start, b"\r\nHost: x\r\n", *headers, *declared, b"\r\n", body))


def product(a: float, *headers: bytes) -> bytes:
    return post(json.dumps({"model": "multiply", "rows": [{"a": a, "b": 5}]}).encode(), JSON, *headers)


def chunked(body: bytes) -> bytes:
    parts = (body[:7], body[7:])
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


REQUESTS: Final = {
    "records": product(3),
    "split": post(b'{"model": "add", "columns": ["a", "b"], "data": [[1, 2], [3, 400]]}', JSON),
    "several rows": post(b'{"model": "add", "rows": [{"a": 1, "b": 2}, {"a": 1, "b": 200}]}', JSON),
    "another charset's spelling": post(BODY, b"Content-Type: application/json; charset=UTF-8\r\n"),
    "an id of its own": product(4, b"X-Request-ID: order-17\r\n"),
    "an id that may not be kept": product(4, b"X-Request-ID: {}\r\n"),
    "no answer": post(b'{"model": "divide", "rows": [{"a": 1, "b": 0}]}', JSON),
    "not finite": post(b'{"model": "multiply", "rows": [{"a": 1e200, "b": 1e200}]}', JSON),
    "unknown model": post(b'{"model": "unknown", "rows": [{"a": 1}]}', JSON),
    "no JSON": post(b"nonsense", JSON),
    "no body": post(b"", JSON),
    "a wrong type": post(BODY, b"Content-Type: text/plain\r\n"),
    "two types": post(BODY, b"Content-Type: text/plain\r\n", JSON),
    "two types, the other first": post(BODY, JSON, b"Content-Type: text/plain\r\n"),
    "no type": post(BODY),
    "compressed": post(BODY, JSON, b"Content-Encoding: gzip\r\n"),
    "another method": post(BODY, JSON, start=b"PUT /predict HTTP/1.1"),
    "another path": post(BODY, JSON, start=b"POST /predict/ HTTP/1.1"),
    "the path in other letters": post(BODY, JSON, start=b"POST /%70redict HTTP/1.1"),
    "a query": post(BODY, JSON, start=b"POST /predict?a=1 HTTP/1.1"),
    "the path in full": post(BODY, JSON, start=b"POST http://x/predict HTTP/1.1"),
    "chunked": post(chunked(BODY), JSON, b"Transfer-Encoding: chunked\r\n", length=False),
    "another protocol": product(8, WISH),
    "another protocol, chunked": post(chunked(BODY), JSON, WISH, b"Transfer-Encoding: chunked\r\n", length=False),
    "another protocol, no body": b"GET /health/live HTTP/1.1\r\nHost: x\r\n%b\r\n" % WISH,
    "health": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing there": b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + product(5),
    "keep-alive": product(6, b"Connection: keep-alive\r\n"),
    "infer": post(INFER, start=b"POST /v2/models/multiply/infer HTTP/1.1"),
    "infer, with its type and an id": post(INFER, JSON, b"X-Request-ID: order-18\r\n", start=INFER_START),
    "infer, outputs as bytes": post(
        INFER.replace(b"{", b'{"parameters": {"binary_data_output": true}, ', 1), start=INFER_START
    ),
    "infer, bytes behind the JSON": post(
        INFER, b"Inference-Header-Content-Length: %d\r\n" % len(INFER), start=INFER_START
    ),
    "infer, no such version": post(INFER, start=b"POST /v2/models/multiply/versions/9/infer HTTP/1.1"),
    "infer, a version": post(INFER, start=b"POST /v2/models/multiply/versions/1/infer HTTP/1.1"),
    "infer, no such model": post(INFER, start=b"POST /v2/models/unknown/infer HTTP/1.1"),
    "infer, no answer": post(INFER.replace(b"5", b"0"), start=b"POST /v2/models/divide/infer HTTP/1.1"),
    "infer, too large a number": post(INFER.replace(b"5", b"1e999"), start=INFER_START),
    "infer, a query": post(INFER, start=b"POST /v2/models/multiply/infer?a=1 HTTP/1.1"),
    "infer, letters of another kind": post(INFER, start=b"POST /v2/models/%6dultiply/infer HTTP/1.1"),
    "a model of the protocol": b"POST /v2/models/multiply HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "a long head": product(7, b"X-Long: " + b"x" * 10_000 + b"\r\n"),
}
"""Requests after which the connection stays open."""

ENDING: Final = {
    "close": product(3, b"Connection: close\r\n"),
    "HTTP/1.0": post(BODY, JSON, start=b"POST /predict HTTP/1.0"),
    "HTTP/1.0 kept alive": post(BODY, JSON, b"Connection: keep-alive\r\n", start=b"POST /predict HTTP/1.0"),
    "too large": post(BODY.ljust(LIMIT + 1), JSON),
    "too large, unread": post(b"", JSON, b"Content-Length: 999999\r\n", length=False),
    "a faulty length": post(BODY, JSON, b"Content-Length: x\r\n", length=False),
    "a negative length": post(BODY, JSON, b"Content-Length: -5\r\n", length=False),
    "two lengths": post(BODY, JSON, b"Content-Length: 5\r\n"),
    "length and chunks": post(BODY, JSON, b"Transfer-Encoding: chunked\r\n"),
    "a folded header": post(BODY, JSON, b"X-A: 1\r\n 2\r\n"),
    "a space before the colon": post(BODY, b"Content-Type : application/json\r\n"),
    "line feeds alone": post(BODY, JSON).replace(b"\r\n", b"\n"),
    "a line feed in the head": post(BODY, JSON, b"X-A: 1\n\r\n"),
    "NUL in the head": post(BODY, JSON, b"X-A: \x00\r\n"),
    "another version": post(BODY, JSON, start=b"POST /predict HTTP/1.2"),
    "no version": post(BODY, JSON, start=b"POST /predict"),
    "nonsense": b"\x00\xff\x00\r\n\r\n",
}
"""Requests after which the server closes."""


def exchange(port: int, parts: Sequence[bytes]) -> bytes:
    """Send in parts, and return all that comes back, without what differs each time."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for part in parts:
                connection.sendall(part)
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass  # the server closed before everything was sent
    return received


def comparable(received: bytes) -> list[tuple[bytes, frozenset[bytes], bytes]]:
    """Return status line, headers in any order and body of every answer, without date and made ids."""
    received = re.sub(rb"[0-9a-f]{32}", b"0" * 32, re.sub(rb"date: [^\r]*\r\n", b"", received))
    answers = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status, *headers = head.split(b"\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        length = int(found[1]) if found else 0
        answers.append((status, frozenset(headers), received[:length]))
        received = received[length:]
    return answers


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_answered_as_by_the_server_s_own(ports: tuple[int, int], name: str) -> None:
    ours, theirs = (comparable(exchange(port, [REQUESTS[name], LAST])) for port in ports)

    assert ours == theirs
    assert len(ours) == 2


def test_who_asks_for_another_protocol_is_answered_in_this_one(ports: tuple[int, int]) -> None:
    raw = [REQUESTS[name] for name in REQUESTS if name.startswith("another protocol")]
    for port in ports:
        answers = comparable(exchange(port, [*raw, product(9), LAST]))

        assert [status for status, _headers, _body in answers] == [b"HTTP/1.1 200 OK"] * 5
        assert [json.loads(answers[i][2])["predictions"] for i in (0, 1, 3)] == [[{"y": 40}], [{"y": 15}], [{"y": 45}]]


@pytest.mark.parametrize("name", ENDING)
def test_the_connection_ends_as_with_the_server_s_own(ports: tuple[int, int], name: str) -> None:
    ours, theirs = (comparable(exchange(port, [ENDING[name]])) for port in ports)

    assert ours == theirs
    assert len(ours) == 1


def test_what_is_no_request_ends_a_connection_that_has_been_used(ports: tuple[int, int]) -> None:
    with socket.create_connection(("127.0.0.1", ports[0]), timeout=30) as connection:
        connection.sendall(product(2))
        first = connection.recv(10_000)
        connection.sendall(ENDING["nonsense"])
        rest = connection.recv(10_000) + connection.recv(10_000)

    assert first.startswith(b"HTTP/1.1 200 OK")
    assert rest.startswith(b"HTTP/1.1 400")


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
def test_requests_on_one_connection_are_answered_in_turn_however_they_are_cut(
    ports: tuple[int, int], names: list[str], cuts: list[int]
) -> None:
    """One after another without waiting for an answer, in segments that begin anywhere."""
    raw = b"".join(REQUESTS[name] for name in names) + LAST
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    parts = [raw[start:stop] for start, stop in pairwise(places)]

    ours, theirs = (comparable(exchange(port, parts)) for port in ports)

    assert ours == theirs
    assert len(ours) == len(names) + 1


@pytest.mark.parametrize("which", [0, 1], ids=["ours", "the server's"])
def test_a_client_that_waits_to_be_told_to_go_on_is_told(ports: tuple[int, int], which: int) -> None:
    head = post(b"", JSON, b"Expect: 100-continue\r\n", b"Content-Length: %d\r\n" % len(BODY), length=False)
    with socket.create_connection(("127.0.0.1", ports[which]), timeout=30) as connection:
        connection.sendall(head)
        told = connection.recv(1000)
        connection.sendall(BODY)
        answer = connection.recv(10_000)

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200 OK")


def counted(port: int) -> dict[str, float]:
    """Return what /metrics tells of predictions."""
    answer = exchange(port, [b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]).decode()
    found = re.findall(
        r'^(nalu_\w*(?:total|count)\{[^}]*(?:/predict"|infer"|model="add")[^}]*\}) (\S+)$', answer, re.MULTILINE
    )
    return {series: float(value) for series, value in found}


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {series: value - before.get(series, 0) for series, value in after.items() if value != before.get(series)}


def test_requests_rows_and_broken_off_requests_are_counted_alike(ports: tuple[int, int]) -> None:
    told = []
    for port in ports:
        before = counted(port)
        exchange(port, [REQUESTS["several rows"], REQUESTS["split"], REQUESTS["no JSON"], REQUESTS["infer"], LAST])
        for part in (10, 100, -5):  # within the head, the body
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(REQUESTS["split"][:part])
        exchange(port, [LAST])
        told.append(difference(before, counted(port)))

    assert told[0] == told[1]
    assert told[0]['nalu_requests_total{path="/predict",status="200"}'] == 2
    assert told[0]['nalu_requests_total{path="/v2/models/…/infer",status="200"}'] == 1
    assert told[0]['nalu_rows_total{model="add",version="1"}'] == 4
    assert told[0]['nalu_requests_total{path="/predict",status="499"}'] == 2
