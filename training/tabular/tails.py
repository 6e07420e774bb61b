"""Folds for choosing: one at random, and tails of the driving columns and of the target, as if nobody had seen them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.splits import rank_correlations
from training.tabular.rows import Floats, Index, Rows

_TAIL_SHARE = 0.2
"""Share of the rows that a tail holds out, as in the protocols that models are judged by."""

_LEAST_TAIL_SHARE = 0.05
_LEAST_REST_SHARE = 0.5
"""A column of few values may have a tail that is too small to judge by, or a rest too small to learn from."""

_LEAST_GROUPS = 10
"""Fewest groups that are held out as such: of fewer, a fifth is one or two, and says little about the others."""

N_DRIVERS = 3
"""Driving columns whose tails are held out: those with the largest rank correlation with the target."""

MOST_FOLDS = 3 + 2 * N_DRIVERS
"""The random one, two tails of the target, two of each driving column."""


@dataclass(frozen=True)
class Fold:
    """Rows to fit on and rows held out.

    Attributes:
        name: What is held out.
        region: "inside", "driver" or "target".
        train: Rows to fit on.
        held_out: Rows to judge by.
    """

    name: str
    region: str
    train: Index
    held_out: Index


def _random_fold(rows: Rows, seed: int) -> Fold:
    """Hold out a fifth of the rows, whole groups where there are enough."""
    if rows.groups is not None and len(np.unique(rows.groups)) >= _LEAST_GROUPS:
        part = rows.parts(round(1 / _TAIL_SHARE), seed)
        return Fold("random", "inside", np.flatnonzero(part > 0), np.flatnonzero(part == 0))
    order = np.random.default_rng(seed).permutation(len(rows))
    n_held_out = max(1, round(_TAIL_SHARE * len(rows)))
    return Fold("random", "inside", order[n_held_out:], order[:n_held_out])


def folds(rows: Rows, targets: Floats, seed: int, names: Sequence[str] = ()) -> list[Fold]:
    """Return a random fold, both tails of the target, and both tails of each driving column.

    Args:
        rows: Training rows.
        targets: Shape (n_rows,).
        seed: Seed of the random fold.
        names: Names of the number columns; by default they are numbered.
    """
    n_rows = len(targets)
    result = [_random_fold(rows, seed)]
    strength = rank_correlations(rows.numeric, targets[:, None])
    drivers = [int(j) for j in np.argsort(-strength, kind="stable")[:N_DRIVERS] if strength[j] >= 0]
    for name, region, values in [
        ("the target", "target", targets),
        *((names[j] if names else f"column {j}", "driver", rows.numeric[:, j]) for j in drivers),
    ]:
        known = ~np.isnan(values)
        for side, sign in (("top", 1.0), ("bottom", -1.0)):
            beyond = known & (sign * values > np.quantile(sign * values[known], 1 - _TAIL_SHARE))
            fold = Fold(f"{side} of {name}", region, np.flatnonzero(~beyond), np.flatnonzero(beyond))
            if len(fold.held_out) >= _LEAST_TAIL_SHARE * n_rows and len(fold.train) >= _LEAST_REST_SHARE * n_rows:
                result.append(fold)
    return result
