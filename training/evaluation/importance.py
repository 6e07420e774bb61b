"""Permutation importance: how much worse a model gets on rows held out when one column is shuffled.

Source: L. Breiman, Machine Learning 45, 2001, doi:10.1023/A:1010933404324, section 10; A. Fisher et al., J. Mach.
Learn. Res. 20, 2019, arXiv:1801.01489. Columns that say the same share their importance: each is made up for by the
others.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.contract.columns import CategoryColumn, NumberColumn
from models.contract.manifest import Column, tensor_numbers
from models.contract.trust import Importance
from training.parity import RawRows
from training.threads import AT_A_TIME

Floats = NDArray[np.float64]

_MOST_ROWS = 1000
_LEAST_SHUFFLED = 1000
"""Rows that a column is shuffled in at most, and in all shuffles together at least: fewer rows are shuffled again."""


def permutation_importance(
    predict: Callable[[RawRows], NDArray[np.floating]],
    inputs: Sequence[Column],
    rows: RawRows,
    targets: Floats,
    seed: int,
) -> tuple[Importance, ...]:
    """Return the importance of every column, the most important first.

    Args:
        predict: The model; shape (n_rows, d_outputs). It is called by two threads at a time.
        inputs: Its columns; the numbers of a date are shuffled together.
        rows: Rows held out.
        targets: Theirs, shape (n_rows, d_outputs).
        seed: Seed of the shuffles.
    """
    rng = np.random.default_rng(seed)
    index = rng.permutation(len(rows))[:_MOST_ROWS]
    rows, targets = rows.take(index), targets[index]
    spread = targets.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    plain = _errors(predict(rows), targets)
    n_shuffles = max(1, -(-_LEAST_SHUFFLED // len(rows)))
    places = _places(inputs)
    orders = [[rng.permutation(len(rows)) for _ in range(min(n_shuffles, 20))] for _ in places]

    def importance(place: tuple[str, list[int], list[int]], own: Sequence[NDArray[np.int64]]) -> Importance:
        column, numbers, categories = place
        rises = [
            (_errors(predict(_shuffled(rows, numbers, categories, order)), targets) - plain) / spread for order in own
        ]
        mean = np.stack(rises).mean(axis=0).tolist()
        return Importance(column=column, rise=tuple(round(rise, 6) for rise in mean))

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        found = list(threads.map(importance, places, orders))
    return tuple(sorted(found, key=lambda one: -float(np.mean(one.rise))))


def _errors(answers: NDArray[np.floating], targets: Floats) -> Floats:
    """Return root mean squared errors, shape (d_outputs,); what overflows counts as the largest number."""
    with np.errstate(all="ignore"):
        errors = np.sqrt(np.mean((answers.astype(np.float64) - targets) ** 2, axis=0))
    return np.asarray(np.nan_to_num(errors, nan=np.finfo(np.float64).max / 4, posinf=np.finfo(np.float64).max / 4))


def _places(inputs: Sequence[Column]) -> list[tuple[str, list[int], list[int]]]:
    """Return the name of each column, with the positions of its numbers and of its categories."""
    result, n_numbers, n_categories = [], 0, 0
    for column in inputs:
        if isinstance(column, CategoryColumn):
            result.append((column.name, list[int](), [n_categories]))
            n_categories += 1
            continue
        width = 1 if isinstance(column, NumberColumn) else len(tensor_numbers([column]))
        result.append((column.name, list(range(n_numbers, n_numbers + width)), list[int]()))
        n_numbers += width
    return result


def _shuffled(rows: RawRows, numbers: list[int], categories: list[int], order: NDArray[np.int64]) -> RawRows:
    changes: dict[str, NDArray[np.generic]] = {}
    for name, columns in (("numeric", numbers), ("text", categories), ("codes", categories)):
        block = getattr(rows, name)
        if block is not None and columns:
            block = block.copy()
            block[:, columns] = block[order][:, columns]
            changes[name] = block
    return replace(rows, **changes)  # type: ignore[arg-type]
