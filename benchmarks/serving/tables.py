"""100,000 rows as one table over HTTP, beside onnxruntime on the same rows in process.

    python -m benchmarks.serving.tables [--rows 100000] [--rounds 5] [--json FILE]

The server runs on core 0, the client on core 1; the runtime in process runs on core 0 too, while the server waits. Both
take turns in each round. Processor time is told beside the time that passed, which other work on the machine stretches.
Every answer is compared with the session's own output, bit for bit. Memory is the server's peak during the requests
over what it had before them, once a small table has made it load what reads tables.
"""

import argparse
import http.client
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, ipc
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import http_request
from benchmarks.serving.loads import LOAD_CORE, LOADS, OURS, SERVER_CORE, commands, cpu_s, request_body, running
from benchmarks.serving.model import N_COLUMNS, NAME, publish_model

_ARROW, _CSV = "application/vnd.apache.arrow.stream", "text/csv"


def table_of(rows: NDArray[np.floating[Any]]) -> pa.Table:
    """Return rows as a table with the model's columns."""
    return pa.table({f"feature_{i:02}": np.ascontiguousarray(rows[:, i]) for i in range(rows.shape[1])})


def arrow_body(rows: NDArray[np.floating[Any]]) -> bytes:
    """Return rows as an Arrow IPC stream of one batch."""
    sink, table = io.BytesIO(), table_of(rows)
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def csv_body(rows: NDArray[np.floating[Any]]) -> bytes:
    """Return rows as CSV."""
    sink = io.BytesIO()
    csv.write_csv(table_of(rows), sink)
    return sink.getvalue()


def ask(port: int, body: bytes, content_type: str) -> tuple[float, bytes]:
    """Send a table; return the seconds from the first byte sent to the last received, and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    started = time.perf_counter()
    connection.request("POST", f"/predict?model={NAME}", body, {"Content-Type": content_type, "Accept": _ARROW})
    response = connection.getresponse()
    content = response.read()
    elapsed = time.perf_counter() - started
    connection.close()
    if response.status != 200:
        msg = f"every table must be answered, however: {content[:500]!r}"
        raise RuntimeError(msg)
    return elapsed, content


def check(answer: bytes, own: NDArray[np.float32]) -> None:
    """Refuse an answer that is not the session's own output."""
    table = ipc.open_stream(answer).read_all()
    values = np.column_stack([table.column(j).to_numpy() for j in range(own.shape[1])]).astype(np.float32)
    if values.tobytes() != own.tobytes():
        msg = "answers must be the session's own output, however one is not"
        raise RuntimeError(msg)


def peak_mb(pid: int) -> float:
    """Return the largest memory that a process has held since it was last cleared."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


def measure(
    port: int, pid: int, run: Callable[[], Any], body: bytes, content_type: str, n_rounds: int
) -> tuple[dict[str, float], bytes]:
    """Time requests and runs in turn; return medians, and the last answer."""
    ask(port, body, content_type)  # warm-up
    rounds, answer = [], b""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")
    before = peak_mb(pid)
    for _ in range(n_rounds):
        os.sched_setaffinity(0, {SERVER_CORE})
        started, used = time.perf_counter(), time.process_time()
        run()
        own = time.perf_counter() - started, time.process_time() - used
        os.sched_setaffinity(0, {LOAD_CORE})
        used = cpu_s(pid)
        elapsed, answer = ask(port, body, content_type)
        rounds.append((elapsed, cpu_s(pid) - used, *own))
    elapsed, server_s, run_s, run_cpu_s = (statistics.median(column) for column in zip(*rounds, strict=True))
    figures = {
        "body_mb": len(body) / 2**20,
        "request_ms": elapsed * 1000,
        "server_cpu_ms": server_s * 1000,
        "runtime_ms": run_s * 1000,
        "runtime_cpu_ms": run_cpu_s * 1000,
        "share": statistics.median(own / asked for asked, _, own, _ in rounds),
        "cpu_share": run_cpu_s / server_s,
        "growth_mb": peak_mb(pid) - before,
    }
    return figures, answer


def main() -> None:
    """Run, print the table, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = np.random.default_rng(1).uniform(0, 1, size=(given.rows, N_COLUMNS)).astype(np.float32)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        model = repository / NAME / str(publish_model(repository).version)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession((model / "model.onnx").read_bytes(), options)
        run = partial(session.run, ["predictions"], {"numeric": rows})
        (own,) = run()
        probe = http_request("/predict", request_body(LOADS[0], rows[:1].astype(np.float64)))
        with running(commands(repository, model)[OURS], probe) as (port, pid):
            for title, body, content_type in (
                ("Arrow, float32", arrow_body(rows), _ARROW),
                ("Arrow, float64", arrow_body(rows.astype(np.float64)), _ARROW),
                ("CSV", csv_body(rows), _CSV),
            ):
                ask(port, arrow_body(rows[:10]), _ARROW)
                results[title], answer = measure(port, pid, run, body, content_type, given.rounds)
                check(answer, own)
    show(results, given.rows)
    if given.json:
        given.json.write_text(json.dumps({"rows": given.rows, "tables": results}, indent=1) + "\n", encoding="utf-8")


def show(results: dict[str, dict[str, float]], n_rows: int) -> None:
    """Print one line a form."""
    table = Table(title=f"{n_rows:,} rows × {N_COLUMNS}", title_justify="left", box=None, header_style="bold")
    headings = ("body MB", "ms", "server CPU ms", "runtime ms", "runtime CPU ms", "share", "share of CPU", "growth MB")
    table.add_column("table")
    for heading in headings:
        table.add_column(heading, justify="right")
    for title, figures in results.items():
        told = [f"{value:.2f}" if "share" in name else f"{value:.0f}" for name, value in figures.items()]
        table.add_row(title, *told)
    Console(highlight=False, width=120).print(table)


if __name__ == "__main__":
    main()
