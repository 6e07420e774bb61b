"""The HTTP protocol on its own: what it answers without an application, and what it leaves to one."""

import asyncio
import json
from typing import Any

import pytest

from service.api import heads
from service.api.held import HELD_BYTES
from service.api.middleware import CLIENT_LEFT
from service.inference.quick_rows import QuickReader
from service.inference.session import ModelSession
from tests.short_path import Served, answers, quick_reader, request, run
from tests.wires import Wire, settle


@pytest.fixture(name="reader", scope="module")
def _reader(tmp_path_factory: pytest.TempPathFactory) -> QuickReader:
    return quick_reader(tmp_path_factory.mktemp("repository"))


def test_requests_of_one_turn_are_one_run_and_no_application_sees_them(
    reader: QuickReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires: list[Wire] = []
    rows = counted_runs(monkeypatch)

    async def scenario(served: Served) -> None:
        for a in range(5):
            protocol, wire = served.connect()
            protocol.data_received(request(a))
            wires.append(wire)

    served = run(reader, scenario)

    assert [answers(wire) for wire in wires] == [[1], [2], [3], [4], [5]]
    assert rows == [5]
    assert served.asked == []
    assert served.traffic.answered == {200: 5}
    assert served.state.total_requests == 5


def counted_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the rows of every run from now on."""
    rows: list[int] = []
    run_session = ModelSession.run

    def counting(session: ModelSession, encoded: Any, deadline_s: float | None = None) -> Any:
        rows.append(encoded.n_rows)
        return run_session(session, encoded, deadline_s)

    monkeypatch.setattr(ModelSession, "run", counting)
    return rows


def test_what_comes_while_others_are_read_is_in_their_run(reader: QuickReader, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = counted_runs(monkeypatch)
    wires: list[Wire] = []

    async def scenario(served: Served) -> None:
        connected = [served.connect() for _ in range(4)]
        wires.extend(wire for _connection, wire in connected)
        for a, (connection, _wire) in enumerate(connected[:3]):
            connection.data_received(request(a))
            await asyncio.sleep(0)
        await settle()
        connected[3][0].data_received(request(3))

    run(reader, scenario)

    assert rows == [3, 1]
    assert [answers(wire) for wire in wires] == [[1], [2], [3], [4]]


def test_tensors_are_answered_in_the_run_of_rows(reader: QuickReader, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = counted_runs(monkeypatch)
    wires: list[Wire] = []
    body = b'{"inputs": [{"name": "numeric", "shape": [1, 2], "datatype": "FP64", "data": [3, 5]}]}'
    head = b"POST /v2/models/add/versions/%d/infer HTTP/1.1\r\nContent-Length: %d\r\n\r\n"

    async def scenario(served: Served) -> None:
        for sent in (head % (1, len(body)) + body, request(1), head % (2, len(body)) + body):
            connection, wire = served.connect()
            connection.data_received(sent)
            wires.append(wire)

    served = run(reader, scenario)

    assert rows == [2]
    assert json.loads(wires[0].sent.partition(b"\r\n\r\n")[2])["outputs"][0]["data"] == [8]
    assert answers(wires[1]) == [2]
    assert served.asked == [("/v2/models/add/versions/2/infer", body)]
    assert served.traffic.answered == {200: 2}


def test_where_nobody_else_can_ask_nobody_is_looked_for(reader: QuickReader) -> None:
    async def scenario(served: Served) -> None:
        connected = [served.connect() for _ in range(2)]
        for connection, _wire in connected:
            connection.data_received(request(1))
        await asyncio.sleep(0)
        assert [answers(wire) for _connection, wire in connected] == [[2], [2]]

    run(reader, scenario)


def test_a_head_and_a_body_may_come_apart_once(reader: QuickReader) -> None:
    wires: list[Wire] = []
    raw = request(4)

    async def scenario(served: Served) -> None:
        for cuts in ([raw.index(b"{")], [len(raw) - 1], [len(raw) - 2, len(raw) - 1]):
            protocol, wire = served.connect()
            for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True):
                protocol.data_received(raw[start:stop])
                await settle()
            wires.append(wire)

    served = run(reader, scenario)

    assert [answers(wire) for wire in wires] == [[5], [5], [202]]
    assert served.asked == [("/predict", raw[raw.index(b"{") :])]


def test_what_comes_behind_waits_for_its_turn(reader: QuickReader) -> None:
    wires: list[Wire] = []
    get = b"GET /models HTTP/1.1\r\n\r\n"

    async def scenario(served: Served) -> None:
        protocol, wire = served.connect()
        protocol.data_received(request(1) + get + request(2, model="divide", b=0) + request(3) + get[:5])
        protocol.data_received(get[5:])
        wires.append(wire)

    served = run(reader, scenario)

    assert answers(wires[0]) == [2, 202, 202, 202, 202]
    assert [path for path, _body in served.asked] == ["/models", "/predict", "/predict", "/models"]


def test_without_an_answer_the_application_is_asked(reader: QuickReader) -> None:
    wires: list[Wire] = []

    async def scenario(served: Served) -> None:
        protocol, wire = served.connect()
        protocol.data_received(request(1, 0, "divide"))
        await settle()
        protocol.data_received(request(1, 4, "divide"))
        wires.append(wire)

    served = run(reader, scenario)

    assert answers(wires[0]) == [202, 0.25]
    assert [path for path, _body in served.asked] == ["/predict"]


def test_while_the_application_answers_or_the_client_does_not_read_nothing_overtakes(reader: QuickReader) -> None:
    wires: list[Wire] = []

    async def scenario(served: Served) -> None:
        protocol, wire = served.connect()
        protocol.data_received(b"GET /models HTTP/1.1\r\n\r\n")
        protocol.data_received(request(1))
        await settle()
        protocol.pause_writing()
        protocol.data_received(request(2))
        await settle()
        assert answers(wire) == [202, 202]
        protocol.resume_writing()
        wires.append(wire)

    served = run(reader, scenario)

    assert answers(wires[0]) == [202, 202, 202]
    assert len(served.asked) == 3


def test_what_is_the_body_of_another_request_is_no_request(reader: QuickReader) -> None:
    """The application may answer before it has read the body, which then still arrives."""
    wires: list[Wire] = []
    raw = request(4)

    async def scenario(served: Served) -> None:
        protocol, wire = served.connect()
        length = HELD_BYTES + len(raw)
        protocol.data_received(b"POST /early HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length + b" " * HELD_BYTES)
        await settle()
        assert answers(wire) == [202]
        protocol.data_received(raw)
        await settle()
        assert answers(wire) == [202]
        protocol.data_received(raw)
        wires.append(wire)

    served = run(reader, scenario)

    assert answers(wires[0]) == [202, 5]
    assert [path for path, _body in served.asked] == ["/early"]


def test_who_asks_for_another_protocol_is_answered_by_the_application_and_then_here(reader: QuickReader) -> None:
    wires: list[Wire] = []
    raw = request(4, more="Connection: Upgrade\r\nUpgrade: h2c\r\n")

    async def scenario(served: Served) -> None:
        for size in (1, len(raw)):
            protocol, wire = served.connect()
            for start in range(0, len(raw), size):
                protocol.data_received(raw[start : start + size])
            await settle()
            protocol.data_received(request(5))
            wires.append(wire)

    served = run(reader, scenario)

    assert [answers(wire) for wire in wires] == [[202, 6], [202, 6]]
    assert served.asked == [("/predict", raw[raw.index(b"{") :])] * 2


def test_a_stop_lets_what_was_begun_be_answered_and_closes(reader: QuickReader) -> None:
    wires: list[Wire] = []
    raw = request(4)

    async def scenario(served: Served) -> None:
        for first, behind in ((raw, b""), (raw, request(5)), (raw[:-3], b"")):
            protocol, wire = served.connect()
            protocol.data_received(first + behind)
            protocol.shutdown()
            if first != raw:
                protocol.data_received(raw[len(first) :])
            await settle()
            wires.append(wire)

    run(reader, scenario)

    assert [answers(wire) for wire in wires] == [[5], [5, 202], [202]]
    for wire in wires:
        assert wire.closed
        assert wire.sent.count(b"connection: close\r\n") == 1


def test_while_the_server_stops_each_answer_is_the_last_of_its_connection(reader: QuickReader) -> None:
    wires: list[Wire] = []

    async def scenario(served: Served) -> None:
        protocol, wire = served.connect()
        protocol.data_received(request(4))
        await settle()
        served.state.default_headers = [*served.state.default_headers, (b"connection", b"close")]
        protocol.data_received(request(5) + request(6))
        wires.append(wire)

    run(reader, scenario)

    assert answers(wires[0]) == [5, 6]
    assert wires[0].closed
    assert wires[0].sent.count(b"connection: close\r\n") == 1


def test_a_client_that_goes_is_told_to_the_application_or_not_at_all(reader: QuickReader) -> None:
    raw = request(4)
    gone: list[Wire] = []

    async def scenario(served: Served) -> None:
        for first in (raw, raw[:-3], request(1, 0, "divide")):
            protocol, wire = served.connect()
            protocol.data_received(first)
            wire.close()
            protocol.connection_lost(None)
            await settle()
            gone.append(wire)

    served = run(reader, scenario)

    assert [wire.sent for wire in gone] == [b""] * 3
    assert served.traffic.answered == {200: 1, CLIENT_LEFT: 1}
    assert served.asked == [("http.disconnect", b"")]


@pytest.mark.parametrize("path", ["/predict", "/other"])
def test_an_idle_connection_is_closed_and_one_in_use_is_not(reader: QuickReader, path: str) -> None:
    async def scenario(served: Served) -> None:
        protocol, wire = served.connect()
        idle_s = served.reaper.patience.idle_s
        for a in range(2):
            protocol.data_received(request(a).replace(b"/predict", path.encode(), 1))
            began = protocol.loop.time()
            protocol.look(began + 2 * idle_s)  # what is being answered is not idle
            assert not wire.closed
            await settle()
            protocol.look(began + idle_s - 1)
            assert not wire.closed
        protocol.look(protocol.loop.time() + idle_s + 1)
        assert wire.closed
        assert protocol.timeout_keep_alive_task is None

    run(reader, scenario)


def test_few_heads_are_remembered(reader: QuickReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_MAX_HEADS", 3)
    wires: list[Wire] = []

    async def scenario(served: Served) -> None:
        protocol, wire = served.connect()
        for i in range(10):
            protocol.data_received(request(i, more=f"X-Request-ID: order-{i}\r\n"))
            await settle()
            assert f"x-request-id: order-{i}\r\n".encode() in wire.sent
            assert len(served.heads._known) <= 3
        wires.append(wire)

    assert run(reader, scenario).asked == []
    assert answers(wires[0]) == [a + 1 for a in range(10)]
