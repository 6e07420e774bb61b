"""When connections are looked at, and who is closed for a newcomer, on a clock of the tests' own."""

import gc
import weakref
from collections.abc import Callable

import pytest

from service.api.held import HELD_BYTES
from service.api.patience import Patience
from tests.limited import GET, PATIENCE, POST, Server, after, run
from tests.wires import Wire, settle


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
        for n_closed in (1, 2):
            server.turn()
            assert sum(wire.closed for _protocol, wire in crowd) == n_closed
            assert server.reaper._timer.when() - after(0) < 0.05
        server.reaper.remove(crowd[2][0]._number)
        server.turn()
        assert sum(wire.closed for _protocol, wire in crowd) == 2, "one that has gone meanwhile is not looked at"

    run(scenario)


def test_few_are_looked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(server: Server) -> None:
        looked: list[float] = []

        def look(now: float) -> float:
            looked.append(now)
            return now + 9

        for _ in range(15):
            protocol, _wire = server.connect()
            monkeypatch.setattr(protocol, "look", look)
        server.clock.ahead = 2
        n_looked = []
        for _ in range(3):
            server.turn()
            n_looked.append(len(looked))
        assert n_looked == [10, 15, 15]

    run(scenario, Patience(receive_s=10, idle_s=7, head_bytes=4096, body_bytes=2_000_000, n_connections=20))


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
            for _ in range(len(looks)):  # one is ended at a time
                server.turn()
        for name, limit, late in (("idle", 7, 0.3), *((one, 10, 0.3) for one in waiting), ("bodied", 14, 1.3)):
            assert limit <= ended[name] <= limit + late, name
        assert max(looks[name] for name in waiting) <= 4 + 7, "afterwards each second, until gone"
        assert looks["idle"] <= 4 + 10
        assert 14 <= looks["answering"] <= 17

    run(scenario, Patience(receive_s=10, idle_s=7, head_bytes=4096, body_bytes=2_000_000, n_connections=9))


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


def test_the_reaper_turns_when_a_connection_is_due() -> None:
    async def scenario(server: Server) -> None:
        server.connect()
        server.clock.ahead = 0.6
        server.turn()
        assert server.reaper._timer.when() - after(0) < 0.45

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
        assert not server.reaper.make_room()

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
