"""A stop in two steps: first not ready, then no longer listening.

A load balancer learns from the readiness probe that a process is going. Between SIGTERM and the end of listening
it needs time for one more probe, or requests are refused that another replica would have answered.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Draining:
    """Whether the process has been told to stop."""

    def __init__(self) -> None:
        self.begun = False


@contextmanager
def drain_on_signal(draining: Draining, drain_s: float) -> Iterator[None]:
    """Note the first SIGTERM or SIGINT at once and hand it to the server's own handler after `drain_s`.

    A second signal goes to the server's handler at once. Outside the main thread, where signals cannot be handled,
    this does nothing.
    """
    if current_thread() is not main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    server_handlers: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        handler = server_handlers[number]
        if not callable(handler):
            return
        if draining.begun or not drain_s:
            draining.begun = True
            handler(number, frame)
            return
        draining.begun = True
        later: Callable[[], object] = lambda: handler(number, None)  # noqa: E731 - typed for call_later
        loop.call_soon_threadsafe(loop.call_later, drain_s, later)

    for number in server_handlers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in server_handlers.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
