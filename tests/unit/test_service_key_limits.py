"""Rates and requests under way, shared by workers."""

import mmap
import os
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from service import key_limits
from service.errors import KeyFileError, RateLimitedError
from service.key_file import KeyRecord
from service.key_limits import Ledger, Limit


def limits_of(ledger: Ledger, n: int, name: str = "a", **more: object) -> list[Limit]:
    record = KeyRecord.model_validate({"name": name, "role": "predict", "sha256": "0" * 64, **more})
    found = [ledger.limit_of(record, worker) for worker in range(n)]
    assert None not in found
    return [limit for limit in found if limit is not None]


def in_two_processes(work: Callable[[int], int]) -> int:
    """Do `work(0)` and `work(1)` in processes of their own, at once, and return the sum of what they return."""
    ready, start = os.pipe()
    heard, told = os.pipe()
    pids = []
    for worker in range(2):
        pid = os.fork()
        pids.append(pid)
        if not pid:
            status = 1
            try:
                os.read(ready, 1)
                os.write(told, b"%8d" % work(worker))
                status = 0
            finally:
                os._exit(status)
    os.write(start, b"12")
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    total = int(os.read(heard, 8)) + int(os.read(heard, 8))
    for end in (ready, start, heard, told):
        os.close(end)
    return total


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_burst_then_the_rate_whichever_worker_is_asked(clock: list[float]) -> None:
    workers = limits_of(Ledger(3), 3, rate=10, burst=5)

    assert [workers[i % 3].take() for i in range(5)] == [0.0] * 5
    assert workers[0].take() == pytest.approx(0.1, rel=1e-3)
    assert workers[1].take() == pytest.approx(0.1, rel=1e-3)
    n_admitted = 0
    for _ in range(1000):  # 10 s in steps of 10 ms, ten times as many as are allowed
        clock[0] += 0.01
        n_admitted += not workers[n_admitted % 3].take()
    assert abs(n_admitted - 100) <= 1
    clock[0] += 3600
    assert [workers[2].take() for _ in range(5)] == [0.0] * 5
    assert workers[2].take() > 0


def test_without_a_burst_a_second_s_worth_is_one(clock: list[float]) -> None:
    for rate, n_at_once in ((2.5, 3), (0.1, 1), (1, 1)):
        (limit,) = limits_of(Ledger(), 1, rate=rate)
        assert [limit.take() > 0 for _ in range(n_at_once + 1)] == [False] * n_at_once + [True]
    assert clock == [1000.0]


@pytest.mark.usefixtures("clock")
def test_what_is_given_back_may_be_taken_again() -> None:
    (limit,) = limits_of(Ledger(), 1, rate=1, burst=2)

    for _ in range(5):
        assert limit.take() == 0.0
        limit.give_back()
    assert [limit.take() > 0 for _ in range(3)] == [False, False, True]


def test_requests_under_way_are_added_up_over_the_workers() -> None:
    ledger = Ledger(2)
    here, there = limits_of(ledger, 2, concurrent=2)

    with here.admitted(), there.admitted():
        for limit in (here, there):
            with pytest.raises(RateLimitedError, match="2 requests under way") as caught, limit.admitted():
                pass
            assert caught.value.retry_after_s == 1
    with here.admitted(), here.admitted():
        pass
    with pytest.raises(ZeroDivisionError), here.admitted():
        _ = 1 / 0
    with here.admitted(), here.admitted():
        ledger.clear_worker(0)  # it was killed
        with there.admitted(), there.admitted():
            pass


@pytest.mark.parametrize("in_memory", [True, False])
def test_workers_that_count_at_once_lose_no_request(monkeypatch: pytest.MonkeyPatch, in_memory: bool) -> None:
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    limits = limits_of(Ledger(2), 2, rate=1e-4, burst=40_000)

    assert in_two_processes(lambda worker: sum(not limits[worker].take() for _ in range(30_000))) == 40_000


def test_workers_that_admit_at_once_keep_to_what_may_be_under_way() -> None:
    limits = limits_of(Ledger(2), 2, concurrent=1)
    with mmap.mmap(-1, 2) as inside:

        def meetings(worker: int) -> int:
            n_met = 0
            for _ in range(30_000):
                with suppress(RateLimitedError), limits[worker].admitted():
                    inside[worker] = 1
                    n_met += max(inside[1 - worker] for _ in range(10))
                    inside[worker] = 0
            return n_met

        assert in_two_processes(meetings) == 0


def test_keys_do_not_share_their_limits_and_names_keep_theirs(clock: list[float]) -> None:
    ledger = Ledger()
    (a,), (b,) = (limits_of(ledger, 1, name, rate=1) for name in "ab")

    assert [a.take() > 0, a.take() > 0, b.take() > 0] == [False, True, False]
    (again,) = limits_of(ledger, 1, "a", rate=1)
    assert again.take() > 0
    assert clock == [1000.0]


def test_a_key_without_limits_has_none_and_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_limits, "_N_ROWS", 3)
    ledger = Ledger()

    assert ledger.limit_of(KeyRecord(name="a", role="admin", sha256="0" * 64), 0) is None
    for name in "abcabc":
        limits_of(ledger, 1, name, rate=1)
    with pytest.raises(KeyFileError, match="at most 3 names"):
        limits_of(ledger, 1, "d", rate=1)
