"""Ensembles of networks: what they learn, what rows left out say, and where they stop."""

import numpy as np
import pytest

from training.tabular.network_settings import NetworkSettings
from training.tabular.networks import fit_network
from training.tabular.residual import fit_residual
from training.tabular.rows import Rows
from training.tabular.tree_settings import TreeSettings
from training.tabular.trunks import KINDS, fit_trunk

SMALL = NetworkSettings(n_members=3, d_hidden=24, n_steps=300)
KIND = {kind.name: kind for kind in KINDS}


def waves(n_rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    block = rng.normal(size=(n_rows, 3))
    return block, np.sin(2 * block[:, 0]) + block[:, 1] + 20


def rows_of(numeric: np.ndarray) -> Rows:
    return Rows(numeric, np.zeros((len(numeric), 0), dtype=np.int64))


def test_an_ensemble_learns_a_wave_and_rows_left_out_say_so() -> None:
    block, wanted = waves()
    fit = fit_network(rows_of(block), block, wanted, SMALL, 0)
    seen = np.mean((fit.network(block) - wanted) ** 2)
    left_out = np.mean((fit.left_out - wanted) ** 2)
    assert seen < left_out < 0.2 * wanted.var()


def test_an_answer_left_out_does_not_know_its_row() -> None:
    """Targets without any law: what rows left out say must be no better than their mean."""
    block, _ = waves(300)
    noise = np.random.default_rng(1).normal(size=300)
    fit = fit_network(rows_of(block), block, noise, NetworkSettings(n_members=3, n_steps=600, step=1e-2), 0)
    assert np.mean((fit.left_out - noise) ** 2) > 0.92 * noise.var()
    assert np.mean((fit.network(block) - noise) ** 2) < 0.9 * noise.var()


def test_far_outside_a_frozen_ensemble_is_constant_and_a_free_one_straight() -> None:
    block, wanted = waves()
    line = np.linspace(20, 40, 5)[:, None] * np.ones(3)
    frozen = fit_network(rows_of(block), block, wanted, SMALL, 0, frozen=True).network(line)
    np.testing.assert_allclose(frozen, frozen[0])
    free = fit_network(rows_of(block), block, wanted, SMALL, 0).network(line)
    assert np.ptp(free) > 1
    np.testing.assert_allclose(np.diff(free, 2), 0, atol=1e-3 * np.ptp(free))


def test_the_same_seed_gives_the_same_ensemble_and_another_another() -> None:
    block, wanted = waves(80)
    first, again, other = (fit_network(rows_of(block), block, wanted, SMALL, seed).network(block) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_a_network_trunk_writes_its_linear_part_as_terms_and_continues_a_smooth_law() -> None:
    x = np.random.default_rng(0).uniform(1, 3, (300, 2))
    law = x[:, 0] ** 2 / x[:, 1]
    fit = fit_trunk(KIND["network of powers"], rows_of(x), (), law)
    assert fit is not None
    assert fit.trunk.network is not None
    assert fit.trunk.terms == ((0,), (1,), ())
    assert not fit.trunk.network.linear.any()
    far = 1.5 * x[:50]
    assert np.median(np.abs(fit.trunk.predict(rows_of(far)) / (far[:, 0] ** 2 / far[:, 1]) - 1)) < 0.1
    assert np.corrcoef(fit.left_out, law)[0, 1] > 0.99


def test_a_table_of_few_rows_or_of_one_value_has_no_network() -> None:
    x = np.random.default_rng(0).uniform(1, 3, (39, 2))
    assert fit_trunk(KIND["network"], rows_of(x), (), x[:, 0]) is None
    assert fit_trunk(KIND["network"], rows_of(np.tile(x, (2, 1))), (), np.ones(78)) is None


@pytest.mark.parametrize(
    ("law", "kept"), [("steps", "trees"), ("saddle", "networks"), ("noise", "none"), ("rounding", "none")]
)
def test_of_trees_and_networks_what_explains_the_rest_is_kept(law: str, kept: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (400, 6))
    noise = rng.normal(size=400)
    steps = np.sign(x[:, 0]) * (x[:, 1] > 1)
    left = {"steps": steps, "saddle": x[:, 0] * x[:, 1] + x[:, 2], "noise": noise, "rounding": 1e-13 * steps}[law]
    targets = left + 1 if law == "rounding" else left
    residual, left_out = fit_residual(
        rows_of(x), (), targets, left, TreeSettings(n_trees=60, n_ensembles=2, learning_rate=0.2), SMALL, 0
    )
    assert (residual.forest is not None) == (residual.columns is not None)
    if kept == "trees":
        assert residual.forest is not None
    elif kept == "networks":
        assert residual.smooth is not None
    else:
        assert residual.forest is None
        assert residual.smooth is None
        assert not left_out.any()
    assert np.mean((left - left_out) ** 2) <= np.mean(left**2)


def test_rows_that_count_more_are_fitted_better_and_groups_are_left_out_together() -> None:
    block, wanted = waves(200)
    heavy = np.arange(200) < 20
    off = np.where(heavy, wanted + 3, wanted)
    weights = np.where(heavy, 50.0, 1.0)
    plain, weighted = (
        fit_network(Rows(block, np.zeros((200, 0), dtype=np.int64), one), block, off, SMALL, 0)
        for one in (None, weights)
    )
    errors = [np.mean((one.network(block) - off)[heavy] ** 2) for one in (plain, weighted)]
    assert errors[1] < 0.7 * errors[0]
    noise = np.repeat(np.random.default_rng(0).normal(size=50), 4)
    groups = np.repeat(np.arange(50), 4)
    same = np.repeat(block[:50], 4, axis=0)
    together = fit_network(Rows(same, np.zeros((200, 0), dtype=np.int64), None, groups), same, noise, SMALL, 0)
    assert np.mean((together.left_out - noise) ** 2) > 0.85 * noise.var()
