"""The page on serving, its tables made from the results kept.

    python -m benchmarks.serving.report

writes `docs/benchmark-serving.md` anew; a test holds the page to the files in `benchmarks/results/serving`.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "benchmark-serving.md"
RESULTS = CHECKOUT / "benchmarks" / "results" / "serving"

OURS, ASGI = "nalu serve", "nalu serve, NALU_HTTP=asgi"
RAW, PLAIN, MOSEC = "raw ASGI, orjson, no validation", "FastAPI, async def", "Mosec, batches of up to 16"
RECORDS, SPLIT = "single row, records, 16 connections", "single row, split, 16 connections"
ALONE, MANY = "single row, records, 1 connection", "1,000 rows, split, 4 connections"
NOTHING: Final = "nothing"
_MAX_BESIDE_MS: Final = 50.0
_LEAST_ARROW_SHARE: Final = 0.5
_MOST_GROWTH: Final = 3.0
_MOST_START_S: Final = 1.0
_MOST_WORKER_MB: Final = 120.0
_FLAT_MB: Final = 1.0
_NEEDED: Final = {"held": "loads", "runs": "loads"}
"""Table → the results that it is made from, where their name is another."""
_NOT_MEASURED: Final = "Not measured yet."

Document = dict[str, Any]


def read_results() -> Document:
    """Return the results kept, by the name of their file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def render(page: str, results: Document) -> str:
    """Return the page with its tables made anew."""
    makers: dict[str, Callable[[Document], str]] = {
        "held": held,
        "loads": loads,
        "beside": beside,
        "runs": runs,
        "tables": tables,
        "workers": workers,
        "start": start,
        "soak": soak,
        "profile": profile,
    }

    def made(match: re.Match[str]) -> str:
        needed = _NEEDED.get(match[1], match[1])
        table = makers[match[1]](results) if needed in results else _NOT_MEASURED
        return f"<!-- table: {match[1]} -->\n\n{table}\n\n<!-- end of table -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end of table -->", made, page, flags=re.DOTALL)


def held(results: Document) -> str:
    """Return what was asked for, what was measured, and whether it is met."""
    figures = results["loads"]["loads"]

    def rate(load: str, server: str, other: str) -> float:
        one, two = figures[load][server]["best_per_second"], figures[load][other]["best_per_second"]
        return float(one / two)

    def cpu(load: str, server: str, other: str) -> float:
        return float(figures[load][other]["cpu_us"] / figures[load][server]["cpu_us"])

    rows: list[tuple[str, str, str, bool]] = []

    def ratio(what: str, load: str, server: str, other: str, least: float) -> None:
        found = rate(load, server, other)
        told = f"{found:.2f} × (processor time: {cpu(load, server, other):.2f} ×)"
        rows.append((what, f"≥ {least} ×", told, found >= least))

    ratio("records, application, to raw ASGI", RECORDS, ASGI, RAW, 0.80)
    ratio("records, application, to plain `async def`", RECORDS, ASGI, PLAIN, 3.5)
    ratio("split form, application, to raw ASGI", SPLIT, ASGI, RAW, 0.85)
    ratio("records, protocol, to raw ASGI", RECORDS, OURS, RAW, 2.5)
    ratio("split form, protocol, to raw ASGI", SPLIT, OURS, RAW, 2.5)
    if MOSEC in figures[RECORDS]:
        ratio("records, protocol, to Mosec with batching", RECORDS, OURS, MOSEC, 2.0)
    ratio("1,000 rows, split form, to raw ASGI", MANY, OURS, RAW, 1.4)
    ratio("1,000 rows, split form, to plain `async def`", MANY, OURS, PLAIN, 4.0)
    one, two = (figures[ALONE][server]["best_p50_ms"] for server in (OURS, ASGI))
    rows.append(
        ("one connection, median latency", "≤ the application's", f"{one:.2f} against {two:.2f} ms", one <= two)
    )
    one, two = figures[RECORDS][OURS]["best_p99_ms"], figures[RECORDS][PLAIN]["best_p50_ms"]
    rows.append(("records, p99", "≤ the p50 of plain `async def`", f"{one:.2f} against {two:.2f} ms", one <= two))
    around = results["beside"]["beside"]
    slowest = max((name for name in around if name != NOTHING), key=lambda name: around[name]["p99_ms"])
    told = f"{around[slowest]['p99_ms']:.0f} ms at most ({slowest}); {around[NOTHING]['p99_ms']:.0f} ms beside nothing"
    within = around[slowest]["p99_ms"] <= _MAX_BESIDE_MS and not any(one["n_errors"] for one in around.values())
    rows.append(("64 connections beside bodies of 100,000 rows, p99", f"≤ {_MAX_BESIDE_MS:.0f} ms", told, within))
    rows += _apart(results)
    n_errors = sum(one["n_errors"] for load in figures.values() for one in load.values())
    checked = f"{n_errors:.0f} wrong answers or errors"
    rows.append(("every answer, bit for bit the session's own", "none wrong", checked, n_errors == 0))
    return _table(
        ("What", "Asked for", "Measured", ""),
        [(what, asked, found, "met" if good else "**not met**") for what, asked, found, good in rows],
    )


def _apart(results: Document) -> list[tuple[str, str, str, bool]]:
    """Return the rows of what is measured apart from the loads, as far as it has been."""
    rows: list[tuple[str, str, str, bool]] = []
    if "tables" in results:
        for title, one in results["tables"]["tables"].items():
            if title.startswith("Arrow"):
                told = f"{one['share']:.2f} × (processor time: {one['cpu_share']:.2f} ×)"
                what = f"100,000 rows, {title}, to onnxruntime in process"
                rows.append((what, f"≥ {_LEAST_ARROW_SHARE} ×", told, one["share"] >= _LEAST_ARROW_SHARE))
        growth = max(one["growth_mb"] / one["body_mb"] for one in results["tables"]["tables"].values())
        limit = f"≤ {_MOST_GROWTH:g} × the body"
        rows.append(("100,000 rows as a table, growth of memory", limit, f"{growth:.1f} ×", growth <= _MOST_GROWTH))
    if "workers" in results:
        compared = results["workers"]["workers"].values()
        n_errors = sum(one[number]["n_errors"] for one in compared for number in ("1", "2"))
        told = f"{next(iter(compared))['ratio']:.2f} ×; {n_errors} lost or wrong"
        rows.append(("two workers to one, the load generator sharing their cores", "told", told, n_errors == 0))
    if "soak" in results:
        one = results["soak"]
        told = f"{one['n_errors']} errors in {one['n_answers']:,} answers; {one['growth_mb']:+.1f} MB"
        good = one["n_errors"] == 0 and one["growth_mb"] <= _FLAT_MB
        rows.append(
            (f"{one['seconds'] / 60:.0f} minutes at 80 % of the highest load", "no error, memory flat", told, good)
        )
    if "start" in results:
        one = results["start"]
        ready_s, memory_mb = one["best_ready_s"], one["memory_mb"]
        rows.append(
            ("ready with the starter models", f"≤ {_MOST_START_S:g} s", f"{ready_s:.2f} s", ready_s <= _MOST_START_S)
        )
        limit = f"≤ {_MOST_WORKER_MB:g} MB"
        rows.append(("memory of a worker with them", limit, f"{memory_mb:.0f} MB", memory_mb <= _MOST_WORKER_MB))
    return rows


def tables(results: Document) -> str:
    """Return tables of many rows beside the runtime in process."""
    rows = [
        (
            title,
            f"{one['body_mb']:.0f}",
            f"{one['request_ms']:.0f}",
            f"{one['runtime_ms']:.0f}",
            f"{one['share']:.2f}",
            f"{one['server_cpu_ms']:.0f}",
            f"{one['cpu_share']:.2f}",
            f"{one['growth_mb']:.0f}",
        )
        for title, one in results["tables"]["tables"].items()
    ]
    headings = ("Body", "MB", "ms", "runtime ms", "share", "processor ms", "share of it", "growth MB")
    return _table((f"{results['tables']['rows']:,} rows: {headings[0].lower()}", *headings[1:]), rows)


def workers(results: Document) -> str:
    """Return two workers beside one."""
    rows = [
        (
            title,
            *(f"{one[number]['per_second']:,.0f}" for number in ("1", "2")),
            f"{one['ratio']:.2f}",
            str(sum(one[number]["n_errors"] for number in ("1", "2"))),
            *(f"{one[number]['memory_mb']:.0f}" for number in ("1", "2")),
        )
        for title, one in results["workers"]["workers"].items()
    ]
    headings = ("Load", "one, requests/s", "two, requests/s", "ratio", "lost or wrong", "one, MB", "two, MB")
    return _table(headings, rows)


def start(results: Document) -> str:
    """Return how long the service takes to be ready."""
    one = results["start"]
    row = (f"{one['best_ready_s']:.2f}", f"{one['ready_s']:.2f}", f"{one['cpu_s']:.2f}", f"{one['memory_mb']:.0f}")
    return _table(("Ready after s, best", "median", "processor s", "memory MB"), [row])


def soak(results: Document) -> str:
    """Return the long run."""
    one = results["soak"]
    row = (
        f"{one['seconds'] / 60:.0f}",
        f"{one['highest_per_second']:,.0f}",
        f"{one['per_second']:,.0f}",
        f"{one['n_answers']:,}",
        str(one["n_errors"]),
        f"{one['p50_ms']:.2f}",
        f"{one['p99_ms']:.2f}",
        f"{one['memory_mb']:.0f}",
        f"{one['growth_mb']:+.1f}",
    )
    headings = (
        "Minutes",
        "highest requests/s",
        "kept to",
        "answers",
        "errors",
        "p50 ms",
        "p99 ms",
        "memory MB",
        "growth MB",
    )
    return _table(headings, [row])


def profile(results: Document) -> str:
    """Return the processor time of a small request, without sockets."""
    told = results["profile"]["least_us"]
    names = list(next(iter(told.values())))
    rows = [(name, *(f"{one[name]:.1f}" for one in told.values())) for name in names]
    return _table(("Processor µs a request, without sockets", *told), rows)


def loads(results: Document) -> str:
    """Return every server under every load."""
    parts = []
    for title, servers in results["loads"]["loads"].items():
        rows = [
            (
                name,
                f"{one['best_per_second']:,.0f} ({one['per_second']:,.0f})",
                f"{one['cpu_us']:,.0f}",
                f"{one['best_p50_ms']:.2f} ({one['p50_ms']:.2f})",
                f"{one['best_p99_ms']:.2f} ({one['p99_ms']:.2f})",
                f"{one['memory_mb']:.0f}",
            )
            for name, one in servers.items()
        ]
        headings = (title, "requests/s, best (median)", "processor µs a request", "p50 ms", "p99 ms", "memory MB")
        parts.append(_table(headings, rows))
    return "\n\n".join(parts)


def beside(results: Document) -> str:
    """Return small requests beside large ones."""
    rows = [
        (
            name,
            f"{one['per_second']:,.0f}",
            f"{one['p50_ms']:.1f}",
            f"{one['p99_ms']:.1f}",
            f"{one['max_ms']:.0f}",
            f"{one['memory_mb']:.0f}",
        )
        for name, one in results["beside"]["beside"].items()
    ]
    return _table(("Beside", "requests/s", "p50 ms", "p99 ms", "longest ms", "memory MB"), rows)


def runs(results: Document) -> str:
    """Return on what was measured."""
    run = results["loads"]
    machine = run["machine"]
    return _table(
        ("Rounds", "Seconds a load", "Cores", "Python", "Load of the machine before and after"),
        [
            (
                str(run["rounds"]),
                f"{run['seconds']:g}",
                str(machine["cores"]),
                machine["python"],
                " and ".join(f"{load:.1f}" for load in machine["load_average"]),
            )
        ],
    )


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), read_results()), encoding="utf-8")


if __name__ == "__main__":
    main()
