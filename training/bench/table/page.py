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
        return cls.from_results([Result(**one) for doc in kept.documents.values() for one in doc.get("results", [])])

    @classmethod
    def from_results(cls, results: list[Result]) -> "_Board":
        by_task = {task: row for task, row in ratios(results).items() if OURS in row}
        return cls(results, by_task, geometric_means(by_task))

    def by_seed(self) -> "list[_Board]":
        """Return what each seed alone says, where several were run on every task; none otherwise."""
        seeds = sorted({one.seed for one in self.results if one.method == OURS})
        alone = [self.from_results([one for one in self.results if one.seed == seed]) for seed in seeds]
        return alone if len(seeds) > 1 and all(set(one.by_task) == set(self.by_task) for one in alone) else []

    def over_reference(self, protocol: str) -> tuple[float, str]:
        """Return the geometric mean of ours over the reference, and nothing to note."""
        return self.means[protocol][OURS], ""

    def over_single(self, protocol: str) -> tuple[float, str]:
        """Return the geometric mean of ours over that of the best peer that ran on every task, and its name."""
        peers = {name: value for name, value in self.means[protocol].items() if name in self.peers(protocol)}
        best = min(peers, key=lambda name: peers[name])
        return self.means[protocol][OURS] / peers[best], best

    def over_oracle(self, protocol: str) -> tuple[float, str]:
        """Return the geometric mean of ours over the best peer of each task, and nothing to note."""
        return self.means[protocol][OURS] / self.means[protocol]["best peer of each"], ""

    def worst_outside(self, _: str) -> tuple[float, str]:
        """Return the largest ratio to the reference outside, and where it is."""
        outside = {task: row[OURS] for task, row in self.by_task.items() if task[0] in _OUTSIDE}
        worst = max(outside, key=lambda task: outside[task])
        return outside[worst], f"{worst[1]}: {worst[2]}, {worst[0]}"

    def peers(self, protocol: str) -> list[str]:
        """Return the methods, other than ours, that ran on every task."""
        return [name for name in self.means[protocol] if name not in (OURS, "best peer of each")]


_SET_ON = {
    ("airfoil_noise", "sound_pressure_dB"),
    ("concrete_strength", "compressive_strength"),
    ("diamonds", "price"),
    ("power_plant", "PE_MW"),
    ("steel_fatigue_nims437", "Fatigue"),
    ("steel_industry_energy", "Usage_kWh"),
    ("steel_lowalloy_nims", "tensile_MPa"),
    ("steel_plate_hotrolled", "tensile_MPa"),
    ("steel_plate_hotrolled", "yield_MPa"),
}
"""Data sets and targets on which peers had been measured by driver when the bounds were set."""

_CLAIMS: tuple[tuple[str, str, float, Callable[[_Board, str], tuple[float, str]], tuple[str, ...]], ...] = (
    ("at random", "ours over LightGBM", 0.98, _Board.over_reference, ("inside",)),
    ("at random", "ours over the best of all peers of each task", 1.05, _Board.over_oracle, ("inside",)),
    ("outside by driver", "ours over LightGBM", 0.60, _Board.over_reference, ("driver",)),
    ("outside by driver", "ours over the best single peer", 0.87, _Board.over_single, ("driver",)),
    ("outside by driver", "ours over the best of all peers of each task", 1.20, _Board.over_oracle, ("driver",)),
    ("outside by target", "ours over LightGBM", 0.90, _Board.over_reference, ("target",)),
    ("outside by target", "ours over the best single peer", 0.97, _Board.over_single, ("target",)),
    ("by group", "ours over the best single peer", 1.02, _Board.over_single, ("group",)),
    ("by time", "ours over the best single peer", 1.02, _Board.over_single, ("time",)),
    ("worst task outside", "ours over LightGBM", 1.05, _Board.worst_outside, _OUTSIDE),
)
"""Which rows, what is compared, the bound asked for, how it is measured, and the protocols that it is over."""


def claims(kept: Kept) -> str:
    """Return what was asked for, what came out, on each seed alone too, and whether it is met."""
    return _claims(_Board.of(kept))


def claims_where_set(kept: Kept) -> str:
    """Return the same of the tasks that the bounds outside by driver were set on, which are fewer."""
    every = _Board.of(kept).results
    return _claims(
        _Board.from_results(
            [one for one in every if one.protocol == "driver" and (one.data_set, one.target) in _SET_ON]
        )
    )


def _claims(board: _Board) -> str:
    alone = board.by_seed()
    every = {_task(one) for one in board.results}
    rows = []
    for where, what, bound, measured, protocols in _CLAIMS:
        n_tasks, n_there = (sum(task[0] in protocols for task in tasks) for tasks in (board.by_task, every))
        if not n_tasks:
            continue
        value, note = measured(board, protocols[0])
        rows.append(
            [
                f"{where}, {what}",
                f"≤ {bound:.2f}",
                f"{value:.3f}" + (f" ({note})" if note else ""),
                *([", ".join(f"{measured(one, protocols[0])[0]:.3f}" for one in alone)] if alone else []),
                "yes" if value <= bound else "**no**",
                f"{n_tasks} of {n_there}",
            ]
        )
    seeds = ["Each seed alone"] if alone else []
    return table(["RMSE, geometric means over the tasks", "Asked for", "Measured", *seeds, "Met", "Tasks"], rows)


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
    """Return the tasks that each method ran on, and the processor time of fit and prediction."""
    board = _Board.of(kept)
    n_tasks = len({_task(one) for one in board.results})
    lines = []
    for name in dict.fromkeys(one.method for one in board.results):
        mine = [one for one in board.results if one.method == name]
        middle = [one.seconds for one in mine if 5000 <= one.n_train <= 6000]
        lines.append(
            [
                name,
                f"{len({_task(one) for one in mine})} of {n_tasks}",
                str(len(mine)),
                f"{np.median([one.seconds for one in mine]):.1f}",
                f"{max(one.seconds for one in mine):.1f}",
                f"{max(middle):.1f}" if middle else "",
            ]
        )
    return table(["Method", "Tasks", "Fits", "Median, s", "Largest, s", "Largest at 5,000 to 6,000 rows, s"], lines)


def _task(result: Result) -> Task:
    return result.protocol, result.data_set, result.target


def missing(kept: Kept) -> str:
    """Return the tasks on which ours was not measured."""
    board = _Board.of(kept)
    every = dict.fromkeys(_task(one) for one in board.results)
    absent = [task for task in every if task not in board.by_task]
    lines = [[_WHAT[protocol], f"{data_set}: {target}"] for protocol, data_set, target in absent]
    return table(["Split", "Task"], lines or [["", "none"]])
