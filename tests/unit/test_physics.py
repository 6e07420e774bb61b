"""Physics equations: what their text may hold, what it means, and where rows are drawn."""

from pathlib import Path

import numpy as np
import pytest

from training.bench.feynman.own_equations import OWN
from training.errors import ConfigError
from training.tasks.physics import Equation, EquationInput, read_equations

X, Y = EquationInput("x", 1, 2), EquationInput("y", 2, 4)


def equation(formula: str, *inputs: EquationInput) -> Equation:
    return Equation("E", "out", formula, inputs or (X, Y))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("x*y**2", 3 * 25.0),
        ("-x/(y+1)", -0.5),
        ("sqrt(x**2+y**2-9)", 5.0),
        ("exp(-x/3)*cos(0)+ln(1)", np.exp(-1)),
        ("arcsin(sin(x-3)) + tanh(0) + 2*pi", 2 * np.pi),
        ("+1.5e1", 15.0),
    ],
)
def test_a_formula_is_computed(formula: str, expected: float) -> None:
    rows = np.array([[3.0, 5.0], [3.0, 5.0]])
    assert equation(formula).results(rows).tolist() == pytest.approx([expected, expected], rel=1e-15)


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('true')",
        "x.__class__",
        "(lambda: 1)()",
        "[x][0]",
        "x if y else 1",
        "x < y",
        "open(x)",
        "sqrt(x, y)",
        "sqrt(x=y)",
        "z + 1",
        "x @ y",
        "~x",
        "'x'",
        "True",
        "1j*x",
        "x" * 3000,
        "",
        "x +",
        "(" * 500 + "x" + ")" * 500,
        "-" * 150 + "x",
        "1e999*x",
        "x\x00",
    ],
)
def test_whatever_is_not_arithmetic_is_refused(formula: str) -> None:
    with pytest.raises(ConfigError, match="a formula must"):
        equation(formula)


def test_a_huge_power_is_infinite_and_not_an_endless_integer() -> None:
    assert np.isinf(equation("9**9**9*x").results(np.ones((1, 2)))).all()


@pytest.mark.parametrize(
    ("formula", "structure"),
    [
        ("x*y**3/(4*pi*x)", "M"),
        ("sqrt(x/y)", "M"),
        ("pi**2", "M"),
        ("x+y", "S"),
        ("x**2*(x+y)**2/y", "S"),
        ("sqrt(x+y)", "R"),
        ("x/(x+y)", "R"),
        ("(x+y)**-1", "R"),
        ("1+x/(x+y)", "R"),
        ("x**y", "T"),
        ("x*sin(y)", "T"),
        ("x*exp(2)", "M"),
    ],
)
def test_the_structure_is_read_from_the_formula(formula: str, structure: str) -> None:
    assert equation(formula).structure == structure


def test_rows_lie_inside_and_outside_and_have_results() -> None:
    root = equation("sqrt(3-x)*y")
    generator = np.random.default_rng(0)
    inside, results = root.draw(500, generator)
    assert inside.shape == (500, 2)
    assert ((inside >= [1, 2]) & (inside <= [2, 4])).all()
    assert np.array_equal(results, root.results(inside))
    outside, results = root.draw_outside(500, generator)
    assert (outside > [2, 4]).any(axis=1).all()
    assert (outside <= [3, 6]).all()
    assert np.isfinite(results).all()
    with pytest.raises(ConfigError, match="next to none"):
        equation("sqrt(-x)").draw(10, generator)


@pytest.mark.parametrize(
    "inputs", [(X, X), (EquationInput("x", 2, 1),), (EquationInput("x", 0, float("nan")),), (EquationInput("x", 1, 1),)]
)
def test_ranges_and_names_must_hold_together(inputs: tuple[EquationInput, ...]) -> None:
    with pytest.raises(ConfigError, match="must"):
        Equation("E", "out", "x", inputs)
    with pytest.raises(ConfigError, match="none"):
        Equation("E", "out", "1", ())


HEADER = "Filename,Number,Output,Formula,# variables,v1_name,v1_low,v1_high,v2_name,v2_low,v2_high\n"


def test_a_file_is_read_and_its_empty_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "equations.csv"
    path.write_text("\ufeff" + HEADER + "I.1,1,F,m*a,1,m,1,5,a,1,5\nI.2,2,E,m**2,1,m,1,5,,,\n,,,,,,,,,,\n")
    first, second = read_equations(path)
    assert (first.name, first.output, first.formula, len(first.inputs), len(second.inputs)) == ("I.1", "F", "m*a", 2, 1)
    assert [one.name for one in read_equations(path, ["I.2"])] == ["I.2"]
    with pytest.raises(ConfigError, match=r"must be in .*: I\.3"):
        read_equations(path, ["I.3"])


@pytest.mark.parametrize("line", ["I.1,1,F,m*a,1,m,1,five,a,1,5", "I.1,1,F,m*b,1,m,1,5,a,1,5", ",,,,,,,,,,"])
def test_a_faulty_file_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "equations.csv"
    path.write_text(HEADER + line + "\n")
    with pytest.raises(ConfigError, match="must"):
        read_equations(path)
    with pytest.raises(ConfigError, match="readable"):
        read_equations(tmp_path / "none.csv")


def test_the_equations_made_here_have_every_structure() -> None:
    assert {one.structure for one in OWN} == {"M", "S", "R", "T"}
