"""Errors over those of the reference: by task, and their geometric mean by protocol."""

from collections.abc import Iterable

import numpy as np

from training.bench.table.results import OURS, REFERENCE, Result

_WORST = 1e3
"""An error that overflowed counts as this many times the reference's."""

Task = tuple[str, str, str]
"""Protocol, data set, target."""


def seeds_by_task(results: Iterable[Result]) -> dict[Task, list[int]]:
    """Return the seeds that a task is judged by: those of our model, or all where it did not run.

    Splits by seed differ in how hard they are, so that errors are compared on the same ones.
    """
    return {
        task: sorted(methods[OURS] if OURS in methods else {seed for errors in methods.values() for seed in errors})
        for task, methods in _collected(results).items()
    }


def errors_by_task(results: Iterable[Result]) -> dict[Task, dict[str, float]]:
    """Return the mean RMSE over the seeds of the task: task → method → error."""
    return {
        task: {method: float(np.mean(list(errors.values()))) for method, errors in methods.items()}
        for task, methods in _judged(results).items()
    }


def ratios(results: Iterable[Result]) -> dict[Task, dict[str, float]]:
    """Return mean errors over the reference's on the same seeds, for the tasks that it ran on."""
    by_task: dict[Task, dict[str, float]] = {}
    for task, methods in _judged(results).items():
        reference = methods.get(REFERENCE, {})
        if not reference or not all(reference.values()):
            continue
        shared = {method: [seed for seed in errors if seed in reference] for method, errors in methods.items()}
        by_task[task] = {
            method: min(sum(methods[method][seed] for seed in seeds) / sum(reference[seed] for seed in seeds), _WORST)
            for method, seeds in shared.items()
            if seeds
        }
    return by_task


def geometric_means(by_task: dict[Task, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return protocol → method → geometric mean over the tasks that every method ran on."""
    result: dict[str, dict[str, float]] = {}
    for protocol in dict.fromkeys(task[0] for task in by_task):
        rows = [methods for task, methods in by_task.items() if task[0] == protocol]
        names = [name for name in rows[0] if all(name in row for row in rows)]
        result[protocol] = {name: float(np.exp(np.mean([np.log(row[name]) for row in rows]))) for name in names}
        result[protocol]["best peer of each"] = _best_peers(rows)
    return result


def _best_peers(rows: list[dict[str, float]]) -> float:
    return float(np.exp(np.mean([np.log(min(r for name, r in row.items() if name != OURS)) for row in rows])))


def _collected(results: Iterable[Result]) -> dict[Task, dict[str, dict[int, float]]]:
    """Return task → method → seed → RMSE."""
    collected: dict[Task, dict[str, dict[int, float]]] = {}
    for one in results:
        task = collected.setdefault((one.protocol, one.data_set, one.target), {})
        task.setdefault(one.method, {})[one.seed] = np.inf if one.rmse is None else one.rmse
    return collected


def _judged(results: Iterable[Result]) -> dict[Task, dict[str, dict[int, float]]]:
    """Return the same for the seeds that the tasks are judged by; methods that have none of them are left out."""
    collected = list(results)
    seeds = seeds_by_task(collected)
    judged: dict[Task, dict[str, dict[int, float]]] = {}
    for task, methods in _collected(collected).items():
        kept = {
            method: {seed: error for seed, error in errors.items() if seed in seeds[task]}
            for method, errors in methods.items()
        }
        judged[task] = {method: errors for method, errors in kept.items() if errors}
    return judged
