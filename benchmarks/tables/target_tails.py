"""How many rows beyond the range of the target could be marked by one who had been shown them.

A model that has only seen rows below the 80th percentile of the target is asked to mark those above. What bounds that
is how well the columns tell the target at all: here trees are fitted to rows of both sides, with their targets, and
mark rows that they have not seen (five folds), once by the target that they predict and once by the chance of being
above. Each marks 5 % of the rows below; the better of the two counts.

    python -m benchmarks.tables.target_tails --data tables
"""

import argparse
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from training.bench.table.data_sets import BenchTask, load_task, tasks_of
from training.bench.table.protocols import split

Floats = NDArray[np.float64]

_MARKED_BELOW: Final = 0.05
_ASKED: Final = 0.95
_N_FOLDS: Final = 5
_N_TREES: Final = 300
_SETTINGS: Final[dict[str, Any]] = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "verbose": -1,
    "num_threads": 1,
    "deterministic": True,
}


def markable(task: BenchTask, seed: int = 0) -> float | None:
    """Return the share of the rows above that is marked; None where there is no such split."""
    table = load_task(task)
    parts = split("target", table, seed)
    if parts is None:
        return None
    below, above, _n_codes = table.rows(*parts)
    columns = np.concatenate([np.concatenate([one.numeric, one.codes], axis=1) for one in (below, above)])
    targets = np.concatenate([one.targets[:, 0] for one in (below, above)])
    is_above = np.arange(len(targets)) >= len(below.targets)
    shares = []
    for objective, wanted in (("regression", targets), ("binary", is_above.astype(np.float64))):
        told = _told(columns, wanted, objective, seed)
        limit = np.quantile(told[~is_above], 1 - _MARKED_BELOW)
        shares.append(float(np.mean(told[is_above] > limit)))
    return max(shares)


def _told(columns: Floats, wanted: Floats, objective: str, seed: int) -> Floats:
    """Return what trees that have not seen a row say of it, shape (n_rows,)."""
    fold = np.random.default_rng(seed).integers(0, _N_FOLDS, len(wanted))
    settings = {**_SETTINGS, "objective": objective, "min_data_in_leaf": int(np.clip(len(wanted) // 50, 2, 20))}
    told = np.zeros(len(wanted))
    for i in range(_N_FOLDS):
        seen = fold != i
        trees = lightgbm.train(settings, lightgbm.Dataset(columns[seen], wanted[seen]), _N_TREES)
        told[~seen] = np.asarray(trees.predict(columns[~seen], num_threads=1))
    return told


def main() -> None:
    """Print a line for each task, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    shares = []
    for task in tasks_of(parser.parse_args().data):
        share = markable(task)
        if share is not None:
            shares.append(share)
            print(f"{task.name}: {100 * share:.1f} %", flush=True)
    n_enough = sum(share >= _ASKED for share in shares)
    print(f"mean {100 * np.mean(shares):.1f} %, at least {100 * _ASKED:.0f} % on {n_enough} of {len(shares)} tasks")


if __name__ == "__main__":
    main()
