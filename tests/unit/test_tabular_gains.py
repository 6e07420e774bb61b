"""What a model gains over answers of its parts that left the row out."""

from dataclasses import dataclass

import numpy as np
import pytest

from training.tabular.fit import fit_table_model
from training.tabular.gains import MOST_ROWS, gain_of_the_whole
from training.tabular.network_settings import NetworkSettings
from training.tabular.rows import Floats, Rows
from training.tabular.tree_settings import TreeSettings

NOISE = 0.2
SMALL = NetworkSettings(n_members=5, d_hidden=32, n_steps=300)


def waves(n_rows: int, seed: int) -> tuple[Rows, Floats]:
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 1, (n_rows, 4))
    targets = np.sin(9 * features[:, 0]) * np.cos(9 * features[:, 1]) + NOISE * rng.normal(size=n_rows)
    return Rows(features, np.zeros((n_rows, 0), dtype=np.int64)), targets


def test_a_model_errs_as_was_expected_of_it() -> None:
    rows, targets = waves(1200, 2)
    trees = TreeSettings(n_trees=200, n_ensembles=5, learning_rate=0.3)
    fit = fit_table_model(rows, (), targets[:, None], trees=trees, networks=SMALL)
    new, truth = waves(4000, 3)
    error = np.mean(np.abs(fit.model.predict(new)[:, 0] - truth))
    expected = gain_of_the_whole(fit.again[0], rows, targets, fit.left_out[:, 0], 0)
    assert expected == pytest.approx(error / np.mean(np.abs(targets - fit.left_out[:, 0])), abs=0.06)
    assert expected < 0.98


@dataclass
class Erring:
    """Errs by `error`, and by twice as much on rows whose first column is above a half where `harder`."""

    error: float
    harder: bool = False

    def predict(self, rows: Rows) -> Floats:
        return self.error * (hardness(rows) if self.harder else np.ones(len(rows)))


def hardness(rows: Rows) -> Floats:
    return np.where(rows.numeric[:, 0] > 0.5, 2.0, 1.0)


@pytest.mark.parametrize(
    ("whole", "fewer", "gain"),
    [
        (0.8, 1.0, 0.8),
        (0.9, 1.25, 0.72),
        (1.3, 1.0, 1.3),  # answers left out may know too much
        (0.1, 1.0, 0.6),
        (9.0, 1.0, 2.0),
        (0.0, 0.0, 1.0),
    ],
)
def test_a_model_of_fewer_rows_is_compared_with_its_own_parts(whole: float, fewer: float, gain: float) -> None:
    rows, _ = waves(50, 0)
    seen = []

    def fit(some: Rows, targets: Floats) -> tuple[Erring, Floats]:
        seen.append(len(some))
        return Erring(whole), np.full(len(targets), fewer)

    assert gain_of_the_whole(fit, rows, np.zeros(50), np.ones(50), 0) == pytest.approx(gain)
    assert seen == [40, 40]


def test_rows_held_out_may_be_harder_than_others() -> None:
    rows, _ = waves(50, 0)

    def fit(some: Rows, _targets: Floats) -> tuple[Erring, Floats]:
        return Erring(0.4, harder=True), 0.5 * hardness(some)

    assert gain_of_the_whole(fit, rows, np.zeros(50), hardness(rows), 0) == pytest.approx(0.8)


def test_rows_count_by_their_weights_and_groups_are_held_out_together() -> None:
    rows, _ = waves(60, 1)
    groups = np.arange(60) // 6
    weights = np.where(np.arange(60) % 2, 9.0, 1.0)

    def fit(some: Rows, _targets: Floats) -> tuple[Erring, Floats]:
        assert some.groups is not None
        assert some.weights is not None
        assert (np.bincount(some.groups, minlength=10) % 6 == 0).all()
        return Erring(1.0), np.where(some.weights > 1, 1.5, 1.0)

    rows = Rows(rows.numeric, rows.codes, weights, groups)
    assert gain_of_the_whole(fit, rows, np.zeros(60), np.ones(60), 0) == pytest.approx(1 / 1.45)


@pytest.mark.parametrize("n_rows", [4, MOST_ROWS + 1])
def test_of_very_few_or_very_many_rows_nothing_is_measured(n_rows: int) -> None:
    rows, targets = waves(n_rows, 0)

    def fit(_rows: Rows, _targets: Floats) -> tuple[Erring, Floats]:
        raise AssertionError

    assert gain_of_the_whole(fit, rows, targets, 0 * targets, 0) == 1
