"""Factored laws: the family and its fit, its numbers, and what the search finds with it and must not find."""

from collections.abc import Callable
from math import pi

import numpy as np
import pytest
from numpy.typing import NDArray

from models.formula import terms_text
from training.fitting.constants import exact_constant, likely_constants
from training.fitting.exact import SOLVERS, ExactSettings, fit_exact
from training.fitting.factored import PATTERNS, Pattern, Search
from training.fitting.factored_approximation import approximate
from training.fitting.factored_law import FACTORED, Factored, PoweredSum
from training.fitting.factored_model import FactoredModel, Logs, Shape, improve
from training.fitting.factored_numbers import likely_numbers, with_exact_numbers
from training.fitting.law import Law
from training.fitting.outcome import Found, NotFound

Floats = NDArray[np.float64]

ALL = ExactSettings(structures=tuple(SOLVERS))
EXACT = ExactSettings(structures=tuple(SOLVERS), noise=False)
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.uniform(1, 3, (400, 4))


def text(law: Law) -> str:
    terms = law.network().terms(("a", "b", "c", "d"))
    assert terms is not None
    return terms_text(terms)


def test_slopes_are_those_of_finite_differences() -> None:
    shape = Shape((1.0, -0.5), (2, 1))
    model = FactoredModel(shape, Logs.of(ROWS[:7]), -1.0)
    member = np.random.default_rng(1).uniform(0.1, 0.4, (1, shape.n_parameters(4)))
    free = np.ones(member.shape[1], dtype=bool)
    free[[2, 7]] = False
    given, slopes = model.slopes(member, free)
    assert np.allclose(given, model.values(member), rtol=1e-14)
    for k, place in enumerate(np.flatnonzero(free)):
        step = np.zeros_like(member)
        step[0, place] = 1e-6
        expected = (model.values(member + step) - model.values(member - step)) / 2e-6
        assert np.allclose(slopes[:, :, k], expected, rtol=1e-6, atol=1e-8), place


def test_a_fit_moves_what_is_free_alone_and_ends_when_it_is_good_enough() -> None:
    logs = Logs.of(ROWS)
    model = FactoredModel(Shape(), logs, 1.0)
    start = np.zeros((2, 5))
    start[1, 1] = 1.0
    targets = 2 * ROWS[:, 0] * ROWS[:, 1] ** 2
    free = np.array([True, True, True, False, False])
    found = improve(model, start, targets, targets, n_steps=50, free=free, enough=1e-20)
    assert found.best(1).costs[0] <= 1e-18
    assert (found.members[:, 3:] == 0).all()
    assert found.best(1).members[0, 1:3] == pytest.approx([1, 2])


LAWS: dict[str, tuple[Callable[[Floats], Floats], str]] = {
    "a number in front": (lambda x: x[:, 0] * x[:, 1] / (4 * pi * x[:, 2] ** 2), "0.07958 * a * b / c^2"),
    "a difference in a product": (lambda x: 9.81 * x[:, 0] * (x[:, 1] - x[:, 2]) / x[:, 3], "9.81 * a * (b - c) / d"),
    "a quotient": (lambda x: x[:, 0] * x[:, 1] / (x[:, 1] + 2 * x[:, 0]), "a * b / (2 * a + b)"),
    "a root below": (lambda x: x[:, 0] / np.sqrt(1 + x[:, 1] ** 2 / x[:, 2] ** 2), "a * c / sqrt(b^2 + c^2)"),
    "two sums": (
        lambda x: (x[:, 0] * x[:, 2] + x[:, 1] * x[:, 3]) / (x[:, 0] + x[:, 1]),
        "(a * c + b * d) / (a + b)",
    ),
    "a squared distance below": (
        lambda x: x[:, 0] / ((x[:, 1] - x[:, 2]) ** 2 + x[:, 3] ** 2),
        "a / (b^2 - 2 * b * c + c^2 + d^2)",
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_found_exactly(name: str) -> None:
    compute, expected = LAWS[name]
    outcome = fit_exact(ROWS, compute(ROWS), seed=0, settings=EXACT)
    assert isinstance(outcome, Found)
    assert outcome.proven
    far = np.random.default_rng(1).uniform(3, 9, (200, 4))
    assert np.allclose(outcome.snapped.evaluate(far), compute(far), rtol=1e-11)
    if name != "a quotient":  # which an earlier structure has, too, as 1 / (2 / b + 1 / a)
        assert outcome.snapped.structure == FACTORED
        assert text(outcome.snapped) == expected


def test_a_number_that_is_no_constant_is_kept_as_fitted() -> None:
    outcome = fit_exact(ROWS, 1.2345678 * ROWS[:, 0] + 0.7654321 * ROWS[:, 1] ** 2, seed=0, settings=EXACT)
    assert isinstance(outcome, Found)
    assert outcome.snapped.layers[-1].weight.ravel() == pytest.approx([1.2345678, 0.7654321], rel=1e-12)


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda x: x[:, 0] * x[:, 1] / (4 * pi * x[:, 2] ** 2), "0.07958 * a * b / c^2"),
        (lambda x: x[:, 0] / np.sqrt(1 + x[:, 1] ** 2 / x[:, 2] ** 2), "a * c / sqrt(b^2 + c^2)"),
    ],
)
def test_a_law_is_found_through_noise_with_its_constants_and_is_not_proven(
    compute: Callable[[Floats], Floats], expected: str
) -> None:
    generator = np.random.default_rng(2)
    x = generator.uniform(1, 3, (1000, 3))
    y = compute(x)
    noisy = y + 0.01 * np.sqrt(np.mean(y**2)) * generator.normal(size=len(y))
    outcome = fit_exact(x, noisy, seed=0, settings=ALL)
    assert isinstance(outcome, Found)
    assert not outcome.proven
    terms = outcome.snapped.network().terms(("a", "b", "c"))
    assert terms is not None
    assert terms_text(terms) == expected


@pytest.mark.parametrize("kind", ["exponential", "pure noise", "a^1.37 b"])
def test_what_is_outside_the_family_is_not_found(kind: str) -> None:
    generator = np.random.default_rng(3)
    x = generator.uniform(1, 2, (128, 2))
    labels = {
        "exponential": np.exp(x[:, 0]),
        "pure noise": generator.normal(size=128),
        "a^1.37 b": x[:, 0] ** 1.37 * x[:, 1],
    }[kind]
    outcome = fit_exact(x, labels, seed=0, settings=ALL)
    assert isinstance(outcome, NotFound)
    assert np.isfinite(outcome.ordinary.evaluate(x)).all()


def test_inputs_that_are_not_positive_and_too_many_inputs_take_no_part() -> None:
    x = np.random.default_rng(4).uniform(1, 2, (300, 2))
    x[:, 1] -= 1.5
    found = fit_exact(x, 1.2345678 * x[:, 0] ** 3, seed=0, settings=EXACT)
    assert isinstance(found, Found)
    settings = ExactSettings(structures=(FACTORED,), noise=False)
    wide = np.random.default_rng(5).uniform(1, 2, (300, 13))
    for inputs in (wide, -wide[:, :2]):
        outcome = fit_exact(inputs, 1.5 * inputs[:, 0] * inputs[:, 1], seed=0, settings=settings)
        assert isinstance(outcome, NotFound)
    assert approximate(-wide, wide[:, 0], [], np.random.default_rng(0)) is None


def test_an_approximation_extrapolates() -> None:
    x = np.random.default_rng(6).uniform(1, 3, (300, 2))

    def compute(rows: Floats) -> Floats:
        return np.asarray(rows[:, 0] * np.tanh(rows[:, 1] / 3))

    outcome = fit_exact(x, compute(x), seed=0, settings=EXACT)
    assert isinstance(outcome, NotFound)
    far = np.random.default_rng(7).uniform(3, 4, (300, 2))
    assert np.abs(outcome.ordinary.evaluate(far) / compute(far) - 1).max() < 0.05


def test_a_pattern_that_the_signs_forbid_is_left_out() -> None:
    targets = ROWS[:, 0] - 2
    search = Search(ROWS, targets, np.ones(len(ROWS)), np.random.default_rng(0), 400)
    assert search.fit(Pattern(0.5, Shape((1.0,), (1,)))) == []
    assert search.fit_form(0.5) == []
    assert search.fit(PATTERNS[1])


def test_terms_are_merged_and_quotients_cleared_without_a_change() -> None:
    formula = Factored(
        2.0,
        np.array([1.0, 0.0]),
        (
            PoweredSum(-0.5, np.array([1.0, 3.0, 2.0]), np.array([[0.0, 0.0], [2.0, -2.0], [2.0, -2.0]])),
            PoweredSum(2.0, np.array([1.0, 1e-12]), np.array([[0.0, 1.0], [3.0, 0.0]])),
        ),
    )
    assert formula.redundant
    simple = formula.merged().cleared()
    assert not simple.redundant
    assert len(simple.sums) == 1
    x = ROWS[:, :2]
    expected = 2 * x[:, 0] / np.sqrt(1 + 5 * x[:, 0] ** 2 / x[:, 1] ** 2) * x[:, 1] ** 2
    assert np.allclose(simple.law().evaluate(x), expected, rtol=1e-9)
    assert np.allclose(formula.merged().law().evaluate(x), expected, rtol=1e-9)


def test_the_term_that_counts_as_one_leaves_the_simplest_numbers() -> None:
    formula = Factored(-1.5, np.zeros(1), (PoweredSum(-1.0, np.array([1.0, -1 / 3]), np.array([[0.0], [1.0]])),))
    found = with_exact_numbers(formula)
    assert (found.coefficient, found.sums[0].coefficients.tolist()) == (-1.5, [1.0, -1 / 3])
    turned = with_exact_numbers(
        Factored(-2 / 3, formula.powers, (PoweredSum(1.0, np.array([1.0, -1.5]), formula.sums[0].powers),))
    )
    assert (turned.coefficient, turned.sums[0].coefficients.tolist()) == (1.0, [-2 / 3, 1.0])


def test_constants_near_a_number() -> None:
    assert exact_constant(-0.25 / pi * (1 + 1e-12)) == -0.25 / pi
    assert exact_constant(3.1234567) == 3.1234567
    options = likely_constants(0.0796, 2e-4)
    assert options[0][0] == pytest.approx(0.25 / pi)
    assert options[-1][0] == 0.0796
    assert options[-1][1] > options[0][1]


def test_numbers_that_err_together_are_chosen_together() -> None:
    formula = Factored(2.03, np.zeros(1), (PoweredSum(1.0, np.array([1.0, 0.4925]), np.array([[0.0], [1.0]])),))
    covariance = np.array([[1.0, -0.999], [-0.999, 1.0]]) * 1e-3**2 * 225
    best, _ = likely_numbers(formula, covariance)[0]
    assert (best.coefficient, best.sums[0].coefficients.tolist()) == (1.0, [2.0, 1.0])
    free, _ = likely_numbers(formula, covariance)[-1]
    assert free.coefficient == 2.03


def test_sums_of_constants_alone_are_a_number() -> None:
    """A pattern that the rows have no use for ends so, and once had no layers to be made of."""
    idle = PoweredSum(-0.5, np.array([1.0, 3.0]), np.zeros((2, 2)))
    formula = Factored(2.0, np.zeros(2), (idle,)).merged().cleared()
    assert formula.law().evaluate(ROWS[:3, :2]).tolist() == [1.0, 1.0, 1.0]
    nothing = PoweredSum(1.0, np.array([1.0, -1.0]), np.zeros((2, 2)))
    assert Factored(2.0, np.zeros(2), (nothing,)).merged().law().evaluate(ROWS[:1, :2]).tolist() == [0.0]
