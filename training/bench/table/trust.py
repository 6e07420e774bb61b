"""How far our model of tables can be trusted: rows marked, and coverage of intervals, inside and outside."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.bench.table.data_sets import BenchTable, BenchTask, load_task
from training.bench.table.peers import revision
from training.bench.table.protocols import split
from training.bench.table.results import OURS, Kept
from training.tabular.fit import fit_table_model
from training.tabular.reach import Reach
from training.tabular.rows import Rows
from training.tabular.trust import fit_trust

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Levels whose coverage is measured."""

PROTOCOLS = ("inside", "driver", "target")


@dataclass(frozen=True)
class TrustResult:
    """What was measured on one split of one task.

    Attributes:
        data_set: Name of the set.
        target: Column predicted.
        protocol: How the rows were split.
        seed: Seed of split and fit.
        revision: A hash of the code fitted.
        n_train: Rows fitted on.
        n_test: Rows judged by.
        marked: Share of the test rows that are marked as outside.
        by_range: Share that a column's range marks, whatever else does; the next two likewise.
        by_distance: Share that the joint distance marks.
        by_answer: Share that the model's answer marks.
        coverage: Level → share of the test rows whose target lies within the interval.
        width: Mean width of the intervals of level 0.9 over the standard deviation of the training targets.
        rmse: Root mean squared error on the test rows.
        seconds: Processor time of fit and calibration.
    """

    data_set: str
    target: str
    protocol: str
    seed: int
    revision: str
    n_train: int
    n_test: int
    marked: float
    by_range: float
    by_distance: float
    by_answer: float
    coverage: dict[str, float]
    width: float
    rmse: float
    seconds: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What a result is found again by."""
        return (self.data_set, self.target, self.protocol, self.seed, self.revision, self.n_train)

    def __str__(self) -> str:
        return (
            f"{self.data_set} {self.target}, {self.protocol}, seed {self.seed}: {self.marked:.1%} marked, "
            f"{self.coverage['0.9']:.1%} within 90 % intervals, {self.n_train} rows, {self.seconds:.1f} s"
        )


def measure(
    tasks: Sequence[BenchTask],
    protocols: Sequence[str],
    n_seeds: int,
    most_rows: int,
    kept: Kept[TrustResult],
    tell: Callable[[TrustResult], None],
    *,
    only_kept: bool = False,
) -> list[TrustResult]:
    """Fit, calibrate and judge on tasks.

    Args:
        tasks: The tasks.
        protocols: Names among `training.bench.table.protocols.PROTOCOLS`.
        n_seeds: Seeds from 0 on.
        most_rows: Rows to fit on at most.
        kept: Earlier results; new ones are added.
        tell: Called with each result.
        only_kept: Whether to leave out what is not kept instead of running it.
    """
    torch.set_num_threads(1)
    code = revision(OURS)
    results = []
    for task in tasks:
        table = load_task(task)
        for protocol in protocols:
            for seed in range(n_seeds):
                parts = split(protocol, table, seed)
                if parts is None:
                    continue
                train = parts[0][:most_rows]
                result = kept.find((task.data_set, task.target, protocol, seed, code, len(train)))
                if result is None and only_kept:
                    continue
                if result is None:
                    result = _judge(table, protocol, seed, code, train, parts[1])
                    kept.keep(result)
                tell(result)
                results.append(result)
    return results


def _judge(
    table: BenchTable,
    protocol: str,
    seed: int,
    code: str,
    train: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    test: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> TrustResult:
    seen, new, n_codes = table.rows(train, test)
    rows, test_rows = Rows(seen.numeric, seen.codes), Rows(new.numeric, new.codes)
    began = time.process_time()
    fit = fit_table_model(rows, n_codes, seen.targets, seed=seed)
    trust = fit_trust(rows, n_codes, seen.targets, fit, seed)
    seconds = time.process_time() - began
    answers = fit.model.predict(test_rows)
    errors = np.abs(answers - new.targets)[:, 0]
    expected = trust.intervals[0].width(test_rows, fit.model.targets[0])
    reach = Reach.fit(rows, seen.targets)
    (low, high), value = trust.answers[0], answers[:, 0]
    scores = {level: trust.intervals[0].score(level) for level in LEVELS}
    return TrustResult(
        table.task.data_set,
        table.task.target,
        protocol,
        seed,
        code,
        len(train),
        len(test),
        _share(~trust.inside(test_rows, answers, reach)),
        _share(reach.distance(test_rows) > 0),
        _share(trust.landmarks.distance(test_rows) > trust.limit),
        _share((value < low) | (value > high)),
        {f"{level:g}": _share(errors <= score * expected) for level, score in scores.items()},
        round(float(np.mean(2 * scores[0.9] * expected) / seen.targets.std()), 4),
        float(np.sqrt(np.mean(errors**2))),
        round(seconds, 2),
    )


def _share(there: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    return round(float(there.mean()), 5)
