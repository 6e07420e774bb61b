"""What a run of a model takes on this machine, measured when it is loaded: it decides what the event loop does itself.

To give a request to a thread costs 0.2 to 0.3 ms for the change of threads, its place and its deadline. Work that takes
not much longer is done on the event loop at once; nobody else is answered meanwhile, which is why it is bounded.
"""

import time
from math import inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.contract.manifest import ModelManifest
from service.errors import InferenceError
from service.inference.encoding import Encoded
from service.inference.session import ModelSession

AT_ONCE_S: Final = 0.002
"""Longest parse, and longest run, that the event loop does itself: 4 ms together, less than a tenth of the 50 ms that a
small request may wait beside large ones."""

TIMED_ROWS: Final = 32
_MORE_ROWS: Final = 256
_N_TIMED: Final = 5


def run_seconds(session: ModelSession, n_rows: int = TIMED_ROWS) -> float:
    """Return what a run of some rows takes, the least of a few; infinity where it fails."""
    rows = sample_rows(session.manifest, np.random.default_rng(0), n_rows)
    try:
        return min(_seconds(session, rows) for _ in range(_N_TIMED))
    except InferenceError:
        return inf


def rows_at_once(session: ModelSession) -> int:
    """Return how many rows a model runs within `AT_ONCE_S`."""
    n_rows = TIMED_ROWS
    seconds = run_seconds(session, n_rows)
    if seconds < AT_ONCE_S / 2 / (_MORE_ROWS / n_rows):  # what a run costs beside its rows counts for less then
        n_rows = _MORE_ROWS
        seconds = run_seconds(session, n_rows)
    return int(n_rows * AT_ONCE_S / seconds)


def sample_rows(manifest: ModelManifest, random: np.random.Generator, n_rows: int) -> Encoded:
    """Draw rows inside and around the range seen in training."""
    columns: list[NDArray[np.float64]] = []
    for number in manifest.numbers:
        place = random.uniform(-0.1, 1.1, n_rows)
        column = (1 - place) * number.minimum + place * number.maximum
        if number.may_be_missing:
            column[random.random(n_rows) < 0.1] = np.nan
        columns.append(column)
    numeric = np.column_stack(columns) if columns else np.empty((n_rows, 0))
    categorical = np.empty((n_rows, len(manifest.categories)), dtype=object)
    for j, category in enumerate(manifest.categories):
        levels = [*category.categories, *([""] if category.may_be_missing else [])]
        categorical[:, j] = random.choice(np.array(levels, dtype=object), n_rows)
    with np.errstate(over="ignore"):  # a range that the graph's type does not hold is an infinity there
        return Encoded(numeric.astype(manifest.graph.dtype), categorical, np.ones(n_rows, dtype=np.bool_))


def _seconds(session: ModelSession, rows: Encoded) -> float:
    started = time.perf_counter()
    run: Any = session.run if session.joint is None else session.run_marked
    run(rows)
    return time.perf_counter() - started
