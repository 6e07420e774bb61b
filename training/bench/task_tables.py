"""Tables of the benchmark's tasks, as the search solved them."""

from collections.abc import Callable

from training.bench import published_numbers as published
from training.bench.cell import RANGES
from training.bench.kept import (
    SYMBOL,
    Kept,
    Record,
    false_certificates,
    interval,
    number,
    rate,
    seconds,
    table,
    total,
    worst,
)
from training.tasks.arithmetic import OPERATIONS


def single_module(kept: Kept) -> str:
    """Return the single module task, a table a number of inputs."""
    parts = []
    for n in sorted({record["d_inputs"] for record in kept.cells("single")}):
        records = [record for record in kept.cells("single") if record["d_inputs"] == n]
        rows = []
        for name, source in RANGES.items():
            here = {record["operation"]: record for record in records if record["range_name"] == name}
            if here:
                rows.append(
                    [
                        f"{source.label} → {source.outside_label}",
                        *(rate(here[operation]) if operation in here else "" for operation in OPERATIONS),
                        number(worst(list(here.values()))),
                        number(worst(list(here.values()), "error_mirrored")),
                    ]
                )
        parts.append(
            f"{n} inputs, {records[0]['n_rows']} rows: {total(records)} solved; "
            f"median seconds a fit {seconds(records)}, largest in brackets.\n\n"
            + table(["Range", *SYMBOL.values(), "Largest relative error", "With all signs turned"], rows)
        )
    return "\n\n".join(parts)


def dataset(kept: Kept) -> str:
    """Return the arithmetic dataset task."""
    rows = [
        [
            SYMBOL[record["operation"]],
            RANGES[record["range_name"]].label,
            rate(record),
            interval(record),
            number(record["error"]),
            f"{record['duration_s'][0]:.2g} ({record['duration_s'][1]:.2g})",
            f"{record['n_restarts'][0]:g} ({record['n_restarts'][1]})",
            _published_dataset(record),
        ]
        for record in kept.cells("dataset")
    ]
    header = [
        "Operation", "Range", "Solved", "95 % interval", "Largest relative error", "Seconds (max)", "Starts (max)",
        "Published, %",
    ]  # fmt: skip
    return table(header, rows)


def _published_dataset(record: Record) -> str:
    if record["range_name"] == "1:2":
        return published.DATASET[record["operation"]]
    return published.MULTIPLY_BY_RANGE[record["range_name"]] if record["operation"] == "multiply" else ""


ABLATIONS: dict[str, tuple[Callable[[Record], str], Callable[[Record], str]]] = {
    "range": (
        lambda one: RANGES[one["range_name"]].label,
        lambda one: published.MULTIPLY_BY_RANGE[one["range_name"]],
    ),
    "input size": (
        lambda one: f"{one['d_inputs']} inputs",
        lambda one: published.MULTIPLY_BY_INPUTS.get(one["d_inputs"], "90–100 (NMU) [2]"),
    ),
    "subset ratio": (
        lambda one: f"{one['subset_ratio']:g}",
        lambda one: f"{published.MULTIPLY_BY_SUBSET[one['subset_ratio']]} (NMU) [2]",
    ),
    "overlap ratio": (
        lambda one: f"{one['overlap_ratio']:g}",
        lambda one: f"{published.MULTIPLY_BY_OVERLAP[one['overlap_ratio']]} (NMU) [2]",
    ),
    "hidden size": (
        lambda one: f"{one['d_hidden']} units",
        lambda one: f"{published.MULTIPLY_BY_HIDDEN_SIZE[one['d_hidden']]} (NMU) [2]",
    ),
}
"""Ablation → its setting, and what is published, both of a record."""


def ablations(kept: Kept) -> str:
    """Return the published ablations of the product."""
    rows = [
        [
            ablation,
            setting(record),
            rate(record),
            number(record["error"]),
            f"{record['duration_s'][0]:.2g} ({record['duration_s'][1]:.2g})",
            f"{record['n_restarts'][0]:g} ({record['n_restarts'][1]})",
            beside(record),
        ]
        for ablation, (setting, beside) in ABLATIONS.items()
        for record in kept.cells("dataset", ablation=ablation)
    ]
    header = ["Varied", "Setting", "Solved", "Largest relative error", "Seconds (max)", "Starts (max)", "Published, %"]
    return table(header, rows)


def noise(kept: Kept) -> str:
    """Return noise, outliers and few rows, a table a kind."""
    records = kept.cells("noise")
    kinds = list(dict.fromkeys(record["noise"] for record in records))
    parts = []
    for kind in kinds:
        of_kind = [record for record in records if record["noise"] == kind]
        rows = []
        for name, source in RANGES.items():
            here = {record["operation"]: record for record in of_kind if record["range_name"] == name}
            if here:
                rows.append(
                    [source.label, *(rate(here[operation]) if operation in here else "" for operation in OPERATIONS)]
                )
        wrong = sum(record["n_found"] - record["n_solved"] for record in of_kind)
        parts.append(
            f"{kind}, {of_kind[0]['n_rows']} rows: exact in {total(of_kind)}; a wrong law was found {wrong} times "
            f"(false certificates: {false_certificates(of_kind)}); "
            f"median seconds a fit {seconds(of_kind)}, largest in brackets.\n\n"
            + table(["Range", *SYMBOL.values()], rows)
        )
    return "\n\n".join(parts)


def compositions(kept: Kept) -> str:
    """Return two operations after each other."""
    rows = [
        [
            f"`{record['operation']}`",
            RANGES[record["range_name"]].label,
            str(record["d_inputs"]),
            rate(record),
            number(record["error"]),
            f"{record['duration_s'][0]:.2g} ({record['duration_s'][1]:.2g})",
        ]
        for record in kept.cells("compositions")
    ]
    return table(["Formula", "Range", "Inputs", "Exact", "Largest relative error", "Seconds (max)"], rows)


def is_hard(record: Record) -> bool:
    """Return whether a control is a smooth function under noise, which over a narrow range looks like any other."""
    return bool(record["operation"].endswith("% noise"))


def controls(kept: Kept) -> str:
    """Return the laws found where there is none."""
    records = kept.cells("controls")
    names = list(dict.fromkeys(record["range_name"] for record in records))
    rows = []
    for kind in dict.fromkeys(record["operation"] for record in records):
        here = {record["range_name"]: record for record in records if record["operation"] == kind}
        rows.append(
            [
                kind,
                str(next(iter(here.values()))["n_rows"]),
                *(f"{here[name]['n_found']}/{here[name]['n_seeds']}" if name in here else "" for name in names),
                false_certificates(list(here.values())),
            ]
        )
    return table(["False laws found", "Rows", *(RANGES[name].label for name in names), "False certificates"], rows)


def thresholds(kept: Kept) -> str:
    """Return the largest errors that count as solved."""
    parts = []
    for n in sorted({record["d_inputs"] for record in kept.cells("single")}):
        rows = []
        for name, source in RANGES.items():
            here = {
                record["operation"]: record
                for record in kept.cells("single")
                if record["range_name"] == name and record["d_inputs"] == n
            }
            if here:
                rows.append(
                    [
                        source.outside_label,
                        *(number(here[one]["threshold"]) if one in here else "" for one in OPERATIONS),
                    ]
                )
        parts.append(f"Single module task, {n} inputs:\n\n" + table(["Range", *SYMBOL.values()], rows))
    rows = [
        [SYMBOL[record["operation"]], RANGES[record["range_name"]].outside_label, number(record["threshold"])]
        for record in kept.cells("dataset")
    ]
    parts.append("Arithmetic dataset task, 100 inputs:\n\n" + table(["Operation", "Range", "Threshold"], rows))
    return "\n\n".join(parts)
