"""The residual: boosted trees and networks on what the trunk leaves, constant outside the range seen.

Where trees need many steps networks need few weights, and the other way round; their errors differ, and the mean of
both is better than either on most tables. How much each counts is fitted to their answers for rows left out, by least
squares with weights that are not negative (L. Breiman, Stacked regressions, Machine Learning 24, 1996,
doi:10.1007/BF00117832).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import lightgbm
import numpy as np

from training.tabular.forest import Forest, as_tree_input
from training.tabular.networks import LEAST_ROWS, Network, NetworkSettings, fit_network
from training.tabular.rows import Codes, Columns, Floats, Rows

_MAX_INDICATORS = 12
"""Category columns of at most this many codes get an indicator per code beside their order."""

_PRIOR_ROWS = 5.0
"""A level's mean is pulled towards the overall mean as if this many rows had that mean."""


@dataclass(frozen=True)
class TreeColumns:
    """How raw columns become the trees': numbers as they are, categories ordered by their mean target.

    Attributes:
        order: For each category column the place of each code, shape (n_codes,).
        with_indicators: Category columns with an indicator per code.
    """

    order: tuple[Floats, ...]
    with_indicators: tuple[int, ...]

    @classmethod
    def fit(cls, codes: Codes, n_codes: tuple[int, ...], targets: Floats) -> Self:
        """Learn the orders from training rows."""
        overall = float(targets.mean())
        order = []
        for j, n in enumerate(n_codes):
            known = codes[:, j] >= 0
            counts = np.bincount(codes[known, j], minlength=n)
            sums = np.bincount(codes[known, j], weights=targets[known], minlength=n)
            means = (sums + _PRIOR_ROWS * overall) / (counts + _PRIOR_ROWS)
            order.append(np.argsort(np.argsort(means, kind="stable"), kind="stable").astype(np.float64))
        return cls(tuple(order), tuple(j for j, n in enumerate(n_codes) if 2 < n <= _MAX_INDICATORS))

    def __call__(self, rows: Rows) -> Floats:
        """Return what trees take; a level never seen is a missing value, its indicators are 0."""
        parts = [rows.numeric]
        for j, place in enumerate(self.order):
            codes = rows.codes[:, j]
            parts.append(np.where(codes >= 0, place[codes], np.nan)[:, None])
        for j in self.with_indicators:
            parts.append((rows.codes[:, j : j + 1] == np.arange(len(self.order[j]))).astype(np.float64))
        return as_tree_input(np.concatenate(parts, axis=1))


@dataclass(frozen=True)
class TreeSettings:
    """Settings of the boosted trees.

    Attributes:
        n_trees: Trees of each ensemble, at most.
        n_ensembles: Ensembles averaged, each from its own seed.
        learning_rate: Share of each tree that is taken.
        n_leaves: Leaves of a tree.
        least_rows: Rows of a leaf.
    """

    n_trees: int = 1000
    n_ensembles: int = 5
    learning_rate: float = 0.05
    n_leaves: int = 31
    least_rows: int = 10

    def as_parameters(self, seed: int) -> dict[str, Any]:
        """Return LightGBM's parameters; one thread and forced layout give the same trees everywhere."""
        return {
            "objective": "l2",
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": self.least_rows,
            "feature_fraction": 0.8,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": seed,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbose": -1,
        }


QUICK_TREES = TreeSettings(n_trees=60, n_ensembles=1, learning_rate=0.15, n_leaves=15)
"""Trees for choosing between trunks: what they lack in accuracy they lack for every trunk."""

_PATIENCE = 50
"""Trees without a better error on the rows left out, averaged over the ensembles, after which all end."""


_LEAST_GAIN = 0.01
"""Share of the squared error on rows left out that a part of the residual must take away to be kept."""

RESIDUAL_NETWORK = NetworkSettings(d_hidden=96, n_hidden=3, n_steps=1500, step=1e-2)
"""Inside the range the networks may be deeper and trained longer than those that carry the extrapolation."""


@dataclass(frozen=True)
class SmoothResidual:
    """An ensemble of networks that is constant outside the range seen.

    Attributes:
        columns: Its inputs.
        network: The ensemble.
    """

    columns: Columns
    network: Network

    def predict(self, rows: Rows) -> Floats:
        """Return its answers, shape (n_rows,)."""
        return self.network(self.columns(rows))


@dataclass(frozen=True)
class Residual:
    """What is added to the trunk: either part, both, or none.

    Attributes:
        columns: Columns of the trees; None without trees.
        forest: The trees.
        smooth: The networks.
    """

    columns: TreeColumns | None = None
    forest: Forest | None = None
    smooth: SmoothResidual | None = None


def fit_residual(
    rows: Rows,
    n_codes: tuple[int, ...],
    targets: Floats,
    left: Floats,
    trees: TreeSettings,
    networks: NetworkSettings,
    seed: int,
) -> Residual:
    """Fit trees and networks to what the trunk leaves, and weigh them.

    Args:
        rows: Training rows.
        n_codes: Codes of each category column.
        targets: The targets, by which levels are ordered, shape (n_rows,).
        left: What the trunk leaves of them on rows that it has not seen, shape (n_rows,).
        trees: Settings of the trees.
        networks: Settings of the networks; no members for none.
        seed: Seed of parts, trees and networks.
    """
    columns = TreeColumns.fit(rows.codes, n_codes, targets)
    forest, answers = fit_forest(columns(rows), left, trees, seed)
    if networks.n_members == 0 or len(left) < LEAST_ROWS or not np.ptp(left) > 0:
        (share,) = _shares([answers], left)
        return Residual(columns, forest.scaled(share)) if share else Residual()
    smooth_columns = Columns.fit(rows, n_codes, "log")
    fit = fit_network(smooth_columns(rows), left, networks, seed, frozen=True)
    share, smooth_share = _shares([answers, fit.left_out], left)
    smooth = SmoothResidual(smooth_columns, fit.network.scaled(smooth_share)) if smooth_share else None
    return Residual(columns, forest.scaled(share), smooth) if share else Residual(smooth=smooth)


def _shares(answers: list[Floats], left: Floats) -> list[float]:
    """Return how much of each part counts; 0 for one without which the error is about as small."""
    best = [0.0] * len(answers)
    error = float(np.mean(left**2))
    for kept in _subsets(len(answers)):
        block = np.stack([answers[i] for i in kept], axis=1)
        weights = np.linalg.lstsq(block, left, rcond=None)[0]
        reached = float(np.mean((block @ weights - left) ** 2))
        if (weights > 0).all() and reached < (1 - _LEAST_GAIN) * error:
            error = reached
            best = [0.0] * len(answers)
            for i, weight in zip(kept, weights, strict=True):
                best[i] = float(weight)
    return best


def _subsets(n: int) -> list[tuple[int, ...]]:
    return [kept for size in range(1, n + 1) for kept in combinations(range(n), size)]


def fit_forest(features: Floats, targets: Floats, settings: TreeSettings, seed: int) -> tuple[Forest, Floats]:
    """Fit boosted trees.

    Each ensemble leaves out another part of the rows, on which their common number of trees is found, and the ensembles
    are averaged: every row is in all of them but one.

    Args:
        features: From `TreeColumns`, shape (n_rows, n_features).
        targets: Shape (n_rows,).
        settings: Their settings.
        seed: Seed of parts and trees.

    Returns:
        The trees, and for each row the answer of the ensemble without it, shape (n_rows,).
    """
    data = lightgbm.Dataset(features, targets, free_raw_data=False)
    parameters = settings.as_parameters(seed)
    part = np.random.default_rng(seed).permutation(len(targets)) % settings.n_ensembles
    parts = [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(settings.n_ensembles)]
    outcome: dict[str, Any] = lightgbm.cv(
        parameters | {"metric": "l2"},
        data,
        settings.n_trees,
        folds=parts,
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
        return_cvbooster=True,
    )
    fitted = outcome["cvbooster"]
    answers = np.empty(len(targets))
    for booster, (_, left_out) in zip(fitted.boosters, parts, strict=True):
        answers[left_out] = booster.predict(features[left_out], num_iteration=fitted.best_iteration, num_threads=1)
    forests = [Forest.of_lightgbm(booster, fitted.best_iteration) for booster in fitted.boosters]
    return Forest.summed(forests, np.full(len(forests), 1 / len(forests))), answers


class QuickTrees:
    """Fits quick trees to many targets of the same rows, and answers for other rows.

    Args:
        train: Features of the rows to fit, from `TreeColumns`.
        held_out: Features of the rows to answer for.
        seed: Seed of the trees.
    """

    def __init__(self, train: Floats, held_out: Floats, seed: int) -> None:
        self._parameters = QUICK_TREES.as_parameters(seed)
        self._data = lightgbm.Dataset(train, np.zeros(len(train)), params=self._parameters, free_raw_data=False)
        self._held_out = held_out

    def __call__(self, targets: Floats) -> Floats:
        """Return the trees' answers for the rows held out."""
        self._data.set_label(targets)
        booster = lightgbm.train(self._parameters, self._data, QUICK_TREES.n_trees, keep_training_booster=True)
        return np.asarray(booster.predict(self._held_out, num_threads=1), dtype=np.float64)
