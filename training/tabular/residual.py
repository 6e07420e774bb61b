"""The residual: boosted trees and networks on what the trunk leaves, constant outside the range seen.

Where trees need many steps networks need few weights, and the other way round; their errors differ, and the mean of
both is better than either on most tables. How much each counts is fitted to their answers for rows left out, by least
squares with weights that are not negative (L. Breiman, Stacked regressions, Machine Learning 24, 1996,
doi:10.1007/BF00117832).
"""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Self

import lightgbm
import numpy as np

from training.tabular.forest import Forest, as_tree_input
from training.tabular.networks import LEAST_ROWS, Network, NetworkSettings, fit_network
from training.tabular.rows import Codes, Columns, Floats, Index, Rows, mean_of

_MAX_INDICATORS = 12
"""Category columns of at most this many codes get an indicator per code beside their order."""

_PRIOR_ROWS = 5.0
"""A level's mean is pulled towards the overall mean as if this many rows had that mean."""


@dataclass(frozen=True)
class TreeColumns:
    """How raw columns become the trees': numbers as they are, categories ordered by their mean target.

    Attributes:
        order: For each category column the place of each code, shape (n_codes,).
        unseen: For each category column the place of a level never seen: that of the overall mean, or NaN where
            training rows have such levels (rare ones), so that the trees know what a missing place means.
        with_indicators: Category columns with an indicator per code.
    """

    order: tuple[Floats, ...]
    unseen: tuple[float, ...]
    with_indicators: tuple[int, ...]

    @classmethod
    def fit(cls, codes: Codes, n_codes: tuple[int, ...], targets: Floats, weights: Floats | None = None) -> Self:
        """Learn the orders from training rows."""
        overall = float(mean_of(targets, weights))
        counted = np.ones(len(targets)) if weights is None else weights
        order, unseen = [], []
        for j, n in enumerate(n_codes):
            known = codes[:, j] >= 0
            counts = np.bincount(codes[known, j], weights=counted[known], minlength=n)
            sums = np.bincount(codes[known, j], weights=(targets * counted)[known], minlength=n)
            means = (sums + _PRIOR_ROWS * overall) / (counts + _PRIOR_ROWS)
            order.append(np.argsort(np.argsort(means, kind="stable"), kind="stable").astype(np.float64))
            unseen.append(float((means < overall).sum()) - 0.5 if known.all() else float("nan"))
        return cls(tuple(order), tuple(unseen), tuple(j for j, n in enumerate(n_codes) if 2 < n <= _MAX_INDICATORS))

    def __call__(self, rows: Rows) -> Floats:
        """Return what trees take; the indicators of a level never seen are 0."""
        parts = [rows.numeric]
        for j, (place, unseen) in enumerate(zip(self.order, self.unseen, strict=True)):
            codes = rows.codes[:, j]
            parts.append(np.where(codes >= 0, place[codes], unseen)[:, None])
        for j in self.with_indicators:
            parts.append((rows.codes[:, j : j + 1] == np.arange(len(self.order[j]))).astype(np.float64))
        return as_tree_input(np.concatenate(parts, axis=1))


_MANY_ROWS = 20_000
"""Beyond this many rows the trees' settings are those that fit 113,000 rows of 28 columns and three targets in time."""


@dataclass(frozen=True)
class TreeSettings:
    """Settings of the boosted trees.

    Attributes:
        n_trees: Trees of each ensemble, at most.
        n_ensembles: Ensembles averaged, each from its own seed.
        learning_rate: Share of each tree that is taken.
        n_leaves: Leaves of a tree.
        least_rows: Rows of a leaf.
        feature_share: Share of the features that a tree may split.
        row_share: Share of the rows that a tree sees.
        penalty: Ridge penalty on the leaves.
    """

    n_trees: int = 1000
    n_ensembles: int = 5
    learning_rate: float = 0.05
    n_leaves: int = 31
    least_rows: int = 10
    feature_share: float = 0.8
    row_share: float = 0.8
    penalty: float = 0.0

    @classmethod
    def for_rows(cls, n_rows: int) -> Self:
        """Return the defaults for a number of rows: for many, a quarter of the trees in larger steps."""
        if n_rows <= _MANY_ROWS:
            return cls()
        return cls(n_trees=500, n_ensembles=3, learning_rate=0.1)

    def as_parameters(self, seed: int) -> dict[str, Any]:
        """Return LightGBM's parameters; one thread and forced layout give the same trees everywhere."""
        return {
            "objective": "l2",
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": self.least_rows,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "lambda_l2": self.penalty,
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
        gain: Error to be expected of it over that of the answers left out, from `error_gain`.
    """

    columns: TreeColumns | None = None
    forest: Forest | None = None
    smooth: SmoothResidual | None = None
    gain: float = 1.0


def fit_residual(
    rows: Rows,
    n_codes: tuple[int, ...],
    targets: Floats,
    left: Floats,
    trees: TreeSettings,
    networks: NetworkSettings,
    seed: int,
) -> tuple[Residual, Floats]:
    """Fit trees and networks to what the trunk leaves, and weigh them.

    Args:
        rows: Training rows.
        n_codes: Codes of each category column.
        targets: The targets, by which levels are ordered, shape (n_rows,).
        left: What the trunk leaves of them on rows that it has not seen, shape (n_rows,).
        trees: Settings of the trees.
        networks: Settings of the networks.
        seed: Seed of parts, trees and networks.

    Returns:
        The residual, and each row's answer of the parts that left it out, shape (n_rows,).
    """
    columns = TreeColumns.fit(rows.codes, n_codes, targets, rows.weights)
    forest, tree_answers = cross_fit_forest(columns(rows), left, trees, seed, rows)
    smooth, smooth_answers = None, np.zeros(len(left))
    if len(left) >= LEAST_ROWS and np.ptp(left) > 0:
        smooth_columns = Columns.fit(rows, n_codes, "log")
        fit = fit_network(rows, smooth_columns(rows), left, networks, seed, frozen=True)
        smooth, smooth_answers = SmoothResidual(smooth_columns, fit.network), fit.left_out
    share, smooth_share = _shares([tree_answers, smooth_answers], left, rows.weights)
    residual = Residual()
    if forest is not None and share:
        rest = left - smooth_share * smooth_answers
        gain = error_gain(columns(rows), left, tree_answers, forest, trees, seed, rows, share, rest)
        residual = replace(residual, columns=columns, forest=forest.scaled(share), gain=gain)
    if smooth is not None and smooth_share:
        scaled = SmoothResidual(smooth.columns, smooth.network.scaled(smooth_share))
        residual = replace(residual, smooth=scaled)
    return residual, share * tree_answers + smooth_share * smooth_answers


def _shares(answers: list[Floats], left: Floats, weights: Floats | None) -> list[float]:
    """Return how much of each part counts; 0 for one without which the error is about as small."""
    best = [0.0] * len(answers)
    error = float(mean_of(left**2, weights))
    root = np.ones(len(left)) if weights is None else np.sqrt(weights)
    for kept in [some for size in range(1, len(answers) + 1) for some in combinations(range(len(answers)), size)]:
        block = np.stack([answers[i] for i in kept], axis=1)
        shares = np.linalg.lstsq(root[:, None] * block, root * left, rcond=None)[0]
        reached = float(mean_of((block @ shares - left) ** 2, weights))
        if (shares > 0).all() and reached < (1 - _LEAST_GAIN) * error:
            error = reached
            best = [0.0] * len(answers)
            for i, share in zip(kept, shares, strict=True):
                best[i] = float(share)
    return best


def cross_fit_forest(
    features: Floats, targets: Floats, settings: TreeSettings, seed: int, rows: Rows | None = None
) -> tuple[Forest | None, Floats]:
    """Fit boosted trees, or find that they explain nothing.

    Each ensemble leaves out another part of the rows, on which their common number of trees is found, and the ensembles
    are averaged: every row is in all of them but one.

    Args:
        features: From `TreeColumns`, shape (n_rows, n_features).
        targets: Shape (n_rows,).
        settings: Their settings.
        seed: Seed of parts and trees.
        rows: The rows, whose weights and groups count; None for neither.

    Returns:
        The trees, or None where the rows left out say that nothing is better; and each row's answer of the ensemble
        that left it out, shape (n_rows,), zero without trees.
    """
    whole = rows if rows is not None else Rows(features, np.zeros((len(features), 0), dtype=np.int64))
    data = lightgbm.Dataset(features, targets, weight=whole.weights, free_raw_data=False)
    parameters = settings.as_parameters(seed)
    part = whole.parts(settings.n_ensembles, seed)
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
    if not min(outcome["valid l2-mean"]) < (1 - _LEAST_GAIN) * float(mean_of(targets**2, whole.weights)):
        return None, np.zeros(len(targets))
    forests = [Forest.of_lightgbm(booster, fitted.best_iteration) for booster in fitted.boosters]
    left_out = np.empty(len(targets))
    for (_, held_out), booster in zip(parts, fitted.boosters, strict=True):
        answers = booster.predict(features[held_out], num_iteration=fitted.best_iteration, num_threads=1)
        left_out[held_out] = np.asarray(answers, dtype=np.float64)
    return Forest.summed(forests, np.full(len(forests), 1 / len(forests))), left_out


_MOST_COMPARED = 5000
"""Rows beyond which neither averaging nor a quarter more rows changes the error much."""

_LEAST_GAIN_KEPT = 0.8
"""Neither of the two is believed to take away more than a fifth of the error."""

_FEW_ROWS = 2000
"""Up to so many rows two parts are compared, for one says too little."""


def error_gain(
    features: Floats,
    targets: Floats,
    left_out: Floats,
    forest: Forest | None,
    settings: TreeSettings,
    seed: int,
    whole: Rows,
    share: float,
    rest: Floats,
) -> float:
    """Return the mean absolute error to be expected of the fitted forest over that of the answers left out.

    A row's answer in `left_out` is that of the one ensemble that left it out. The forest is better in two ways: it
    averages all ensembles, and together they have seen all rows. The first is measured on a part left out by ensembles
    from other seeds on the same other parts; the second is taken to be what the last quarter of rows gave before: one
    ensemble on four fifths of the rows over one on three fifths and a bit, 0.8² of them.

    Args:
        features: As `cross_fit_forest` took them.
        targets: Likewise.
        left_out: What it gave.
        forest: Likewise.
        settings: As it took them.
        seed: Likewise.
        whole: The rows, as it took them.
        share: How much of the forest counts.
        rest: What it is to answer with that share, shape (n_rows,): the targets less what other parts answer.
    """
    n, n_rows = settings.n_ensembles, len(targets)
    if forest is None or n < 2 or n_rows > _MOST_COMPARED or not len(forest.roots):
        return 1.0
    part = whole.parts(n, seed)
    n_trees = -(-len(forest.roots) // n)
    one, averaged, fewer = 0.0, 0.0, 0.0
    for held_out in range(2 if n_rows <= _FEW_ROWS else 1):
        seen, there = np.flatnonzero(part != held_out), np.flatnonzero(part == held_out)

        def answers(rows: Index, shift: int, there: Index = there) -> Floats:
            data = lightgbm.Dataset(features[rows], targets[rows], weight=whole.take(rows).weights)
            booster = lightgbm.train(settings.as_parameters(seed + shift), data, n_trees)
            return np.asarray(booster.predict(features[there], num_threads=1), dtype=np.float64)

        others = [answers(seen, shift) for shift in range(1, n)]
        less = answers(np.random.default_rng(seed).permutation(seen)[: round((1 - 1 / n) * len(seen))], 0)
        mean = np.mean([left_out[there], *others], axis=0)
        one += float(np.abs(rest[there] - share * left_out[there]).sum())
        averaged += float(np.abs(rest[there] - share * mean).sum())
        fewer += float(np.abs(rest[there] - share * less).sum())
    if not min(one, averaged, fewer) > 0:
        return 1.0
    return float(np.clip(averaged / one, _LEAST_GAIN_KEPT, 1.0) * np.clip(one / fewer, _LEAST_GAIN_KEPT, 1.0))


class QuickTrees:
    """Fits quick trees to many targets of the same rows, and answers for other rows.

    Args:
        train: Features of the rows to fit, from `TreeColumns`.
        held_out: Features of the rows to answer for.
        seed: Seed of the trees.
        weights: Weights of the rows to fit; None for equal ones.
        settings: Settings of the trees.
    """

    def __init__(
        self,
        train: Floats,
        held_out: Floats,
        seed: int,
        weights: Floats | None = None,
        settings: TreeSettings = QUICK_TREES,
    ) -> None:
        self._settings = settings
        self._parameters = settings.as_parameters(seed)
        self._data = lightgbm.Dataset(
            train, np.zeros(len(train)), weight=weights, params=self._parameters, free_raw_data=False
        )
        self._held_out = held_out

    def __call__(self, targets: Floats) -> Floats:
        """Return the trees' answers for the rows held out."""
        self._data.set_label(targets)
        booster = lightgbm.train(self._parameters, self._data, self._settings.n_trees, keep_training_booster=True)
        return np.asarray(booster.predict(self._held_out, num_threads=1), dtype=np.float64)
