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


_TEXT = ("task", "operation", "range", "outside", "setting", "method")
_COLUMNS = (
    *("task", "operation", "range", "outside", "inputs", "rows", "setting", "method"),
    *("solved", "95 %", "found", "threshold", "MSE", "rel. error", "s (max)", "starts", "solved at"),
)
_NARROW = ("operation", "range", "inputs", "setting", "method", "solved", "rel. error", "s (max)")
_WIDE = 170
"""Characters that all columns need."""


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
                TextColumn("{task.description}", markup=False),
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
        what = f"{job.method}: {describe(job.trials[-1][0])}"
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
            )

    def finish_cell(self, result: CellResult) -> None:
        """Tell of a cell in which our own method missed."""
        if result.method in ("exact", "served") and result.misses:
            miss = result.misses[0]
            self._console.print(
                f"missed {result.n_seeds - result.n_solved} of {result.n_seeds}, {result.method}: "
                f"{describe(result.cell)}; seed {miss['seed']}: {miss['said']}",
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


def results_table(results: Sequence[CellResult], width: int) -> Table:
    """Return one row a cell and method; a narrow terminal gets the columns that matter most.

    Args:
        results: The results.
        width: Characters in a line.
    """
    rows = [_cells(result) for result in results]
    filled = [name for name in _COLUMNS if any(row[name] for row in rows)]
    names = [name for name in filled if width >= _WIDE or name in _NARROW]
    table = Table(title="nalu bench arithmetic", title_justify="left")
    for name in names:
        table.add_column(name, justify="left" if name in _TEXT else "right", no_wrap=True)
    for result, row in zip(results, rows, strict=True):
        missed = result.n_solved < result.n_seeds
        table.add_row(*(row[name] for name in names), style="red" if missed else None)
    return table


def _cells(result: CellResult) -> dict[str, str]:
    cell = result.cell
    low, high = (100 * bound for bound in result.interval)
    return {
        "task": cell.task,
        "operation": _SYMBOL.get(cell.operation, cell.operation),
        "range": cell.input_range.label,
        "outside": "" if cell.task == "controls" else cell.input_range.outside_label,
        "inputs": str(cell.d_inputs),
        "rows": str(cell.n_rows),
        "setting": cell.noise or setting(cell),
        "method": result.method,
        "solved": f"{result.n_solved}/{result.n_seeds}",
        "95 %": f"{low:.1f}–{high:.1f}",
        "found": str(result.n_found),
        "threshold": _number(result.threshold),
        "MSE": _number(result.mse),
        "rel. error": _number(result.error),
        "s (max)": f"{result.duration_s[0]:.2g} ({result.duration_s[1]:.2g})",
        "starts": f"{result.n_restarts[0]:g}" if result.n_restarts[1] else "",
        "solved at": _number(result.solved_at, "g"),
    }


def _number(value: float | None, form: str = ".2g") -> str:
    return "" if value is None else format(value, form)
