"""Trees read from LightGBM answer as LightGBM does, on thresholds and missing values too."""

import lightgbm
import numpy as np
import pytest

from training.tabular.forest import Forest, as_tree_input


def features(n_rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    block = rng.normal(size=(n_rows, 4))
    block[:, 1] = np.round(block[:, 1], 1)
    block[:, 2] = 1e7 + 1e6 * np.abs(block[:, 2])
    block[:, :2][rng.random((n_rows, 2)) < 0.1] = np.nan  # columns 2 and 3 have no missing value in training
    return as_tree_input(block)


def booster(block: np.ndarray, n_trees: int = 40, **more: object) -> lightgbm.Booster:
    targets = np.nan_to_num(block[:, 0]) + np.nan_to_num(block[:, 1]) ** 2 + block[:, 2] / 1e6 * (block[:, 3] > 0)
    settings = {"objective": "l2", "num_threads": 1, "verbose": -1, "seed": 1, **more}
    return lightgbm.train(settings, lightgbm.Dataset(block, targets), n_trees)


def hard_rows(forest: Forest, seed: int = 1) -> np.ndarray:
    """Rows far outside, rows with gaps in every column, and rows on and next to every threshold."""
    rng = np.random.default_rng(seed)
    far = features(300, seed) * 5
    far[rng.random(far.shape) < 0.3] = np.nan
    at = np.zeros((3 * len(forest.feature), 4))
    at[:, 2] = 1e7
    nearest = forest.threshold.astype(np.float32)
    steps = (np.float32(-np.inf), None, np.float32(np.inf))
    for i, step in enumerate(steps):
        values = nearest if step is None else np.nextafter(nearest, step)
        at[np.arange(i, len(at), 3), forest.feature] = values
    at[np.abs(at) <= np.float32(1e-35)] = 0.0  # LightGBM takes those for zero, the forest does not
    return np.concatenate([far, at])


def test_a_forest_sums_the_leaves_that_lightgbm_does() -> None:
    fitted = booster(features(800))
    forest = Forest.of_lightgbm(fitted)
    rows = hard_rows(forest)
    np.testing.assert_allclose(forest.predict(rows), fitted.predict(rows), rtol=1e-12, atol=1e-12)
    assert len(forest.roots) == 40


def test_the_first_trees_can_be_taken_alone() -> None:
    fitted = booster(features(400))
    rows = features(50, 3)
    np.testing.assert_allclose(
        Forest.of_lightgbm(fitted, 7).predict(rows), fitted.predict(rows, num_iteration=7), rtol=1e-12
    )


def test_a_weighted_sum_of_forests_is_one_forest() -> None:
    parts = [Forest.of_lightgbm(booster(features(300), 5, seed=seed)) for seed in (1, 2)]
    rows = features(50, 3)
    whole = Forest.summed(parts, np.array([0.25, 0.75]))
    expected = 0.25 * parts[0].predict(rows) + 0.75 * parts[1].predict(rows)
    np.testing.assert_allclose(whole.predict(rows), expected, rtol=1e-12)


def test_trees_of_one_leaf_become_a_constant() -> None:
    block = features(60)
    settings = {"objective": "l2", "num_threads": 1, "verbose": -1, "min_data_in_leaf": 50}
    forest = Forest.of_lightgbm(lightgbm.train(settings, lightgbm.Dataset(block, np.full(60, 3.0)), 3))
    assert len(forest.roots) == 0
    np.testing.assert_allclose(forest.predict(block), 3.0)
    assert Forest.summed([], np.zeros(0)).predict(block).tolist() == [0.0] * 60


def test_splits_that_a_graph_would_take_differently_are_refused() -> None:
    block = features(300)
    block[:, 3] = np.random.default_rng(0).integers(0, 5, 300)
    targets = block[:, 3] % 2 + block[:, 2] / 1e7
    settings = {"objective": "l2", "num_threads": 1, "verbose": -1}
    data = lightgbm.Dataset(block, targets, categorical_feature=[3])
    with pytest.raises(ValueError, match="encode categories"):
        Forest.of_lightgbm(lightgbm.train(settings, data, 3))


def test_a_feature_that_float32_cannot_tell_apart_is_one_value_to_trees() -> None:
    assert len(np.unique(as_tree_input(np.array([[0.1], [0.1 + 1e-12]])))) == 1
    assert np.isinf(as_tree_input(np.array([[1e300]]))).all()
