"""A benchmark on the terminal: a bar or plain lines while it runs, and a table of its cells."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.table import Table

from training.bench.cell import Cell
from training.bench.judging import Trial
from training.bench.results import CellResult
from training.bench.running import Job

_LINE_EVERY_S = 5.0
"""Seconds between plain lines: a log of an hour stays readable."""

_SYMBOL = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "÷",
    "square": "a²",
    "sqrt": "√a",
    "reciprocal": "1/a",
}


class BenchProgress:
    """Shows how far a benchmark is; a context manager, so that the bar is taken down on Ctrl-C too.

    Args:
        console: Where to write; a bar where it is a terminal, else lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._n_trials = self._n_done = self._n_missed = 0
        self._started = self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]bench"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[missed]} missed"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeLeftColumn(),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, n_trials: int) -> None:
        """Begin a benchmark of so many trials."""
        self._n_trials = n_trials
        self._started = self._last_line = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("", total=n_trials, missed=0)
        else:
            self._console.print(f"bench: {n_trials} trials")

    def advance(self, job: Job, trials: Sequence[Trial]) -> None:
        """Report trials that are done."""
        self._n_done += len(trials)
        if job.method in ("exact", "served"):
            self._n_missed += sum(not trial.solved for trial in trials)
        what = f"{job.method}: {describe(job.cell)}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._n_done, description=what, missed=self._n_missed)
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            left = (now - self._started) * (self._n_trials - self._n_done) / self._n_done
            self._console.print(
                f"bench: {self._n_done}/{self._n_trials} trials, {self._n_missed} missed, "
                f"about {left:.0f} s left, {what}",
                markup=False,
            )

    def finish_cell(self, result: CellResult) -> None:
        """Tell of a cell in which our own method missed."""
        if result.method in ("exact", "served") and result.misses:
            miss = result.misses[0]
            self._console.print(
                f"missed {result.n_seeds - result.n_solved} of {result.n_seeds}, {result.method}: "
                f"{describe(result.cell)}; seed {miss['seed']}: {miss['said']}",
                markup=False,
            )


def describe(cell: Cell) -> str:
    """Return a cell in a few words."""
    parts = [cell.task, _SYMBOL.get(cell.operation, cell.operation), cell.input_range.label, f"{cell.d_inputs} inputs"]
    if cell.noise:
        parts.append(cell.noise)
    return " ".join([*parts, setting(cell)]).rstrip()


def setting(cell: Cell) -> str:
    """Return what a cell's ablation varies."""
    return {
        "": "",
        "range": "",
        "input size": "",
        "subset ratio": f"subset {cell.subset_ratio:g}",
        "overlap ratio": f"overlap {cell.overlap_ratio:g}",
        "hidden size": f"hidden {cell.d_hidden}",
    }[cell.ablation]


def results_table(results: Sequence[CellResult]) -> Table:
    """Return one row a cell and method."""
    table = Table(title="nalu bench arithmetic", title_justify="left")
    for name in ("task", "operation", "range", "outside", "inputs", "rows", "setting", "method"):
        table.add_column(name, no_wrap=True)
    for name in (
        "solved",
        "95 % interval",
        "found",
        "threshold",
        "MSE",
        "rel. error",
        "s (max)",
        "starts",
        "solved at",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        cell = result.cell
        low, high = (100 * bound for bound in result.interval)
        table.add_row(
            cell.task,
            _SYMBOL.get(cell.operation, cell.operation),
            cell.input_range.label,
            "" if cell.task == "controls" else cell.input_range.outside_label,
            str(cell.d_inputs),
            str(cell.n_rows),
            cell.noise or setting(cell),
            result.method,
            f"{result.n_solved}/{result.n_seeds}",
            f"{low:.1f}–{high:.1f}",
            str(result.n_found),
            _number(result.threshold),
            _number(result.mse),
            _number(result.error),
            f"{result.duration_s[0]:.3g} ({result.duration_s[1]:.3g})",
            f"{result.n_restarts[0]:g}",
            _number(result.solved_at, "g"),
            style=None if result.n_solved == result.n_seeds else "red",
        )
    return table


def _number(value: float | None, form: str = ".2g") -> str:
    return "" if value is None else format(value, form)
