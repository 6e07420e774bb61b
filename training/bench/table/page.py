"""Tables of the page on the benchmark of tables, made from results kept in JSON. Importing this loads no torch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.bench.kept import Kept, table
from training.bench.table.results import OURS, REFERENCE, Result
from training.bench.table.summary import Task, errors_by_task, geometric_means, ratios, seeds_by_task

_OUTSIDE = ("driver", "target")
_WHAT = {
    "inside": "at random",
    "driver": "outside by driver",
    "target": "outside by target",
    "group": "by group",
    "time": "by time",
}


@dataclass(frozen=True)
class _Board:
    """What all results say.

    Attributes:
        results: The results.
        by_task: Errors over the reference's.
        means: Their geometric means, by protocol and method.
    """

    results: list[Result]
    by_task: dict[Task, dict[str, float]]
    means: dict[str, dict[str, float]]

    @classmethod
    def of(cls, kept: Kept) -> "_Board":
        results = [Result(**one) for document in kept.documents.values() for one in document.get("results", [])]
        by_task = {task: row for task, row in ratios(results).items() if OURS in row}
        return cls(results, by_task, geometric_means(by_task))

    def single(self, protocol: str) -> tuple[str, float]:
        """Return the peer with the least geometric mean, and ours over it."""
        peers = {name: value for name, value in self.means[protocol].items() if name in self.peers(protocol)}
        best = min(peers, key=lambda name: peers[name])
        return best, self.means[protocol][OURS] / peers[best]

    def oracle(self, protocol: str) -> float:
        """Return the geometric mean of ours over the best peer of each task."""
        return self.means[protocol][OURS] / self.means[protocol]["best peer of each"]

    def peers(self, protocol: str) -> list[str]:
        """Return the methods, other than ours, that ran on every task."""
        return [name for name in self.means[protocol] if name not in (OURS, "best peer of each")]


def claims(kept: Kept) -> str:
    """Return what was asked for, what came out, and whether it is met."""
    board = _Board.of(kept)
    every = {(one.protocol, one.data_set, one.target) for one in board.results}
    rows = []

    def claim(what: str, bound: float, value: float, more: str = "", *protocols: str) -> None:
        asked = protocols or tuple(name for name, told in _WHAT.items() if what.startswith(told))
        n_tasks, n_there = (sum(task[0] in asked for task in tasks) for tasks in (board.by_task, every))
        met = "yes" if value <= bound else "**no**"
        rows.append([what, f"≤ {bound:.2f}", f"{value:.3f}{more}", met, f"{n_tasks} of {n_there}"])

    def of(protocol: str, said: Callable[[], None]) -> None:
        if protocol in board.means:
            said()

    def inside() -> None:
        claim("at random, ours over LightGBM", 0.98, board.means["inside"][OURS])
        claim("at random, ours over the best of all peers of each task", 1.05, board.oracle("inside"))

    def driver() -> None:
        claim("outside by driver, ours over LightGBM", 0.60, board.means["driver"][OURS])
        name, value = board.single("driver")
        claim("outside by driver, ours over the best single peer", 0.87, value, f" ({name})")
        claim("outside by driver, ours over the best of all peers of each task", 1.20, board.oracle("driver"))

    def target() -> None:
        claim("outside by target, ours over LightGBM", 0.90, board.means["target"][OURS])
        name, value = board.single("target")
        claim("outside by target, ours over the best single peer", 0.97, value, f" ({name})")

    of("inside", inside)
    of("driver", driver)
    of("target", target)
    for protocol in ("group", "time"):
        if protocol in board.means:
            name, value = board.single(protocol)
            claim(f"{_WHAT[protocol]}, ours over the best single peer", 1.02, value, f" ({name})")
    outside = {task: row[OURS] for task, row in board.by_task.items() if task[0] in _OUTSIDE}
    if outside:
        worst = max(outside, key=lambda task: outside[task])
        claim(
            "worst task outside, ours over LightGBM",
            1.05,
            outside[worst],
            f" ({worst[1]}: {worst[2]}, {worst[0]})",
            *_OUTSIDE,
        )
    return table(["RMSE, geometric means over the tasks", "Asked for", "Measured", "Met", "Tasks"], rows)


def errors(protocol: str) -> Callable[[Kept], str]:
    """Return the table of a protocol: the reference's error, and every method's over it."""

    def made(kept: Kept) -> str:
        board = _Board.of(kept)
        rows = {task: row for task, row in board.by_task.items() if task[0] == protocol}
        if not rows:
            return ""
        known = dict.fromkeys(one.method for one in board.results)
        names = [OURS, *(name for name in known if name not in (OURS, REFERENCE, "mean"))]
        names = [name for name in names if any(name in row for row in rows.values())]
        absolute, seeds = errors_by_task(board.results), seeds_by_task(board.results)
        lines = []
        for task, row in rows.items():
            best = min(value for name, value in row.items() if name != "mean")
            cells = [_ratio(row.get(name), best) for name in names]
            lines.append([f"{task[1]}: {task[2]}", f"{absolute[task][REFERENCE]:.4g}", *cells, str(len(seeds[task]))])
        means = board.means[protocol]
        lines.append(
            [
                "geometric mean",
                "",
                *(f"{means[name]:.3f}" if name in means else "" for name in names),
                f"best peer of each {means['best peer of each']:.3f}",
            ]
        )
        return table(["Task", f"{REFERENCE}, RMSE", *names, "Seeds"], lines)

    return made


def _ratio(value: float | None, best: float) -> str:
    if value is None:
        return ""
    text = f"{value:.3f}" if value < 100 else "> 100"
    return f"**{text}**" if value == best else text


def costs(kept: Kept) -> str:
    """Return the processor time of fit and prediction of each method."""
    board = _Board.of(kept)
    lines = []
    for name in dict.fromkeys(one.method for one in board.results):
        mine = [one for one in board.results if one.method == name]
        middle = [one.seconds for one in mine if 5000 <= one.n_train <= 6000]
        lines.append(
            [
                name,
                str(len(mine)),
                f"{np.median([one.seconds for one in mine]):.1f}",
                f"{max(one.seconds for one in mine):.1f}",
                f"{max(middle):.1f}" if middle else "",
            ]
        )
    return table(["Method", "Fits", "Median, s", "Largest, s", "Largest at 5,000 to 6,000 rows, s"], lines)


def missing(kept: Kept) -> str:
    """Return the tasks on which ours was not measured."""
    board = _Board.of(kept)
    every = dict.fromkeys((one.protocol, one.data_set, one.target) for one in board.results)
    absent = [task for task in every if task not in board.by_task]
    lines = [[_WHAT[protocol], f"{data_set}: {target}"] for protocol, data_set, target in absent]
    return table(["Split", "Task"], lines or [["", "none"]])
