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
    weights, intercept, left_out = fit_least_squares(PRODUCTS, PRODUCTS @ WEIGHTS + spread * NOISE)
    assert intercept == 0
    np.testing.assert_allclose(weights, WEIGHTS, rtol=1e-12 + 0.1 * spread)
    np.testing.assert_allclose(left_out, PRODUCTS @ WEIGHTS, atol=1e-10 + spread)


@pytest.mark.parametrize("intercept", [4.0, -1e9])
def test_an_intercept_that_there_is_is_found(intercept: float) -> None:
    weights, found, _ = fit_least_squares(PRODUCTS, PRODUCTS @ WEIGHTS + intercept + 0.1 * NOISE)
    assert found == pytest.approx(intercept, abs=0.1)
    np.testing.assert_allclose(weights, WEIGHTS, rtol=0.01)


@pytest.mark.parametrize("intercept", [0.0, 50.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_left_out_are_told_what_a_fit_without_them_says(intercept: float, weighted: bool) -> None:
    products, wanted = PRODUCTS[:30], PRODUCTS[:30] @ WEIGHTS + intercept + NOISE[:30]
    row_weights = np.linspace(0.5, 2, 30) if weighted else None
    _, found, left_out = fit_least_squares(products, wanted, row_weights)
    assert (found != 0) == (intercept != 0)
    for i in (0, 7, 29):
        others = np.arange(30) != i
        block = np.column_stack([products, np.ones(30)]) if intercept else products
        root = np.ones(30) if row_weights is None else np.sqrt(row_weights)
        scale = np.abs(block).max(axis=0)
        alone = np.linalg.lstsq((block / scale * root[:, None])[others], (wanted * root)[others])[0]
        assert left_out[i] == pytest.approx(float(block[i] / scale @ alone), rel=1e-9)


def test_rows_that_are_not_used_are_answered_and_have_no_say() -> None:
    wanted = PRODUCTS @ WEIGHTS + NOISE
    used = np.arange(200) < 60
    weights, intercept, left_out = fit_least_squares(PRODUCTS, np.where(used, wanted, 1e9), used=used)
    alone = fit_least_squares(PRODUCTS[used], wanted[used])
    np.testing.assert_array_equal(weights, alone[0])
    assert intercept == alone[1]
    np.testing.assert_array_equal(left_out[used], alone[2])
    np.testing.assert_array_equal(left_out[~used], PRODUCTS[~used] @ weights + intercept)
    few = fit_least_squares(PRODUCTS, wanted, used=np.arange(200) < 23)
    np.testing.assert_array_equal(few[0], fit_least_squares(PRODUCTS, wanted)[0])


def test_terms_that_say_the_same_share_a_weight_and_empty_ones_have_none() -> None:
    one = PRODUCTS[:, :1]
    weights, intercept, left_out = fit_least_squares(np.hstack([one, one, 0 * one]), 6 * one[:, 0])
    assert intercept == 0
    np.testing.assert_allclose(weights, [3, 3, 0], rtol=1e-12)
    np.testing.assert_allclose(left_out, 6 * one[:, 0], rtol=1e-12)
