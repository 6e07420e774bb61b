"""Weights as text."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
import torch

from models.contract.formula import PoweredSum, Term
from models.formula import formula_of, name_text, terms_latex, terms_text
from models.networks import ArithmeticNetwork
from models.terms import Column, FormulaError, input_columns, product_column, sum_column
from models.units import NAC, NAU, NMU, ArithmeticUnit, LinearUnit, SignedPower


def sum_text(weights: Sequence[float], names: Sequence[str], *, constant: float = 0.0, digits: int = 4) -> str:
    return terms_text(sum_column(weights, input_columns(names), constant=constant), digits=digits)


def product_text(powers: Sequence[float], names: Sequence[str], *, coefficient: float = 1.0, digits: int = 4) -> str:
    return terms_text(sum_column([coefficient], [product_column(powers, input_columns(names))]), digits=digits)


@pytest.mark.parametrize(
    ("weights", "intercept", "expected"),
    [
        ([1, 1], 0, "a + b"),
        ([1, -1], 0, "a - b"),
        ([-1, 1], 0, "-a + b"),
        ([-1, -1], 0, "-a - b"),
        ([0, -1], 0, "-b"),
        ([2, -0.5], 0, "2 * a - 0.5 * b"),
        ([-2.5, 0], 1, "-2.5 * a + 1"),
        ([0, 0], -3, "-3"),
        ([0, 0], 0, "0"),
        ([0.999999, -1.00000001], 0, "a - b"),
        ([1, 1e-10], 1e-10, "a"),
        ([1e6, 0.5], 0.5, "1e+06 * a + 0.5 * b + 0.5"),
        ([3e-8, -6e-8], 0, "3e-08 * a - 6e-08 * b"),
        ([1234.56, 1e6], 0, "1235 * a + 1e+06 * b"),
        ([-0.0, 1], -0.0, "b"),
    ],
)
def test_sums(weights: list[float], intercept: float, expected: str) -> None:
    assert sum_text(weights, ["a", "b"], constant=intercept) == expected


@pytest.mark.parametrize(
    ("powers", "coefficient", "expected"),
    [
        ([1, 1], 1, "a * b"),
        ([1, -1], 1, "a / b"),
        ([-1, 0], 1, "1 / a"),
        ([-1, -2], 1, "1 / (a * b^2)"),
        ([-0.5, 0.5], 1, "sqrt(b) / sqrt(a)"),
        ([2, 0], 1, "a^2"),
        ([1 / 3, -1.5], 1, "a^(1/3) / b^1.5"),
        ([0.37, -1.23456], 1, "a^0.37 / b^1.235"),
        ([1, 1], 2 / 3, "2 * a * b / 3"),
        ([-1, 0], 1 / 3, "1 / (3 * a)"),
        ([0.50000001, 1e-9], 1, "sqrt(a)"),
        ([1, 0], -1, "-a"),
        ([-1, 0], -1, "-1 / a"),
        ([1, -1], 2.5, "2.5 * a / b"),
        ([0, 0], 1, "1"),
        ([0, 0], -4, "-4"),
        ([1, 1], 0, "0"),
    ],
)
def test_products(powers: list[float], coefficient: float, expected: str) -> None:
    assert product_text(powers, ["a", "b"], coefficient=coefficient) == expected


def test_nothing_at_all() -> None:
    assert sum_text([], []) == "0"
    assert product_text([], []) == "1"


def test_digits_and_tolerance_are_those_asked_for() -> None:
    a, b = input_columns(["a", "b"])
    assert terms_text(sum_column([math.pi, 0.01], [a, b], tolerance=0.1), digits=2) == "3.1 * a"
    assert sum_text([math.pi, 0.01], ["a", "b"], digits=8) == "3.1415927 * a + 0.01 * b"
    assert terms_text(product_column([math.pi, 0.01], [a, b], tolerance=0.1), digits=2) == "a^3.1"
    assert terms_text(product_column([1, 1e-9], [a, b], tolerance=0)) == "a * b^1e-09"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", "a"),
        ("Tempering_T1", "Tempering_T1"),
        ("σ", "σ"),
        ("Sn %", "`Sn %`"),
        ("2nd", "`2nd`"),
        ("a - b", "`a - b`"),
        ("", "``"),
        ("back`tick", "`back``tick`"),
        ("two\nlines", "`two\\nlines`"),
        ("sqrt", "`sqrt`"),
        ("\ud800", "`\\ud800`"),
    ],
)
def test_names_that_are_no_identifiers_are_quoted(name: str, expected: str) -> None:
    assert name_text(name) == expected
    if name and name.isprintable():  # no column has another name
        assert sum_text([-1], [name]) == f"-{expected}"
        assert product_text([2], [name]) == f"{expected}^2"


@pytest.mark.parametrize("column", [sum_column, product_column])
class TestRefusals:
    def test_one_weight_per_column(self, column: Callable[..., Column]) -> None:
        with pytest.raises(FormulaError, match="one weight per column, however"):
            column([1.0], input_columns(["a", "b"]))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_finite_weights(self, column: Callable[..., Column], bad: float) -> None:
        with pytest.raises(FormulaError, match=f"finite weights, however weight 1 is {bad}"):
            column([1.0, bad], input_columns(["a", "b c"]))

    @pytest.mark.parametrize("tolerance", [-1e-9, 1.0, math.nan])
    def test_tolerance_in_range(self, column: Callable[..., Column], tolerance: float) -> None:
        with pytest.raises(FormulaError, match="`tolerance` must be at least 0"):
            column([1.0], input_columns(["a"]), tolerance=tolerance)


def test_positive_digits() -> None:
    with pytest.raises(FormulaError, match="`digits` must be positive, however: digits=0"):
        terms_text([], digits=0)


def power(*rows: Sequence[float]) -> SignedPower:
    unit = SignedPower(len(rows[0]), len(rows), dtype=torch.float64)
    with torch.no_grad():
        unit.P.copy_(torch.tensor(rows, dtype=torch.float64))
    return unit


def total(*rows: Sequence[float], bias: Sequence[float] | None = None) -> LinearUnit:
    unit = LinearUnit(len(rows[0]), len(rows), bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(torch.tensor(rows, dtype=torch.float64))
        if unit.b is not None:
            unit.b.copy_(torch.tensor(bias, dtype=torch.float64))
    return unit


NESTED: dict[str, list[ArithmeticUnit]] = {
    "(a + b) * (c - d)": [total([1, 1, 0, 0], [0, 0, 1, -1]), power([1, 1])],
    "(a + b) / (c - d)^2": [total([1, 1, 0, 0], [0, 0, 1, -1]), power([1, -2])],
    "1 / (a + b)": [total([1, 1, 0, 0]), power([-1])],
    "sqrt(a^2 + b^2)": [power([2, 0, 0, 0], [0, 2, 0, 0]), total([1, 1]), power([0.5])],
    "1 / (1 / a + 1 / b)": [power([-1, 0, 0, 0], [0, -1, 0, 0]), total([1, 1]), power([-1])],
    "a * b / c": [power([1, 1, -1, 0])],
    "a * b + c": [power([1, 1, 0, 0], [0, 0, 1, 0]), total([1, 1])],
    "0.5 * a * b^2 - 7": [power([1, 2, 0, 0]), total([0.5], bias=[-7])],
    "2 * (a + b) * c": [total([1, 1, 0, 0], [0, 0, 2, 0]), power([1, 1])],  # written as c's 2 comes first
    "sqrt(a * b)": [power([1, 1, 0, 0]), power([0.5])],  # not sqrt(a) * sqrt(b): both may be negative
    "(sqrt(a))^2": [power([0.5, 0, 0, 0]), power([2])],  # not a: it has no value below 0
    "a^4": [power([2, 0, 0, 0]), power([2])],
    "2 * a + b": [total([1, 1, 0, 0], [1, 0, 0, 0]), total([1, 1])],
    "0": [total([1, 0, 0, 0], [1, 0, 0, 0]), total([1, -1])],
    "a^2 - b^2 + 3": [power([2, 0, 0, 0], [0, 2, 0, 0]), total([1, -1], bias=[3])],
    "(a + b)^1.5 * (a + b)": [total([1, 1, 0, 0]), power([1.5], [1]), power([1, 1])],
}


@pytest.mark.parametrize("text", NESTED)
def test_nested_networks_as_text(text: str) -> None:
    terms = ArithmeticNetwork(NESTED[text]).terms(["a", "b", "c", "d"])
    assert terms is not None
    expected = "2 * c * (a + b)" if text == "2 * (a + b) * c" else text
    assert terms_text(terms) == expected


def test_terms_hold_coefficients_and_powers_by_input() -> None:
    network = ArithmeticNetwork([total([1, 1, 0, 0], [0, 0, 1, -1]), power([1, -1])])
    ab = (Term(coefficient=1, powers={"a": 1}), Term(coefficient=1, powers={"b": 1}))
    cd = (Term(coefficient=1, powers={"c": 1}), Term(coefficient=-1, powers={"d": 1}))
    expected = Term(coefficient=1, sums=(PoweredSum(power=1, terms=ab), PoweredSum(power=-1, terms=cd)))
    assert network.terms(["a", "b", "c", "d"]) == (expected,)
    assert ArithmeticNetwork([power([1, -1, 0])]).terms(["a", "b", "c"]) == (
        Term(coefficient=1, powers={"a": 1, "b": -1}),
    )


def test_a_network_that_is_no_sum_or_product_of_powers_has_no_terms() -> None:
    half_open = NMU(2, 1, dtype=torch.float64)
    with torch.no_grad():
        half_open.W.fill_(0.5)
    assert ArithmeticNetwork([half_open]).terms(["a", "b"]) is None
    assert ArithmeticNetwork([NAU(2, 1), NAC(1, 1)]).terms(["a", "b"]) is None


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (power([1, -1]), r"\frac{a}{\mathrm{yield\_MPa}}"),
        (power([0.5, 2]), r"\sqrt{a} \cdot \mathrm{yield\_MPa}^{2}"),
        (power([1 / 3, -1.5]), r"\frac{a^{1/3}}{\mathrm{yield\_MPa}^{1.5}}"),
        (total([2 / 3, -1e-7]), r"\frac{2 \cdot a}{3} - 1 \cdot 10^{-7} \cdot \mathrm{yield\_MPa}"),
    ],
)
def test_latex(unit: ArithmeticUnit, expected: str) -> None:
    terms = ArithmeticNetwork([unit]).terms(["a", "yield_MPa"])
    assert terms is not None
    assert terms_latex(terms) == expected


def test_latex_of_nested_sums_and_of_names_that_are_no_identifiers() -> None:
    terms = ArithmeticNetwork(NESTED["(a + b) / (c - d)^2"]).terms(["a", "b", "c", "Sn % {x}"])
    assert terms is not None
    formula = formula_of(terms)
    assert formula.latex == r"\frac{\left(a + b\right)}{\left(c - \text{Sn \% \{x\}}\right)^{2}}"
    assert formula.terms == terms


def test_no_torch_is_needed() -> None:
    code = "import sys, models.formula, models.terms; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
