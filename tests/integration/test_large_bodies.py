"""Bodies that are gathered and answered at once, beside the server's own way with them: both answer alike."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest

from service.api import front, gathering, protocol
from service.api.connections import LimitedProtocol
from service.api.predictions import INLINE_BODY_BYTES
from service.api.protocol import PredictProtocol
from service.inference.quick_rows import QuickReader
from service.settings import Settings
from tests.integration.test_service_protocol import JSON, LAST, comparable, counted, difference, exchange, post, product
from tests.paths import server_on
from tests.published import publish_all

ROWS: Final[list[list[float]]] = np.random.default_rng(0).uniform(-20, 20, (4_000, 2)).tolist()
SPLIT: Final[dict[str, Any]] = {"model": "add", "columns": ["a", "b"], "data": ROWS}
VARY: Final = b"vary: Accept-Encoding"


def body_of(**changed: Any) -> bytes:
    return json.dumps({**SPLIT, **changed}).encode()


WANTED: Final = body_of()
OTHERS: Final = {
    "records": post(json.dumps({"model": "add", "rows": [{"a": a, "b": b} for a, b in ROWS]}).encode(), JSON),
    "text among the numbers": post(body_of(data=[*ROWS, [1, "2"]]), JSON),
    "a ragged row": post(body_of(data=[*ROWS, [1, 2, 3], [1]]), JSON),
    "not finite": post(body_of(data=[*ROWS, [1e308, 1e308]]), JSON),
    "no JSON": post(WANTED[:-1], JSON),
    "an unknown model": post(body_of(model="unknown"), JSON),
    "no such version": post(body_of(version=7), JSON),
    "compressed": post(WANTED, JSON, b"Content-Encoding: gzip\r\n"),
    "its answer compressed": post(WANTED, JSON, b"Accept-Encoding: gzip\r\n"),
    "too many rows": post(body_of(data=ROWS + ROWS), JSON),
}


@pytest.fixture(name="ports", scope="module")
def _ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Give the ports of our protocol and of the server's own, over the same models."""
    chosen = Settings(model_repository=publish_all(tmp_path_factory.mktemp("repository")), max_rows=5_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "bytes_at_once", lambda: 1_000_000)  # however busy the machine is
        patch.setattr("service.inference.quick_models.rows_at_once", lambda _session: 10_000)
        patch.setattr(protocol, "PATIENCE_S", 30.0)
        with server_on(chosen, PredictProtocol) as ours, server_on(chosen, LimitedProtocol) as theirs:
            yield ours, theirs


@pytest.fixture(name="large")
def _large(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each large body read at once whether it was a request."""
    read, noted = front.Front.answer_large, []

    def noting(self: front.Front, body: bytes, n_bytes: int) -> bytes | None:
        answer = read(self, body, n_bytes)
        noted.append(answer is not None)
        return answer

    monkeypatch.setattr(front.Front, "answer_large", noting)
    return noted


def sums(answer: tuple[bytes, frozenset[bytes], bytes]) -> list[list[float]]:
    status, headers, content = answer
    assert status == b"HTTP/1.1 200 OK"
    assert VARY in headers
    found: list[list[float]] = json.loads(content)["data"]
    return found


@pytest.mark.parametrize("cuts", [(), (-1,), (100,), (500, 70_000, 150_000), (133,)], ids=str)
def test_a_body_may_come_in_parts(ports: tuple[int, int], large: list[bool], cuts: tuple[int, ...]) -> None:
    raw = post(WANTED, JSON, b"X-Request-ID: order-17\r\n")
    places = [0, *(cut % len(raw) for cut in cuts), len(raw)]
    parts = [raw[start:stop] for start, stop in pairwise(places)]

    for port in ports:
        answers = comparable(exchange(port, [*parts, product(3) + LAST]))

        assert sums(answers[0]) == [[a + b] for a, b in ROWS]
        assert b"x-request-id: order-17" in answers[0][1]
        assert json.loads(answers[1][2])["predictions"] == [{"y": 15}]
        assert len(answers) == 3
    assert large[0]


def test_several_on_one_connection_are_answered_in_turn(ports: tuple[int, int], large: list[bool]) -> None:
    raw = [post(body_of(data=ROWS[start:]), JSON) for start in (0, 500, 1000)]

    answers = comparable(exchange(ports[0], [raw[0] + product(2) + raw[1], raw[2], LAST]))

    assert [len(sums(answers[i])) for i in (0, 2, 3)] == [4000, 3500, 3000]
    assert len(answers) == 5
    assert large == [True] * 3


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_is_answered_as_by_the_server_s_own(ports: tuple[int, int], name: str) -> None:
    ours, theirs = (comparable(exchange(port, [OTHERS[name], LAST])) for port in ports)

    assert ours == theirs
    assert len(ours) == 2


def test_an_answer_is_the_ordinary_route_s_byte_for_byte(
    ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = comparable(exchange(ports[0], [post(WANTED, JSON), LAST]))
    monkeypatch.setattr(QuickReader, "read_at_once", lambda *_: None)
    in_thread = comparable(exchange(ports[0], [post(WANTED, JSON), LAST]))
    monkeypatch.setattr(QuickReader, "read", lambda *_: None)
    strict = comparable(exchange(ports[0], [post(WANTED, JSON), LAST]))

    assert at_once == in_thread == strict


def test_requests_and_broken_off_bodies_are_counted_alike(ports: tuple[int, int]) -> None:
    raw = post(WANTED, JSON)
    before = [counted(port) for port in ports]
    for port in ports:
        exchange(port, [raw, LAST])
        for n_bytes in (120, 100_000, len(raw) - 1):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(raw[:n_bytes])

    def told() -> list[dict[str, float]]:
        return [difference(one, counted(port)) for one, port in zip(before, ports, strict=True)]

    left = 'nalu_requests_total{path="/predict",status="499"}'
    until(lambda: [one.get(left) for one in told()] == [3, 3])
    ours, theirs = told()
    assert ours == theirs
    assert ours['nalu_rows_total{model="add",version="1"}'] == len(ROWS)


def test_a_slow_body_is_left_to_the_server(
    ports: tuple[int, int], large: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PATIENCE_S", 0.01)
    raw = post(WANTED, JSON)
    received = b""
    with socket.create_connection(("127.0.0.1", ports[0]), timeout=30) as connection:
        connection.sendall(raw[:80_000])
        time.sleep(0.3)
        connection.sendall(raw[80_000:] + LAST)
        while chunk := connection.recv(65536):
            received += chunk

    assert len(sums(comparable(received)[0])) == 4000
    assert large == [True]  # by the route, which has waited for the body


def test_only_a_few_are_gathered_at_a_time(
    ports: tuple[int, int], large: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MAX_GATHERED", 0)

    answers = comparable(exchange(ports[0], [post(WANTED, JSON), LAST]))

    assert len(sums(answers[0])) == 4000
    assert large == [True]  # by the route


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_bodies_of_this_test_are_large() -> None:
    assert len(WANTED) > INLINE_BODY_BYTES
