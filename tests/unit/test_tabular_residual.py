"""Boosted trees of the residual: targets of any magnitude."""

import numpy as np
import pytest

from training.tabular.residual import QuickTrees, cross_fit_forest
from training.tabular.tree_settings import TreeSettings


@pytest.mark.parametrize("unit", [2.0**170, 2.0**-170])
def test_trees_are_the_same_in_every_unit(unit: float) -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (300, 2))
    targets = np.abs(features[:, 0]) - 0.5 + 0.1 * rng.normal(size=300)
    settings = TreeSettings(n_trees=20)

    plain, plain_left_out = cross_fit_forest(features, targets, settings, 0)
    forest, left_out = cross_fit_forest(features, unit * targets, settings, 0)

    assert plain is not None
    assert forest is not None
    np.testing.assert_array_equal(forest.predict(features), unit * plain.predict(features))
    np.testing.assert_array_equal(left_out, unit * plain_left_out)
    assert np.ptp(plain_left_out) > 0.1
    quick = QuickTrees(features, features, 0)
    np.testing.assert_array_equal(quick(unit * targets), unit * quick(targets))
