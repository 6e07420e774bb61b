"""What a residual gains over the answers that it is judged by, each from parts that left the row out.

A row's answer comes from the one ensemble of trees and the one network that have not seen it. The residual is better in
two ways: it averages all of them, and together they have seen all rows. Intervals that left that out would be too wide.
"""

from dataclasses import replace

import lightgbm
import numpy as np

from training.tabular.forest import Forest
from training.tabular.networks import NetworkSettings, fit_network
from training.tabular.rows import Floats, Index, Rows
from training.tabular.tree_settings import TreeSettings

_MOST_COMPARED = 20_000
"""Rows beyond which neither averaging nor a quarter more rows changes the error much."""

_LEAST_GAIN_KEPT = 0.8
"""Neither of the two is believed to take away more than a fifth of the error."""

_N_AVERAGED = 3
"""Ensembles of trees whose mean is compared with one; of networks it is two."""

_N_COMPARED = 2
"""Parts on which networks are compared."""

_FEW_ROWS = 2000
"""Up to so many rows two parts are compared, for one says too little."""


class Gains:
    """Collects what the parts of a residual gain.

    Of the mean of n alike answers the squared error is a + b / n; a and b follow from the errors of one and of the mean
    of a few. What trees and networks gain by averaging adds up, for they err apart. What all rows gain is taken to be
    what the last quarter of rows gave before: one ensemble of trees on four fifths of the rows over one on three fifths
    and a bit, 0.8² of them.

    Args:
        wanted: What the residual is to answer, shape (n_rows,).
        left_out: What it answers for each row without having seen it, shape (n_rows,).
    """

    def __init__(self, wanted: Floats, left_out: Floats) -> None:
        self._wanted, self._left_out = wanted, left_out
        self._trees_fallen, self._networks_fallen, self._more_rows = 0.0, 0.0, 1.0

    @property
    def total(self) -> float:
        """Mean absolute error to be expected of the residual over that of the answers left out."""
        averaged = np.sqrt(max(1 - self._trees_fallen - self._networks_fallen, 0.0))
        return float(np.clip(averaged, _LEAST_GAIN_KEPT, 1.0) * self._more_rows)

    def of_trees(
        self,
        features: Floats,
        left_out: Floats,
        forest: Forest,
        settings: TreeSettings,
        seed: int,
        whole: Rows,
        share: float,
    ) -> None:
        """Measure what trees gain, on a part left out by ensembles from other seeds on the same other parts.

        Args:
            features: As `cross_fit_forest` took them.
            left_out: What it gave.
            forest: Likewise.
            settings: As it took them.
            seed: Likewise.
            whole: The rows, as it took them.
            share: How much of the forest counts.
        """
        n, n_rows = settings.n_ensembles, len(self._wanted)
        if n < 2 or n_rows > _MOST_COMPARED or not len(forest.roots):
            return
        part = whole.parts(n, seed)
        n_trees = -(-len(forest.roots) // n)
        n_averaged = min(n, _N_AVERAGED)
        one, few, fewer = 0.0, 0.0, 0.0
        for held_out in range(2 if n_rows <= _FEW_ROWS else 1):
            seen, there = np.flatnonzero(part != held_out), np.flatnonzero(part == held_out)

            def answers(rows: Index, shift: int, there: Index = there) -> Floats:
                data = lightgbm.Dataset(features[rows], self._wanted[rows], weight=whole.take(rows).weights)
                booster = lightgbm.train(settings.as_parameters(seed + shift), data, n_trees)
                return np.asarray(booster.predict(features[there], num_threads=1), dtype=np.float64)

            others = [answers(seen, shift) for shift in range(1, n_averaged)]
            less = answers(np.random.default_rng(seed).permutation(seen)[: round((1 - 1 / n) * len(seen))], 0)
            rest = (self._wanted - self._left_out)[there]
            own = left_out[there]
            one += float(np.abs(rest).sum())
            few += float(np.abs(rest - share * (np.mean([own, *others], axis=0) - own)).sum())
            fewer += float(np.abs(rest - share * (less - own)).sum())
        self._trees_fallen = _fallen(one, few, n_averaged, n)
        if min(one, fewer) > 0:
            self._more_rows = float(np.clip(one / fewer, _LEAST_GAIN_KEPT, 1.0))

    def of_networks(
        self,
        block: Floats,
        left_out: Floats,
        settings: NetworkSettings,
        seed: int,
        rows: Rows,
        share: float,
    ) -> None:
        """Measure what networks gain, on some parts, by members from another seed that leave out the same ones.

        Args:
            block: As `fit_network` took it.
            left_out: What it gave.
            settings: As it took them.
            seed: Likewise.
            rows: Likewise.
            share: How much of the networks counts.
        """
        if settings.n_members < 2 or len(self._wanted) > _MOST_COMPARED:
            return
        parts = rows.parts(settings.n_members, seed)
        some = replace(settings, n_members=_N_COMPARED)
        other = fit_network(rows, block, self._wanted, some, seed + 1, frozen=True, parts=parts).left_out
        there = parts < _N_COMPARED
        rest = (self._wanted - self._left_out)[there]
        one, few = np.abs(rest).sum(), np.abs(rest - share * (other - left_out)[there] / 2).sum()
        self._networks_fallen = _fallen(float(one), float(few), 2, settings.n_members)


def _fallen(one: float, few: float, n_few: int, n: int) -> float:
    """Return the share of the squared error that the mean of n takes away, from the errors of one and of a few."""
    return max(1 - (few / one) ** 2, 0.0) * (1 - 1 / n) / (1 - 1 / n_few) if one > 0 else 0.0
