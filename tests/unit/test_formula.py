"""Weights as text."""

import math
import subprocess
import sys
from collections.abc import Callable

import pytest

from models.formula import FormulaError, name_text, product_text, sum_text


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
    assert sum_text(weights, ["a", "b"], intercept=intercept) == expected


@pytest.mark.parametrize(
    ("powers", "coefficient", "expected"),
    [
        ([1, 1], 1, "a * b"),
        ([1, -1], 1, "a / b"),
        ([-1, 0], 1, "1 / a"),
        ([-1, -2], 1, "1 / (a * b^2)"),
        ([-0.5, 0.5], 1, "sqrt(b) / sqrt(a)"),
        ([2, 0], 1, "a^2"),
        ([1 / 3, -1.5], 1, "a^0.3333 / b^1.5"),
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
    assert sum_text([math.pi, 0.01], ["a", "b"], digits=2, tolerance=0.1) == "3.1 * a"
    assert sum_text([math.pi, 0.01], ["a", "b"], digits=8) == "3.1415927 * a + 0.01 * b"
    assert product_text([math.pi, 0.01], ["a", "b"], digits=2, tolerance=0.1) == "a^3.1"
    assert product_text([1, 1e-9], ["a", "b"], tolerance=0) == "a * b^1e-09"


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
    assert sum_text([-1], [name]) == f"-{expected}"
    assert product_text([2], [name]) == f"{expected}^2"


@pytest.mark.parametrize("write", [sum_text, product_text])
class TestRefusals:
    def test_one_weight_per_name(self, write: Callable[..., str]) -> None:
        with pytest.raises(FormulaError, match="one weight per name, however: 1 weights for 2 names"):
            write([1.0], ["a", "b"])

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_finite_weights(self, write: Callable[..., str], bad: float) -> None:
        with pytest.raises(FormulaError, match=f"finite weights, however that of `b c` is {bad}"):
            write([1.0, bad], ["a", "b c"])

    def test_positive_digits(self, write: Callable[..., str]) -> None:
        with pytest.raises(FormulaError, match="`digits` must be positive, however: digits=0"):
            write([1.0], ["a"], digits=0)

    @pytest.mark.parametrize("tolerance", [-1e-9, 1.0, math.nan])
    def test_tolerance_in_range(self, write: Callable[..., str], tolerance: float) -> None:
        with pytest.raises(FormulaError, match="`tolerance` must be at least 0"):
            write([1.0], ["a"], tolerance=tolerance)


def test_no_torch_is_needed() -> None:
    code = "import sys, models.formula; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
