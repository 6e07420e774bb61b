"""Memory, processor time and open files of the workers, read from Linux's `/proc` when somebody asks.

The names are those that Prometheus's client libraries tell of a process; there is one series for each worker.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_PROC = Path("/proc")


def process_series(pids: Mapping[int, int], proc: Path = _PROC) -> Iterator[tuple[str, float]]:
    """Yield the series of worker processes; none where a process is gone or the system tells nothing.

    Args:
        pids: Worker → process id.
        proc: Where the system tells of processes.
    """
    for worker, pid in pids.items():
        try:
            # The second field is the command in parentheses, which may hold spaces.
            fields = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            n_files = len(os.listdir(proc / str(pid) / "fd"))  # noqa: PTH208 - counted, not looked at
            booted_s = _booted_s(proc)
        except OSError:
            continue
        ticks = os.sysconf("SC_CLK_TCK")
        cpu_s, started_s = (int(fields[11]) + int(fields[12])) / ticks, int(fields[19]) / ticks
        told = {
            "process_resident_memory_bytes": int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
            "process_cpu_seconds_total": cpu_s,
            "process_open_fds": n_files,
            "process_start_time_seconds": booted_s + started_s,
        }
        for name, value in told.items():
            yield f'{name}{{worker="{worker}"}}', float(value)


def _booted_s(proc: Path) -> int:
    """Return when the system started, in seconds since 1970."""
    lines = (proc / "stat").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))
