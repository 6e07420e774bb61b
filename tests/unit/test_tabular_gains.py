"""What a residual gains over answers of parts that left the row out."""

import numpy as np
import pytest

from training.tabular.forest import Forest
from training.tabular.gains import Gains
from training.tabular.networks import NetworkSettings, fit_network
from training.tabular.residual import cross_fit_forest
from training.tabular.rows import Floats, Rows
from training.tabular.tree_settings import TreeSettings

NOISE = 0.2


def waves(n_rows: int, seed: int) -> tuple[Rows, Floats]:
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 1, (n_rows, 4))
    targets = np.sin(9 * features[:, 0]) + features[:, 1] + NOISE * rng.normal(size=n_rows)
    return Rows(features, np.zeros((n_rows, 0), dtype=np.int64)), targets


@pytest.mark.parametrize(("seed", "n_trees", "learning_rate"), [(2, 60, 0.2), (5, 200, 0.3)])
def test_trees_are_expected_to_err_less_than_one_ensemble_left_out(
    seed: int, n_trees: int, learning_rate: float
) -> None:
    """Few trees gain by more rows, many that follow the noise by averaging."""
    rows, targets = waves(600, seed)
    settings = TreeSettings(n_trees=n_trees, n_ensembles=5, learning_rate=learning_rate)
    forest, left_out = cross_fit_forest(rows.numeric, targets, settings, 0, rows)
    assert forest is not None
    gains = Gains(targets, left_out)
    gains.of_trees(rows.numeric, left_out, forest, settings, 0, rows, 1.0)
    new, truth = waves(4000, 3)
    error = np.mean(np.abs(forest.predict(new.numeric) - truth))
    assert gains.total == pytest.approx(error / np.mean(np.abs(targets - left_out)), abs=0.06)
    assert gains.total < 0.98


def test_networks_are_expected_to_err_less_than_one_member_left_out() -> None:
    rows, targets = waves(300, 2)
    settings = NetworkSettings(n_members=5, d_hidden=32, n_steps=300)
    fit = fit_network(rows, rows.numeric, targets, settings, 0, frozen=True)
    gains = Gains(targets, fit.left_out)
    gains.of_networks(rows.numeric, fit.left_out, settings, 0, rows, 1.0)
    new, truth = waves(4000, 3)
    error = np.mean(np.abs(fit.network(new.numeric) - truth))
    assert gains.total == pytest.approx(error / np.mean(np.abs(targets - fit.left_out)), abs=0.06)
    assert gains.total < 0.99


def test_nothing_is_gained_where_nothing_is_averaged_or_nothing_is_left() -> None:
    rows, targets = waves(80, 0)
    alone = TreeSettings(n_trees=5, n_ensembles=1)
    gains = Gains(targets, 0 * targets)
    gains.of_trees(rows.numeric, 0 * targets, Forest.of_constant(1.0), alone, 0, rows, 1.0)
    gains.of_networks(rows.numeric, 0 * targets, NetworkSettings(n_members=1), 0, rows, 1.0)
    assert gains.total == 1
    known = Gains(targets, targets)
    known.of_networks(rows.numeric, targets, NetworkSettings(2, 8, n_steps=20), 0, rows, 1.0)
    assert known.total == 1
