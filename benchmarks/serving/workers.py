"""Two workers against one on two cores, the load generator sharing them.

    python -m benchmarks.serving.workers [--rounds 5] [--seconds 2] [--json FILE]

Both are asked the same in turn, and nothing is pinned. Every answer is compared with the first one, which was compared
with the session's own output, so that a lost or wrong one is an error.
"""

import argparse
import json
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import http_request
from benchmarks.serving.loads import (
    LOADS,
    N_COLUMNS,
    OURS,
    ask_once,
    check_answers,
    commands,
    measure,
    memory_mb,
    request_body,
    running,
)
from benchmarks.serving.model import NAME, publish_model

N_WORKERS = (1, 2)
_LOADS = (LOADS[0], LOADS[3])


def compare(repository: Path, model: Path, n_rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Return figures: load → number of workers → medians, and the ratio of each round."""
    session = ort.InferenceSession((model / "model.onnx").read_bytes())
    everywhere = frozenset(os.sched_getaffinity(0))
    random = np.random.default_rng(1)
    probe = http_request("/predict", request_body(LOADS[0], random.uniform(0, 1, size=(1, N_COLUMNS))))
    start = commands(repository, model)[OURS]

    def with_workers(number: int, port: int) -> tuple[list[str], dict[str, str]]:
        command, variables = start(port)
        return [*command[: command.index("--workers")], "--workers", str(number)], variables

    results: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        served = {
            number: stack.enter_context(
                running(lambda port, number=number: with_workers(number, port), probe, everywhere)  # type: ignore[misc]
            )
            for number in N_WORKERS
        }
        for load in _LOADS:
            batches = [random.uniform(0, 1, size=(load.n_rows, N_COLUMNS)) for _ in range(load.n_distinct)]
            requests = [http_request("/predict", request_body(load, rows)) for rows in batches]
            figures: dict[int, list[dict[str, Any]]] = {number: [] for number in N_WORKERS}
            for port, _pid in served.values():
                expected = [ask_once(port, request) for request in requests]
                check_answers(OURS, batches, expected, session)
                measure(port, requests, expected, load, 0.3, cores=everywhere)
            for _ in range(n_rounds):
                for number, (port, _pid) in served.items():
                    figures[number].append(measure(port, requests, expected, load, seconds, cores=everywhere))
            ratios = [two["per_second"] / one["per_second"] for one, two in zip(figures[1], figures[2], strict=True)]
            results[load.title] = {
                "ratio": statistics.median(ratios),
                **{
                    str(number): {
                        "per_second": statistics.median(one["per_second"] for one in found),
                        "n_answers": sum(one["n_answers"] for one in found),
                        "n_errors": sum(one["n_errors"] for one in found),
                        "memory_mb": memory_mb(served[number][1]),
                    }
                    for number, found in figures.items()
                },
            }
    return results


def main() -> None:
    """Compare, print the table, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        model = repository / NAME / str(publish_model(repository).version)
        results = compare(repository, model, given.rounds, given.seconds)
    table = Table(title="Two workers against one", title_justify="left", box=None, header_style="bold")
    for heading in ("load", "one, requests/s", "two, requests/s", "ratio", "errors"):
        table.add_column(heading)
    for title, one in results.items():
        n_errors = sum(one[str(number)]["n_errors"] for number in N_WORKERS)
        rates = (f"{one[str(number)]['per_second']:,.0f}" for number in N_WORKERS)
        table.add_row(title, *rates, f"{one['ratio']:.2f}", str(n_errors))
    Console(highlight=False, width=120).print(table)
    if given.json:
        kept = {"rounds": given.rounds, "seconds": given.seconds, "workers": results}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
