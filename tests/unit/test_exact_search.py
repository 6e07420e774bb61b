"""The search finds laws from rows alone, and nothing where there is none."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.errors import ConfigError
from training.fitting.exact import ExactSettings, Found, NotFound, fit_exact
from training.fitting.law import Floats, stack, sum_law
from training.fitting.structures import STRUCTURES
from training.fitting.verdict import agreement

Target = Callable[[Floats], Floats]

OPERATIONS: dict[str, Target] = {
    "a + b": lambda x: x[:, 0] + x[:, 1],
    "a - b": lambda x: x[:, 0] - x[:, 1],
    "a * b": lambda x: x[:, 0] * x[:, 1],
    "a / b": lambda x: x[:, 0] / x[:, 1],
    "a^2": lambda x: x[:, 0] ** 2,
    "1 / a": lambda x: 1 / x[:, 0],
}

COMPOSITIONS: dict[str, tuple[int, Target]] = {
    "(a + b) (c - d)": (4, lambda x: (x[:, 0] + x[:, 1]) * (x[:, 2] - x[:, 3])),
    "a b / c": (3, lambda x: x[:, 0] * x[:, 1] / x[:, 2]),
    "sqrt(a^2 + b^2)": (2, lambda x: np.hypot(x[:, 0], x[:, 1])),
    "a b + c": (3, lambda x: x[:, 0] * x[:, 1] + x[:, 2]),
    "2 a b": (2, lambda x: 2 * x[:, 0] * x[:, 1]),
    "-a / b": (2, lambda x: -x[:, 0] / x[:, 1]),
    "1 / (a + b)": (2, lambda x: 1 / (x[:, 0] + x[:, 1])),
}


def draw(seed: int, n: int, d: int, low: float, high: float) -> Floats:
    return np.random.default_rng(seed).uniform(low, high, (n, d))


def assert_law(found: Found | NotFound, target: Target, x: Floats) -> None:
    assert isinstance(found, Found)
    y = target(x)
    np.testing.assert_allclose(found.snapped.evaluate(x), y, rtol=1e-12, atol=1e-13 * np.abs(y).max())


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("low", "high"), [(-20, -10), (-2, 2), (0.1, 0.2), (1.1, 1.2), (0, 1e-4), (1e29, 1e30), (1e-30, 1e-29)]
)
def test_one_operation_among_distractors(name: str, low: float, high: float) -> None:
    target = OPERATIONS[name]
    x = draw(0, 128, 5, low, high)
    found = fit_exact(x, target(x), seed=0)
    assert_law(found, target, draw(1, 200, 5, 10 * low, 10 * high))


@pytest.mark.parametrize("name", OPERATIONS)
def test_trained_on_positive_numbers_right_on_negative_ones(name: str) -> None:
    target = OPERATIONS[name]
    x = draw(0, 64, 2, 1, 2)
    assert_law(fit_exact(x, target(x), seed=0), target, draw(1, 200, 2, -9, 9))


@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.parametrize(("low", "high"), [(1, 2), (-2, 2)])
def test_compositions(name: str, low: float, high: float) -> None:
    d, target = COMPOSITIONS[name]
    x = draw(0, 200, d, low, high)
    assert_law(fit_exact(x, target(x), seed=0), target, draw(1, 200, d, 2, 6))


@pytest.mark.parametrize("operation", ["sum", "difference", "product", "quotient", "square", "root"])
@pytest.mark.parametrize(("low", "high"), [(1, 2), (-2, 2), (1.1, 1.2)])
def test_sums_of_subsets_under_an_operation(operation: str, low: float, high: float) -> None:
    d = 20
    first, second = np.zeros(d), np.zeros(d)
    first[2:9], second[5:12] = 1, 1
    compute: dict[str, Callable[[Floats, Floats], Floats]] = {
        "sum": lambda a, b: a + b,
        "difference": lambda a, b: a - b,
        "product": lambda a, b: a * b,
        "quotient": lambda a, b: a / b,
        "square": lambda a, _b: a**2,
        "root": lambda a, _b: np.sqrt(a),
    }

    def target(x: Floats) -> Floats:
        return compute[operation](x @ first, x @ second)

    def valid(x: Floats) -> Floats:
        return x[x @ first > 0] if operation == "root" else x

    x = valid(draw(0, 600, d, low, high))
    assert_law(fit_exact(x, target(x), seed=0), target, valid(draw(1, 200, d, 2, 6)))


def test_zeros_in_inputs_and_results() -> None:
    x = np.random.default_rng(0).integers(-3, 4, (128, 6)).astype(np.float64)
    with np.errstate(all="ignore"):
        for target in OPERATIONS.values():
            assert_law(fit_exact(x, target(x), seed=0), target, draw(1, 100, 6, 2, 6))


def test_labels_rounded_to_float32() -> None:
    x = draw(0, 128, 2, -2, 2).astype(np.float32).astype(np.float64)
    for target in OPERATIONS.values():
        found = fit_exact(x, target(x).astype(np.float32).astype(np.float64), seed=0)
        assert_law(found, target, draw(1, 100, 2, 2, 6))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("noise", ["multiplicative", "additive"])
def test_noise_on_labels(name: str, noise: str) -> None:
    target = OPERATIONS[name]
    x = draw(0, 256, 2, 1, 2)
    y, e = target(x), np.random.default_rng(2).normal(size=256)
    found = fit_exact(x, y * (1 + 0.05 * e) if noise == "multiplicative" else y + 0.1 * y.std() * e, seed=0)
    assert_law(found, target, draw(1, 100, 2, 2, 6))
    assert isinstance(found, Found)
    assert 0 < found.noise < 0.2


@pytest.mark.parametrize("name", OPERATIONS)
def test_gross_outliers(name: str) -> None:
    target = OPERATIONS[name]
    x = draw(0, 200, 3, -2, 2)
    y = target(x)
    y[[3, 77]] *= [-1000, 50]
    found = fit_exact(x, y, seed=0)
    assert_law(found, target, draw(1, 100, 3, 2, 6))
    assert isinstance(found, Found)
    assert found.outlier_share == pytest.approx(0.01)
    assert found.noise == 0


@pytest.mark.parametrize(("low", "high"), [(1, 2), (-2, 2), (1.1, 1.2), (0, 1e-4)])
@pytest.mark.parametrize("kind", ["sine", "noise", "shuffled", "maximum"])
def test_nothing_is_found_where_there_is_no_law(kind: str, low: float, high: float) -> None:
    for seed in range(3):
        generator = np.random.default_rng(seed)
        x = draw(seed, 200, 2, low, high)
        y = {
            "sine": np.sin(x[:, 0] + x[:, 1]),
            "noise": x.mean() * (1 + 0.1 * generator.normal(size=200)),
            "shuffled": generator.permutation(x[:, 0] * x[:, 1]),
            "maximum": x.max(axis=1),
        }[kind]
        found = fit_exact(x, y, seed=seed)
        assert isinstance(found, NotFound)
        assert kind != "noise" or "no better than a constant" in found.reason
        assert np.isfinite(found.ordinary.evaluate(x)).all()


def test_a_structure_that_is_not_offered_is_not_found() -> None:
    offered = tuple(name for name in STRUCTURES if name != "sum of products")
    for low, high in [(1, 2), (-2, 2), (1.1, 1.2)]:
        x = draw(0, 128, 4, low, high)
        y = x[:, 0] * x[:, 1] + x[:, 0]
        assert isinstance(fit_exact(x, y, seed=0), Found)
        assert isinstance(fit_exact(x, y, seed=0, settings=ExactSettings(structures=offered)), NotFound)


def test_coefficients_off_the_grid_and_inputs_that_cannot_be_told_apart_are_not_found() -> None:
    x = draw(0, 128, 2, 1, 2)
    assert isinstance(fit_exact(x, np.pi * x[:, 0] ** 2, seed=0), NotFound)
    twice = np.column_stack([x[:, 0], x[:, 0]])
    assert isinstance(fit_exact(twice, 2 * x[:, 0], seed=0), NotFound)
    constant = fit_exact(x, np.full(128, 3.0), seed=0)
    assert isinstance(constant, NotFound)
    assert "do not vary" in constant.reason


def test_the_best_ordinary_fit_is_kept() -> None:
    x = draw(0, 200, 2, -1, 1)
    y = np.exp(x[:, 0]) + 0.3 * x[:, 1]
    found = fit_exact(x, y, seed=0)
    assert isinstance(found, NotFound)
    error = found.ordinary.evaluate(x) - y
    affine = np.linalg.lstsq(np.column_stack([x, np.ones(200)]), y, rcond=None)[0]
    assert np.abs(error).mean() < np.abs(x @ affine[:2] + affine[2] - y).mean()
    network = found.ordinary.network()
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.as_tensor(x))[:, 0].numpy(), found.ordinary.evaluate(x), rtol=1e-12)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_networks_answer_as_laws_do_raw_and_snapped(name: str) -> None:
    d, target = COMPOSITIONS[name]
    x = draw(0, 200, d, -2, 2)
    found = fit_exact(x, target(x), seed=0)
    assert isinstance(found, Found)
    for law in (found.raw, found.snapped):
        with torch.no_grad():
            answers = law.network()(torch.as_tensor(x))[:, 0].numpy()
        np.testing.assert_allclose(answers, law.evaluate(x), rtol=1e-9)
        np.testing.assert_allclose(answers, target(x), rtol=1e-5, atol=1e-7)
    assert found.snapped.n_weights <= found.raw.n_weights


def test_the_report_holds_every_candidate_and_its_budget() -> None:
    x = draw(0, 128, 4, -2, 2)
    found = fit_exact(x, (x[:, 0] + x[:, 1]) * (x[:, 2] - x[:, 3]), seed=0)
    tried = found.report.candidates
    assert [candidate.structure for candidate in tried] == list(STRUCTURES)[: len(tried)]
    assert tried[-1].verdict == "exact"
    assert tried[-1].structure == "product of sums"
    assert tried[-1].n_restarts >= 1
    assert tried[-1].n_iterations >= 1
    assert all(candidate.verdict == "inexact" for candidate in tried[:-1])
    assert (found.report.n_fit_rows, found.report.n_held_out_rows) == (96, 32)
    assert sum(candidate.duration_s for candidate in tried) <= found.report.duration_s


def test_the_same_seed_gives_the_same_result() -> None:
    x = draw(0, 300, 12, 1, 2)
    y = x[:, :6].sum(axis=1) * x[:, 3:9].sum(axis=1)
    first, second = (fit_exact(x, y, seed=7) for _ in range(2))
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    for one, two in zip(first.raw.layers, second.raw.layers, strict=True):
        np.testing.assert_array_equal(one.weight, two.weight)


def test_held_out_rows_have_a_veto() -> None:
    x = draw(0, 40, 2, 1, 2)
    held_out = np.random.default_rng(3).permutation(40)[:10]
    y = x[:, 0] + x[:, 1]
    assert isinstance(fit_exact(x, y, seed=3), Found)
    y[held_out] = x[held_out, 0] * x[held_out, 1]
    found = fit_exact(x, y, seed=3)
    assert isinstance(found, NotFound)
    assert all(candidate.verdict == "inexact" for candidate in found.report.candidates)


def test_labels_that_are_mostly_noise_prove_nothing() -> None:
    x = draw(0, 2000, 2, 1, 3)
    e = np.random.default_rng(1).normal(size=2000)
    assert isinstance(fit_exact(x, x[:, 0] * (1 + 0.1 * e), seed=0), Found)
    found = fit_exact(x, x[:, 0] * (1 + 0.5 * e), seed=0)
    assert isinstance(found, NotFound)
    assert "noise of more than" in found.reason


def test_two_laws_as_likely_as_each_other_prove_neither() -> None:
    x = draw(0, 300, 2, 1, 2)
    generator = np.random.default_rng(1)
    x[:, 1] = x[:, 0] * (1 + 1e-3 * generator.normal(size=300))
    found = fit_exact(x, x[:, 0] ** 2 * (1 + 0.05 * generator.normal(size=300)), seed=0)
    assert isinstance(found, NotFound)
    assert "other formulas are" in found.reason


def test_a_rounding_bound_larger_than_the_result_is_no_agreement() -> None:
    x = draw(0, 50, 2, 1, 2)
    y = x[:, 0] + x[:, 1]
    assert agreement(sum_law("sum", np.array([1.0, 1.0])), x, y) == 1
    assert agreement(stack("power of a sum", [("sum", np.zeros(2)), ("power", np.array([-1.0]))]), x, y) == 0
    assert agreement(sum_law("sum", np.array([1.0, 1.0 + 1e-12])), x, y) == 0
    x[:, 1] = np.nextafter(x[:, 0], 3)
    lost = stack("power of a sum", [("sum", np.array([1.0, -1.0])), ("power", np.array([-1.0]))])
    assert agreement(lost, x, np.ones(50)) == 0


def test_rows_that_are_not_finite_are_left_out() -> None:
    x = draw(0, 60, 2, 1, 2)
    y = x[:, 0] * x[:, 1]
    x[0, 0], y[1] = np.nan, np.inf
    assert isinstance(fit_exact(x, y, seed=0), Found)


@pytest.mark.parametrize(
    ("inputs", "targets", "settings", "message"),
    [
        (np.ones((9, 2)), np.ones(8), ExactSettings(), "inputs must be"),
        (np.ones((4, 2)), np.ones(4), ExactSettings(), "at least 8 rows"),
        (np.ones((9, 2)), np.ones(9), ExactSettings(structures=("sums",)), "a structure must be one of"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    inputs: Floats, targets: Floats, settings: ExactSettings, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_exact(inputs, targets, seed=0, settings=settings)
