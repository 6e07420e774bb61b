"""Requests per second, latency and memory of our service beside less and plainer servers with the same model.

    python -m benchmarks.serving.loads [--rounds 10] [--seconds 1] [--only NAME …] [--peers] [--json FILE] [--plot FILE]

Servers run on core 0, the load generator on core 1. They take turns of a second, so that a machine that slows down
slows all of them. Medians over the rounds are told, and the best round of each: what else runs on a machine only ever
takes from a rate. The values of every distinct answer are compared with the session's own output, bit for bit, and
every answer with the first one.
"""

import argparse
import base64
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.serving.load import http_request, split_answer
from benchmarks.serving.model import N_COLUMNS, NAME, publish_model
from benchmarks.serving.peers import MOSEC, default_folder, mosec_command

OURS = "nalu serve"
OURS_ASGI = "nalu serve, NALU_HTTP=asgi"
SERVER_CORE, LOAD_CORE = 0, 1
_READY_S = 60
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NALU_LOG_LEVEL": "warning", "NALU_SESSION_THREADS": "1"}


@dataclass(frozen=True)
class Load:
    """What is asked.

    Attributes:
        title: Its name.
        form: "records" or "split".
        n_rows: Rows in a request.
        connections: Connections, each with one request outstanding.
        n_distinct: Different requests, asked in turn.
    """

    title: str
    form: str
    n_rows: int
    connections: int
    n_distinct: int


LOADS = (
    Load("single row, records, 16 connections", "records", 1, 16, 64),
    Load("single row, split, 16 connections", "split", 1, 16, 64),
    Load("single row, records, 1 connection", "records", 1, 1, 64),
    Load("1,000 rows, split, 4 connections", "split", 1000, 4, 4),
)


def request_body(load: Load, rows: NDArray[np.float64]) -> bytes:
    """Return a request in our form, which the baselines read too."""
    names = [f"feature_{i:02}" for i in range(N_COLUMNS)]
    if load.form == "records":
        content: dict[str, Any] = {"model": NAME, "rows": [dict(zip(names, row, strict=True)) for row in rows.tolist()]}
    else:
        content = {"model": NAME, "columns": names, "data": rows.tolist()}
    return json.dumps(content).encode()


def values_in(body: bytes) -> NDArray[np.float32]:
    """Return the predictions in an answer, of ours or of a baseline."""
    content = json.loads(body)
    rows = content.get("data") or content["predictions"]
    return np.array([list(row.values()) if isinstance(row, dict) else row for row in rows], dtype=np.float64).astype(
        np.float32
    )


def commands(repository: Path, model: Path) -> dict[str, Callable[[int], tuple[list[str], dict[str, str]]]]:
    """Return what starts each server on a port: its command and its variables."""

    def ours(http: str, port: int) -> tuple[list[str], dict[str, str]]:
        nalu = str(Path(sys.executable).parent / "nalu")
        command = [nalu, "serve", "--port", str(port), "--repository", str(repository), "--workers", "1"]
        return command, {**_ENVIRONMENT, "NALU_HTTP": http}

    def baseline(name: str, port: int) -> tuple[list[str], dict[str, str]]:
        app = f"benchmarks.serving.baselines:{name}"
        command = [sys.executable, "-m", "uvicorn", app, "--factory", "--port", str(port), "--no-access-log"]
        return [*command, "--log-level", "warning"], {"NALU_BENCHMARK_MODEL": str(model), "OMP_NUM_THREADS": "1"}

    return {
        OURS: partial(ours, "protocol"),
        OURS_ASGI: partial(ours, "asgi"),
        "raw ASGI, constant": partial(baseline, "raw_constant"),
        "raw ASGI, orjson, no validation": partial(baseline, "raw_unvalidated"),
        "FastAPI, async def": partial(baseline, "plain_async"),
        "FastAPI, def": partial(baseline, "plain_def"),
    }


def peers(model: Path) -> dict[str, Callable[[int], tuple[list[str], dict[str, str]]]]:
    """Return what starts each product."""

    def mosec(port: int) -> tuple[list[str], dict[str, str]]:
        variables = {"NALU_BENCHMARK_MODEL": str(model), "OMP_NUM_THREADS": "1"}
        return mosec_command(default_folder(), port), variables

    return {MOSEC: mosec}


def family(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text(encoding="utf-8").split())
    return found


@contextmanager
def running(
    start: Callable[[int], tuple[list[str], dict[str, str]]], probe: bytes, cores: Set[int] = frozenset({SERVER_CORE})
) -> Iterator[tuple[int, int]]:
    """Run a server on its core; give its port and process id once it answers the probe."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, variables = start(port)
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
    )
    os.sched_setaffinity(process.pid, cores)
    try:
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                ask_once(port, probe)
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    msg = f"the server must be ready within {_READY_S} s, however it is not: {command}"
                    raise RuntimeError(msg) from error
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask_once(port: int, request: bytes) -> bytes:
    """Send one request and return the body of its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=_READY_S) as connection:
        connection.sendall(request)
        received = b""
        while (answer := split_answer(received)) is None:
            more = connection.recv(1 << 18)
            if not more:
                msg = "the server closed the connection"
                raise ConnectionResetError(msg)
            received += more
    if not answer[0].startswith(b"http/1.1 200"):
        msg = f"every request must be answered, however: {received[:500]!r}"
        raise RuntimeError(msg)
    return answer[1]


def memory_mb(pid: int) -> float:
    """Return the proportional set size of a process and all that it has started."""
    total = 0
    for one in family(pid):
        lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def cpu_s(pid: int) -> float:
    """Return the processor time that a process and all that it has started have used."""
    used = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def measure(
    port: int,
    requests: list[bytes],
    expected: list[bytes],
    load: Load,
    seconds: float,
    rate: float | None = None,
    cores: Set[int] = frozenset({LOAD_CORE}),
) -> dict[str, Any]:
    """Drive a server from the other core, at a rate where one is given."""
    plan = {
        "port": port,
        "requests": [base64.b64encode(one).decode() for one in requests],
        "expected": [base64.b64encode(one).decode() for one in expected],
        "connections": load.connections,
        "seconds": seconds,
        "rate": rate,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving.load", file.name], stdout=subprocess.PIPE
        ) as generator:
            os.sched_setaffinity(generator.pid, cores)
            told, _ = generator.communicate()
    result: dict[str, Any] = json.loads(told)
    return result


def run_rounds(
    servers: dict[str, Callable[[int], tuple[list[str], dict[str, str]]]],
    session: ort.InferenceSession,
    rounds: int,
    seconds: float,
    console: Console,
) -> list[dict[str, dict[str, dict[str, Any]]]]:
    """Measure every server under every load, in turns of some seconds: per round load → server → figures.

    All servers run all the time; those whose turn it is not are idle.
    """
    results: list[dict[str, dict[str, dict[str, Any]]]] = [{load.title: {} for load in LOADS} for _ in range(rounds)]
    random = np.random.default_rng(1)
    with ExitStack() as stack:
        started = {}
        first = random.uniform(0, 1, size=(1, N_COLUMNS))
        for name, start in servers.items():
            probe = http_request("/predict", request_body(LOADS[0], first))
            started[name] = stack.enter_context(running(start, probe))
        for load in LOADS:
            batches = [random.uniform(0, 1, size=(load.n_rows, N_COLUMNS)) for _ in range(load.n_distinct)]
            requests = [http_request("/predict", request_body(load, rows)) for rows in batches]
            expected = {}
            for name, (port, _pid) in started.items():
                expected[name] = [ask_once(port, request) for request in requests]
                if "constant" not in name:
                    check_answers(name, batches, expected[name], session)
                measure(port, requests, expected[name], load, min(0.3, seconds))  # warm-up
            for one in results:
                for name, (port, pid) in started.items():
                    used = cpu_s(pid)
                    figures = measure(port, requests, expected[name], load, seconds)
                    figures["cpu_us"] = (cpu_s(pid) - used) / max(1, figures["n_answers"]) * 1e6
                    figures["memory_mb"] = memory_mb(pid)
                    one[load.title][name] = figures
            console.print(f"{load.title}: done")
    return results


def check_answers(
    name: str, batches: list[NDArray[np.float64]], answers: list[bytes], session: ort.InferenceSession
) -> None:
    """Compare answers with the session's own output, bit for bit.

    Raises:
        RuntimeError: When one differs.
    """
    for rows, answer in zip(batches, answers, strict=True):
        (own,) = session.run(["predictions"], {"numeric": rows.astype(np.float32)})
        if values_in(answer).tobytes() != own.tobytes():
            msg = f"answers must be the session's own output, however those of {name} are not"
            raise RuntimeError(msg)


def summarise(rounds: list[dict[str, dict[str, dict[str, Any]]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return medians over the rounds, with our requests per second as multiples of each server's in the same round."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for title, servers in rounds[0].items():
        summary[title] = {}
        for name in servers:
            figures = [one[title][name] for one in rounds]
            ours = [one[title][OURS]["per_second"] / one[title][name]["per_second"] for one in rounds]
            summary[title][name] = {
                **{
                    key: statistics.median(one[key] for one in figures)
                    for key in ("per_second", "cpu_us", "p50_ms", "p99_ms")
                },
                "best_per_second": max(one["per_second"] for one in figures),
                "best_p50_ms": min(one["p50_ms"] for one in figures),
                "best_p99_ms": min(one["p99_ms"] for one in figures),
                "memory_mb": max(one["memory_mb"] for one in figures),
                "n_errors": sum(one["n_errors"] for one in figures),
                "ours_over_it": statistics.median(ours),
            }
    return summary


def show(summary: dict[str, dict[str, dict[str, float]]], console: Console) -> None:
    """Print one table a load."""
    for title, servers in summary.items():
        table = Table(title=title, title_justify="left", box=None, header_style="bold")
        table.add_column("server")
        for heading in ("requests/s", "CPU µs", "p50 ms", "p99 ms", "errors", "memory MB", "ours ÷ it"):
            table.add_column(heading, justify="right")
        for name, figures in servers.items():
            table.add_row(
                name,
                f"{figures['per_second']:,.0f}",
                f"{figures['cpu_us']:.0f}",
                f"{figures['p50_ms']:.2f}",
                f"{figures['p99_ms']:.2f}",
                f"{figures['n_errors']:.0f}",
                f"{figures['memory_mb']:.0f}",
                f"{figures['ours_over_it']:.2f}",
            )
        console.print(table)


def plot(summary: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Draw requests per second of each server, one panel a load."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.9 * len(summary)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(summary), 1, squeeze=False)[:, 0]
    for axes, (title, servers) in zip(panels, summary.items(), strict=True):
        names = list(reversed(servers))
        axes.barh(
            names,
            [servers[name]["per_second"] for name in names],
            color=["C0" if name == OURS else "0.75" for name in names],
        )
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
    panels[-1].set_xlabel("requests per second")
    undated = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, dpi=120, metadata=undated)


def main() -> None:
    """Run the rounds, print the tables, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=None, help="parts of names of servers to measure beside ours")
    parser.add_argument("--peers", action="store_true", help="measure Mosec too; fetched on demand")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    console = Console(highlight=False)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        manifest = publish_model(repository)
        model = repository / NAME / str(manifest.version)
        session = ort.InferenceSession((model / "model.onnx").read_bytes())
        servers = {
            name: start
            for name, start in {**commands(repository, model), **(peers(model) if given.peers else {})}.items()
            if name == OURS or given.only is None or any(part in name for part in given.only)
        }
        rounds = run_rounds(servers, session, given.rounds, given.seconds, console)
    summary = summarise(rounds)
    show(summary, console)
    if given.json:
        machine = {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_average": [load_before, os.getloadavg()[0]],
        }
        given.json.write_text(
            json.dumps(
                {"rounds": given.rounds, "seconds": given.seconds, "machine": machine, "loads": summary}, indent=1
            )
            + "\n",
            encoding="utf-8",
        )
    if given.plot:
        plot(summary, given.plot)


if __name__ == "__main__":
    main()
