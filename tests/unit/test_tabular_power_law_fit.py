"""Exponents of power laws: simple where the rows leave no doubt, and as fitted otherwise."""

import numpy as np
import pytest

from training.tabular.least_squares import fit_least_squares
from training.tabular.power_law_fit import fit_power_law
from training.tabular.rows import Floats

RNG = np.random.default_rng(0)
N_ROWS = 400
SPREADS = np.array([0.5, 2.0, np.nan, 1.0])
LOGARITHMS = np.column_stack([RNG.normal(size=(N_ROWS, 2)), RNG.integers(0, 2, N_ROWS), RNG.normal(size=N_ROWS)])
EVERY = np.ones(N_ROWS, dtype=np.bool_)
NOISE = RNG.normal(size=N_ROWS)


def wanted(exponents: tuple[float, float, float], noise: float) -> Floats:
    """Logarithms of targets of a law with an indicator of weight 0.3 and a constant of 4."""
    weights = np.array([exponents[0], exponents[1], 0.3, exponents[2]]) * np.where(np.isnan(SPREADS), 1, SPREADS)
    return np.asarray(LOGARITHMS @ weights + 4 + noise * NOISE)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_simple_exponents_are_told_exactly_and_what_is_left_is_fitted(noise: float, weighted: bool) -> None:
    row_weights = RNG.uniform(0.5, 2, N_ROWS) if weighted else None
    fit = fit_power_law(LOGARITHMS, SPREADS, wanted((1, -1.5, 2), noise), row_weights, EVERY)
    np.testing.assert_array_equal(fit.weights[[0, 1, 3]], [0.5, -3.0, 2.0])
    assert fit.weights[2] == pytest.approx(0.3, abs=1e-9 + 0.2 * noise)
    assert fit.intercept == pytest.approx(4, abs=1e-9 + 0.2 * noise)
    np.testing.assert_allclose(fit.left_out, wanted((1, -1.5, 2), 0), atol=1e-9 + 0.3 * noise)
    rest = fit_least_squares(LOGARITHMS[:, 2:3], wanted((0, 0, 0), noise), row_weights)
    np.testing.assert_allclose([fit.weights[2], fit.intercept], [rest.weights[0], rest.intercept], rtol=1e-9)
    far = np.array([[100.0, -100, 0, 50], [0, 0, 0, 0]])
    assert np.ptp(fit.standard_error(far)) <= 1e-9  # of the constant, however far
    assert noise == 0 or 0.5 * noise < 20 * fit.standard_error(far)[0] < 3 * noise


@pytest.mark.parametrize("exponents", [(0.8, 0.4, -1), (1 / 3, -2 / 3, 1), (0.25, 1.75, -1), (0.8, 1 / 3, -0.25)])
def test_simple_are_thirds_quarters_and_tenths_too_and_some_of_each(exponents: tuple[float, float, float]) -> None:
    fit = fit_power_law(LOGARITHMS, SPREADS, wanted(exponents, 0.02), None, EVERY)
    np.testing.assert_allclose(fit.weights[[0, 1, 3]], np.array(exponents) * SPREADS[[0, 1, 3]], rtol=1e-12)


@pytest.mark.parametrize("exponents", [(1.13, -1.5, 2), (1, -1.5, 0), (0.8, 0.33, 2.2)])
def test_other_exponents_are_as_least_squares_has_them(exponents: tuple[float, float, float]) -> None:
    targets = wanted(exponents, 0.02)
    fit, plain = fit_power_law(LOGARITHMS, SPREADS, targets, None, EVERY), fit_least_squares(LOGARITHMS, targets)
    np.testing.assert_array_equal(fit.weights, plain.weights)
    np.testing.assert_array_equal(fit.left_out, plain.left_out)


def test_where_exponents_are_hardly_known_none_is_called_simple() -> None:
    fit = fit_power_law(LOGARITHMS, SPREADS, wanted((1, -1.5, 2), 3.0), None, EVERY)
    assert fit.weights[0] != 0.5


@pytest.mark.parametrize(("bayes_factor", "simple"), [(100, False), (200, True)])
def test_there_is_no_doubt_beyond_a_bayes_factor_of_150(bayes_factor: float, simple: bool) -> None:
    column = LOGARITHMS[:, :1] - LOGARITHMS[:, 0].mean()
    noise = NOISE - NOISE.mean()
    noise -= column[:, 0] * (noise @ column[:, 0]) / (column[:, 0] @ column[:, 0])  # the estimate is the number itself
    error = fit_least_squares(column, 2 * column[:, 0] + 50 + noise).standard_error(np.array([[1.0], [0.0]]))
    of_slope = np.sqrt(error[0] ** 2 - error[1] ** 2)
    size = 0.5 / np.sqrt(2 * np.pi) / bayes_factor / of_slope
    fit = fit_power_law(column, np.ones(1), 2 * column[:, 0] + 50 + size * noise, None, EVERY)
    far = fit.standard_error(np.array([[100.0], [0.0]]))
    assert (far[0] == far[1]) == simple


def test_a_law_of_indicators_alone_has_no_exponents() -> None:
    levels = LOGARITHMS[:, 2:3]
    fit = fit_power_law(levels, np.array([np.nan]), 2 * levels[:, 0] + 0.1 * NOISE, None, EVERY)
    assert fit.weights[0] == pytest.approx(2, abs=0.05)


def test_few_laws_with_other_exponents_look_simple() -> None:
    n_simple = 0
    for _ in range(300):
        exponents = RNG.uniform(0.3, 2.5, 2)
        logarithms = RNG.normal(size=(60, 2))
        targets = logarithms @ exponents + 0.1 * RNG.normal(size=60)
        fit = fit_power_law(logarithms, np.ones(2), targets, None, np.ones(60, dtype=np.bool_))
        n_simple += bool((fit.weights != fit_least_squares(logarithms, targets).weights).all())
    assert n_simple <= 6
