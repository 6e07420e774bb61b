"""What of the machine this process may use."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota_file: Path = _CGROUP_QUOTA) -> int:
    """Return the cores this process may use: its CPU affinity, cut to a container's quota (cgroup v2), at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no cgroup v2 here: the affinity alone counts
    return max(1, cores)


def has_cuda_runtime() -> bool:
    """Return whether the runtime installed is the one built for CUDA."""
    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    return True
