"""A formula, read as a calculator reads it, gives what its weights give."""

import ast
import math
from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.formula import name_text, terms_text
from models.terms import input_columns, product_column, sum_column

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
    text = terms_text(sum_column(row, input_columns(NAMES), constant=intercept, tolerance=0.0), digits=17)
    terms = [*(w * v for w, v in zip(row, x, strict=True)), intercept]
    assert math.isclose(_read(text, x), math.fsum(terms), rel_tol=1e-12, abs_tol=1e-12 * sum(map(abs, terms)))


@untimed
@given(powers, number, values)
def test_products_read_back(row: list[float], coefficient: float, x: list[float]) -> None:
    column = product_column(row, input_columns(NAMES), tolerance=0.0)
    text = terms_text(sum_column([coefficient], [column]), digits=17)
    expected = coefficient * math.prod(v**p for v, p in zip(x, row, strict=True))
    assert math.isclose(_read(text, x), expected, rel_tol=1e-12, abs_tol=1e-300)


layer = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 1 / 3]), min_size=3, max_size=3)
whole = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]), min_size=3, max_size=3)


equal_sums = [[-1.0, -2.0, -2.0], [-1.0, -2.0, -2.0], [-2.0, -2.0, -2.0]]
a_cube_of_five_sixths = [[-2.0, -2.0, -2.0], [-2.0, -2.0, -2.0], [0.5, 1 / 3, 0.0]]


@untimed
@example(equal_sums, a_cube_of_five_sixths, [-2.0, -2.0, 3.0], [1.0, 1.0, 1.0])
@given(st.lists(whole, min_size=3, max_size=3), st.lists(layer, min_size=3, max_size=3), whole, values)
def test_nested_laws_read_back(
    inner: list[list[float]], middle: list[list[float]], outer: list[float], row: list[float]
) -> None:
    """Powers, sums, powers: the text in fractions is the law, but for a coefficient that is no simple number."""
    x = [Fraction(value).limit_denominator(1000) for value in row]
    columns = input_columns(NAMES)
    columns = [product_column(powers, columns) for powers in inner]
    columns = [sum_column(weights, columns) for weights in middle]
    text = terms_text(product_column(outer, columns), digits=17)
    products = [math.prod(v ** int(p) for v, p in zip(x, powers, strict=True)) for powers in inner]
    sums = [sum(Fraction(w).limit_denominator(9) * v for w, v in zip(ws, products, strict=True)) for ws in middle]
    if all(total or power >= 0 for total, power in zip(sums, outer, strict=True)):
        truth = Fraction(math.prod(Fraction(v) ** int(p) for v, p in zip(sums, outer, strict=True)))
        read = _exact(ast.parse(text.replace("^", "**"), mode="eval").body, dict(zip(NAMES, x, strict=True)))
        assert abs(read - truth) <= Fraction(1, 10**14) * abs(truth)


def _exact(node: ast.expr, names: dict[str, Fraction]) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Fraction(str(number))
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_exact(operand, names)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _exact(left, names) ** int(_exact(right, names))
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _exact(left, names), _exact(right, names)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
    raise AssertionError(ast.dump(node))


@untimed
@given(st.text())
def test_names_are_one_line_and_tell_themselves_apart_from_the_text(name: str) -> None:
    text = name_text(name)
    assert text.isprintable()
    assert text == name or (text[0] == text[-1] == "`" and text[1:-1].replace("``", "").count("`") == 0)
