"""Tables of the benchmark's page, made from the results kept in JSON, so that the page cannot say anything else."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.bench import published_numbers as published
from training.bench.cell import RANGES
from training.bench.documents import read
from training.errors import ConfigError
from training.tasks.arithmetic import OPERATIONS

Record = dict[str, Any]

_SYMBOL = {
    "add": "a + b",
    "subtract": "a − b",
    "multiply": "a · b",
    "divide": "a / b",
    "square": "a²",
    "sqrt": "√a",
    "reciprocal": "1 / a",
}
_OURS = ("exact",)
_MARK = re.compile(r"(<!-- table: (?P<name>[a-z -]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


@dataclass(frozen=True)
class Kept:
    """All results kept.

    Attributes:
        documents: File name → document.
    """

    documents: dict[str, Record]

    def cells(self, task: str, *, methods: Sequence[str] = _OURS, ablation: str = "") -> list[Record]:
        """Return the records of a task."""
        return [
            cell
            for document in self.documents.values()
            for cell in document["cells"]
            if cell["task"] == task and cell["method"] in methods and cell["ablation"] == ablation
        ]


def read_results(folder: Path) -> Kept:
    """Read every JSON file of a folder.

    Raises:
        ConfigError: When there is none, or one is no result.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        msg = f"there must be results to report, however {folder} has no JSON file; run `nalu bench arithmetic --json`"
        raise ConfigError(msg)
    return Kept({path.stem: read(path) for path in paths})


def render(page: str, kept: Kept) -> str:
    """Return a page with the tables between its markers made anew.

    Raises:
        ConfigError: When a marker has no table.
    """

    def replaced(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in _TABLES:
            msg = f"a table must be one of {', '.join(_TABLES)}, however the page asks for {name!r}"
            raise ConfigError(msg)
        body = _TABLES[name](kept)
        if not body.strip() or body.count("\n") == 1:  # a header and its rule, with no row below
            body = "Not measured yet."
        return f"{found[1]}\n{body}\n\n{found[3]}"

    return _MARK.sub(replaced, page)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rate(record: Record) -> str:
    return f"{record['n_solved']}/{record['n_seeds']}"


def _interval(record: Record) -> str:
    low, high = (100 * bound for bound in record["interval"])
    return f"{low:.1f}–{high:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _worst(records: Sequence[Record], what: str = "error") -> float | None:
    return max((record[what] for record in records if record[what] is not None), default=None)


def _total(records: Sequence[Record]) -> str:
    return f"{sum(one['n_solved'] for one in records):,} of {sum(one['n_seeds'] for one in records):,}"


def _seconds(records: Sequence[Record]) -> str:
    medians = [record["duration_s"][0] for record in records]
    return f"{min(medians):.2g}–{max(medians):.2g} ({max(record['duration_s'][1] for record in records):.2g})"


def _single(kept: Kept) -> str:
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
                        *(_rate(here[operation]) if operation in here else "" for operation in OPERATIONS),
                        _number(_worst(list(here.values()))),
                        _number(_worst(list(here.values()), "error_mirrored")),
                    ]
                )
        parts.append(
            f"{n} inputs, {records[0]['n_rows']} rows: {_total(records)} solved; "
            f"median seconds a fit {_seconds(records)}, largest in brackets.\n\n"
            + _table(["Range", *_SYMBOL.values(), "Largest relative error", "With all signs turned"], rows)
        )
    return "\n\n".join(parts)


def _dataset(kept: Kept) -> str:
    rows = [
        [
            _SYMBOL[record["operation"]],
            RANGES[record["range_name"]].label,
            _rate(record),
            _interval(record),
            _number(record["error"]),
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
    return _table(header, rows)


def _published_dataset(record: Record) -> str:
    if record["range_name"] == "1:2":
        return published.DATASET[record["operation"]]
    return published.MULTIPLY_BY_RANGE[record["range_name"]] if record["operation"] == "multiply" else ""


_ABLATIONS: dict[str, tuple[Callable[[Record], str], Callable[[Record], str]]] = {
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


def _ablations(kept: Kept) -> str:
    rows = [
        [
            ablation,
            setting(record),
            _rate(record),
            _number(record["error"]),
            f"{record['duration_s'][0]:.2g} ({record['duration_s'][1]:.2g})",
            f"{record['n_restarts'][0]:g} ({record['n_restarts'][1]})",
            beside(record),
        ]
        for ablation, (setting, beside) in _ABLATIONS.items()
        for record in kept.cells("dataset", ablation=ablation)
    ]
    header = ["Varied", "Setting", "Solved", "Largest relative error", "Seconds (max)", "Starts (max)", "Published, %"]
    return _table(header, rows)


def _noise(kept: Kept) -> str:
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
                    [source.label, *(_rate(here[operation]) if operation in here else "" for operation in OPERATIONS)]
                )
        wrong = sum(record["n_found"] - record["n_solved"] for record in of_kind)
        parts.append(
            f"{kind}, {of_kind[0]['n_rows']} rows: exact in {_total(of_kind)}; a wrong law was found {wrong} times "
            f"(false certificates: {_false_certificates(of_kind)}); "
            f"median seconds a fit {_seconds(of_kind)}, largest in brackets.\n\n"
            + _table(["Range", *_SYMBOL.values()], rows)
        )
    return "\n\n".join(parts)


def _compositions(kept: Kept) -> str:
    rows = [
        [
            f"`{record['operation']}`",
            RANGES[record["range_name"]].label,
            str(record["d_inputs"]),
            _rate(record),
            _number(record["error"]),
            f"{record['duration_s'][0]:.2g} ({record['duration_s'][1]:.2g})",
        ]
        for record in kept.cells("compositions")
    ]
    return _table(["Formula", "Range", "Inputs", "Exact", "Largest relative error", "Seconds (max)"], rows)


def is_hard(record: Record) -> bool:
    """Return whether a control is a smooth function under noise, which over a narrow range looks like any other."""
    return bool(record["operation"].endswith("% noise"))


def _controls(kept: Kept) -> str:
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
                _false_certificates(list(here.values())),
            ]
        )
    header = ["False laws found", "Rows", *(RANGES[name].label for name in names), "False certificates"]
    return _table(header, rows)


def _false_certificates(records: Sequence[Record]) -> str:
    """Return how many laws that are wrong may have a certificate; results kept before these were counted lack them."""
    if any("n_false_certificates" not in record for record in records):
        return "not counted"
    false, n_seeds = (sum(record[key] for record in records) for key in ("n_false_certificates", "n_seeds"))
    return f"{false} of {n_seeds:,}"


def _recipes(kept: Kept) -> str:
    methods = ("nac", "nalu", "nau", "nmu", "real_npu")
    rows = [
        [
            {"single": "single module", "dataset": "arithmetic dataset"}[task],
            _SYMBOL[record["operation"]],
            RANGES[record["range_name"]].label,
            str(record["d_inputs"]),
            record["method"],
            _rate(record),
            _number(record["threshold"]),
            _number(record["mse"]),
            "" if record["solved_at"] is None else f"{record['solved_at']:,.0f}",
            f"{record['duration_s'][0]:.0f}",
        ]
        for task in ("single", "dataset")
        for record in kept.cells(task, methods=methods)
    ]
    header = [
        "Task",
        "Operation",
        "Range",
        "Inputs",
        "Module",
        "Solved",
        "Threshold",
        "Median MSE",
        "Solved at",
        "Seconds",
    ]
    return _table(header, rows)


def _served(kept: Kept) -> str:
    rows = [
        [
            {"single": "single module", "dataset": "arithmetic dataset"}[task],
            _SYMBOL[record["operation"]],
            RANGES[record["range_name"]].label,
            str(record["d_inputs"]),
            _rate(record),
            _number(record["error"]),
            _number(record["error_inside"]),
        ]
        for task in ("single", "dataset")
        for record in kept.cells(task, methods=("served",))
    ]
    header = ["Task", "Operation", "Range", "Inputs", "Solved", "Largest relative error", "Inside the range"]
    return _table(header, rows)


def _thresholds(kept: Kept) -> str:
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
                        *(_number(here[one]["threshold"]) if one in here else "" for one in OPERATIONS),
                    ]
                )
        parts.append(f"Single module task, {n} inputs:\n\n" + _table(["Range", *_SYMBOL.values()], rows))
    rows = [
        [_SYMBOL[record["operation"]], RANGES[record["range_name"]].outside_label, _number(record["threshold"])]
        for record in kept.cells("dataset")
    ]
    parts.append("Arithmetic dataset task, 100 inputs:\n\n" + _table(["Operation", "Range", "Threshold"], rows))
    return "\n\n".join(parts)


def _runs(kept: Kept) -> str:
    rows = [
        [
            f"`{document['command']}`",
            document["created"][:10],
            f"{document['duration_s']:,.0f} s",
            f"{document['peak_memory_mib']:.0f} MiB",
        ]
        for document in kept.documents.values()
    ]
    machines = dict.fromkeys(
        f"{one['machine']['processor']}, {one['machine']['n_cores']} cores, {one['machine']['system']}, "
        f"Python {one['machine']['versions']['python']}, NumPy {one['machine']['versions']['numpy']}, "
        f"torch {one['machine']['versions']['torch']}"
        for one in kept.documents.values()
    )
    return (
        _table(["Command", "Day", "Time", "Peak memory"], rows) + "\n\n" + "\n".join(f"Machine: {m}." for m in machines)
    )


def _summary(kept: Kept) -> str:
    def row(what: str, records: Sequence[Record], target: str) -> list[str]:
        if not records:
            return [what, "not measured", "", "", target]
        return [
            what,
            _total(records),
            _number(_worst(records)),
            _seconds(records),
            target,
        ]

    single, dataset, noise = kept.cells("single"), kept.cells("dataset"), kept.cells("noise")
    rows = [
        row(f"Single module, {n} inputs", [one for one in single if one["d_inputs"] == n], "all, ≤ 1e-12")
        for n in (2, 10, 100)
    ]
    rows += [
        row(
            f"Arithmetic dataset, {RANGES[name].label}",
            [one for one in dataset if one["range_name"] == name],
            "all, ≤ 1e-9, median ≤ 2 s" + (" (× ≤ 10 s)" if name == "1.1:1.2" else ""),
        )
        for name in ("1:2", "-2:2", "0.1:0.2", "1.1:1.2")
    ]
    rows += [
        row(f"× by {ablation}", kept.cells("dataset", ablation=ablation), "all")
        for ablation in _ABLATIONS
        if ablation != "range"
    ]
    rows += [
        row(f"Labels with {what}", [one for one in noise if one["noise"] == kind], target)
        for kind, what, target in (
            ("1 %", "1 % noise", "≥ 99 %"),
            ("10 %", "10 % noise", "≥ 90 %"),
            ("outliers", "1 % outliers", "≥ 99 %"),
        )
    ]
    rows.append(row("Compositions", kept.cells("compositions"), "≥ 19 of 20"))
    controls = kept.cells("controls")
    certificates = _false_certificates(controls) if controls else "not measured"
    rows.append(["Controls: false certificates", certificates, "", "", "0"])
    for what, some in (
        ("Controls: false laws", [one for one in controls if not is_hard(one)]),
        ("Hard controls (a smooth function under noise): false laws", [one for one in controls if is_hard(one)]),
    ):
        false, n_seeds = sum(one["n_found"] for one in some), sum(one["n_seeds"] for one in some)
        rows.append([what, f"{false} of {n_seeds:,}", "", _seconds(some), "0"] if some else row(what, [], "0"))
    rows.append(row("Served over HTTP", kept.cells("single", methods=("served",)), "÷ on U[0,1e-4] ≤ 1e-12"))
    memory = max(document["peak_memory_mib"] for document in kept.documents.values())
    rows.append(["Peak memory", f"{memory:.0f} MiB", "", "", "< 1,024 MiB"])
    return _table(["What", "Solved", "Largest relative error", "Median seconds a fit (max)", "Asked for"], rows)


def _solver(ablation: str) -> Callable[[Kept], str]:
    def table(kept: Kept) -> str:
        rows = [
            [row["what"], row["setting"], f"{row['n_solved']}/{row['n_seeds']}", _number(row["error"])]
            for document in kept.documents.values()
            for row in document.get("ablations", ())
            if row["ablation"] == ablation
        ]
        return _table(["Problems", "Setting", "Solved", "Largest relative error"], rows)

    return table


_TABLES: dict[str, Callable[[Kept], str]] = {
    "solver snapping": _solver("snapping"),
    "solver precision": _solver("precision"),
    "solver loss": _solver("loss"),
    "solver restarts": _solver("restarts"),
    "summary": _summary,
    "single module": _single,
    "arithmetic dataset": _dataset,
    "ablations": _ablations,
    "noise": _noise,
    "compositions": _compositions,
    "controls": _controls,
    "published recipes": _recipes,
    "served": _served,
    "thresholds": _thresholds,
    "runs": _runs,
}
"""Name in the page's marker → table."""
