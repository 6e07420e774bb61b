"""The residual: boosted trees and networks on what the trunk leaves, constant outside the range seen.

Where trees need many steps networks need few weights, and the other way round; their errors differ, and the mean of
both is better than either on most tables. How much each counts is fitted to their answers for rows left out, by least
squares with weights that are not negative (L. Breiman, Stacked regressions, Machine Learning 24, 1996,
doi:10.1007/BF00117832). Trees and networks are fitted side by side, in a thread each.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Self

import lightgbm
import numpy as np

from training.binary_scale import binary_scale
from training.tabular.forest import Forest, as_tree_input
from training.tabular.network_settings import NetworkSettings
from training.tabular.networks import LEAST_ROWS, Network, fit_network
from training.tabular.rows import Codes, Columns, Floats, Rows, mean_of
from training.tabular.tree_settings import QUICK_TREES, TreeSettings
from training.threads import AT_A_TIME

_MAX_INDICATORS = 12
"""Category columns of at most this many codes get an indicator per code beside their order."""

_ROUNDING = 1e-12
"""What a trunk leaves below this share of the targets is rounding, and no residual is fitted to it."""

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
    if np.abs(left).max() <= _ROUNDING * np.abs(targets).max():
        return Residual(), np.zeros(len(left))
    columns = TreeColumns.fit(rows.codes, n_codes, targets, rows.weights)
    features = columns(rows)
    smooth, smooth_answers = None, np.zeros(len(left))
    with ThreadPoolExecutor(1) as beside:
        grown = beside.submit(cross_fit_forest, features, left, trees, seed, rows)
        if len(left) >= LEAST_ROWS and np.ptp(left) > 0:
            smooth_columns = Columns.fit(rows, n_codes, "log")
            fit = fit_network(rows, smooth_columns(rows), left, networks, seed, frozen=True, n_threads=AT_A_TIME)
            smooth, smooth_answers = SmoothResidual(smooth_columns, fit.network), fit.left_out
        forest, tree_answers = grown.result()
    share, smooth_share = _shares([tree_answers, smooth_answers], left, rows.weights)
    answers = share * tree_answers + smooth_share * smooth_answers
    residual = Residual()
    if forest is not None and share:
        residual = replace(residual, columns=columns, forest=forest.scaled(share))
    if smooth is not None and smooth_share:
        residual = replace(residual, smooth=SmoothResidual(smooth.columns, smooth.network.scaled(smooth_share)))
    return residual, answers


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
    scale = binary_scale(targets)
    scaled = targets / scale
    data = lightgbm.Dataset(features, scaled, weight=whole.weights, free_raw_data=False)
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
    if not min(outcome["valid l2-mean"]) < (1 - _LEAST_GAIN) * float(mean_of(scaled**2, whole.weights)):
        return None, np.zeros(len(targets))
    forests = [Forest.of_lightgbm(booster, fitted.best_iteration) for booster in fitted.boosters]
    left_out = np.empty(len(targets))
    for (_, held_out), booster in zip(parts, fitted.boosters, strict=True):
        answers = booster.predict(features[held_out], num_iteration=fitted.best_iteration, num_threads=1)
        left_out[held_out] = np.asarray(answers, dtype=np.float64)
    return Forest.summed(forests, np.full(len(forests), 1 / len(forests))).scaled(scale), scale * left_out


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
        scale = binary_scale(targets)
        self._data.set_label(targets / scale)
        booster = lightgbm.train(self._parameters, self._data, self._settings.n_trees, keep_training_booster=True)
        return scale * np.asarray(booster.predict(self._held_out, num_threads=1), dtype=np.float64)
