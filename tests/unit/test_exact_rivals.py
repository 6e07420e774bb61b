"""A law found through noise must stand against every other formula that the rows may come from."""

from collections.abc import Callable

import numpy as np
import pytest

from training.fitting.evidence import LEVEL_WIDTH, constant_likelihood, likelihood
from training.fitting.exact import ExactSettings, Found, NotFound, fit_exact
from training.fitting.law import Floats, stack
from training.fitting.noisy import Guess
from training.fitting.rivals import Rival, rivals
from training.fitting.verdict import scored, verdict

NAMES = ("a", "b", "c", "d", "e", "f", "g", "speed [m/s]")
SUMS_AND_POWERS = ExactSettings(structures=("sum", "power", "scaled power", "power of a sum"))


def rows(seed: int, n: int, low: float, high: float, d: int = 2) -> Floats:
    return np.random.default_rng(seed).uniform(low, high, (n, d))


def beside(x: Floats, y: Floats, law: Floats, used: list[int]) -> tuple[list[Rival], float]:
    found = likelihood(y, law)
    assert found is not None
    return rivals(x, y, np.array(used), law, found, 10.0, NAMES[: x.shape[1]]), found.total - 10.0


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda x: np.sin(x[:, 0]), "sin(a)"),
        (lambda x: x[:, 0] * x[:, 1] + x[:, 0], "a + a * b"),
        (lambda x: 1 / (1 / x[:, 0] + 1 / x[:, 1]), "(a^-1 + b^-1)^-1"),
        (lambda x: np.exp(-x[:, 0]) * x[:, 1], "exp(-a) * b"),
        (lambda x: 1.137 * x[:, 0] + x[:, 1], "1.136 * a + b"),
        (lambda x: 0.71 * x[:, 1] ** 1.5, "0.7096 * b^1.5"),
    ],
)
def test_formulas_outside_the_structures_are_among_the_rivals(compute: Callable[[Floats], Floats], text: str) -> None:
    x = rows(0, 400, 1, 3)
    truth = compute(x)
    y = truth * (1 + 0.01 * np.random.default_rng(1).normal(size=400))
    law = truth * (1 + 0.003 * np.cos(7 * x[:, 0]))  # near the truth, and not it
    found, own = beside(x, y, law, [0, 1])
    best = found[0]
    assert text in best.text
    assert best.score > own
    np.testing.assert_allclose(best.predictions, truth, rtol=2e-3)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_the_price_of_a_plane_is_that_of_its_prior() -> None:
    """Against the integral of the likelihood over the prior, on a grid."""
    x, noise = rows(2, 60, 1, 2, d=1), np.random.default_rng(3).normal(size=60)
    y = 1 + x[:, 0] + 0.2 * noise
    found, _ = beside(x, y, 1 + x[:, 0], [0])
    plane = next(one for one in found if one.text == "a plane")
    typical, middle = np.median(np.abs(y)), np.median(np.abs(x))
    levels, slopes = np.linspace(1.0, 1.5, 40) * y.mean(), np.linspace(-1, 4, 40)
    levels -= 0.25 * y.mean()
    total = [
        here.total
        for level in levels
        for slope in slopes
        if (here := likelihood(y, level + slope * (x[:, 0] - x.mean()))) is not None
    ]
    area = (levels[1] - levels[0]) * (slopes[1] - slopes[0])
    prior = LEVEL_WIDTH * typical * 8 * typical / middle
    expected = float(np.logaddexp.reduce(total) + np.log(area / prior)) - 3.0  # for being a sum
    assert plane.score == pytest.approx(expected, abs=0.3)


def test_the_price_of_a_constant_is_that_of_its_prior() -> None:
    y = 2 + 0.3 * np.random.default_rng(4).normal(size=80)
    levels = np.linspace(1.5, 2.5, 200)
    total = [found.total for level in levels if (found := likelihood(y, np.full(80, level))) is not None]
    prior = LEVEL_WIDTH * float(np.median(y))
    expected = float(np.logaddexp.reduce(total) + np.log((levels[1] - levels[0]) / prior))
    assert constant_likelihood(y) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize(
    ("compute", "low", "high", "noise", "n"),
    [
        (lambda x: x[:, 0] * x[:, 1] + x[:, 0], 1.1, 1.2, 0.01, 128),
        (lambda x: np.sqrt(x[:, 0]) + x[:, 1], 0.1, 0.2, 0.1, 512),
        (lambda x: np.log1p(x[:, 0] + x[:, 1]), 1, 2, 0.1, 512),
        (lambda x: np.sin(x[:, 0] + x[:, 1]), 1.1, 1.2, 0.1, 512),
    ],
)
def test_what_a_law_only_approximates_is_not_found(
    compute: Callable[[Floats], Floats], low: float, high: float, noise: float, n: int
) -> None:
    for seed in range(2):
        x = rows(seed, n, low, high)
        y = compute(x) * (1 + noise * np.random.default_rng(100 + seed).normal(size=n))
        assert isinstance(fit_exact(x, y, seed=seed, settings=SUMS_AND_POWERS), NotFound)


def test_a_term_that_cannot_be_seen_does_not_speak_against_a_law() -> None:
    """On U[0,1e-4], 1 / a + b is 1 / a to within a billionth."""
    x = rows(5, 400, 0, 1e-4)
    y = (1 / x[:, 0]) * (1 + 0.05 * np.random.default_rng(6).normal(size=400))
    assert isinstance(fit_exact(x, y, seed=0, settings=SUMS_AND_POWERS), Found)


def test_a_law_of_many_inputs_is_held_against_a_plane() -> None:
    x = rows(7, 300, 1, 2, d=8)
    law = x[:, :6].sum(axis=1)
    y = law * (1 + 0.02 * np.random.default_rng(8).normal(size=300))
    found, own = beside(x, y, law, list(range(6)))
    assert [one.text for one in found] == ["a plane"]
    assert found[0].score < own
    assert isinstance(fit_exact(x, y, seed=0, settings=SUMS_AND_POWERS), Found)


def test_a_law_further_from_held_out_rows_than_from_fitted_ones_is_not_found() -> None:
    """Nothing but the rows held out speaks against it."""
    generator = np.random.default_rng(9)
    x = rows(9, 400, 1, 3)
    law = x[:, 0] * x[:, 1]
    guess = Guess(stack("power", [("power", np.ones(2))]), stack("power", [("power", np.ones(2))]), 4.0)
    held_out = np.arange(100)
    y = law * (1 + 0.02 * generator.normal(size=400))
    assert verdict(scored([guess], x, y), x, y, held_out, NAMES) is None
    y[held_out] = law[held_out] * (1 + 0.1 * generator.normal(size=100))
    fault = verdict(scored([guess], x, y), x, y, held_out, NAMES)
    assert fault is not None
    assert "held-out rows worse" in fault


def test_what_is_left_of_a_pattern_speaks_against_a_law() -> None:
    """A product of inputs that no rival has, since neither goes with the results: only the residuals show it."""
    x = rows(10, 1000, 1, 3, d=8)
    noise = 0.05 * np.random.default_rng(10).normal(size=1000)
    law = x[:, 0] * x[:, 1] * x[:, 2] * x[:, 3]
    powers = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
    guess = Guess(stack("power", [("power", powers)]), stack("power", [("power", powers)]), 8.0)
    plain = law * (1 + noise)
    assert verdict(scored([guess], x, plain), x, plain, np.arange(250), NAMES) is None
    y = law * (1 + 0.05 * (x[:, 6] - 2) * (x[:, 7] - 2) + noise)
    fault = verdict(scored([guess], x, y), x, y, np.arange(250), NAMES)
    assert fault is not None
    assert "a pattern in its residuals" in fault
