"""What ends a connection, on a clock of the tests' own."""

import pytest

from service.api.connections import MAX_HEADERS, MIN_BYTES_S
from service.api.held import HELD_BYTES
from tests.limited import GET, POST, Server, after, run
from tests.wires import settle


@pytest.mark.parametrize(
    ("begun", "answer"),
    [(b"", None), (b"\r\n", None), (b"GET", (408, "request-timeout")), (GET[:-1], (408, "request-timeout"))],
)
def test_who_says_nothing_or_half_a_head_is_cut_off(begun: bytes, answer: tuple[int, str] | None) -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        if begun:
            protocol.data_received(begun)
        protocol.look(after(9))
        closed = [wire.closed]
        if begun:
            protocol.data_received(b"\r\n" if answer is None else b"")  # bytes that lead nowhere gain no time
        protocol.look(after(11))
        assert [*closed, wire.closed] == [False, True]
        assert (wire.problem if wire.sent else None) == answer
        assert server.traffic.answered == ({408: 1} if answer else {})

    run(scenario)


def test_a_slow_body_is_borne_at_a_modem_s_speed_and_not_below() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(POST)
        for second in range(1, 60):
            protocol.data_received(b"x" * MIN_BYTES_S)
            await settle()
            protocol.look(after(second))
            assert not wire.closed, second
        protocol.look(after(59 + 11))
        assert wire.problem == (408, "request-timeout")

    run(scenario)


def test_while_the_service_does_not_read_the_client_is_not_slow() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(POST.replace(b"/now", b"/wait") + b"x" * 100_000)
        assert wire.paused
        protocol.look(after(1000))
        assert not wire.closed

        expecting, other = server.connect()
        expecting.data_received(POST.replace(b"/now", b"/wait").replace(b"Host: x", b"Expect: 100-continue"))
        expecting.look(after(1000))
        assert not other.closed

        whole, third = server.connect()
        whole.data_received(GET.replace(b"/now", b"/wait"))
        whole.look(after(1000))
        assert not third.closed

    run(scenario)


def test_an_answered_body_that_never_ends_is_cut_off_without_a_second_answer() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(POST.replace(b"/now", b"/early") + b"x" * HELD_BYTES)
        await settle()
        assert wire.sent.count(b"HTTP/1.1") == 1
        protocol.look(after(11 + HELD_BYTES / MIN_BYTES_S))
        assert wire.closed
        assert wire.sent.count(b"HTTP/1.1") == 1

    run(scenario)


def test_an_idle_connection_is_closed_even_where_empty_lines_trickle_in() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(GET)
        await settle()
        for second in (20, 40, 59):
            protocol.data_received(b"\r\n")
            protocol.look(after(second))
            assert not wire.closed
        protocol.look(after(61))
        assert wire.closed

    run(scenario)


def test_an_answer_is_read_at_a_modem_s_speed_or_not_at_all() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.pause_writing()
        for second in range(1, 100):
            wire.unread = 1_000_000 - MIN_BYTES_S * second
            protocol.look(after(second))
            assert not wire.aborted
        protocol.look(after(99 + 11))
        assert wire.aborted

        slower, third = server.connect()
        slower.pause_writing()
        for second in range(1, 23):  # a second's worth takes two
            third.unread = 1_000_000 - MIN_BYTES_S // 2 * second
            slower.look(after(second))
            assert not (third.aborted and second < 18), second
        assert third.aborted

        closing, other = server.connect()
        closing.transport.close()
        closing.look(after(1))
        assert not other.aborted
        closing.look(after(12))
        assert other.aborted

    run(scenario)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 5000,
        b"GET /now HTTP/1.1\r\nX: " + b"x" * 5000,
        b"GET /now HTTP/1.1\r\nX: " + b"x" * 5000 + b"\r\n\r\n",
        b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n",
        b"GET /now HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    ],
    ids=["line", "header", "whole header", "whole line", "headers"],
)
def test_a_head_over_the_limit_is_refused_in_one_piece_or_many(head: bytes) -> None:
    async def scenario(server: Server) -> None:
        for size in (len(head), 100):
            protocol, wire = server.connect()
            for start in range(0, len(head), size):
                protocol.data_received(head[start : start + size])
                if wire.closed:
                    break
            await settle()
            assert wire.problem == (431, "head-too-large")
            assert not server.state.tasks
            protocol.connection_lost(None)

    run(scenario)


def test_heads_within_the_limit_and_bodies_over_it_are_let_through() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(b"GET /now HTTP/1.1\r\n" + b"A: b\r\n" * MAX_HEADERS + b"\r\n")
        await settle()
        protocol.data_received(b"POST /now HTTP/1.1\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000)
        await settle()
        protocol.data_received(GET * 200 + GET[:9])
        protocol.data_received(GET[9:])
        await settle()
        assert wire.sent.count(b"HTTP/1.1 202") >= 3
        assert not wire.closed

    run(scenario)


CHUNKED = GET.replace(b"GET", b"POST").replace(b"Host: x", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("begun", "more"),
    [(b"0\r\n", b"A: b\r\n"), (b"0\r\nA: ", b"x"), (b"1;", b"x"), (b"1\r\nx\r\n1;x=", b"y"), (b"", b"0")],
    ids=["trailers", "trailer", "extension", "later extension", "digits"],
)
@pytest.mark.parametrize("size", [100, 3000])
def test_what_a_body_in_chunks_has_beside_them_is_limited_as_a_head_is(begun: bytes, more: bytes, size: int) -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(CHUNKED)
        protocol.data_received(begun)
        n_sent = 0
        while not wire.closed:
            assert n_sent < 4096
            part = more * (size // len(more))
            protocol.data_received(part)
            n_sent += len(part)
        await settle()
        assert wire.problem == (431, "head-too-large")
        assert protocol.scope["headers"] == [(b"transfer-encoding", b"chunked")]
        assert not server.state.tasks

    run(scenario)


def test_beside_the_chunks_of_an_answered_body_there_is_no_second_answer() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(CHUNKED.replace(b"/now", b"/early") + b"4000\r\n" + b"x" * HELD_BYTES + b"\r\n0\r\n")
        await settle()
        for _ in range(50):
            protocol.data_received(b"A: b\r\n" * 20)
        assert wire.closed
        assert wire.sent.count(b"HTTP/1.1") == 1

    run(scenario)


def test_trailers_within_the_limit_mean_nothing_and_chunks_may_be_small() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        for n_answers in (1, 2):
            protocol.data_received(CHUNKED)
            for _ in range(200):
                protocol.data_received(b"1\r\nx\r\n" * 10)
            protocol.data_received(b"0\r\n" + b"A: b\r\n" * 500)
            protocol.data_received(b"Expect: 100-continue\r\n\r\n")
            assert protocol.scope["headers"] == [(b"transfer-encoding", b"chunked")]
            await settle()
            assert wire.sent.count(b"HTTP/1.1 202") == n_answers
        assert not wire.closed

    run(scenario)


def test_what_is_no_http_is_a_problem() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(b"\x16\x03\x01 hello\r\n\r\n")
        assert wire.problem == (400, "bad-request")

    run(scenario)


def test_who_leaves_between_the_parts_of_an_answer_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(POST.replace(b"/now", b"/early") + b"x" * HELD_BYTES)
        wire.close()
        await settle()
        assert wire.sent == b""
        assert not server.state.tasks

    run(scenario)
    assert caplog.text == ""
