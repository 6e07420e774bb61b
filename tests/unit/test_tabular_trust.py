"""Joint range and intervals: calibrated on training rows, held on new ones."""

from dataclasses import replace

import numpy as np
import pytest

from training.tabular.difficulty import Difficulty, Errors
from training.tabular.fit import TabularFit, fit_table_model
from training.tabular.forest import Forest
from training.tabular.landmarks import Landmarks
from training.tabular.model import TabularModel, TargetModel
from training.tabular.reach import Reach
from training.tabular.residual import cross_fit_forest
from training.tabular.rows import Floats, Rows
from training.tabular.tree_settings import TreeSettings
from training.tabular.trunks import fit_trunk, law_kind
from training.tabular.trust import LEVELS, MARKED_SHARE, Trust, fit_trust

RNG = np.random.default_rng(0)


def numbers(*columns: Floats) -> Rows:
    block = np.stack(columns, axis=1)
    return Rows(block, np.zeros((len(block), 0), dtype=np.int64))


def along_a_line(n_rows: int, rng: np.random.Generator) -> Rows:
    """Two columns that always rise together."""
    position = rng.uniform(0, 1, n_rows)
    return numbers(position + 0.02 * rng.normal(size=n_rows), position + 0.02 * rng.normal(size=n_rows))


def noisy(rows: Rows, rng: np.random.Generator) -> Floats:
    """Noise that is ten times larger where the first column is large."""
    return np.where(rows.numeric[:, 0] > 0.5, 10.0, 1.0) * rng.normal(size=len(rows))


def trusted(rows: Rows, errors: Floats, answers: Floats | None = None, gain: float = 1.0) -> Trust:
    left_out = np.zeros(len(rows)) if answers is None else answers
    model = TabularModel((TargetModel((), None, None, Reach.fit(rows, left_out), np.inf),))
    fit = TabularFit(model, (), left_out[:, None], (None,), ())
    return fit_trust(rows, (), (left_out + errors)[:, None], fit, gains=(gain,))


def seen(rows: Rows, absolute: Floats, answers: Floats | None = None, outside: Floats | None = None) -> Errors:
    """Errors of a committee, whose answers have no standard error."""
    zero = np.zeros(len(rows))
    return Errors(rows, absolute, zero if answers is None else answers, zero, zero if outside is None else outside)


def test_a_new_combination_of_known_values_is_marked_and_few_known_rows_are() -> None:
    rows = along_a_line(1500, RNG)
    answers = rows.numeric[:, 0]
    trust = trusted(rows, RNG.normal(size=1500), answers)
    reach = Reach.fit(rows, answers)
    combined = numbers(np.array([0.2, 0.8]), np.array([0.8, 0.2]))
    assert (reach.distance(combined) == 0).all()
    assert not trust.inside(combined, np.array([[0.2], [0.8]]), reach).any()
    new = along_a_line(3000, RNG)
    inside = trust.inside(new, new.numeric[:, :1], reach)
    assert 0.5 * MARKED_SHARE < 1 - inside.mean() < 1.5 * MARKED_SHARE


def test_an_answer_beyond_those_given_is_marked_though_its_inputs_are_known() -> None:
    rows = along_a_line(500, RNG)
    answers = rows.numeric[:, 0]
    trust = trusted(rows, RNG.normal(size=500), answers)
    middle = numbers(np.array([0.5]), np.array([0.5]))
    reach = Reach.fit(rows, answers)
    assert trust.inside(middle, np.array([[0.5]]), reach).all()
    assert not trust.inside(middle, np.array([[1.5]]), reach).any()


def test_intervals_cover_their_level_and_are_wide_where_the_noise_is() -> None:
    rows = numbers(RNG.uniform(0, 1, 3000), RNG.uniform(0, 1, 3000))
    trust = trusted(rows, noisy(rows, RNG))
    intervals = trust.intervals[0]
    new = numbers(RNG.uniform(0, 1, 20_000), RNG.uniform(0, 1, 20_000))
    errors, expected = np.abs(noisy(new, RNG)), intervals.difficulty.expected(new)
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        covered = errors <= intervals.score(level) * expected
        assert covered.mean() == pytest.approx(level, abs=0.02)
        for part in (new.numeric[:, 0] > 0.5, new.numeric[:, 0] <= 0.5):
            assert covered[part].mean() == pytest.approx(level, abs=0.08)


def test_intervals_are_narrower_by_what_the_whole_gains() -> None:
    rows = numbers(RNG.uniform(0, 1, 500), RNG.uniform(0, 1, 500))
    errors = noisy(rows, RNG)
    parts, whole = (trusted(rows, errors, gain=gain).intervals[0] for gain in (1.0, 0.7))
    widths = [one.score(0.9) * one.difficulty.expected(rows) for one in (parts, whole)]
    np.testing.assert_allclose(widths[1], 0.7 * widths[0], rtol=1e-3)


def test_the_error_expected_of_one_of_few_rows_does_not_know_its_own() -> None:
    rows = numbers(RNG.uniform(0, 1, 300))
    errors = np.abs(noisy(rows, RNG))
    smallest = np.argmin(errors)
    changed = errors.copy()
    changed[smallest] = np.quantile(errors, 0.9)

    before, after = (Difficulty.fit(seen(rows, one), (), None, 0)[1] for one in (errors, changed))

    assert after[smallest] == before[smallest]
    assert (after != before).any()


@pytest.mark.parametrize(("n_rows", "n_learned_from"), [(400, [400, *[360] * 10]), (2500, [2500])])
def test_few_rows_are_judged_by_whole_forests_of_the_others(
    monkeypatch: pytest.MonkeyPatch, n_rows: int, n_learned_from: list[int]
) -> None:
    learned_from = []

    def counted(features: Floats, errors: Floats, settings: TreeSettings, seed: int) -> tuple[Forest | None, Floats]:
        learned_from.append(len(features))
        return cross_fit_forest(features, errors, settings, seed)

    monkeypatch.setattr("training.tabular.difficulty.cross_fit_forest", counted)
    rows = numbers(RNG.uniform(0, 1, n_rows))
    Difficulty.fit(seen(rows, np.abs(noisy(rows, RNG))), (), None, 0)

    assert learned_from == n_learned_from


def test_a_level_takes_the_next_that_is_carried_and_few_rows_carry_no_high_one() -> None:
    rows = numbers(RNG.uniform(0, 1, 60))
    intervals = trusted(rows, RNG.normal(size=60)).intervals[0]
    assert intervals.score(0.62) == intervals.score(0.65) > intervals.score(0.6)
    assert intervals.levels[-1] == max(level for level in LEVELS if np.ceil(level * 61) <= 60)
    assert intervals.score(0.999) == np.inf
    assert list(intervals.scores) == sorted(intervals.scores)


def test_the_expected_error_grows_outside_as_fast_as_on_the_tails() -> None:
    rows = numbers(RNG.uniform(0, 1, 400))
    errors = np.abs(RNG.normal(size=400))
    outside = RNG.uniform(0, 1, 500)
    tails = seen(numbers(1 + outside), np.abs(RNG.normal(size=500)) * (1 + 8 * outside), outside=outside)
    found = Difficulty.fit(seen(rows, errors), (), tails, 0)[0]
    flat = Difficulty.fit(seen(rows, errors), (), replace(tails, absolute=np.abs(RNG.normal(size=500))), 0)[0]
    assert 6 <= found.growth <= 12
    assert flat.growth <= 0.25
    reach = Reach(np.array([0.0]), np.array([1.0]), (0.0, 1.0))
    near, far = found(numbers(np.array([1.0, 2.0])), reach, np.array([0.5, 0.5]), np.zeros(2))
    assert far == pytest.approx(near * (1 + found.growth))
    assert Errors.joined([]) is None


@pytest.mark.parametrize("in_proportion", [False, True])
def test_errors_in_proportion_to_answers_are_expected_so(in_proportion: bool) -> None:
    rows = numbers(RNG.uniform(0, 1, 400))
    answers = RNG.uniform(2, 20, 400)
    errors = np.abs(RNG.normal(size=400)) * (answers if in_proportion else 5.0)
    found, expected = Difficulty.fit(seen(rows, errors, answers), (), None, 0, least_answer=2.0)
    assert found.least_answer == (2.0 if in_proportion else None)
    np.testing.assert_allclose(expected, 0.8 * (answers if in_proportion else 5.0), rtol=0.3)
    reach = Reach(np.array([0.0]), np.array([1.0]), (0.0, 1.0))
    committees = trusted(rows, 0.1 * errors * RNG.choice([-1, 1], 400), answers).intervals[0]
    assert committees.difficulty.least_answer is None
    far = found(numbers(np.full(3, 0.5)), reach, np.array([2000.0, 0.1, -2000.0]), np.zeros(3))
    np.testing.assert_allclose(far, far[1] * (np.array([1000.0, 1.0, 1.0]) if in_proportion else 1.0))


@pytest.mark.parametrize("positive", [False, True])
def test_a_law_has_shares_where_its_targets_are_positive(positive: bool) -> None:
    rng = np.random.default_rng(0)
    rows = numbers(*rng.uniform(1, 9, (2, 300)))
    a, b = rows.numeric.T
    targets = (a * b if positive else a - b) * (1 + 0.1 * rng.normal(size=300))
    law = fit_trunk(law_kind((((0, 1.0), (1, 1.0)),) if positive else (((0, 1.0),), ((1, 1.0),))), rows, (), targets)
    assert law is not None
    model = TargetModel((law.trunk,), None, None, Reach.fit(rows, targets), np.inf)
    fit = TabularFit(TabularModel((model,)), (), law.left_out[:, None], (None,), ())
    intervals = fit_trust(rows, (), targets[:, None], fit, gains=(1.0,)).intervals[0]
    assert intervals.difficulty.least_answer == (targets.min() if positive else None)
    assert (intervals.width(rows, model) > 0).all()


def test_what_a_law_may_be_off_is_expected_beside_the_scatter() -> None:
    rows, errors = numbers(RNG.uniform(0, 1, 3000)), np.abs(RNG.normal(size=3000))
    plain = Difficulty.fit(seen(rows, errors), (), None, 0)[0]
    reach = Reach(np.array([0.0]), np.array([1.0]), (0.0, 1.0))
    wide = plain(rows, reach, np.full(3000, 0.5), np.full(3000, 20.0))
    np.testing.assert_allclose(wide, np.hypot(plain.expected(rows), 20 * np.sqrt(2 / np.pi)))
    none, some = (
        Difficulty.fit(replace(seen(rows, errors), standard=np.full(3000, size)), (), None, 0)[1] for size in (0, 20)
    )
    np.testing.assert_allclose(some, np.hypot(none, 20 * np.sqrt(2 / np.pi)))
    outside = np.full(3000, 2.0)
    tails = replace(seen(rows, 20 * errors, outside=outside), standard=np.full(3000, 20.0))
    assert Difficulty.fit(seen(rows, errors), (), tails, 0)[0].growth == 0
    assert Difficulty.fit(seen(rows, errors), (), replace(tails, standard=np.zeros(3000)), 0)[0].growth > 4


@pytest.mark.parametrize("kind", ["added", "a factor"])
def test_intervals_of_a_law_hold_far_outside(kind: str) -> None:
    def draw(seed: int, far: float, n_rows: int) -> tuple[Rows, Floats]:
        rng = np.random.default_rng(seed)
        a, b, c = far * rng.uniform(1, 10, (3, n_rows))
        law, noise = a**2 / b, rng.normal(size=n_rows)
        return numbers(a, b, c), law + noise if kind == "added" else law * np.exp(0.1 * noise)

    rows, targets = draw(6, 1, 300)
    fit = fit_table_model(rows, (), targets[:, None])
    assert fit.model.targets[0].follows_law
    assert (fit.model.targets[0].forest, fit.model.targets[0].smooth) == (None, None)
    tails = fit.tails[0]  # of the law alone, as it has no residual
    assert tails is not None
    scatter = tails.absolute if kind == "added" else tails.absolute / tails.trunk / 0.1
    assert np.sqrt(np.mean(scatter**2)) < 1.02
    trust = fit_trust(rows, (), targets[:, None], fit)
    for far in (1, 4, 30):
        there, true = draw(100 + far, far, 2000)
        half = trust.intervals[0].score(0.9) * trust.intervals[0].width(there, fit.model.targets[0])
        answers = fit.model.predict(there)[:, 0]
        assert 0.86 <= np.mean(np.abs(true - answers) <= half) <= 0.96
        assert np.median(half / answers) < 0.3


def test_distances_are_to_the_nearest_landmark_and_levels_of_many_do_not_count() -> None:
    codes = np.stack([np.arange(100) % 2, np.arange(100) % 50], axis=1)
    rows = Rows(np.linspace(-1, 1, 100)[:, None], codes)
    landmarks = Landmarks.fit(rows, (2, 50), 0)
    assert landmarks.columns.width == 3
    assert landmarks.distance(rows).max() < 1e-6
    moved = Rows(rows.numeric[:1] - 2 * landmarks.columns.spread, np.array([[0, -1]]))
    assert landmarks.distance(moved)[0] == pytest.approx(2 / np.sqrt(3))
    assert (Landmarks.fit(Rows(np.zeros((5, 0)), codes[:5, 1:]), (50,), 0).distance(rows.take(np.arange(5))) == 0).all()
