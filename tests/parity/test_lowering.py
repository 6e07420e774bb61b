"""Lowered graphs against arbitrary precision, torch and NumPy, counted in units in the last place."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from models.contract.manifest import Dtype
from models.networks import ArithmeticNetwork
from models.units import NALU, NAU, NMU, ArithmeticUnit, LinearUnit, SignedPower
from training import oracle
from training.errors import ExportError
from training.export import Signature
from training.lowering import lower_network
from training.parity import GraphRunner, RawRows, check_parity

DTYPES: tuple[Dtype, ...] = ("float64", "float32")
NATIVE = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg"),
    *("Gather", "Concat", "Split", "Expand", "Shape", "Where", "IsNaN"),
}
Matrix = Sequence[Sequence[float]]
Truth = Callable[[Sequence[Any]], Any]


def power(weights: Matrix, tolerance: float = 0.25) -> SignedPower:
    unit = SignedPower(len(weights[0]), len(weights), parity_tolerance=tolerance, dtype=torch.float64)
    with torch.no_grad():
        unit.P.copy_(torch.tensor(weights, dtype=torch.float64))
    return unit


def total(weights: Matrix, bias: Sequence[float] | None = None) -> LinearUnit:
    unit = LinearUnit(len(weights[0]), len(weights), bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(torch.tensor(weights, dtype=torch.float64))
        if unit.b is not None:
            unit.b.copy_(torch.tensor(bias, dtype=torch.float64))
    return unit


def nau(weights: Matrix) -> NAU:
    unit = NAU(len(weights[0]), len(weights), dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(torch.tensor(weights, dtype=torch.float64))
    return unit


def nmu(weights: Matrix) -> NMU:
    unit = NMU(len(weights[0]), len(weights), dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(torch.tensor(weights, dtype=torch.float64))
    return unit


def run(units: Sequence[ArithmeticUnit], rows: Any, dtype: Dtype = "float64") -> NDArray[np.floating]:
    graph = lower_network(ArithmeticNetwork(units), dtype)
    return GraphRunner(graph, dtype)(RawRows(np.asarray(rows, dtype=np.float64)))


def ulps(answers: NDArray[np.floating], exact: Sequence[Any]) -> float:
    """Return the largest distance from the exact results, in units in the last place of the correctly rounded ones."""
    worst = 0.0
    for answer, truth in zip(answers, exact, strict=True):
        rounded = answers.dtype.type(str(mpmath.nstr(truth, 40)))
        worst = max(worst, float(abs(mpmath.mpf(float(answer)) - truth) / mpmath.mpf(float(np.spacing(abs(rounded))))))
    return worst


def rows(n: int, d: int, *, positive: bool = False, seed: int = 0) -> NDArray[np.float64]:
    """Return numbers of every magnitude from 1e-30 to 1e30 that a float32 holds, so that both types see the same."""
    rng = np.random.default_rng(seed)
    drawn = 10 ** rng.uniform(-9, 9, (n, d)) * (1 if positive else rng.choice([-1, 1], (n, d)))
    return drawn.astype(np.float32).astype(np.float64)


SINGLE: dict[str, tuple[list[ArithmeticUnit], Truth, bool]] = {
    "add": ([nau([[1, 1]])], lambda x: x[0] + x[1], False),
    "subtract": ([nau([[1, -1]])], lambda x: x[0] - x[1], False),
    "subtract reversed": ([nau([[-1, 1]])], lambda x: x[1] - x[0], False),
    "negated sum": ([nau([[-1, -1]])], lambda x: -x[0] - x[1], False),
    "multiply": ([power([[1, 1]])], lambda x: x[0] * x[1], False),
    "divide": ([power([[1, -1]])], lambda x: x[0] / x[1], False),
    "square": ([power([[2, 0]])], lambda x: x[0] * x[0], False),
    "cube": ([power([[3, 0]])], lambda x: x[0]**3, False),
    "reciprocal": ([power([[-1, 0]])], lambda x: 1 / x[0], False),
    "inverse square": ([power([[-2, 0]])], lambda x: 1 / x[0]**2, False),
    "sqrt": ([power([[0.5, 0]])], lambda x: mpmath.sqrt(x[0]), True),
    "three halves": ([power([[1.5, 0]])], lambda x: x[0] * mpmath.sqrt(x[0]), True),
    "inverse sqrt": ([power([[-0.5, 0]])], lambda x: 1 / mpmath.sqrt(x[0]), True),
    "cube root": ([power([[1 / 3, 0]])], lambda x: mpmath.cbrt(x[0]), True),
    "a third": ([total([[1 / 3, 0]])], lambda x: x[0] / 3, False),
    "two thirds": ([total([[2 / 3, 0]])], lambda x: 2 * x[0] / 3, False),
    "weights of 3 and 1/3": ([total([[3, -1 / 3]])], lambda x: 3 * x[0] - x[1] / 3, False),
    "weights of 0.75 and 7": ([total([[0.75, 7]])], lambda x: 3 * x[0] / 4 + 7 * x[1], False),
    "constant": ([total([[1, 0]], [-273])], lambda x: x[0] - 273, False),
    "nmu": ([nmu([[1, 1]])], lambda x: x[0] * x[1], False),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SINGLE)
def test_one_operation_is_within_two_units_in_the_last_place(name: str, dtype: Dtype) -> None:
    units, truth, positive = SINGLE[name]
    x = rows(300, 2, positive=positive)
    with mpmath.workprec(400):
        exact = [truth([mpmath.mpf(value) for value in row]) for row in x.tolist()]
        assert ulps(run(units, x, dtype)[:, 0], exact) <= 2


COMPOSED: dict[str, tuple[list[ArithmeticUnit], Truth]] = {
    "(a + b) * (c - d)": (
        [nau([[1, 1, 0, 0], [0, 0, 1, -1]]), power([[1, 1]])],
        lambda x: (x[0] + x[1]) * (x[2] - x[3]),
    ),
    "(a + b) / (c - d)": (
        [nau([[1, 1, 0, 0], [0, 0, 1, -1]]), power([[1, -1]])],
        lambda x: (x[0] + x[1]) / (x[2] - x[3]),
    ),
    "a * b / c": ([power([[1, 1, -1, 0]])], lambda x: x[0] * x[1] / x[2]),
    "sqrt(a^2 + b^2)": (
        [power([[2, 0, 0, 0], [0, 2, 0, 0]]), nau([[1, 1]]), power([[0.5]])],
        lambda x: mpmath.sqrt(x[0] * x[0] + x[1] * x[1]),
    ),
    "1 / (1/a^2 + 1/b^2)": (
        [power([[-2, 0, 0, 0], [0, -2, 0, 0]]), nau([[1, 1]]), power([[-1]])],
        lambda x: 1 / (1 / x[0] ** 2 + 1 / x[1] ** 2),
    ),
    "c * b + a^4": ([power([[0, 1, 1, 0], [4, 0, 0, 0]]), nau([[1, 1]])], lambda x: x[2] * x[1] + x[0] ** 4),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_composition_rounds_a_few_times_only(name: str) -> None:
    units, truth = COMPOSED[name]
    x = np.abs(rows(200, 4)) if name.startswith("c") else rows(200, 4)  # a cancelling a · b + c magnifies a rounding
    with mpmath.workprec(400):
        exact = [truth([mpmath.mpf(value) for value in row]) for row in x.tolist()]
        assert ulps(run(units, x)[:, 0], exact) <= 4


def test_the_examples_that_everybody_tries_are_exact() -> None:
    assert run([power([[1, 1]])], [[3, 5], [-0.1, 1e300]]).tolist() == [[15.0], [-1e299]]
    assert run([power([[1, -1]])], [[-7, 2], [1, 3]]).tolist() == [[-3.5], [1 / 3]]
    assert run([nau([[1, 1]])], [[0.1, 0.2], [2**53, 1]]).tolist() == [[0.1 + 0.2], [2.0**53]]
    assert run([power([[0.5]])], [[2], [1e-300]]).tolist() == [[2**0.5], [1e-150]]


@pytest.mark.parametrize("n", [3, 4, 5, 8, 25, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_of_many_terms_rounds_about_once_even_where_it_cancels(n: int, dtype: Dtype) -> None:
    """25 terms summed plainly are off by up to 25 roundings of the largest partial sum."""
    rng = np.random.default_rng(n)
    weights = rng.choice([1.0, -1.0], n)
    x = rng.uniform(-2, 2, (200, n)).astype(dtype).astype(np.float64)
    x[:100, -1] = -weights[-1] * (x[:100, :-1] @ weights[:-1]) * (1 + 1e-5)
    x = x.astype(dtype).astype(np.float64)
    exact = [mpmath.mpf(value.numerator) / value.denominator for value in _fractions(weights, x)]
    answers = run([nau([weights.tolist()])], x, dtype)[:, 0]
    assert ulps(answers, exact) <= 1
    plain = sum(((x[:, i] * weights[i]).astype(dtype) for i in range(n)), np.zeros(len(x), dtype=dtype))
    assert n < 5 or ulps(plain, exact) > 2


def test_weights_and_constants_of_a_sum_are_the_fractions_they_stand_for() -> None:
    weights, constant = [1 / 3, 2 / 3, -0.75, 7.0, 9.0], 2.5
    exact = [Fraction(1, 3), Fraction(2, 3), Fraction(-3, 4), Fraction(7), Fraction(9)]
    x = np.random.default_rng(0).uniform(-2, 2, (200, 5))
    truth = [sum(w * Fraction(v) for w, v in zip(exact, row.tolist(), strict=True)) + Fraction(5, 2) for row in x]
    answers = run([total([weights], [constant])], x)[:, 0]
    assert ulps(answers, [mpmath.mpf(value.numerator) / value.denominator for value in truth]) <= 1.5


def _fractions(weights: NDArray[np.float64], x: NDArray[np.float64]) -> list[Fraction]:
    return [
        sum((Fraction(w) * Fraction(v) for w, v in zip(weights.tolist(), row.tolist(), strict=True)), Fraction(0))
        for row in x
    ]


POWERS: Matrix = [
    [1, 1, 0], [1, -1, 0], [2, 0, -3], [0.5, 1, 0], [-0.5, 0, 2], [1.5, -1.5, 1], [1 / 3, -2 / 3, 4 / 3],
    [5, -4, 0], [2.5, 3.5, 0], [0.3, 0, -0.7], [0, 0, 0], [65, 0, 0],
]  # fmt: skip
SPECIAL = [0.0, 1.0, -1.0, 4.0, -4.0, 0.25, -8.0, 5e-324, np.inf, np.nan]


@pytest.mark.parametrize("powers", POWERS, ids=str)
def test_signs_zeros_and_missing_values_are_those_of_the_unit(powers: Sequence[float]) -> None:
    x = np.array(np.meshgrid(SPECIAL, SPECIAL, SPECIAL)).reshape(3, -1).T
    unit = power([powers])
    with torch.no_grad():
        expected = unit(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(oracle.answer(ArithmeticNetwork([unit]), x), expected, rtol=1e-13)
    answers = run([unit], x)
    plain = ~((x == 5e-324) | np.isinf(x)).any(axis=1)  # elsewhere the two over- and underflow at different places
    np.testing.assert_allclose(answers[plain], expected[plain], rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPOSED)
def test_a_lowered_graph_answers_as_torch_and_numpy_do(name: str, dtype: Dtype) -> None:
    network = ArithmeticNetwork(COMPOSED[name][0])
    inside = np.random.default_rng(1).uniform(0.5, 2, (1000, 4)) * [1, 1, 1, -1]
    graph = lower_network(network, dtype)
    regions = {"inside": RawRows(inside), "outside": RawRows(100 * inside)}
    worst = check_parity(graph, network, Signature(4), dtype, regions, np.array([1.0]))
    assert max(worst.values()) < (1e-14 if dtype == "float64" else 1e-5)
    assert network.effective_weights()[0].dtype == torch.float64  # left as it was


@pytest.mark.parametrize("name", COMPOSED)
def test_only_native_operators_are_left_and_equal_networks_give_equal_bytes(name: str) -> None:
    network = ArithmeticNetwork(COMPOSED[name][0])
    graph = lower_network(network, "float64")
    model = onnx.load_model_from_string(graph)
    assert {node.op_type for node in model.graph.node} <= NATIVE
    assert [tensor.name for tensor in model.graph.input] == ["numeric"]
    assert [tensor.name for tensor in model.graph.output] == ["predictions"]
    assert lower_network(network, "float64") == graph


def test_equal_expressions_are_computed_once() -> None:
    graph = lower_network(ArithmeticNetwork([power([[2, 0], [2, 1]]), nau([[1, 1]])]), "float64")
    operators = [node.op_type for node in onnx.load_model_from_string(graph).graph.node]
    assert operators.count("Mul") == 2  # a · a once, then times b


@pytest.mark.parametrize(
    "units",
    [
        [nau([[1, 1, -1]])],
        [power([[1, 0.5, -1]])],
        [total([[0, 0, 0]], [2.5])],
        [power([[0, 0, 0], [1, 0, 0]])],
    ],
)
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_every_batch_has_its_shape_zero_rows_too(units: list[ArithmeticUnit], n: int) -> None:
    answers = run(units, np.ones((n, 3)))
    assert answers.shape == (n, units[-1].out_features)


def test_a_row_answers_the_same_alone_and_among_others() -> None:
    x = rows(64, 25)
    units = [nau([[1, -1] * 12 + [1]])]
    assert run(units, x)[17].tobytes() == run(units, x[17:18])[0].tobytes()


def test_an_overflow_of_a_long_sum_is_infinite_and_not_nan() -> None:
    assert run([nau([[1, 1, 1]])], [[1e308, 1e308, 1e308]]).tolist() == [[np.inf]]


@pytest.mark.parametrize(
    ("units", "words"),
    [
        ([NALU(2, 1, dtype=torch.float64)], "must be of NAU"),
        ([NMU(2, 1, dtype=torch.float64)], "0 and 1"),
        ([power([[0.999, 1.0]])], "powers must be exact"),
    ],
)
def test_what_cannot_be_lowered_is_told(units: list[ArithmeticUnit], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        lower_network(ArithmeticNetwork(units), "float64")
