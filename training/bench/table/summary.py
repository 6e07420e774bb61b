"""Errors over those of the reference: by task, and their geometric mean by protocol."""

from collections.abc import Iterable

import numpy as np

from training.bench.table.results import OURS, REFERENCE, Result

_WORST = 1e3
"""An error that overflowed counts as this many times the reference's."""

Task = tuple[str, str, str]
"""Protocol, data set, target."""


def errors_by_task(results: Iterable[Result]) -> dict[Task, dict[str, float]]:
    """Return the mean RMSE over seeds: task → method → error."""
    collected: dict[Task, dict[str, list[float]]] = {}
    for one in results:
        task = collected.setdefault((one.protocol, one.data_set, one.target), {})
        task.setdefault(one.method, []).append(np.inf if one.rmse is None else one.rmse)
    return {task: {m: float(np.mean(e)) for m, e in methods.items()} for task, methods in collected.items()}


def ratios(errors: dict[Task, dict[str, float]]) -> dict[Task, dict[str, float]]:
    """Return errors over the reference's, for the tasks that it ran on."""
    return {
        task: {method: min(error / methods[REFERENCE], _WORST) for method, error in methods.items()}
        for task, methods in errors.items()
        if methods.get(REFERENCE, 0) > 0
    }


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
