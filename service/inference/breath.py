"""Lets other threads get on during long work that holds the interpreter's lock."""

import time
from typing import Final

_EVERY_S: Final = 0.001
"""A small request is answered in less, and a breath costs a hundredth of it."""

_PAUSE_S: Final = 1e-6
"""Any pause lets a waiting thread take the lock; without one, this thread would mostly take it again at once."""


class Breath:
    """Pauses work in a thread from time to time; made when the work begins."""

    def __init__(self) -> None:
        self._due = time.perf_counter() + _EVERY_S

    def take(self) -> None:
        """Pause for a moment where the last pause was a millisecond ago."""
        now = time.perf_counter()
        if now >= self._due:
            time.sleep(_PAUSE_S)
            self._due = time.perf_counter() + _EVERY_S
