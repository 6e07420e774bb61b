"""Runs methods on tasks and keeps what they gave, so that peers are not fitted again."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from training.bench.table.data_sets import BenchTask, load_task
from training.bench.table.peers import METHODS, revision
from training.bench.table.protocols import split
from training.bench.table.results import Kept, Result


def run(
    tasks: Sequence[BenchTask],
    protocols: Sequence[str],
    methods: Sequence[str],
    n_seeds: int,
    kept: Kept[Result],
    tell: Callable[[Result], None],
    *,
    only_kept: bool = False,
) -> list[Result]:
    """Run methods on tasks.

    Args:
        tasks: The tasks.
        protocols: Names among `PROTOCOLS`.
        methods: Names among `METHODS`.
        n_seeds: Seeds from 0 on.
        kept: Earlier results; new ones are added.
        tell: Called with each result.
        only_kept: Whether to leave out what is not kept instead of running it.
    """
    torch.set_num_threads(1)
    revisions = {method: revision(method) for method in methods}
    results = []
    for task in tasks:
        table = load_task(task)
        for protocol in protocols:
            for seed in range(n_seeds):
                parts = split(protocol, table, seed)
                if parts is None:
                    continue
                for method in methods:
                    key = (task.data_set, task.target, protocol, seed, method, revisions[method])
                    result = kept.find(key)
                    if result is None and only_kept:
                        continue
                    if result is None:
                        train, test, n_codes = table.rows(*parts)
                        began = time.process_time()
                        answer = METHODS[method](train, test, n_codes, seed)
                        seconds = time.process_time() - began
                        error = answer[:, 0] - test.targets[:, 0]
                        with np.errstate(over="ignore"):
                            rmse, mae = float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error)))
                        result = Result(
                            *key,
                            rmse if np.isfinite(rmse) else None,
                            mae if np.isfinite(mae) else None,
                            len(train.targets),
                            len(test.targets),
                            round(seconds, 2),
                        )
                        kept.keep(result)
                    tell(result)
                    results.append(result)
    return results
