"""Solvers of the exact fit, against independent answers."""

from itertools import product

import numpy as np
import pytest
from mpmath import mp, mpf

from training.fitting.bilinear import fit_product
from training.fitting.evidence import pattern
from training.fitting.law import Floats, stack
from training.fitting.linear_domain import least_squares
from training.fitting.log_domain import fit_powers
from training.fitting.null_space import fit_quotient
from training.fitting.snapping import POWER_GRID, SUM_GRID, lattice


def rows(n: int, d: int, low: float = 1.0, high: float = 2.0, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(low, high, (n, d))


def test_least_squares_agrees_with_normal_equations_across_magnitudes() -> None:
    x = rows(40, 3)
    weights = least_squares(x * [1e-30, 1.0, 1e30], x @ [1.0, -2.0, 0.5])
    assert weights is not None
    np.testing.assert_allclose(weights * [1e-30, 1.0, 1e30], [1.0, -2.0, 0.5], rtol=1e-12)


def test_least_squares_gives_nothing_where_rows_do_not_determine_the_weights() -> None:
    x = rows(40, 2)
    assert least_squares(np.column_stack([x, x[:, 0]]), x[:, 0]) is None
    assert least_squares(np.column_stack([x, np.zeros(40)]), x[:, 0]) is None
    assert least_squares(x[:1], x[:1, 0]) is None


def test_powers_with_signs_and_magnitudes() -> None:
    generator = np.random.default_rng(1)
    x = 10 ** generator.uniform(-30, 30, (50, 2)) * generator.choice([-1, 1], (50, 2))
    fitted = fit_powers(x, x[:, 0] / x[:, 1])
    assert fitted is not None
    np.testing.assert_allclose(fitted[0], [1, -1], atol=1e-13)


def test_an_input_that_is_zero_where_the_result_is_not_has_no_power() -> None:
    x = np.random.default_rng(2).integers(-3, 4, (60, 4)).astype(np.float64)
    fitted = fit_powers(x, x[:, 0] * x[:, 2])
    assert fitted is not None
    np.testing.assert_allclose(fitted[0], [1, 0, 1, 0], atol=1e-12)
    assert fitted[0][1] == 0


def test_quotient_spans_the_null_space() -> None:
    x = rows(60, 5, -2, 2)
    u, v = np.array([1.0, 1, 0, 0, 0]), np.array([0, 1.0, 1, 0, -1])
    fitted = fit_quotient(x, (x @ u) / (x @ v))
    assert fitted is not None
    factor = fitted[0][0]
    np.testing.assert_allclose(np.stack(fitted) / factor, [u, v], atol=1e-9)
    assert fit_quotient(x[:9], (x @ u)[:9]) is None


@pytest.mark.parametrize(("low", "high"), [(1.0, 2.0), (-2.0, 2.0), (1.1, 1.2), (1e-30, 2e-30)])
def test_product_of_sums_reaches_rounding(low: float, high: float) -> None:
    x = rows(400, 12, low, high)
    u, v = np.zeros(12), np.zeros(12)
    u[:6], v[3:9] = 1, 1
    y = (x @ u) * (x @ v)
    fitted = fit_product(x, y, n_restarts=6, max_iterations=300, generator=np.random.default_rng(0))
    assert fitted.loss < 1e-20
    predicted = (x @ fitted.first) * (x @ fitted.second)
    np.testing.assert_allclose(predicted, y, atol=1e-8 * np.abs(y).max())


def test_grid_rounds_to_the_nearest_value() -> None:
    for weight in np.random.default_rng(3).uniform(-11, 11, 200):
        nearest = SUM_GRID.values[np.argmin(np.abs(SUM_GRID.values - weight))]
        assert SUM_GRID.round(np.array([weight]))[0] == nearest
    assert (np.diff(POWER_GRID.values) > 0).all()
    assert POWER_GRID.cost(np.zeros(3)) == 0


def test_lattice_finds_what_trying_everything_finds() -> None:
    generator = np.random.default_rng(4)
    for _ in range(10):
        root = generator.normal(size=(2, 2))
        precision = root.T @ root * 40 + 0.1 * np.eye(2)
        centre = generator.normal(size=2)

        def price(point: Floats, centre: Floats = centre, precision: Floats = precision) -> float:
            return float(0.5 * (point - centre) @ precision @ (point - centre)) + POWER_GRID.cost(point)

        best = min(price(np.array(pair)) for pair in product(POWER_GRID.values, repeat=2))
        found = lattice(centre, precision, (POWER_GRID, POWER_GRID))[0]
        assert price(found) == pytest.approx(best)


def test_rounding_bound_holds_against_many_digits() -> None:
    x = rows(200, 6, -2, 2)
    law = stack("quotient of sums", [("sum", np.array([[1.0] * 6, [0, 1, 0, 1, 0, -1]])), ("power", np.array([1, -1]))])
    with mp.workdps(50):
        exact = [
            sum(mpf(v) for v in row.tolist()) / (mpf(float(row[1])) + mpf(float(row[3])) - mpf(float(row[5])))
            for row in x
        ]
        error = np.array(
            [float(abs(mpf(float(got)) - right)) for got, right in zip(law.evaluate(x), exact, strict=True)]
        )
    bound = law.rounding_bound(x)
    assert (error <= 4 * bound).all()
    assert np.median(bound / np.abs(law.evaluate(x))) < 1e-14


def test_a_pattern_is_seen_and_none_is_not_imagined() -> None:
    generator = np.random.default_rng(5)
    x = rows(300, 10, -2, 2, seed=5)
    noise = generator.normal(size=(40, 300))
    none = [pattern(x, x[:, 0], one) for one in noise]
    assert max(none) < 4
    assert pattern(x, x[:, 0], noise[0] + 2 * x[:, 3] * x[:, 7]) > 5
    assert pattern(x, x[:, 0], noise[0] + x[:, 0] ** 3) > 5
