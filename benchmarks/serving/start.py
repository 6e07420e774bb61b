"""How long the service takes from its command to the first answer, with the starter models, and what a worker holds.

    python -m benchmarks.serving.start [--rounds 9] [--repository model_repository] [--json FILE]

The wall clock runs from the start of the process to a 200 of `/health/ready`; the processor time is that of all its
processes by then.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.serving.loads import cpu_s, memory_mb

_EVERY_S = 0.005
_LONGEST_S = 60.0


def start_once(repository: Path) -> dict[str, float]:
    """Start, wait until it is ready, stop; return seconds of the clock and of the processor, and memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nalu = str(Path(sys.executable).parent / "nalu")
    command = [nalu, "serve", "--port", str(port), "--repository", str(repository), "--workers", "1"]
    variables = {**os.environ, "NALU_LOG_LEVEL": "warning", "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL) as process:
        try:
            while not _is_ready(port):
                if process.poll() is not None or time.perf_counter() - started > _LONGEST_S:
                    msg = f"the service must be ready within {_LONGEST_S} s, however it is not: {command}"
                    raise RuntimeError(msg)
                time.sleep(_EVERY_S)
            elapsed_s = time.perf_counter() - started
            return {"ready_s": elapsed_s, "cpu_s": cpu_s(process.pid), "memory_mb": memory_mb(process.pid)}
        finally:
            process.send_signal(signal.SIGTERM)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def main() -> None:
    """Start again and again, print medians, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rounds = [start_once(given.repository) for _ in range(given.rounds)]
    figures: dict[str, Any] = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    figures |= {"best_ready_s": min(one["ready_s"] for one in rounds), "rounds": given.rounds}
    Console(highlight=False).print_json(data=figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
