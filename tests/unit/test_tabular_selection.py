"""The choice of trunks and residual, on held-out tails of the training rows."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from training.config import Objective
from training.tabular.fit import fit_table_model
from training.tabular.model import agreed, middle
from training.tabular.network_settings import NetworkSettings
from training.tabular.reach import Reach
from training.tabular.residual import TreeColumns
from training.tabular.rows import Rows
from training.tabular.selection import choose, judge
from training.tabular.tails import folds
from training.tabular.tree_settings import TreeSettings
from training.tabular.trials import WIDTHS, Trial, kind_name, try_out

FEW_TREES = TreeSettings(n_trees=40, n_ensembles=2)
SMALL_NETWORK = NetworkSettings(n_members=2, d_hidden=16, n_steps=100)


def rows_of(numeric: np.ndarray) -> Rows:
    return Rows(numeric, np.zeros((len(numeric), 0), dtype=np.int64))


def noisy_power_law(n_rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 4, (n_rows, 3))
    return x, x[:, 0] ** 1.7 * x[:, 1] / x[:, 2] ** 0.8 * np.exp(0.03 * rng.normal(size=n_rows))


def test_folds_hold_out_tails_that_the_rest_does_not_reach() -> None:
    x, y = noisy_power_law()
    made = {fold.name: fold for fold in folds(rows_of(x), y, 0, ["p", "q", "r"])}
    assert list(made)[:3] == ["random", "top of the target", "bottom of the target"]
    assert {"top of p", "bottom of p"} <= set(made)
    for fold in made.values():
        assert not set(fold.train) & set(fold.held_out)
        assert len(fold.train) + len(fold.held_out) == 300
    assert y[made["top of the target"].train].max() < y[made["top of the target"].held_out].min()
    assert x[made["bottom of p"].train, 0].min() > x[made["bottom of p"].held_out, 0].max()


def test_a_column_of_two_values_or_of_gaps_gives_no_tail_that_is_too_small() -> None:
    x, y = noisy_power_law()
    x[:, 0] = y > np.median(y)
    x[5:, 1] = np.nan
    assert all(len(fold.held_out) >= 15 for fold in folds(rows_of(x), y, 0))
    assert not [fold for fold in folds(rows_of(x), y, 0, ["p", "q", "r"]) if fold.name.endswith(("p", "q"))]


@pytest.fixture(scope="module")
def tried() -> list[Trial]:
    """All candidates where no fold has found the law, which would answer alone."""
    x, y = noisy_power_law(200)
    tried = try_out(rows_of(x), (), y, 0)
    for trial in tried:
        trial.laws = {}
    return tried


def test_a_power_law_is_chosen_where_there_is_one_and_lines_have_no_voice(tried: list[Trial]) -> None:
    choice = choose(tried, "balanced")
    names = [kind_name(kind) for kind in choice.kinds]
    assert "power law" in names[0]
    assert not {"mean", "linear", "bent lines", "logarithms"} & set(names)
    assert choice.scores[0].score < -0.5
    assert [one.score for one in choice.scores] == sorted(one.score for one in choice.scores)
    assert choice.width == choice.committee[0].width


def test_a_committee_goes_all_the_way_only_where_that_is_clearly_better(tried: list[Trial]) -> None:
    class Told(Trial):
        """A fold whose errors are given."""

        def __init__(self, one: Trial, free: float) -> None:
            self.fold, self.reference, self.candidates, self.laws = one.fold, 1.0, one.candidates, {}
            self._one, self._free = one, free

        def committee(self, *given: Any) -> Any:
            return self._one.committee(*given)

        def errors(self, candidate: object, wary: bool = False) -> dict[float, float]:  # noqa: ARG002 - as `Trial.errors` takes it
            return dict.fromkeys(WIDTHS, 1.0 if wary else self._free)

    for free, wary, told in ((0.97, True, "as far as trunks agree"), (0.9, False, "all the way")):
        choice = choose([Told(trial, free) for trial in tried], "balanced")
        assert choice.wary is wary
        assert choice.as_dict()["beyond"] == told


def test_a_wary_committee_stays_between_the_border_and_the_median_of_its_trunks() -> None:
    x, _ = noisy_power_law(200)
    ends = np.minimum(x[:, 0], 2.5) + np.minimum(x[:, 1], 2.5) + 0.1 * np.random.default_rng(1).normal(size=200)
    choice = choose(try_out(rows_of(x), (), ends, 0), "balanced")
    assert choice.wary
    assert choice.as_dict()["beyond"] == "as far as trunks agree"
    target = fit_table_model(rows_of(x), (), ends[:, None], trees=FEW_TREES, networks=SMALL_NETWORK).model.targets[0]
    assert target.wary
    far = rows_of(x + 2)
    border = target.trunk(target.reach.clipped(far))
    ways = np.stack([trunk.predict(far) - trunk.predict(target.reach.clipped(far)) for trunk in target.trunks], axis=1)
    np.testing.assert_allclose(target.trunk(far), border + np.prod(agreed(ways), axis=0), rtol=1e-12)
    assert (np.abs(target.trunk(far) - border) <= np.abs(np.median(ways, axis=1)) + 1e-12).all()
    np.testing.assert_array_equal(target.trunk(rows_of(x)), replace(target, wary=False).trunk(rows_of(x)))


def test_a_committee_goes_beyond_as_far_as_its_trunks_agree() -> None:
    ways = np.array([[2.0, 2.0, 2.0], [-1.0, 2.0, 5.0], [-3.0, -3.0, 9.0], [0.0, 0.0, 0.0]])
    spread = 1.4826 * 3.0
    np.testing.assert_allclose(np.prod(agreed(ways), axis=0), [2, 2 * 4 / (4 + spread**2), -3, 0])


def test_those_that_are_right_alone_are_not_left_alone() -> None:
    """A product of powers, the only voice, answered one row of a steel works with 64 times the largest target."""
    x = np.random.default_rng(0).uniform(1, 3, (80, 2))
    choice = choose(try_out(rows_of(x), (), np.exp(x[:, 0] - x[:, 1]), 0), "balanced")
    best = {one.name: one.score for one in reversed(choice.scores)}
    assert sorted(best.values())[2] > min(best.values()) + 0.35
    assert [kind_name(kind) for kind in choice.kinds][:2] == ["exponential", "bent exponential"]
    assert len(choice.kinds) == 3


def test_the_mean_has_no_voice_beside_other_trunks_however_well_the_trees_do_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 2, (80, 2))
    choice = choose(try_out(rows_of(x), (), rng.normal(size=80), 0), "balanced")
    assert choice.scores[0].name == "mean"
    assert "mean" not in {kind_name(kind) for kind in choice.kinds}


def test_a_residual_fades_only_where_that_is_clearly_better(tried: list[Trial]) -> None:
    class Told(Trial):
        """A fold whose errors are given."""

        def __init__(self, one: Trial, faded: float) -> None:
            self.fold, self.reference, self._faded = one.fold, 1.0, faded

        def errors(self, candidate: object, wary: bool = False) -> dict[float, float]:  # noqa: ARG002 - as `Trial.errors` takes it
            return {width: 1.0 if np.isinf(width) else self._faded for width in WIDTHS}

    committees = [trial.committee([None]) for trial in tried]
    for faded, width in ((0.97, np.inf), (0.7, WIDTHS[1])):
        told = [Told(trial, faded) for trial in tried]
        scores = judge(told, committees, False, "balanced")
        assert scores[0].width == width
        assert {one.width for one in scores} == set(WIDTHS)


def test_a_law_that_was_chosen_answers_outside() -> None:
    x, y = noisy_power_law(200)
    model = fit_table_model(rows_of(x), (), y[:, None], trees=FEW_TREES, networks=SMALL_NETWORK).model
    far = 3 * x[:40]
    law = far[:, 0] ** 1.7 * far[:, 1] / far[:, 2] ** 0.8
    assert np.median(np.abs(model.predict(rows_of(far))[:, 0] / law - 1)) < 0.1


def test_a_step_that_no_trunk_knows_is_left_to_the_residual() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, 2))
    y = np.sign(x[:, 0] * x[:, 1]) + 0.01 * rng.normal(size=300)
    rows = rows_of(x)
    fit = fit_table_model(rows, (), y[:, None], trees=FEW_TREES, networks=SMALL_NETWORK)
    model = fit.model.targets[0]
    assert model.forest is not None or model.smooth is not None
    assert np.mean((model.predict(rows) - y) ** 2) < 0.3 * np.mean((model.trunk(rows) - y) ** 2)


def test_the_objective_says_which_folds_count(tried: list[Trial]) -> None:
    scores = {
        objective: {(one.name, one.width): one for one in choose(tried, objective).scores}
        for objective in get_args(Objective)
    }
    key = ("linear", np.inf)
    assert {objective: scores[objective][key].ratios for objective in scores} == dict.fromkeys(
        scores, scores["inside"][key].ratios
    )
    random = scores["inside"][key].ratios["random"]
    assert scores["inside"][key].score == pytest.approx(np.log(random))
    assert len({scores[objective][key].score for objective in scores}) == 3
    assert all(scores[objective][("mean", np.inf)].score == 0 for objective in scores)


def test_the_same_seed_chooses_and_answers_the_same() -> None:
    x, y = noisy_power_law(80)
    first, second = (
        fit_table_model(rows_of(x), (), y[:, None], trees=FEW_TREES, networks=SMALL_NETWORK, seed=3) for _ in range(2)
    )
    assert first.choices == second.choices
    np.testing.assert_array_equal(first.model.predict(rows_of(2 * x)), second.model.predict(rows_of(2 * x)))


def test_two_answers_that_run_away_are_outvoted() -> None:
    answers = [np.array([value]) for value in (1.0, 2.0, 3.0, 1e9, -np.inf)]
    assert middle(answers).tolist() == [2.0]


def test_the_residual_fades_with_the_distance_and_is_whole_inside() -> None:
    reach = Reach.fit(rows_of(np.array([[0.0], [10.0]])), np.array([0.0, 100.0]))
    distance = reach.distance(rows_of(np.array([[5.0], [10.0], [10.5], [11.0], [np.nan], [-0.5]])))
    assert distance.tolist() == pytest.approx([0, 0, 0.05, 0.1, 0, 0.05])
    inside = np.full(6, 50.0)
    assert reach.share(inside, distance, 0.1).tolist() == pytest.approx([1, 1, 0.5, 0, 1, 0.5])
    assert reach.share(np.array([105.0, -20.0]), distance[:2], 0.1).tolist() == pytest.approx([0.5, 0])
    assert reach.share(inside, distance, np.inf).tolist() == [1.0] * 6


def test_a_trunk_that_runs_away_inside_the_range_is_held_near_the_targets_and_freer_outside() -> None:
    """One of 28,000 rows inside the range of a steel works' energy use got a hundred times the largest target."""
    reach = Reach.fit(rows_of(np.array([[0.0], [10.0]])), np.array([0.0, 100.0]))
    answers = np.array([1e4, -1e4, 900.0, 150.0])
    assert reach.held(answers, np.array([0.0, 0.0, 1.0, 0.0])).tolist() == [200, -100, 900, 150]


def test_trees_take_levels_in_the_order_of_their_targets() -> None:
    codes = np.array([[0]] * 20 + [[1]] * 20 + [[2]] * 20)
    targets = np.repeat([5.0, 1.0, 3.0], 20)
    columns = TreeColumns.fit(codes, (3,), targets)
    assert columns.order[0].tolist() == [2, 0, 1]
    features = columns(Rows(np.zeros((3, 1)), np.array([[1], [0], [-1]])))
    np.testing.assert_array_equal(features, [[0, 0, 0, 1, 0], [0, 2, 1, 0, 0], [0, 0.5, 0, 0, 0]])
