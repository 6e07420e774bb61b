"""A formula, read as a calculator reads it, gives what its weights give."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from models.formula import name_text, product_text, sum_text

NAMES = ["a", "b", "c"]
weights = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), min_size=3, max_size=3)
powers = st.lists(st.floats(-3, 3) | st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]), min_size=3, max_size=3)
values = st.lists(st.floats(0.1, 10), min_size=3, max_size=3)
number = st.floats(-1e3, 1e3)
untimed = settings(deadline=None)


def _read(text: str, row: list[float]) -> float:
    names = {**dict(zip(NAMES, row, strict=True)), "sqrt": math.sqrt, "__builtins__": {}}
    return float(eval(text.replace("^", "**"), names))  # noqa: S307 # text made from numbers and three names


@untimed
@given(weights, number, values)
def test_sums_read_back(row: list[float], intercept: float, x: list[float]) -> None:
    text = sum_text(row, NAMES, intercept=intercept, digits=17, tolerance=0.0)
    terms = [*(w * v for w, v in zip(row, x, strict=True)), intercept]
    assert math.isclose(_read(text, x), math.fsum(terms), rel_tol=1e-12, abs_tol=1e-12 * sum(map(abs, terms)))


@untimed
@given(powers, number, values)
def test_products_read_back(row: list[float], coefficient: float, x: list[float]) -> None:
    text = product_text(row, NAMES, coefficient=coefficient, digits=17, tolerance=0.0)
    expected = coefficient * math.prod(v**p for v, p in zip(x, row, strict=True))
    assert math.isclose(_read(text, x), expected, rel_tol=1e-12, abs_tol=1e-300)


@untimed
@given(st.text())
def test_names_are_one_line_and_tell_themselves_apart_from_the_text(name: str) -> None:
    text = name_text(name)
    assert text.isprintable()
    assert text == name or (text[0] == text[-1] == "`" and text[1:-1].replace("``", "").count("`") == 0)
