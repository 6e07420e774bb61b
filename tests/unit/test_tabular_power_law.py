"""Power laws: found through noise, with their exponents, levels and constant."""

import numpy as np
import pytest

from tests.laws import N_CODES, PRICE, law_of, noise, priced, priced_rows, rows_of
from training.tabular.rows import Rows
from training.tabular.trunk_text import trunk_text
from training.tabular.trunks import KINDS, find_law, fit_trunk, law_kind


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


def test_a_power_law_goes_on_to_small_values_and_is_held_where_it_has_none() -> None:
    rows = priced_rows(600, 0)
    fit = fit_trunk(law_kind(PRICE, "log"), rows, (3,), priced(rows))
    assert fit is not None
    smallest = rows.numeric[:, :2].min(axis=0)
    given = np.full((6, 5), 5.0)
    given[[0, 1], [0, 1]] = [1e-3, 1e-3]
    given[[2, 3, 4, 5], [0, 0, 1, 1]] = [0, -2, 0, -2]
    told = given.copy()
    told[[2, 3, 4, 5], [0, 0, 1, 1]] = 0.1 * smallest[[0, 0, 1, 1]]
    codes = np.zeros((6, 1), dtype=np.int64)
    np.testing.assert_allclose(fit.trunk.predict(Rows(given, codes)), priced(Rows(told, codes)), rtol=1e-9)


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


@pytest.mark.parametrize(
    ("exponents", "text"), [((2, 1, -0.5), "a^2 * b * c^-0.5"), ((0.8, -1 / 3, 0.25), "a^0.8 * b^(-1/3) * c^0.25")]
)
def test_a_power_law_has_the_simple_exponents_that_the_rows_leave_no_doubt_about(
    exponents: tuple[float, ...], text: str
) -> None:
    rows = priced_rows(400, 0)
    targets = 3 * (rows.numeric[:, :3] ** exponents).prod(axis=1) * np.exp(0.02 * noise(400))
    fit = fit_trunk(law_kind((((0, 1.0),), ((1, 1.0),), ((2, 1.0),)), "log"), rows, (3,), targets)
    assert fit is not None
    assert trunk_text(fit.trunk, list("abcde"), [("grade", ("x", "y", "z"))]).split(" * ", 1)[1] == text


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
