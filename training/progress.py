"""Progress of a search: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_S = 5.0
"""Seconds between plain lines: a log of a two-minute run stays a page."""


class _Shown:
    """A bar where the console is a terminal, taken down on Ctrl-C too; else what plain lines need.

    Args:
        console: Where to write; one that reads no markup, since names of columns and files may look like it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title = ""
        self._n_steps = 0
        self._started = self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", style="bold", markup=False),
                BarColumn(),
                TextColumn("{task.fields[what]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _begin(self, title: str, n_steps: int, counted: str) -> None:
        self._title, self._n_steps = title, n_steps
        self._started = self._last_line = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task(title, total=n_steps, what="")
        else:
            self._console.print(f"{title}: {counted}")

    def _seconds_left(self, share: float) -> float | None:
        """Return the seconds left where a plain line is due, else None."""
        now = time.monotonic()
        if now - self._last_line < _LINE_EVERY_S or share <= 0:
            return None
        self._last_line = now
        return (now - self._started) * (1 - share) / share


class SearchProgress(_Shown):
    """Shows a search's fits, loss and time left; a context manager."""

    def start(self, title: str, n_fits: int, plan: str | None = None) -> None:
        """Begin a search of at most `n_fits` fits, or of other pieces of work where a plan is told instead."""
        self._begin(title, n_fits, plan or f"up to {n_fits} fits")

    def epoch(self, fit: int, label: str, share: float, train_loss: float, validation_loss: float) -> None:
        """Report an epoch of fit number `fit`, `share` of whose epochs are done."""
        what = f"{label} loss {train_loss:.3g} validation {validation_loss:.3g}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=fit + share, what=what)
            return
        left = self._seconds_left((fit + share) / self._n_steps)
        if left is not None:
            self._console.print(f"{self._title}: fit {fit + 1}/{self._n_steps} {what}, at most {left:.0f} s left")

    def step(self, done: int, what: str) -> None:
        """Report that `done` of the fits or pieces are made, and what comes now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, what=what)
            return
        left = self._seconds_left(done / max(self._n_steps, 1))
        if left is not None:
            self._console.print(f"  {what}, about {left:.0f} s left")

    def finish(self, summary: str) -> None:
        """End the search."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._n_steps)
        self._console.print(f"{self._title}: chose {summary} in {time.monotonic() - self._started:.1f} s")


class StepProgress(_Shown):
    """Shows how many steps of something long are done; a context manager."""

    def start(self, title: str, n_steps: int) -> None:
        """Begin `n_steps` steps."""
        self._n_done = 0.0
        self._begin(title, n_steps, f"{n_steps} steps")

    def advance(self, what: str, n_steps: float = 1) -> None:
        """Report steps that are done, and what they were."""
        self._n_done += n_steps
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._n_done, what=what)
            return
        left = self._seconds_left(self._n_done / self._n_steps)
        if left is not None:
            self._console.print(f"{self._title}: {self._n_done:.0f}/{self._n_steps} {what}, about {left:.0f} s left")
