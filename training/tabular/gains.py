"""What a model gains over the answers that it is judged by, each from parts of it that left the row out.

A row's answer comes from the one ensemble of trees and the one network that have not seen it, and from trunks whose
terms were chosen with it. The model averages all ensembles, and together they have seen all rows: mostly it is better,
and intervals that left that out would be too wide.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from training.tabular.rows import Floats, Rows, mean_of

MOST_ROWS = 20_000
"""Rows beyond which neither averaging nor a fifth more rows changes the error much."""

_N_PARTS = 5

_FEW_ROWS = 2000
"""Up to so many rows two parts are held out in turn, for one says too little."""

_BOUNDS = (0.6, 2.0)
"""Nothing else than this is believed of so few rows."""


def n_refits(n_rows: int) -> int:
    """Return how many more models `gain_of_the_whole` fits."""
    if n_rows > MOST_ROWS or n_rows < _N_PARTS:
        return 0
    return 2 if n_rows <= _FEW_ROWS else 1


class Model(Protocol):
    """What was fitted to a target."""

    def predict(self, rows: Rows) -> Floats:
        """Return predictions, shape (n_rows,)."""


Fit = Callable[[Rows, Floats], tuple[Model, Floats]]
"""Fits a model to rows and targets; returns it with each row's answer of parts that left the row out."""


def gain_of_the_whole(fit: Fit, rows: Rows, targets: Floats, left_out: Floats, seed: int) -> float:
    """Return the mean absolute error to be expected of a model over that of the answers left out.

    Measured on a model fitted once more, to four fifths of the rows: what it errs on the fifth held out, over what the
    answers left out that came with it err on the four fifths. That the one rows may be harder than the others is told
    by the errors of the answers left out by all rows, which are known of both.

    Args:
        fit: As the model was fitted.
        rows: The rows that it was fitted to.
        targets: Likewise, shape (n_rows,).
        left_out: What came with it, shape (n_rows,).
        seed: Seed of the parts.
    """
    if not n_refits(len(rows)):
        return 1.0
    part = rows.parts(_N_PARTS, seed)
    known = np.abs(targets - left_out)
    errors = np.zeros(4)
    for held_out in range(n_refits(len(rows))):
        seen, there = np.flatnonzero(part != held_out), np.flatnonzero(part == held_out)
        fewer, new = rows.take(seen), rows.take(there)
        model, fewer_left_out = fit(fewer, targets[seen])
        errors += [
            mean_of(np.abs(targets[there] - model.predict(new)), new.weights),
            mean_of(np.abs(targets[seen] - fewer_left_out), fewer.weights),
            mean_of(known[there], new.weights),
            mean_of(known[seen], fewer.weights),
        ]
    whole, parts, known_there, known_seen = errors
    if min(parts, known_there) <= 0:
        return 1.0
    return float(np.clip(whole / parts * known_seen / known_there, *_BOUNDS))
