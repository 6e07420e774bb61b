"""Who may work on a large request, and for how long: a queue with a bound and a deadline.

A large request costs memory while it arrives and a thread while it is worked on. So it asks for a place before its body
is read, and is refused when all are taken; and whoever has a place gets a turn within the deadline, or is told that
time is up. A request that is answered on the event loop needs no place: it never waits.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, ParamSpec, TypeVar

from service.errors import DeadlineExceededError, OverloadedError
from service.metrics import Cell, Histogram, Slot

T = TypeVar("T")
P = ParamSpec("P")

Kind = Literal["json", "bulk"]

N_RUNNING = 2
"""Large requests of a kind that one worker works on at once. Two, so that one that takes seconds does not hold up all
others; more share the interpreter's lock, and each holds a body and its rows in memory."""


class Admission:
    """Places for large requests of one kind, all used from one event loop.

    Args:
        kind: What they are, for the metrics.
        n_waiting: How many may arrive or wait, beside those worked on.
        deadline_s: Time from taking a place to the answer.
        slot: Where places, refusals and deadlines are counted.
        n_running: How many are worked on at once, each in a thread.
    """

    def __init__(
        self, kind: Kind, *, n_waiting: int, deadline_s: float, slot: Slot, n_running: int = N_RUNNING
    ) -> None:
        self.deadline_s = deadline_s
        self.turns = asyncio.Semaphore(n_running)
        self.threads = ThreadPoolExecutor(n_running, thread_name_prefix=f"nalu-{kind}")
        self.waiting = slot.cell("nalu_admission_waiting", kind=kind)
        self.running = slot.cell("nalu_admission_running", kind=kind)
        self.waits = Histogram(slot, "nalu_admission_wait_seconds", kind=kind)
        self._n_places = n_running + n_waiting
        self._n_taken = 0
        self._full = slot.cell("nalu_rejected_total", kind=kind, reason="overloaded")
        self._late = slot.cell("nalu_rejected_total", kind=kind, reason="deadline-exceeded")

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator["Place"]:
        """Take a place for one request; it is given back when the block ends, and not before its thread is free.

        Raises:
            OverloadedError: When all are taken.
        """
        if self._n_taken >= self._n_places:
            self._full.add()
            raise OverloadedError(self._n_places)
        self._n_taken += 1
        place = Place(self)
        try:
            yield place
        except DeadlineExceededError:
            self._late.add()
            raise
        finally:
            place.leave(self._give_back)

    def close(self) -> None:
        """Take no more work; what a thread is at goes on to its end."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _give_back(self) -> None:
        self._n_taken -= 1


class Place:
    """One request's place; made by `Admission.place`.

    Args:
        admission: Whose.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._loop = asyncio.get_running_loop()
        self._taken_at = self._loop.time()
        self._deadline = self._taken_at + admission.deadline_s
        self._work: asyncio.Future[Any] | None = None
        self._counted_in: Cell | None = None
        self._count_in(admission.waiting)

    @property
    def remaining_s(self) -> float:
        """Time until the deadline, at least 0."""
        return max(0.0, self._deadline - self._loop.time())

    async def within(self, awaitable: Awaitable[T]) -> T:
        """Await something, such as a body, no longer than the deadline.

        Raises:
            DeadlineExceededError: When it takes longer.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                return await awaitable
        except TimeoutError as error:
            raise DeadlineExceededError(self._admission.deadline_s) from error

    async def turn(self) -> None:
        """Wait until it may work.

        Raises:
            DeadlineExceededError: When its turn does not come before the deadline.
        """
        await self.within(self._admission.turns.acquire())
        self._count_in(self._admission.running)
        self._admission.waits.observe(self._loop.time() - self._taken_at)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread, once `turn` has been awaited: the time that remains is known only then.

        Raises:
            DeadlineExceededError: When there is no time left to begin, or it takes beyond the deadline; the thread is
                not interrupted.
        """
        if not self.remaining_s:
            raise DeadlineExceededError(self._admission.deadline_s)
        context = contextvars.copy_context()
        work = self._loop.run_in_executor(self._admission.threads, lambda: context.run(function, *args, **kwargs))
        self._work = work
        done, _pending = await asyncio.wait({work}, timeout=self.remaining_s)
        if not done:
            raise DeadlineExceededError(self._admission.deadline_s)
        return work.result()

    def end_turn(self) -> None:
        """Let others work: what is left is to send the answer, which costs the memory that the place stands for."""
        if self._counted_in is self._admission.running:
            self._admission.turns.release()
        self._count_in(None)

    def leave(self, give_back: Callable[[], None]) -> None:
        """Give the place back, now or once its thread is free."""

        def leave_now(work: asyncio.Future[Any] | None = None) -> None:
            if work is not None and not work.cancelled():
                work.exception()  # nobody waits for it any more
            self.end_turn()
            give_back()

        if self._work is None or self._work.done():
            leave_now(self._work)
        else:
            self._work.add_done_callback(leave_now)

    def _count_in(self, gauge: Cell | None) -> None:
        if self._counted_in is not None:
            self._counted_in.add(-1.0)
        if gauge is not None:
            gauge.add()
        self._counted_in = gauge
