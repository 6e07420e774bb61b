"""Our service for minutes at a share of the highest load it takes: errors, latency, and whether its memory grows.

    python -m benchmarks.serving.soak [--seconds 600] [--share 0.8] [--workers 1] [--json FILE]

The highest load is what 16 connections get out of it as fast as they can. Then as many requests a second as the share
says are sent evenly, each latency counted from when its request was due. Memory is the proportional set size of all
processes of the service; it must not grow after a minute, or after a tenth of a shorter run.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.serving.load import http_request
from benchmarks.serving.loads import LOADS, OURS, ask_once, commands, measure, memory_mb, request_body, running
from benchmarks.serving.model import N_COLUMNS, NAME, publish_model

_SETTLED_S = 60.0
_FLAT_MB = 1.0
"""Growth that counts as none: a page here and there."""


def processes(pid: int) -> list[int]:
    """Return a process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [pid, *map(int, children)]


class MemoryLog(threading.Thread):
    """Notes the memory of a service again and again.

    Args:
        pid: Its first process.
        every_s: Time between two notes.
    """

    def __init__(self, pid: int, every_s: float) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._every_s = every_s
        self._over = threading.Event()
        self.notes: list[tuple[float, float]] = []

    def run(self) -> None:
        """Note until stopped."""
        started = time.monotonic()
        while not self._over.wait(self._every_s):
            self.notes.append((time.monotonic() - started, sum(map(memory_mb, processes(self._pid)))))

    def stop(self) -> None:
        """Note no more."""
        self._over.set()
        self.join()


def soak(repository: Path, model: Path, seconds: float, share: float, n_workers: int) -> dict[str, Any]:
    """Run; return what was measured."""
    load = LOADS[0]
    random = np.random.default_rng(1)
    requests = [
        http_request("/predict", request_body(load, random.uniform(0, 1, size=(1, N_COLUMNS))))
        for _ in range(load.n_distinct)
    ]
    command, variables = commands(repository, model)[OURS](0)
    command = [*command[: command.index("--workers")], "--workers", str(n_workers)]

    def start(port: int) -> tuple[list[str], dict[str, str]]:
        return [*(str(port) if part == "0" else part for part in command)], variables

    with running(start, requests[0]) as (port, pid):
        expected = [ask_once(port, request) for request in requests]
        highest = measure(port, requests, expected, load, 5.0)["per_second"]
        log = MemoryLog(pid, min(5.0, seconds / 60))
        log.start()
        figures = measure(port, requests, expected, load, seconds, share * highest)
        log.stop()
    settled_s = min(_SETTLED_S, seconds / 10)
    after = [mb for at, mb in log.notes if at >= settled_s]
    half = len(after) // 2
    return {
        "seconds": seconds,
        "workers": n_workers,
        "highest_per_second": highest,
        **{name: figures[name] for name in ("n_answers", "n_errors", "per_second", "p50_ms", "p99_ms")},
        "memory_mb": after[0],
        "growth_mb": float(np.mean(after[half:]) - np.mean(after[:half])),
    }


def main() -> None:
    """Run, print, write what was asked for; exit with 1 where there was an error or memory grew."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--share", type=float, default=0.8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        model = repository / NAME / str(publish_model(repository).version)
        figures = soak(repository, model, given.seconds, given.share, given.workers)
    Console(highlight=False).print_json(data=figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if figures["n_errors"] or figures["growth_mb"] > _FLAT_MB:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
