"""Laws: the same few terms found again wherever they are looked for, and nothing where there is none."""

import numpy as np
import pytest

from training.tabular import trials
from training.tabular.fit import fit_table_model
from training.tabular.network_settings import NetworkSettings
from training.tabular.rows import Rows
from training.tabular.selection import choose
from training.tabular.terms import Law
from training.tabular.tree_settings import TreeSettings
from training.tabular.trials import kind_name, try_out
from training.tabular.trunk_text import trunk_text
from training.tabular.trunks import KINDS, Link, TrunkKind, find_law, fit_trunk, law_kind

N_CODES = (2,)
GRADE = 10
"""Number of the first level, behind five columns and their gaps."""

MIXED: Law = (((0, 1.0), (1, 1.0), (2, -1.0)), ((3, 0.5),), ((GRADE, 1.0),))


def rows_of(n_rows: int, seed: int, high: float = 9.0) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows(rng.uniform(1, high, (n_rows, 5)), rng.integers(0, 2, (n_rows, 1)))


def mixed(rows: Rows) -> np.ndarray:
    """3 a b / c − 8 √d + 5 where the level is the first: negative here and there, so that no logarithm is of use."""
    a, b, c, d, _ = rows.numeric.T
    return np.asarray(3 * a * b / c - 8 * np.sqrt(d) + 5 * (rows.codes[:, 0] == 0))


def noise(n_rows: int, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n_rows)


def law_of(rows: Rows, n_codes: tuple[int, ...], targets: np.ndarray, link: Link = "identity") -> Law | None:
    kind = find_law(rows, n_codes, targets, link)
    return None if kind is None else kind.law


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0])
def test_a_law_is_found_through_noise_and_goes_on_outside(spread: float) -> None:
    rows = rows_of(600, 0)
    targets = mixed(rows) + spread * noise(600)

    law = law_of(rows, N_CODES, targets)

    assert law == MIXED
    fit = fit_trunk(law_kind(law), rows, N_CODES, targets)
    assert fit is not None
    far = rows_of(200, 1, 18.0)
    np.testing.assert_allclose(fit.trunk.predict(far), mixed(far), rtol=1e-9 + 0.01 * spread, atol=1e-9 + 0.5 * spread)
    text = trunk_text(fit.trunk, list("abcde"), [("grade", ("x", "y"))])
    if spread == 0:
        assert text == '-8 * d^0.5 + 3 * a * b * c^-1 + 5 * (grade = "x")'


def test_a_law_is_found_where_no_step_explains_much_by_itself() -> None:
    n_finds = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = Rows(rng.uniform(1, 10, (700, 12)), np.zeros((700, 0), dtype=np.int64))
        a, b, c, d, e, f, *_ = rows.numeric.T
        truths = a * b * c / d**2 - 4 * e * f
        law = law_of(rows, (), truths + 0.1 * truths.std() * noise(700))
        n_finds += law == (((0, 1.0), (1, 1.0), (2, 1.0), (3, -2.0)), ((4, 1.0), (5, 1.0)))
    assert n_finds >= 7


def test_cubes_and_their_reciprocals_are_found() -> None:
    rows = rows_of(600, 0)
    a, b, c, d, _ = rows.numeric.T
    targets = 2 * a**3 / b + 900 * c / d**3
    law = law_of(rows, N_CODES, targets + 0.05 * targets.std() * noise(600))
    assert law == (((0, 3.0), (1, -1.0)), ((2, 1.0), (3, -3.0)))


def test_a_term_has_a_column_once() -> None:
    rows = rows_of(300, 0)
    law = law_of(rows, N_CODES, rows.numeric[:, 0] ** 5)
    assert law is not None
    assert all(len({factor for factor, _ in term}) == len(term) for term in law)


def test_columns_and_targets_of_any_size_have_laws() -> None:
    rows = rows_of(600, 0)
    targets = mixed(rows) + 0.1 * noise(600)
    sizes = np.array([1e-150, 1e150, 1e9, 1e-30, 1.0])
    assert law_of(Rows(rows.numeric * sizes, rows.codes), N_CODES, 1e140 * targets - 1e142) == MIXED


def test_rows_and_columns_of_which_nothing_is_known_have_no_law() -> None:
    rows = rows_of(600, 0)
    few = Rows(rows.numeric[:7], rows.codes[:7])
    assert law_of(few, N_CODES, mixed(few)) is None
    constant = Rows(np.full((600, 2), 3.0), np.zeros((600, 0), dtype=np.int64))
    assert law_of(constant, (), noise(600)) is None


def test_columns_that_say_the_same_stand_in_a_law_once() -> None:
    rows = rows_of(600, 0)
    twice = Rows(np.column_stack([rows.numeric, rows.numeric * 2]), rows.codes)
    law = law_of(twice, N_CODES, mixed(rows) + 0.1 * noise(600))
    assert law is not None
    assert [[(j % 5 if j < 10 else "grade", power) for j, power in term] for term in law] == [
        [(0, 1.0), (1, 1.0), (2, -1.0)],
        [(3, 0.5)],
        [("grade", 1.0)],
    ]


def test_columns_with_signs_have_the_powers_that_they_can() -> None:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(500, 3))
    targets = numeric[:, 0] * numeric[:, 1] - 2 * numeric[:, 2] ** 2 + 0.1 * noise(500)
    assert law_of(Rows(numeric, np.zeros((500, 0), dtype=np.int64)), (), targets) == (
        ((0, 1.0), (1, 1.0)),
        ((2, 2.0),),
    )


def test_a_law_is_looked_for_and_fitted_where_its_columns_have_values() -> None:
    rows = rows_of(600, 0)
    targets = mixed(rows) + 0.1 * noise(600)
    numeric = np.where(np.random.default_rng(3).random(rows.numeric.shape) < 0.15, np.nan, rows.numeric)
    gappy = Rows(numeric, rows.codes)
    assert law_of(gappy, N_CODES, targets) == MIXED
    fit = fit_trunk(law_kind(MIXED), gappy, N_CODES, targets)
    assert fit is not None
    far = rows_of(200, 1, 18.0)
    np.testing.assert_allclose(fit.trunk.predict(far), mixed(far), rtol=0.01, atol=0.1)
    known = ~np.isnan(numeric[:, :4]).any(axis=1)
    assert np.abs(fit.left_out - targets)[known].max() < 0.5
    np.testing.assert_allclose(fit.left_out[~known], fit.trunk.predict(gappy)[~known])


def test_a_column_that_is_seldom_known_has_no_powers_and_may_have_its_gaps() -> None:
    rows = rows_of(600, 0)
    numeric = rows.numeric.copy()
    numeric[np.arange(600) % 10 > 0, 4] = np.nan
    law = law_of(Rows(numeric, rows.codes), N_CODES, mixed(rows) + 7 * np.isnan(numeric[:, 4]) + 0.1 * noise(600))
    assert law == (*MIXED[:2], ((5 + 4, 1.0),), MIXED[2])


def test_a_law_is_the_same_on_rows_with_and_without_gaps() -> None:
    rows = rows_of(800, 0)
    targets = mixed(rows) + 0.1 * noise(800)
    numeric = rows.numeric.copy()
    numeric[::9, 4] = np.nan
    gappy = Rows(numeric, rows.codes)
    law = law_of(gappy, N_CODES, targets)
    assert law == MIXED
    gap = ((5 + 4, 1.0),)
    for given in (rows, gappy):
        fit = fit_trunk(law_kind((*law, gap)), given, N_CODES, targets + 7 * np.isnan(given.numeric[:, 4]))
        assert fit is not None
        answers = fit.trunk.predict(given)
        np.testing.assert_allclose(answers, mixed(rows) + 7 * np.isnan(given.numeric[:, 4]), atol=0.1)


def test_rows_of_no_weight_have_no_say() -> None:
    rows = rows_of(800, 0)
    targets = mixed(rows) + 0.1 * noise(800)
    targets[400:] = 7 * rows.numeric[400:, 4]
    weights = np.where(np.arange(800) < 400, 1.0, 1e-9)
    assert law_of(Rows(rows.numeric, rows.codes, weights), N_CODES, targets) == MIXED


def test_what_is_no_law_is_none() -> None:
    rows = rows_of(600, 0)
    assert law_of(rows, N_CODES, noise(600)) is None
    assert law_of(rows, N_CODES, np.full(600, 3.0)) is None


def test_outside_a_reciprocal_is_held_and_a_line_is_not() -> None:
    rows = rows_of(300, 0)
    a, b, *_ = rows.numeric.T
    fit = fit_trunk(law_kind((((0, -1.0),), ((1, 1.0),))), rows, N_CODES, 10 / a + b)
    assert fit is not None
    near = Rows(np.array([[0.2, 5, 5, 5, 5], [1e-9, 5, 5, 5, 5], [2, -1, 5, 5, 5]]), np.zeros((3, 1), dtype=np.int64))
    answers = fit.trunk.predict(near)
    assert answers[0] == pytest.approx(55, rel=1e-3)
    assert 100 < answers[1] < 110
    assert answers[2] == pytest.approx(4, rel=1e-3)
    far = Rows(np.array([[2, 900.0, 5, 5, 5]]), np.zeros((1, 1), dtype=np.int64))
    assert fit.trunk.predict(far)[0] == pytest.approx(905, rel=1e-3)


def test_a_law_that_most_folds_find_answers_alone() -> None:
    rows = rows_of(500, 0)
    targets = mixed(rows) + noise(500)

    tried = try_out(rows, N_CODES, targets, 0)
    choice = choose(tried, "balanced")

    assert sum(trial.laws.get("identity") == law_kind(MIXED) for trial in tried) >= len(tried) / 2
    assert [kind and kind.law for kind in choice.kinds] == [MIXED]
    assert not choice.wary
    assert choice.as_dict()["trunks"] == ["law"]
    assert choice.ranked() == choice.kinds
    model = fit_table_model(
        rows, N_CODES, targets[:, None], trees=TreeSettings(n_trees=40, n_ensembles=2),
        networks=NetworkSettings(n_members=2, d_hidden=16, n_steps=100),
    ).model  # fmt: skip
    far = rows_of(300, 1, 18.0)
    assert np.sqrt(np.mean((model.predict(far)[:, 0] - mixed(far)) ** 2)) < 0.5
    farther = Rows(np.array([[900.0, 800.0, 5.0, 5.0, 5.0]]), np.zeros((1, 1), dtype=np.int64))
    assert model.predict(farther)[0, 0] == pytest.approx(mixed(farther)[0], rel=0.01)


def test_where_the_first_folds_agree_on_nothing_the_others_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(300, 0)
    asked: list[Link] = []

    def another(_rows: object, _codes: object, _targets: object, link: Link) -> TrunkKind:
        asked.append(link)
        return law_kind((((0, float(len(asked))),),), link)

    monkeypatch.setattr(trials, "find_law", another)
    tried = try_out(rows, N_CODES, mixed(rows) + 100, 0)
    assert asked == ["identity"] * 4 + ["log"] * 4
    assert [len(trial.laws) for trial in tried] == [2 if place < 4 else 0 for place in range(len(tried))]
    monkeypatch.setattr(trials, "find_law", lambda *given: law_kind(MIXED, given[-1]))
    laws = {"identity": law_kind(MIXED), "log": law_kind(MIXED, "log")}
    assert all(trial.laws == laws for trial in try_out(rows, N_CODES, mixed(rows) + 100, 0))


def test_a_law_that_few_folds_find_or_that_is_worse_than_the_committee_has_no_voice() -> None:
    rows = rows_of(300, 0)
    targets = mixed(rows) + noise(300)
    tried = try_out(rows, N_CODES, targets, 0)
    few = (len(tried) - 1) // 2

    for place, trial in enumerate(tried):
        trial.laws = {"identity": law_kind(MIXED)} if place < few else {}
    assert "law" not in map(kind_name, choose(tried, "balanced").kinds)
    for trial in tried:
        trial.laws = {"identity": law_kind((((4, 2.0),),))}
    assert "law" not in map(kind_name, choose(tried, "balanced").kinds)
    for trial in tried:
        trial.laws = {"identity": law_kind(MIXED)}
    assert list(map(kind_name, choose(tried, "balanced").kinds)) == ["law"]
    assert "law" not in map(kind_name, choose([tried[0], tried[1]], "balanced").kinds)


def test_a_law_that_is_hardly_better_than_the_trees_alone_has_no_voice() -> None:
    rows = rows_of(300, 2)
    tried = try_out(rows, N_CODES, 10 + noise(300, 2), 2)
    law = law_kind((((4, 2.0),),))
    for trial in tried:
        trial.laws = {"identity": law}
    choice = choose(tried, "balanced")
    assert choice.kinds != (law,)
    better = [np.log(trial.trunk_error(trial.candidates[law]) / trial.reference) for trial in tried]
    assert -0.1 < np.mean(better) < choice.committee[0].score


PRICE: Law = (((0, 1.0),), ((1, 1.0),), ((11, 1.0),), ((12, 1.0),))
"""Two of five columns, and two of the three levels."""


def priced(rows: Rows, spread: float = 0.0) -> np.ndarray:
    """3 a^1.3 b^−0.7, 1.3 and 0.7 times as much where the level is the second or the third; the noise is multiplied."""
    a, b, *_ = rows.numeric.T
    level = np.array([1.0, 1.3, 0.7])[rows.codes[:, 0]]
    return np.asarray(3 * a**1.3 * b**-0.7 * level * np.exp(spread * noise(len(rows), 1)))


def priced_rows(n_rows: int, seed: int, high: float = 9.0) -> Rows:
    rows = rows_of(n_rows, seed, high)
    return Rows(rows.numeric, np.random.default_rng(seed).integers(0, 3, (n_rows, 1)))


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.3])
def test_a_power_law_is_found_through_noise_and_goes_on_outside(spread: float) -> None:
    rows = priced_rows(600, 0)
    law = find_law(rows, (3,), priced(rows, spread), "log")
    assert law == law_kind(PRICE, "log")
    fit = fit_trunk(law, rows, (3,), priced(rows, spread))
    assert fit is not None
    far = priced_rows(200, 1, 90.0)
    np.testing.assert_allclose(fit.trunk.predict(far), priced(far), rtol=1e-9 + 0.7 * spread)
    text = trunk_text(fit.trunk, list("abcde"), [("grade", ("x", "y", "z"))])
    if spread == 0:
        assert text == '3 * a^1.3 * b^-0.7 * exp(-0.3567 * (grade = "z") + 0.2624 * (grade = "y"))'


def test_whichever_level_is_left_out_a_power_law_is_the_same() -> None:
    rows = priced_rows(600, 0)
    targets = priced(rows, 0.1)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        given = Rows(rows.numeric, np.array(order)[rows.codes])
        assert law_of(given, (3,), targets, "log") == PRICE
    one_level = targets * np.where(rows.codes[:, 0] == 2, 1 / 0.7, 1.0) / np.where(rows.codes[:, 0] == 1, 1.3, 1.0)
    assert law_of(rows, (3,), one_level * np.where(rows.codes[:, 0] == 0, 2.0, 1.0), "log") == (
        *PRICE[:2],
        ((10, 1.0),),
    )


def test_a_power_law_has_positive_columns_only_and_positive_targets() -> None:
    rows = rows_of(600, 0)
    numeric = rows.numeric.copy()
    targets = numeric[:, 0] ** 2
    numeric[:, 1:] -= 5
    assert law_of(Rows(numeric, rows.codes), N_CODES, targets, "log") == (((0, 1.0),),)
    assert law_of(Rows(numeric[:, 1:], rows.codes[:, :0]), (), np.exp(numeric[:, 1]), "log") is None
    for smallest in (0.0, -1.0):
        bad = np.where(np.arange(600) == 7, smallest, targets)
        assert law_of(rows, N_CODES, bad, "log") is None


def test_a_power_law_is_looked_for_and_fitted_where_its_columns_have_values() -> None:
    rows = priced_rows(600, 0)
    targets = priced(rows, 0.01)
    numeric = np.where(np.random.default_rng(3).random(rows.numeric.shape) < 0.15, np.nan, rows.numeric)
    law = find_law(Rows(numeric, rows.codes), (3,), targets, "log")
    assert law == law_kind(PRICE, "log")
    fit = fit_trunk(law, Rows(numeric, rows.codes), (3,), targets)
    assert fit is not None
    far = priced_rows(200, 1, 90.0)
    np.testing.assert_allclose(fit.trunk.predict(far), priced(far), rtol=0.01)
    complete = fit_trunk(law, rows, (3,), targets)
    assert complete is not None
    np.testing.assert_allclose(complete.trunk.predict(far), priced(far), rtol=0.01)


def test_a_power_law_has_the_simple_exponents_that_the_rows_leave_no_doubt_about() -> None:
    rows = priced_rows(400, 0)
    a, b, c, *_ = rows.numeric.T
    targets = 3 * a**2 * b / np.sqrt(c) * np.exp(0.05 * noise(400))
    fit = fit_trunk(law_kind((((0, 1.0),), ((1, 1.0),), ((2, 1.0),)), "log"), rows, (3,), targets)
    assert fit is not None
    assert trunk_text(fit.trunk, list("abcde"), [("grade", ("x", "y", "z"))]).split(" * ", 1)[1] == "a^2 * b * c^-0.5"


@pytest.mark.parametrize("kind", ["a factor", "added"])
def test_the_constant_of_a_power_law_follows_its_noise(kind: str) -> None:
    rng = np.random.default_rng(5)
    numeric = np.exp(rng.uniform(0, np.log(30), (300, 3)))
    true = numeric[:, 0] * numeric[:, 1] / numeric[:, 2] if kind == "a factor" else 10 * np.sqrt(numeric[:, 0])
    targets = true * np.exp(0.1 * rng.normal(size=300)) if kind == "a factor" else true + 2 * rng.normal(size=300)
    assert targets.min() > 0
    fit = fit_trunk(
        law_kind((((0, 1.0),), ((1, 1.0),), ((2, 1.0),)) if kind == "a factor" else (((0, 1.0),),), "log"),
        Rows(numeric, np.zeros((300, 0), dtype=np.int64)), (), targets,
    )  # fmt: skip
    assert fit is not None
    fitted = fit.left_out / fit.trunk.factor
    least_squares, mean = float(fitted @ targets / (fitted @ fitted)), float(np.mean(targets / fitted))
    assert abs(least_squares - mean) > 0.003
    assert fit.trunk.factor == pytest.approx(mean if kind == "a factor" else least_squares, rel=1e-12)
    power_law = next(one for one in KINDS if one.name == "power law")  # of a committee, whose errors are of any kind
    rows = Rows(numeric, np.zeros((300, 0), dtype=np.int64))
    voice = fit_trunk(power_law, rows, (), targets)
    assert voice is not None
    assert not voice.trunk.standard_error(rows).any()
    fitted = voice.left_out / voice.trunk.factor
    assert voice.trunk.factor == pytest.approx(float(fitted @ targets / (fitted @ fitted)), rel=1e-12)


def test_a_power_law_that_most_folds_find_answers_alone_however_far_outside() -> None:
    rows = priced_rows(500, 0)
    targets = priced(rows, 0.05)
    fit = fit_table_model(
        rows, (3,), targets[:, None], trees=TreeSettings(n_trees=40, n_ensembles=2),
        networks=NetworkSettings(n_members=2, d_hidden=16, n_steps=100),
    )  # fmt: skip
    assert fit.choices[0].kinds == (law_kind(PRICE, "log"),)
    far = Rows(np.array([[9e5, 5.0, 5, 5, 5], [5.0, 0.2, 5, 5, 5]]), np.array([[2], [0]]))
    np.testing.assert_allclose(fit.model.predict(far)[:, 0], priced(far), rtol=0.1)
    gone = Rows(np.array([[1e300, 1e-300, 5, 5, 5]]), np.array([[0]]))
    assert np.isfinite(fit.model.predict(gone)).all()


def test_a_law_is_judged_without_a_residual() -> None:
    rows = priced_rows(300, 0)
    law = law_kind(PRICE, "log")
    targets = priced(rows, 0.1)
    tried = try_out(rows, (3,), targets, 0)
    for trial in tried:
        trial.laws = {"log": law, "identity": law_kind((((4, 2.0),),))}
    assert choose(tried, "balanced").kinds == (law,)
    tried = try_out(rows, (3,), targets * np.where(np.sin(rows.numeric[:, 2] * 2) > 0, 1.3, 0.7), 0)
    for trial in tried:
        trial.laws = {"log": law}
    assert law not in choose(tried, "balanced").kinds
    rows, sums = rows_of(300, 0), law_kind(MIXED)
    tried = try_out(rows, N_CODES, mixed(rows) + 20 * (rows.numeric[:, 4] > 5), 0)
    for trial in tried:
        trial.laws = {"identity": sums}  # with trees, which know the step, by far the best
    assert sums not in choose(tried, "balanced").kinds


def test_on_tails_a_law_goes_as_far_as_the_model_lets_it() -> None:
    rows = priced_rows(300, 0)
    targets, law = priced(rows, 0.05) ** 3, law_kind(PRICE, "log")
    trial = next(one for one in try_out(rows, (3,), targets, 0) if one.fold.name == "top of the target")
    trial.try_kind(law)
    true = targets[trial.fold.held_out]

    alone, both = (trial.outside_errors((law,), np.inf, False, has_residual) for has_residual in (False, True))

    np.testing.assert_array_equal(alone.absolute, np.abs(alone.trunk - true))
    assert np.median(alone.absolute / true) < 0.2
    assert alone.outside.max() > 3
    assert trial.trunk_error(trial.candidates[law]) == pytest.approx(np.sqrt(np.mean(alone.absolute**2)))
    assert (alone.standard > 0).all()
    assert (both.absolute != alone.absolute).any()
    committee = trial.outside_errors((None,), np.inf, False, True)
    assert not committee.standard.any()


def test_of_two_laws_the_sum_of_products_answers() -> None:
    rows = rows_of(300, 0)
    a, b, c, *_ = rows.numeric.T
    tried = try_out(rows, N_CODES, 2 * a * b / c * np.exp(0.05 * noise(300)), 0)
    assert sum(len(trial.laws) == 2 for trial in tried) > 4
    choice = choose(tried, "balanced")
    assert choice.kinds == (law_kind((((0, 1.0), (1, 1.0), (2, -1.0)),)),)


def test_the_smallest_target_decides_whether_there_are_logarithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_ROWS", 300)
    rows = priced_rows(5000, 0)
    targets = priced(rows, 0.05)
    targets[4321] = 0.0
    zero = choose(try_out(rows, (3,), targets, 0), "balanced")
    assert not any(kind is not None and kind.law for kind in zero.kinds)
    targets[4321] = -1.0
    negative = choose(try_out(rows, (3,), targets, 0), "balanced")
    assert all(kind is not None and kind.link == "identity" for kind in negative.kinds)
