"""Tables of how far our model of tables can be trusted."""

import math
from collections.abc import Iterable, Sequence
from statistics import mean

from training.bench.kept import Kept, Record, table

_MARKED = ("inside", "driver", "target")

_MANY_ROWS = 1000
"""Rows of a set from which on coverage inside is held to its bounds."""

_COVERAGE = (0.88, 0.92)
_LEVEL = 0.9
_LEAST_MARKED, _MOST_MARKED = 0.95, 0.05
_ERRORS = 1.96
"""Standard errors of a share on either side, by which 95 % of tests differ from what is true."""


def trust(kept: Kept) -> str:
    """Return the table of all results kept."""
    return trust_table([record for document in kept.documents.values() for record in document.get("trust", ())])


def claims(kept: Kept) -> str:
    """Return what was asked for, what came out, and whether it is met; a task counts by its mean over seeds."""
    records = [record for document in kept.documents.values() for record in document.get("trust", ())]
    rows = []

    def by_task(protocol: str) -> list[list[Record]]:
        found: dict[tuple[str, str], list[Record]] = {}
        for one in records:
            if one["protocol"] == protocol:
                found.setdefault((one["data_set"], one["target"]), []).append(one)
        return list(found.values())

    many = [task for task in by_task("inside") if task[0]["n_train"] + task[0]["n_test"] >= _MANY_ROWS]
    if many:
        low, high = _COVERAGE
        shares = [mean(one["coverage"][f"{_LEVEL:g}"] for one in task) for task in many]
        rooms = [_room(_LEVEL, task) for task in many]
        n_within = sum(low <= share <= high for share in shares)
        n_by_chance = sum(
            not low <= share <= high and low - room <= share <= high + room
            for share, room in zip(shares, rooms, strict=True)
        )
        measured = f"{_span(shares)}, {n_within} of {len(many)} tasks"
        measured += _by_chance(n_by_chance)
        asked = f"{100 * low:.0f} … {100 * high:.0f} %"
        what = f"within 90 %, inside, sets of {_MANY_ROWS:,} rows and more"
        rows.append([what, asked, measured, _met(n_within == len(many))])
    for protocol in ("driver", "target"):
        tasks = by_task(protocol)
        if tasks:
            shares = [mean(one["marked"] for one in task) for task in tasks]
            n_within = sum(share >= _LEAST_MARKED for share in shares)
            measured = f"{_span(shares)}, mean {_share(shares)}, {n_within} of {len(tasks)} tasks"
            rows.append([f"marked, outside by {protocol}", "≥ 95 %", measured, _met(n_within == len(tasks))])
    tasks = by_task("inside")
    if tasks:
        shares = [mean(one["marked"] for one in task) for task in tasks]
        n_within = sum(share <= _MOST_MARKED for share in shares)
        limits = [_MOST_MARKED + _room(_MOST_MARKED, task) for task in tasks]
        n_by_chance = sum(_MOST_MARKED < share <= limit for share, limit in zip(shares, limits, strict=True))
        measured = f"{_span(shares)}, mean {_share(shares)}, {n_within} of {len(tasks)} tasks{_by_chance(n_by_chance)}"
        rows.append(["marked, inside", "≤ 5 %", measured, _met(n_within == len(tasks))])
    return table(["Of rows left out", "Asked for", "Measured", "Met"], rows)


def _room(share: float, task: Sequence[Record]) -> float:
    """Return by how much a share of a task's test rows may differ from a true one by chance."""
    return _ERRORS * math.sqrt(share * (1 - share) / sum(one["n_test"] for one in task))


def _by_chance(n_tasks: int) -> str:
    return f"; {n_tasks} more within the sampling error of their test rows" if n_tasks else ""


def _span(shares: Sequence[float]) -> str:
    return f"{100 * min(shares):.1f} … {100 * max(shares):.1f} %"


def _met(held: bool) -> str:
    return "yes" if held else "**no**"


def trust_table(records: Sequence[Record]) -> str:
    """Return a Markdown table: a row for each task, then the means.

    Args:
        records: Results of `nalu bench trust`.
    """
    tasks = list(dict.fromkeys((record["data_set"], record["target"]) for record in records))
    rows = [
        [f"{name}: {target}", *_cells([one for one in records if (one["data_set"], one["target"]) == (name, target)])]
        for name, target in tasks
    ]
    header = [
        "task",
        "rows fitted",
        *(f"marked, {name}" for name in _MARKED),
        *(f"within 90 %, {name}" for name in _MARKED),
        "width, inside",
    ]
    if not rows:
        return table(header, [])
    return table(header, [*rows, ["**mean of the tasks**", *_means(records, tasks)]])


def _cells(records: Sequence[Record]) -> list[str]:
    inside = [one for one in records if one["protocol"] == "inside"]
    return [
        str(max(one["n_train"] for one in records)),
        *(_share(one["marked"] for one in records if one["protocol"] == name) for name in _MARKED),
        *(_share(one["coverage"]["0.9"] for one in records if one["protocol"] == name) for name in _MARKED),
        f"{mean(one['width'] for one in inside):.2f}" if inside else "–",
    ]


def _means(records: Sequence[Record], tasks: Sequence[tuple[str, str]]) -> list[str]:
    """Return the means over tasks of each task's mean over seeds."""

    def by_task(name: str, part: str) -> list[float]:
        found = []
        for task in tasks:
            there = [
                one["coverage"]["0.9"] if part == "coverage" else one[part]
                for one in records
                if (one["data_set"], one["target"]) == task and one["protocol"] == name
            ]
            if there:
                found.append(mean(there))
        return found

    widths = by_task("inside", "width")
    return [
        "",
        *(_share(by_task(name, "marked")) for name in _MARKED),
        *(_share(by_task(name, "coverage")) for name in _MARKED),
        f"{mean(widths):.2f}" if widths else "–",
    ]


def _share(values: Iterable[float]) -> str:
    given = list(values)
    return f"{100 * mean(given):.1f} %" if given else "–"
