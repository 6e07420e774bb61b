"""Weights of rows: a row of weight 3 counts as three rows of weight 1, in every fit and in every error."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluation.leaderboard import BASELINES, TableRows
from training.evaluation.metrics import regression_metrics
from training.tabular.fit import fit_table_model
from training.tabular.network_settings import NetworkSettings
from training.tabular.residual import QuickTrees, TreeColumns
from training.tabular.rows import Floats, Rows, balanced_parts
from training.tabular.tails import folds
from training.tabular.tree_settings import TreeSettings
from training.tabular.trunks import KINDS, TrunkKind, fit_trunk

COPIES: NDArray[np.int64] = np.random.default_rng(1).integers(1, 4, size=600)
REPEATED = np.repeat(np.arange(600), COPIES)
WEIGHTS = COPIES / COPIES.mean()


def rows(n_rows: int = 600) -> tuple[Rows, Floats]:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 3, (n_rows, 3))
    targets = 5 + x[:, 0] * x[:, 1] - x[:, 2] + 0.3 * rng.normal(size=n_rows)
    return Rows(x, rng.integers(0, 3, (n_rows, 1))), targets


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.degree == 0 and not kind.networked], ids=lambda kind: kind.name
)
def test_a_weighted_trunk_is_that_of_repeated_rows(kind: TrunkKind) -> None:
    plain, targets = rows()
    weighted = fit_trunk(kind, Rows(plain.numeric, plain.codes, WEIGHTS), (3,), targets)
    repeated = fit_trunk(kind, plain.take(REPEATED), (3,), targets[REPEATED])
    unweighted = fit_trunk(kind, plain, (3,), targets)

    assert weighted is not None
    assert repeated is not None
    assert unweighted is not None
    answers = [fit.trunk.predict(plain) for fit in (weighted, repeated, unweighted)]
    assert np.abs(answers[0] - answers[1]).max() < 0.35 * np.abs(answers[2] - answers[1]).max()


@pytest.mark.parametrize("degree", [1, 2])
def test_equal_weights_change_no_trunk(degree: int) -> None:
    plain, targets = rows()
    kind = TrunkKind("bent", "raw", "identity", degree)
    unweighted = fit_trunk(kind, plain, (3,), targets)
    weighted = fit_trunk(kind, Rows(plain.numeric, plain.codes, np.ones(600)), (3,), targets)

    assert unweighted is not None
    assert weighted is not None
    assert weighted.trunk.terms == unweighted.trunk.terms
    np.testing.assert_allclose(weighted.left_out, unweighted.left_out, rtol=1e-9)


def test_rows_of_little_weight_do_not_count() -> None:
    plain, targets = rows(48)
    wrong = np.arange(48) % 3 == 0
    spoilt = np.where(wrong, 1000.0, targets)
    weights = np.where(wrong, 1e-9, 1.0)
    few = TreeSettings(n_trees=20, n_ensembles=2)
    weighted = Rows(plain.numeric, plain.codes, weights / weights.mean())

    small = NetworkSettings(n_members=2, d_hidden=4, n_steps=30)
    fit = fit_table_model(weighted, (3,), spoilt[:, None], trees=few, networks=small)

    error = fit.model.predict(plain)[~wrong, 0] - targets[~wrong]
    assert np.sqrt(np.mean(error**2)) < 0.6


def test_quick_trees_and_the_order_of_levels_are_weighted() -> None:
    plain, targets = rows()
    columns = TreeColumns.fit(plain.codes, (3,), np.where(plain.codes[:, 0] == 1, 9.0, targets), WEIGHTS)
    weighted = QuickTrees(columns(plain), columns(plain), 0, WEIGHTS)(targets)

    assert np.argmax(columns.order[0]) == 1
    assert not np.array_equal(weighted, QuickTrees(columns(plain), columns(plain), 0)(targets))


def test_weighted_errors_and_baselines_are_those_of_repeated_rows() -> None:
    plain, targets = rows()
    predictions = targets + np.random.default_rng(2).normal(size=600)
    y = targets[:, None]

    weighted = regression_metrics(y, predictions[:, None], ("y",), WEIGHTS)["y"]
    assert weighted == pytest.approx(regression_metrics(y[REPEATED], predictions[REPEATED][:, None], ("y",))["y"])

    train = TableRows(plain.numeric, plain.codes, y, WEIGHTS)
    copies = TableRows(plain.numeric[REPEATED], plain.codes[REPEATED], y[REPEATED])
    for name in ("mean", "linear (ridge)"):
        answers = BASELINES[name](train, train, 0)
        np.testing.assert_allclose(answers, BASELINES[name](copies, train, 0), rtol=0.02, err_msg=name)
    assert BASELINES["gradient-boosted trees"](train, train, 0).shape == (600, 1)


def test_a_group_is_in_one_part_and_held_out_whole() -> None:
    plain, targets = rows(150)
    groups = np.arange(150) // 5
    grouped = Rows(plain.numeric, plain.codes, None, groups)

    part = grouped.parts(5, seed=0)
    assert np.bincount(part).tolist() == [30] * 5
    assert all(len(set(part[groups == group])) == 1 for group in range(30))
    random = folds(grouped, targets, seed=0)[0]
    assert not set(groups[random.train]) & set(groups[random.held_out])
    assert len(random.held_out) == 30
    assert grouped.take(np.array([7])).groups == [1]
    assert len(set(Rows(plain.numeric, plain.codes, None, np.zeros(150, dtype=np.int64)).parts(5, 0))) == 5


def test_parts_of_groups_of_any_size_are_balanced() -> None:
    sizes = np.array([50, 1, 1, 1, 1, 1, 1, 44])

    part = balanced_parts(sizes, 2, np.random.default_rng(0))

    assert np.ptp(np.bincount(part, weights=sizes)) <= 6
