"""Large bodies on the HTTP protocol: put where they are read, and left to the application where that has to answer."""

import json

import pytest

from service.api import front, protocol
from service.api.front import Front
from service.api.gathering import Gathering
from service.inference.quick_rows import QuickReader
from tests.short_path import Served, quick_reader, run
from tests.wires import Wire, settle


@pytest.fixture(name="reader", scope="module")
def _reader(tmp_path_factory: pytest.TempPathFactory) -> QuickReader:
    return quick_reader(tmp_path_factory.mktemp("repository"))


LARGE = json.dumps({"model": "add", "columns": ["a", "b"], "data": [[1, 2]] * 10_000}).encode()
LARGE_REQUEST = b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(LARGE),
    LARGE,
)


def give(wire: Wire, data: bytes) -> None:
    """Give data to a protocol that says where it goes."""
    assert isinstance(wire.protocol, Gathering)
    wire.protocol.get_buffer(-1)[: len(data)] = data
    wire.protocol.buffer_updated(len(data))


@pytest.fixture(name="patient")
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(front, "bytes_at_once", lambda: 1_000_000)
    monkeypatch.setattr(protocol, "PATIENCE_S", 60.0)


@pytest.mark.usefixtures("patient")
def test_a_large_body_is_put_where_it_is_read(reader: QuickReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Front, "answer_large", lambda _front, body, n: b"%d" % len(json.loads(body[:n])["data"]))

    async def scenario(served: Served) -> None:
        for n_first in (120, 5_000):
            connection, wire = served.connect()
            connection.data_received(LARGE_REQUEST[:n_first])
            give(wire, LARGE_REQUEST[n_first:7_000])
            connection.look(connection.loop.time() + 1000)  # a connection on which a body arrives is not idle
            assert not wire.closed
            assert wire.sent == b""
            give(wire, LARGE_REQUEST[7_000:])
            assert wire.protocol is connection
            assert wire.sent.endswith(b"vary: Accept-Encoding\r\n\r\n10000")
            assert not wire.closed
        assert served.front.shelf._n_taken == 0

    served = run(reader, scenario, 10**6)

    assert served.asked == []
    assert served.traffic.answered == {200: 2}


@pytest.mark.usefixtures("patient")
def test_a_stop_while_a_large_body_arrives_lets_the_application_have_it(reader: QuickReader) -> None:
    wires: list[Wire] = []

    async def scenario(served: Served) -> None:
        connection, wire = served.connect()
        connection.data_received(LARGE_REQUEST[:5_000])
        give(wire, LARGE_REQUEST[5_000:6_000])
        connection.shutdown()
        assert wire.protocol is connection
        connection.data_received(LARGE_REQUEST[6_000:])
        wires.append(wire)

    served = run(reader, scenario, 10**6)

    assert served.asked == [("/predict", LARGE)]
    assert wires[0].closed


@pytest.mark.usefixtures("patient")
def test_a_client_that_goes_while_a_large_body_arrives_is_told_to_the_application(reader: QuickReader) -> None:
    async def scenario(served: Served) -> None:
        connection, wire = served.connect()
        connection.data_received(LARGE_REQUEST[:5_000])
        assert isinstance(wire.protocol, Gathering)
        wire.protocol.pause_writing()
        assert connection.flow.write_paused
        wire.protocol.resume_writing()
        wire.protocol.eof_received()
        wire.close()
        wire.protocol.connection_lost(None)
        await settle()
        assert served.front.shelf._n_taken == 0

    assert run(reader, scenario, 10**6).asked == [("http.disconnect", b"")]
