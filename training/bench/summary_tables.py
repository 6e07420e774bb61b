"""Tables of the whole benchmark: what came out, and of which runs."""

from collections.abc import Sequence

from training.bench.cell import RANGES
from training.bench.kept import Kept, Record, false_certificates, number, seconds, table, total, worst
from training.bench.task_tables import ABLATIONS, is_hard


def summary(kept: Kept) -> str:
    """Return a line for everything asked for."""

    def row(what: str, records: Sequence[Record], target: str) -> list[str]:
        if not records:
            return [what, "not measured", "", "", target]
        return [
            what,
            total(records),
            number(worst(records)),
            seconds(records),
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
        for ablation in ABLATIONS
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
    certificates = false_certificates(controls) if controls else "not measured"
    rows.append(["Controls: false certificates", certificates, "", "", "0"])
    for what, some in (
        ("Controls: false laws", [one for one in controls if not is_hard(one)]),
        ("Hard controls (a smooth function under noise): false laws", [one for one in controls if is_hard(one)]),
    ):
        false, n_seeds = sum(one["n_found"] for one in some), sum(one["n_seeds"] for one in some)
        rows.append([what, f"{false} of {n_seeds:,}", "", seconds(some), "0"] if some else row(what, [], "0"))
    rows.append(row("Served over HTTP", kept.cells("single", methods=("served",)), "÷ on U[0,1e-4] ≤ 1e-12"))
    memory = max(document["peak_memory_mib"] for document in kept.documents.values())
    rows.append(["Peak memory", f"{memory:.0f} MiB", "", "", "< 1,024 MiB"])
    return table(["What", "Solved", "Largest relative error", "Median seconds a fit (max)", "Asked for"], rows)


def runs(kept: Kept) -> str:
    """Return the commands, what they took, and the machines."""
    rows = [
        [
            f"`{document['command']}`",
            document["created"][:10],
            f"{document['duration_s']:,.0f} s",
            f"{document['cpu_s']:,.0f} s" if "cpu_s" in document else "",
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
        table(["Command", "Day", "Time", "Processor time", "Peak memory"], rows)
        + "\n\n"
        + "\n".join(f"Machine: {m}." for m in machines)
    )
