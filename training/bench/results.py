"""Results of a benchmark as plain data: one record a cell and method, and facts about the machine."""

import os
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from training.bench.cell import Cell
from training.bench.criterion import has_threshold, threshold, wilson_interval
from training.bench.documents import FORMAT
from training.bench.judging import Trial
from training.publish import library_versions

_MOST_MISSES = 20
"""Misses told in full, per cell."""


@dataclass(frozen=True)
class CellResult:
    """What one method reached in one cell.

    Attributes:
        cell: The cell.
        method: "exact", "served", or the name of a published recipe.
        n_seeds: Seeds run.
        n_solved: Seeds solved; for a control, those with the answer "not found".
        n_found: Seeds for which the method says that it has the exact law.
        n_certified: Those of them whose law may have a certificate.
        n_false_certificates: Those of these that are not solved.
        interval: Wilson's 95 % interval of the rate solved.
        threshold: Largest mean squared error that counts as solved; None where exactness decides.
        mse: Median of the mean squared error on extrapolation rows.
        error: Largest relative error on extrapolation rows, over the seeds solved.
        error_inside: The same on fresh rows of the training range.
        error_mirrored: The same on extrapolation rows with all signs turned.
        duration_s: Median and largest seconds of a fit, as its one thread counts them.
        n_restarts: Median and largest number of starts.
        solved_at: Median of the first logged step below the threshold.
        misses: Seeds not solved, with what the method said.
    """

    cell: Cell
    method: str
    n_seeds: int
    n_solved: int
    n_found: int
    n_certified: int
    n_false_certificates: int
    interval: tuple[float, float]
    threshold: float | None
    mse: float | None
    error: float | None
    error_inside: float | None
    error_mirrored: float | None
    duration_s: tuple[float, float]
    n_restarts: tuple[float, int]
    solved_at: float | None
    misses: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON can carry it; what is not finite becomes None."""
        return {**_plain(asdict(self.cell)), **_plain({k: v for k, v in vars(self).items() if k != "cell"})}


def summarise(cell: Cell, method: str, trials: Sequence[Trial]) -> CellResult:
    """Sum up the trials of one method in one cell."""
    solved = [trial for trial in trials if trial.solved]
    durations = [trial.duration_s for trial in trials]
    restarts = [trial.n_restarts for trial in trials]
    steps = [trial.solved_at for trial in trials if trial.solved_at is not None]
    squares = [trial.mse for trial in trials if trial.mse is not None]
    return CellResult(
        cell,
        method,
        len(trials),
        len(solved),
        sum(trial.found for trial in trials),
        sum(trial.certified for trial in trials),
        sum(trial.certified and not trial.solved for trial in trials),
        wilson_interval(len(solved), len(trials)),
        threshold(cell) if has_threshold(cell) else None,
        float(np.median(squares)) if squares else None,
        _largest([trial.error for trial in solved]),
        _largest([trial.error_inside for trial in solved]),
        _largest([trial.error_mirrored for trial in solved]),
        (float(np.median(durations)), max(durations)),
        (float(np.median(restarts)), max(restarts)),
        float(np.median(steps)) if steps else None,
        tuple(
            {
                "seed": trial.seed,
                "said": trial.said,
                "found": trial.found,
                "certified": trial.certified,
                "error": trial.error,
            }
            for trial in trials
            if not trial.solved
        )[:_MOST_MISSES],
    )


def _largest(errors: list[float | None]) -> float | None:
    return max((error for error in errors if error is not None), default=None)


def document(results: Sequence[CellResult], *, command: str, duration_s: float) -> dict[str, Any]:
    """Return everything known of a benchmark."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "duration_s": round(duration_s, 2),
        "cpu_s": round(cpu_s(), 2),
        "peak_memory_mib": round(peak_memory_mib(), 1),
        "machine": machine(),
        "cells": [result.as_dict() for result in results],
    }


def machine() -> dict[str, Any]:
    """Return what a reader needs to compare times."""
    return {
        "processor": _processor(),
        "n_cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "extended_precision_bits": int(np.finfo(np.longdouble).nmant) + 1,
        "versions": library_versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def peak_memory_mib() -> float:
    """Return the largest resident memory of this process or of one of its children so far.

    Linux counts in `ru_maxrss` what a process was before it became another program, the one that started it included;
    what `/proc` tells begins with the program.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    else:
        own = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return max(own, children) / 2**20


def cpu_s() -> float:
    """Return the processor seconds of this process and of its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}") if np.isfinite(value) else None
    return value
