"""Tables of other methods: published recipes, the service, and the search with a part of it changed."""

from collections.abc import Callable

from training.bench.cell import RANGES
from training.bench.kept import SYMBOL, Kept, Record, number, rate, table, total, worst
from training.tasks.arithmetic import OPERATIONS

_MODULES = {"nac": "NAC", "nalu": "NALU", "nau": "NAU", "nmu": "NMU", "real_npu": "Real NPU"}


def recipes(kept: Kept) -> str:
    """Return what published recipes reached, beside the search on the same cells."""
    parts = []
    for task, what in _TASKS.items():
        records = kept.cells(task, methods=tuple(_MODULES))
        if not records:
            continue
        beside = {_place(one): one for one in kept.cells(task)}
        methods = [method for method in _MODULES if any(one["method"] == method for one in records)]
        rows = []
        for place in dict.fromkeys(_place(one) for one in records):
            here = {one["method"]: one for one in records if _place(one) == place}
            rows.append(
                [
                    *_told(next(iter(here.values()))),
                    *(_solved_at(here[method]) if method in here else "" for method in methods),
                    rate(beside[place]) if place in beside else "",
                ]
            )
        header = ["Operation", "Range", "Inputs", *(_MODULES[method] for method in methods), "The search"]
        times = "; ".join(
            f"{_MODULES[method]} {total(of_method)}, {max(one['duration_s'][1] for one in of_method):.2g} s"
            for method in methods
            if (of_method := [one for one in records if one["method"] == method])
        )
        parts.append(f"{what}: solved, and the seconds of a network: {times}.\n\n{table(header, rows)}")
    return "\n\n".join(parts)


_TASKS = {"single": "Single module task", "dataset": "Arithmetic dataset task"}


def _place(record: Record) -> tuple[str, str, int]:
    return record["operation"], record["range_name"], record["d_inputs"]


def _told(record: Record) -> list[str]:
    return [SYMBOL[record["operation"]], RANGES[record["range_name"]].label, str(record["d_inputs"])]


def _solved_at(record: Record) -> str:
    """Return the rate, with the median step at which the threshold was passed."""
    return rate(record) + ("" if record["solved_at"] is None else f" at {record['solved_at']:,.0f}")


def served(kept: Kept) -> str:
    """Return what the service answered."""
    parts = []
    for task, what in _TASKS.items():
        records = kept.cells(task, methods=("served",))
        for n in sorted({one["d_inputs"] for one in records}):
            of_size = [one for one in records if one["d_inputs"] == n]
            rows = []
            for name, source in RANGES.items():
                here = {one["operation"]: one for one in of_size if one["range_name"] == name}
                if here:
                    rows.append(
                        [
                            f"{source.label} → {source.outside_label}",
                            *(rate(here[one]) if one in here else "" for one in OPERATIONS),
                            number(worst(list(here.values()))),
                            number(worst(list(here.values()), "error_inside")),
                        ]
                    )
            header = ["Range", *SYMBOL.values(), "Largest relative error", "Inside the range"]
            parts.append(f"{what}, {n} inputs: {total(of_size)} solved.\n\n{table(header, rows)}")
    return "\n\n".join(parts)


def solver(ablation: str) -> Callable[[Kept], str]:
    """Return the table of one ablation of the search."""

    def made(kept: Kept) -> str:
        rows = [
            [row["what"], row["setting"], f"{row['n_solved']}/{row['n_seeds']}", number(row["error"])]
            for document in kept.documents.values()
            for row in document.get("ablations", ())
            if row["ablation"] == ablation
        ]
        return table(["Problems", "Setting", "Solved", "Largest relative error"], rows)

    return made
