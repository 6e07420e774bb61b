"""What ends a connection, on a clock of the tests' own."""

import asyncio
import gc
import resource
import weakref
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service.api.connections import MAX_HEADERS, MIN_BYTES_S, LimitedProtocol, Patience, Wheel, allow_files, room_of
from service.api.held import HELD_BYTES
from service.api.middleware import Traffic
from service.metrics import Counts
from service.settings import Settings
from tests.wires import Wire, run_with, settle

PATIENCE = Patience(receive_s=10, idle_s=60, head_bytes=4096, n_connections=3)
GET = b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


class Clock:
    """The event loop's, ahead by as much as a test wants."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ahead = 0.0

    def time(self) -> float:
        return self._loop.time() + self.ahead

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at(when - self.ahead, callback)


class Server:
    """An application that reads `/now` and answers, waits on `/wait`, and answers `/early` before it has read."""

    def __init__(self, patience: Patience = PATIENCE) -> None:
        self.traffic = Traffic(Counts().slot(0))
        self.wheel = Wheel(patience, self.traffic)
        self.clock = Clock()
        self.wheel._loop = self.clock  # type: ignore[assignment]
        self.state = ServerState()
        self.config = Config(self._app, interface="asgi3", proxy_headers=False, log_config=None, access_log=False)
        self.wires: list[Wire] = []

    def connect(self) -> tuple[LimitedProtocol, Wire]:
        loop = asyncio.get_running_loop()
        protocol, wire = LimitedProtocol(self.config, self.state, {"wheel": self.wheel}, loop), Wire()
        protocol.connection_made(wire)
        return protocol, wire

    def turn(self) -> None:
        """Let the wheel turn now."""
        self.wheel._timer.cancel()
        self.wheel._turn()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = {"more_body": scope["path"] != "/early"}
        while message.get("more_body"):
            if scope["path"] == "/wait":
                await asyncio.Event().wait()
            message = await receive()
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def run(scenario: Callable[[Server], Awaitable[None]], patience: Patience = PATIENCE) -> None:
    run_with(lambda: Server(patience), scenario)


def after(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


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


def test_who_does_not_read_its_answer_is_cut_off_and_who_reads_slowly_is_not() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.pause_writing()
        for second in range(1, 100):
            wire.unread = 1_000_000 - second
            protocol.look(after(second))
            assert not wire.aborted
        protocol.look(after(99 + 11))
        assert wire.aborted

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


def test_what_is_no_http_is_a_problem() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(b"\x16\x03\x01 hello\r\n\r\n")
        assert wire.problem == (400, "bad-request")

    run(scenario)


def test_one_connection_too_many_takes_the_place_of_a_silent_one_or_none() -> None:
    async def scenario(server: Server) -> None:
        silent, first = server.connect()
        busy = [server.connect() for _ in range(2)]
        for protocol, _wire in busy:
            protocol.data_received(GET.replace(b"/now", b"/wait"))
        _, fourth = server.connect()
        assert fourth.problem == (503, "overloaded")
        assert b"retry-after: 1" in fourth.sent
        _.connection_lost(None)

        server.clock.ahead = 2
        server.turn()
        server.turn()  # not looked at again, and known all the same
        _, fifth = server.connect()
        assert first.aborted
        assert not fifth.closed
        silent.connection_lost(None)
        _, sixth = server.connect()
        assert sixth.closed, "those that are answered keep their places"
        assert not [wire for _protocol, wire in busy if wire.closed]

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


def test_a_fault_while_looking_concerns_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: Server) -> None:
        (_silent, wire), (broken, _) = server.connect(), server.connect()
        monkeypatch.setattr(broken, "look", None)
        server.clock.ahead = 11
        for _ in range(2):
            server.turn()
        assert wire.closed

    run(scenario)
    assert "could not be looked at" in caplog.text


def test_a_crowd_is_ended_by_and_by() -> None:
    async def scenario(server: Server) -> None:
        crowd = [server.connect() for _ in range(3)]
        server.clock.ahead = 11
        gone = crowd[0][0]
        for n_closed in (1, 2):
            server.turn()
            assert sum(wire.closed for _protocol, wire in crowd) == n_closed
            assert server.wheel._timer.when() - after(0) < 0.05
            left = server.wheel._left
            gone = left[0] if left else gone
        server.wheel.remove(gone)
        server.turn()
        assert sum(wire.closed for _protocol, wire in crowd) == 2, "one that has gone meanwhile is not looked at"

    run(scenario)


def test_only_what_may_be_over_is_looked_at_and_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(server: Server) -> None:
        silent, idle, headed, bodied, held, answering = (server.connect() for _ in range(6))
        idle[0].data_received(GET)
        headed[0].data_received(GET[:9])
        bodied[0].data_received(POST + b"x" * HELD_BYTES)
        held[0].data_received(POST)
        answering[0].data_received(GET.replace(b"/now", b"/wait"))
        await settle()
        looks = dict.fromkeys(("silent", "idle", "headed", "bodied", "held", "answering"), 0)
        waiting = ("silent", "headed", "held")
        ended: dict[str, float] = {}
        named = zip(looks, (silent, idle, headed, bodied, held, answering), strict=True)
        for name, (protocol, wire) in named:

            def look(
                now: float, name: str = name, wire: Wire = wire, real: Callable[[float], float] = protocol.look
            ) -> float:
                looks[name] += 1
                due = real(now)
                if wire.closed:
                    ended.setdefault(name, server.clock.ahead)
                return due

            monkeypatch.setattr(protocol, "look", look)
        for tenth in range(170):
            server.clock.ahead = tenth / 10
            server.turn()
            while server.wheel._left:
                server.turn()
        for name, limit, late in (("idle", 7, 0.3), *((one, 10, 0.3) for one in waiting), ("bodied", 14, 1.3)):
            assert limit <= ended[name] <= limit + late, name
        assert max(looks[name] for name in waiting) <= 4 + 7, "afterwards each second, until gone"
        assert looks["idle"] <= 4 + 10
        assert 14 <= looks["answering"] <= 17

    run(scenario, Patience(receive_s=10, idle_s=7, head_bytes=4096, n_connections=9))


def test_idle_ones_make_room_when_none_is_slow() -> None:
    async def scenario(server: Server) -> None:
        idle, busy, slow = (server.connect() for _ in range(3))
        for protocol, _wire in (idle, busy):
            protocol.data_received(GET)
        await settle()
        server.clock.ahead = 2
        server.turn()
        busy[0].data_received(GET.replace(b"/now", b"/wait"))
        await settle()

        newer = server.connect()
        assert [wire.closed for _protocol, wire in (idle, busy, slow)] == [False, False, True], "the slow one first"
        slow[0].connection_lost(None)

        newest = server.connect()
        assert [wire.closed for _protocol, wire in (idle, busy, newer, newest)] == [True, False, False, False]
        assert idle[1].sent.count(b"HTTP/1.1 ") == 1, "which says nothing more"

    run(scenario)


def test_who_has_just_become_idle_is_looked_at_again_soon() -> None:
    async def scenario(server: Server) -> None:
        crowd = [server.connect() for _ in range(3)]
        for protocol, _wire in crowd:
            protocol.data_received(GET)
        await settle()
        for protocol, _wire in crowd:
            protocol._since = after(0.5)  # when it was answered
        for server.clock.ahead in (1.2, 1.6):
            server.turn()
        _, fourth = server.connect()
        assert sum(wire.closed for _protocol, wire in crowd) == 1
        assert not fourth.closed

    run(scenario)


def test_what_begins_on_an_idle_connection_is_ended_in_time() -> None:
    async def scenario(server: Server) -> None:
        protocol, wire = server.connect()
        protocol.data_received(GET)
        await settle()
        server.clock.ahead = 2
        server.turn()
        protocol.data_received(GET[:9])
        server.clock.ahead = 2 + PATIENCE.receive_s + 0.1
        server.turn()
        assert wire.problem == (408, "request-timeout")

    run(scenario)


def test_the_wheel_turns_when_a_connection_is_due() -> None:
    async def scenario(server: Server) -> None:
        server.connect()
        server.clock.ahead = 0.6
        server.turn()
        assert server.wheel._timer.when() - after(0) < 0.45

    run(scenario)


def test_nothing_is_kept_of_a_connection_that_is_lost() -> None:
    async def scenario(server: Server) -> None:
        idle, slow = server.connect(), server.connect()
        idle[0].data_received(GET)
        await settle()
        server.clock.ahead = 2
        for _ in range(2):
            server.turn()
        kept = [weakref.ref(protocol) for protocol, _wire in (idle, slow)]
        for protocol, _wire in (idle, slow):
            protocol.connection_lost(None)
        del idle, slow, protocol, _wire
        gc.collect()
        assert [one() for one in kept] == [None, None]

    run(scenario)


def test_who_was_slow_and_is_no_longer_makes_no_room() -> None:
    async def scenario(server: Server) -> None:
        crowd = [server.connect() for _ in range(3)]
        server.clock.ahead = 2
        server.turn()
        for protocol, _wire in crowd:
            protocol.data_received(GET)
        await settle()
        server.clock.ahead = 0  # they are answered just now
        _, fourth = server.connect()
        assert fourth.problem == (503, "overloaded")
        assert not [wire for _protocol, wire in crowd if wire.closed]

    run(scenario)


@pytest.mark.parametrize(
    ("limits", "granted"), [((100, 1000), 628), ((100, 300), 300), ((900, 1000), None), ((100, -1), 628)]
)
def test_as_many_files_may_be_opened_as_connections_need(
    limits: tuple[int, int], granted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: limits)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, wanted: asked.append(wanted))

    allow_files(500)

    assert asked == ([] if granted is None else [(granted, limits[1])])


@pytest.mark.parametrize(
    ("soft", "port", "room"), [(1128, None, 500), (628, None, 500), (328, None, 200), (328, 8001, 100), (-1, 8001, 500)]
)
def test_two_ports_share_the_files_that_may_be_opened(
    soft: int, port: int | None, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (soft, soft))

    assert room_of(Settings(max_connections=500, grpc_port=port)) == room
