"""Small requests beside large ones: nobody waits for a body of 100,000 rows, right or wrong.

    python -m benchmarks.serving.mixed [--seconds 10] [--rows 100000] [--json FILE]

64 connections ask for single rows, alone at first, then while one client sends large bodies of each kind, one after
another. The server runs on core 0, the clients on core 1.
"""

import argparse
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import http_request, split_answer
from benchmarks.serving.loads import LOAD_CORE, Load, ask_once, commands, measure, memory_mb, request_body, running
from benchmarks.serving.model import N_COLUMNS, NAME, publish_model

SMALL = Load("single row, records, 64 connections", "records", 1, 64, 64)
_MAX_BODY_BYTES = 256 * 1024**2


def large_bodies(n_rows: int) -> dict[str, tuple[bytes, int]]:
    """Return bodies of many rows with the status that each must get: right ones, and ones with a fault at the end."""
    rows = np.random.default_rng(5).uniform(0, 1, size=(n_rows, N_COLUMNS))
    split = request_body(Load("", "split", n_rows, 1, 1), rows)
    records = request_body(Load("", "records", n_rows, 1, 1), rows)
    return {
        "split form": (split, 200),
        "records form": (records, 200),
        "split form, text for the last number": (split[: split.rindex(b",")] + b', "text"]]}', 422),
        "records form, an unknown column in the last row": (records[:-3] + b', "more": 1}]}', 422),
        "split form, a comma too many at the end": (split[:-3] + b",]]}", 400),
    }


def send_repeatedly(port: int, body: bytes, status: int, stop: threading.Event, took: list[float]) -> None:
    """Send a body until told to stop; note how long each answer took."""
    request = http_request("/predict", body)
    while not stop.is_set():
        started = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            connection.sendall(request)
            received = bytearray()
            while (answer := split_answer(bytes(received)) if received.endswith(b"}") else None) is None:
                more = connection.recv(1 << 20)
                if not more:
                    msg = "the server must answer a large body, however it closed the connection"
                    raise ConnectionResetError(msg)
                received += more
        took.append(time.perf_counter() - started)
        if not answer[0].startswith(b"http/1.1 %d" % status):
            msg = f"a large body must be answered with {status}, however: {answer[0][:40]!r} {answer[1][:300]!r}"
            raise RuntimeError(msg)


def run_beside(port: int, large: tuple[bytes, int] | None, small: list[bytes], seconds: float) -> dict[str, Any]:
    """Measure the small requests while the large body is sent again and again."""
    expected = [ask_once(port, request) for request in small]
    stop = threading.Event()
    took: list[float] = []
    sender = None
    if large is not None:
        sender = threading.Thread(target=send_repeatedly, args=(port, *large, stop, took))
        sender.start()
    try:
        figures = measure(port, small, expected, SMALL, seconds)
    finally:
        stop.set()
        if sender is not None:
            sender.join()
    return {**figures, "n_large": len(took), "large_s": float(np.median(took)) if took else None}


def measure_mixed(
    start: Callable[[int], tuple[list[str], dict[str, str]]], n_rows: int, seconds: float, console: Console
) -> dict[str, dict[str, Any]]:
    """Return the figures of the small requests beside each kind of large body, and with none."""
    rows = np.random.default_rng(6).uniform(0, 1, size=(SMALL.n_distinct, 1, N_COLUMNS))
    small = [http_request("/predict", request_body(SMALL, one)) for one in rows]
    results: dict[str, dict[str, Any]] = {}
    with running(start, small[0]) as (port, pid):
        run_beside(port, None, small, 1.0)
        beside: dict[str, tuple[bytes, int] | None] = {"nothing": None, **large_bodies(n_rows)}
        for name, large in beside.items():
            results[name] = {**run_beside(port, large, small, seconds), "memory_mb": memory_mb(pid)}
            console.print(f"beside {name}: p99 {results[name]['p99_ms']:.1f} ms")
    return results


def show(results: dict[str, dict[str, Any]], console: Console) -> None:
    """Print the table."""
    table = Table(title=f"{SMALL.title}, beside …", title_justify="left", box=None, header_style="bold")
    table.add_column("large body")
    for heading in ("requests/s", "p50 ms", "p99 ms", "longest ms", "errors", "large bodies", "each s", "memory MB"):
        table.add_column(heading, justify="right")
    for name, one in results.items():
        each = "" if one["large_s"] is None else f"{one['large_s']:.2f}"
        table.add_row(
            name,
            f"{one['per_second']:,.0f}",
            f"{one['p50_ms']:.2f}",
            f"{one['p99_ms']:.1f}",
            f"{one['max_ms']:.0f}",
            str(one["n_errors"]),
            str(one["n_large"]),
            each,
            f"{one['memory_mb']:.0f}",
        )
    console.print(table)


def main() -> None:
    """Measure, print the table, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    console = Console(highlight=False, width=140)
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        manifest = publish_model(repository)
        ours = next(iter(commands(repository, repository / NAME / str(manifest.version)).values()))
        start = partial(_with_large_bodies, ours)
        results = measure_mixed(start, given.rows, given.seconds, console)
    show(results, console)
    if given.json:
        given.json.write_text(
            json.dumps({"seconds": given.seconds, "rows": given.rows, "beside": results}, indent=1) + "\n"
        )


def _with_large_bodies(
    start: Callable[[int], tuple[list[str], dict[str, str]]], port: int
) -> tuple[list[str], dict[str, str]]:
    command, variables = start(port)
    return command, {**variables, "NALU_MAX_BODY_BYTES": str(_MAX_BODY_BYTES)}


if __name__ == "__main__":
    main()
