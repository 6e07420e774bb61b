"""Tables of how far our model of tables can be trusted."""

from collections.abc import Iterable, Sequence
from statistics import mean

from training.bench.kept import Kept, Record, table

_MARKED = ("inside", "driver", "target")


def trust(kept: Kept) -> str:
    """Return the table of all results kept."""
    return trust_table([record for document in kept.documents.values() for record in document.get("trust", ())])


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
