"""Clients that would change over to another protocol: they are answered in HTTP/1.1."""

import asyncio

import pytest

from service.api.connections import MAX_HEADERS
from tests.limited import GET, Server, run
from tests.wires import settle

WISH = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
"""What Java's HTTP client and `curl --http2` send."""

BODY = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /now HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (WISH, len(BODY), BODY)
CHUNKED = b"POST /now HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nA: b\r\n\r\n" % (
    WISH,
    len(BODY),
    BODY,
)
WISHING = GET.replace(b"Host: x\r\n", WISH)


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_a_body_is_read_and_what_comes_behind_is_answered(size: int) -> None:
    raw = POST + WISHING + CHUNKED + GET + POST

    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        for start in range(0, len(raw), size):
            protocol.data_received(raw[start : start + size])
            await settle()
        assert wire.sent.count(b"HTTP/1.1 202") == wire.sent.count(b"HTTP/1.1") == 5
        assert server.read == [("/now", BODY), ("/now", b""), ("/now", BODY), ("/now", b""), ("/now", BODY)]
        assert not wire.closed
        protocol.look(server.clock.time() + 59)  # it is idle, and owes nothing
        assert not wire.closed

    run(scenario)


def test_all_else_that_a_head_says_counts() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(POST.replace(b"Upgrade, ", b"close, Upgrade, ") + POST + GET)
        await settle()
        assert wire.sent.count(b"HTTP/1.1") == 1
        assert wire.closed
        assert server.read == [("/now", BODY)]
        names = [name for name, _value in server.headers[0]]
        assert names == [b"connection", b"http2-settings", b"content-length"]

    run(scenario)


def test_such_a_head_has_the_limits_of_any() -> None:
    async def scenario(server: Server) -> None:
        most = POST.replace(WISH, WISH + b"A: b\r\n" * (MAX_HEADERS - 4))
        protocol, wire = server.connect()
        protocol.data_received(most)
        await settle()
        protocol.data_received(most.replace(WISH, WISH + b"Upgrade: h2c\r\n"))
        await settle()
        assert wire.problem == (431, "head-too-large")
        assert server.read == [("/now", BODY)]

    run(scenario)


def test_thousands_in_a_row_are_each_answered() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(WISHING * 2000)
        for _ in range(10_000):
            await asyncio.sleep(0)
        assert wire.sent.count(b"HTTP/1.1 202") == 2000

    run(scenario)


@pytest.mark.parametrize("head", [b"CONNECT / HTTP/1.1\r\n\r\n", b"CONNECT / HTTP/1.1\r\n" + WISH + b"\r\n"])
def test_there_is_no_tunnel(head: bytes) -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(head + GET)
        await settle()
        assert wire.problem == (400, "bad-request")
        assert server.read == []

    run(scenario)
