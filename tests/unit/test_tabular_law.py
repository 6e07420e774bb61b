"""Sums of products of powers: the same few terms found again wherever they are looked for."""

import numpy as np
import pytest

from tests.laws import MIXED, N_CODES, law_of, mixed, noise, rows_of
from training.tabular.rows import Rows
from training.tabular.trunk_text import trunk_text
from training.tabular.trunks import fit_trunk, law_kind


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
        assert text == '3 * a * b * c^-1 + 5 * (grade = "x") - 8 * d^0.5'


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


def test_a_reciprocal_goes_on_to_small_values_and_is_held_where_it_has_none() -> None:
    rows = rows_of(300, 0)
    a, b, *_ = rows.numeric.T
    fit = fit_trunk(law_kind((((0, -1.0),), ((1, 1.0),))), rows, N_CODES, 10 / a + b)
    assert fit is not None
    near = np.array([[0.2, 5], [1e-4, 5], [0, 5], [-3, 5], [2, -1], [2, 900]])
    given = Rows(np.column_stack([near, np.full((6, 3), 5.0)]), np.zeros((6, 1), dtype=np.int64))
    tenth = 10 / (0.1 * a.min()) + 5
    np.testing.assert_allclose(fit.trunk.predict(given), [55, 100_005, tenth, tenth, 4, 905], rtol=1e-6)
