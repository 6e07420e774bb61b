"""A queue with a bound and a deadline: who is refused, who waits, and what is given back."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from service.admission import Admission
from service.errors import DeadlineExceededError, OverloadedError
from service.metrics import Counts


def admission(counts: Counts, n_waiting: int = 1, deadline_s: float = 30.0) -> Admission:
    return Admission("json", n_waiting=n_waiting, deadline_s=deadline_s, slot=counts.slot(0), n_running=1)


def _own(counts: Counts) -> list[tuple[str, float]]:
    return [(series, n) for series, n in counts.totals().items() if "admission" in series or "rejected" in series]


def value(counts: Counts, name: str, reason: str = "") -> float:
    return next(n for series, n in _own(counts) if series.startswith(name) and reason in series)


async def in_place(queue: Admission, work: Callable[[], object]) -> object:
    async with queue.place() as place:
        await place.turn()
        return await place.run(work)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_one_works_one_waits_and_a_third_is_refused() -> None:
    async def scene() -> None:
        counts, release = Counts(), threading.Event()
        queue = admission(counts)
        first = asyncio.create_task(in_place(queue, release.wait))
        await until(lambda: value(counts, "nalu_admission_running") == 1)
        second = asyncio.create_task(in_place(queue, lambda: "second"))
        await until(lambda: value(counts, "nalu_admission_waiting") == 1)

        with pytest.raises(OverloadedError, match="at most 2 large requests"):
            await in_place(queue, lambda: "third")
        assert value(counts, "nalu_rejected_total", "overloaded") == 1

        release.set()
        assert (await first, await second) == (True, "second")
        assert await in_place(queue, lambda: "fourth") == "fourth"
        assert value(counts, "nalu_admission_running") == value(counts, "nalu_admission_waiting") == 0
        queue.close()

    asyncio.run(scene())


def test_who_sends_its_answer_keeps_its_place_and_lets_others_work() -> None:
    async def scene() -> None:
        counts = Counts()
        queue = admission(counts)
        async with queue.place() as sending:
            await sending.turn()
            assert await sending.run(lambda: "first") == "first"
            sending.end_turn()
            assert value(counts, "nalu_admission_running") == value(counts, "nalu_admission_waiting") == 0
            assert await in_place(queue, lambda: "second") == "second"
            async with queue.place() as also_sending:
                await also_sending.turn()
                also_sending.end_turn()
                with pytest.raises(OverloadedError):
                    await in_place(queue, lambda: "third")
        assert await in_place(queue, lambda: "fourth") == "fourth"
        queue.close()

    asyncio.run(scene())


@pytest.mark.parametrize("late", ["at work", "waiting", "arriving"])
def test_beyond_the_deadline_it_is_answered_at_once_and_the_thread_keeps_its_place(late: str) -> None:
    async def scene() -> None:
        counts, release = Counts(), threading.Event()
        queue = admission(counts, n_waiting=0 if late == "at work" else 1, deadline_s=0.05)
        first = asyncio.create_task(in_place(queue, release.wait))
        await until(lambda: value(counts, "nalu_admission_running") == 1)
        if late == "arriving":
            with pytest.raises(DeadlineExceededError):
                async with queue.place() as place:
                    await place.within(asyncio.sleep(60))
        elif late == "waiting":
            with pytest.raises(DeadlineExceededError):
                await in_place(queue, lambda: None)
        with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
            await first
        assert value(counts, "nalu_rejected_total", "deadline") == 1 + (late != "at work")
        assert value(counts, "nalu_admission_running") == 1  # its thread is not free yet

        if late == "at work":
            with pytest.raises(OverloadedError):
                await in_place(queue, lambda: None)
        release.set()
        await until(lambda: value(counts, "nalu_admission_running") == 0)
        assert await in_place(queue, lambda: "next") == "next"
        queue.close()

    asyncio.run(scene())


def test_nothing_is_begun_without_time_left() -> None:
    async def scene() -> None:
        begun = threading.Event()
        queue = admission(Counts(), deadline_s=0.01)
        async with queue.place() as place:
            await place.turn()
            time.sleep(0.02)
            with pytest.raises(DeadlineExceededError):
                await place.run(begun.set)
        queue.threads.shutdown()
        assert not begun.is_set()

    asyncio.run(scene())


def test_turns_are_had_in_order() -> None:
    async def scene() -> None:
        counts, release, order = Counts(), threading.Event(), list[int]()
        queue = admission(counts, n_waiting=10)
        tasks = [asyncio.create_task(in_place(queue, release.wait))]
        for i in range(5):
            tasks.append(asyncio.create_task(in_place(queue, lambda i=i: order.append(i))))  # type: ignore[misc]
            await until(lambda i=i: value(counts, "nalu_admission_waiting") == i + 1)  # type: ignore[misc]
        release.set()
        await asyncio.gather(*tasks)
        assert order == list(range(5))
        queue.close()

    asyncio.run(scene())


@pytest.mark.parametrize("way", ["cancelled", "failed"])
def test_a_place_is_given_back_however_its_request_ends(way: str) -> None:
    def fail() -> None:
        time.sleep(0.02)
        raise ValueError(way)

    async def scene() -> None:
        counts = Counts()
        queue = admission(counts, n_waiting=0)
        task: Awaitable[object] = asyncio.create_task(in_place(queue, fail))
        if way == "cancelled":
            await until(lambda: value(counts, "nalu_admission_running") == 1)
            assert isinstance(task, asyncio.Task)
            task.cancel()
        with pytest.raises(asyncio.CancelledError if way == "cancelled" else ValueError):
            await task
        await until(lambda: value(counts, "nalu_admission_running") == 0)
        assert await in_place(queue, lambda: "next") == "next"
        queue.close()

    asyncio.run(scene())
