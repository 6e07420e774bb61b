"""Least squares of a law: weights, an intercept where there is one, and what a row left out would have been told."""

import numpy as np
import pytest

from training.tabular.least_squares import fit_least_squares

RNG = np.random.default_rng(0)
PRODUCTS = RNG.uniform(1, 9, (200, 3)) * [1, 1e-6, 1e6]
WEIGHTS = np.array([2.0, -3e6, 5e-6])
NOISE = RNG.normal(size=200)


@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_a_law_without_intercept_is_given_none(spread: float) -> None:
    fit = fit_least_squares(PRODUCTS, PRODUCTS @ WEIGHTS + spread * NOISE)
    assert fit.intercept == 0
    np.testing.assert_allclose(fit.weights, WEIGHTS, rtol=1e-12 + 0.1 * spread)
    np.testing.assert_allclose(fit.left_out, PRODUCTS @ WEIGHTS, atol=1e-10 + spread)


@pytest.mark.parametrize("intercept", [4.0, -1e9])
def test_an_intercept_that_there_is_is_found(intercept: float) -> None:
    fit = fit_least_squares(PRODUCTS, PRODUCTS @ WEIGHTS + intercept + 0.1 * NOISE)
    assert fit.intercept == pytest.approx(intercept, abs=0.1)
    np.testing.assert_allclose(fit.weights, WEIGHTS, rtol=0.01)


@pytest.mark.parametrize("intercept", [0.0, 50.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_left_out_are_told_what_a_fit_without_them_says(intercept: float, weighted: bool) -> None:
    products, wanted = PRODUCTS[:30], PRODUCTS[:30] @ WEIGHTS + intercept + NOISE[:30]
    row_weights = np.linspace(0.5, 2, 30) if weighted else None
    fit = fit_least_squares(products, wanted, row_weights)
    assert (fit.intercept != 0) == (intercept != 0)
    for i in (0, 7, 29):
        others = np.arange(30) != i
        block = np.column_stack([products, np.ones(30)]) if intercept else products
        root = np.ones(30) if row_weights is None else np.sqrt(row_weights)
        scale = np.abs(block).max(axis=0)
        alone = np.linalg.lstsq((block / scale * root[:, None])[others], (wanted * root)[others])[0]
        assert fit.left_out[i] == pytest.approx(float(block[i] / scale @ alone), rel=1e-9)


def test_rows_that_are_not_used_are_answered_and_have_no_say() -> None:
    wanted = PRODUCTS @ WEIGHTS + NOISE
    used = np.arange(200) < 60
    fit = fit_least_squares(PRODUCTS, np.where(used, wanted, 1e9), used=used)
    alone = fit_least_squares(PRODUCTS[used], wanted[used])
    np.testing.assert_array_equal(fit.weights, alone.weights)
    assert fit.intercept == alone.intercept
    np.testing.assert_array_equal(fit.left_out[used], alone.left_out)
    np.testing.assert_array_equal(fit.left_out[~used], PRODUCTS[~used] @ fit.weights + fit.intercept)
    np.testing.assert_array_equal(fit.standard_error(PRODUCTS), alone.standard_error(PRODUCTS))
    few = fit_least_squares(PRODUCTS, wanted, used=np.arange(200) < 23)
    np.testing.assert_array_equal(few.weights, fit_least_squares(PRODUCTS, wanted).weights)


def test_terms_that_say_the_same_share_a_weight_and_empty_ones_have_none() -> None:
    one = PRODUCTS[:, :1]
    fit = fit_least_squares(np.hstack([one, one, 0 * one]), 6 * one[:, 0])
    assert fit.intercept == 0
    np.testing.assert_allclose(fit.weights, [3, 3, 0], rtol=1e-12)
    np.testing.assert_allclose(fit.left_out, 6 * one[:, 0], rtol=1e-12)


def test_a_constant_is_an_intercept() -> None:
    for products in (PRODUCTS, PRODUCTS[:, :0]):
        fit = fit_least_squares(products, np.full(200, 1e6))
        assert fit.intercept == pytest.approx(1e6)
        np.testing.assert_allclose(fit.standard_error(10 * products), 0.0, atol=1e-6)


@pytest.mark.parametrize("intercept", [0.0, 50.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_standard_error_is_the_scatter_of_sums_fitted_to_new_noise_far_outside_too(
    intercept: float, weighted: bool
) -> None:
    rng = np.random.default_rng(1)
    far = np.array([[20.0, 30e-6, 1e6], [5.0, 5e-6, 5e6], [-9.0, 9e-6, 90e6]])
    row_weights = rng.uniform(0.5, 2, 200) if weighted else None
    noise_size = PRODUCTS[:, 0]  # grows with a column
    sums, told = [], []
    for _ in range(400):
        wanted = PRODUCTS @ WEIGHTS + intercept + noise_size * rng.normal(size=200)
        fit = fit_least_squares(PRODUCTS, wanted, row_weights)
        sums.append(far @ fit.weights + fit.intercept)
        told.append(fit.standard_error(far))
    np.testing.assert_allclose(np.median(told, axis=0), np.std(sums, axis=0), rtol=0.15)
