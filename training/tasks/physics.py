"""Physics equations as data: a formula, and a range for each of its inputs.

A file of equations is foreign text, so formulas are parsed and never run as code: Python's own parser gives a tree, and
only numbers, names, `+ - * / **` and a few functions are taken from it.

Source of the format, and of the best-known file: Udrescu and Tegmark, "AI Feynman: a physics-inspired method for
symbolic regression", Science Advances 6 (2020), doi:10.1126/sciadv.aay2631: `FeynmanEquations.csv`.
"""

import ast
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError

Floats = NDArray[np.float64]

Structure = Literal["M", "S", "R", "T"]
"""M: a product of powers. S: a sum of these. R: quotients and roots of sums, and what is made of them. T: a sine, an
exponential or another function takes part."""

STRUCTURES: dict[Structure, str] = {
    "M": "products of powers",
    "S": "sums of products of powers",
    "R": "quotients and roots of sums",
    "T": "with sines, exponentials and the like",
}

CONSTANTS = {"pi": float(np.pi)}

FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "sqrt": np.sqrt,
    "exp": np.exp,
    "ln": np.log,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "tanh": np.tanh,
}

_OPERATORS: dict[type[ast.operator], Callable[[Floats, Floats], Floats]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}

_LONGEST = 2_000
_DEEPEST = 100
"""Characters and nested parts of a formula, at most."""


@dataclass(frozen=True)
class EquationInput:
    """An input of an equation.

    Attributes:
        name: Its name in the formula.
        low: Smallest value.
        high: Largest value.
    """

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Equation:
    """An equation and where its inputs lie.

    Attributes:
        name: Name in reports.
        output: Name of the result.
        formula: Its text.
        inputs: Inputs in order.
    """

    name: str
    output: str
    formula: str
    inputs: tuple[EquationInput, ...]

    def __post_init__(self) -> None:
        """Refuse a formula that cannot be computed from the inputs."""
        names = [one.name for one in self.inputs]
        if not names or len(set(names)) < len(names):
            msg = f"an equation must have inputs of different names, however {self.name}: {', '.join(names) or 'none'}"
            raise ConfigError(msg)
        for one in self.inputs:
            if not (isfinite(one.low) and isfinite(one.high) and one.low < one.high):
                msg = f"a range must go up, however {self.name}: {one.name} from {one.low:g} to {one.high:g}"
                raise ConfigError(msg)
        _check(self._tree(), self.name, names)

    @property
    def structure(self) -> Structure:
        """What the formula is made of, read from its text."""
        return _structure(self._tree())

    def results(self, inputs: Floats) -> Floats:
        """Return the results of rows, NaN or infinite where there is none.

        Args:
            inputs: Shape (n, len(inputs)), columns in the order of the equation's inputs.

        Example:
            >>> force = Equation("E", "F", "m*g/(1+m/2)", (EquationInput("m", 1, 2), EquationInput("g", 9, 10)))
            >>> force.results(np.array([[2.0, 9.0]])).tolist(), force.structure
            ([9.0], 'R')
        """
        columns = {one.name: inputs[:, j] for j, one in enumerate(self.inputs)}
        with np.errstate(all="ignore"):
            return np.broadcast_to(_value(self._tree(), columns), (len(inputs),)).astype(np.float64)

    def draw(self, n_rows: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw rows from the ranges that have a result."""
        low, high = self._ranges()
        return self._draw(n_rows, lambda n: generator.uniform(low, high, (n, len(low))))

    def draw_outside(self, n_rows: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw rows from ranges twice as wide, from `low` to `low` + 2 (`high` − `low`), at least one input outside.

        Ranges grow upwards, so that what is positive stays so. Rows without a result are left out.
        """
        low, high = self._ranges()

        def rows(n: int) -> Floats:
            drawn = generator.uniform(low, low + 2 * (high - low), (n, len(low)))
            return drawn[(drawn > high).any(axis=1)]

        return self._draw(n_rows, rows)

    def _tree(self) -> ast.expr:
        return _parsed(self.formula, self.name)

    def _ranges(self) -> tuple[Floats, Floats]:
        return np.array([one.low for one in self.inputs]), np.array([one.high for one in self.inputs])

    def _draw(self, n_rows: int, rows: Callable[[int], Floats]) -> tuple[Floats, Floats]:
        kept: list[tuple[Floats, Floats]] = []
        n_kept = 0
        for _ in range(100):
            inputs = rows(2 * n_rows)
            results = self.results(inputs)
            real = np.isfinite(results)
            kept.append((inputs[real], results[real]))
            n_kept += int(real.sum())
            if n_kept >= n_rows:
                inputs, results = (np.concatenate(parts)[:n_rows] for parts in zip(*kept, strict=True))
                return inputs, results
        msg = f"an equation must have results in its ranges, however {self.name} has next to none"
        raise ConfigError(msg)


def read_equations(path: Path, names: Sequence[str] = ()) -> list[Equation]:
    """Read a file of equations.

    It is CSV with the columns Filename, Output, Formula and, for each input, its name, smallest and largest value
    (`v1_name`, `v1_low`, `v1_high`, `v2_name`, …); other columns and empty lines are skipped.

    Args:
        path: The file.
        names: Equations to take; none for all.

    Raises:
        ConfigError: When the file cannot be read, a formula is none, or a name is not there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [row for row in csv.DictReader(io.StringIO(text)) if (row.get("Filename") or "").strip()]
        equations = [_equation(row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"equations must be in a readable CSV file, however {path}: {error}"
        raise ConfigError(msg) from error
    if not equations:
        msg = (
            f"a file of equations must have the columns Filename, Output, Formula, v1_name, …, however {path} has none"
        )
        raise ConfigError(msg)
    unknown = sorted(set(names) - {one.name for one in equations})
    if unknown:
        msg = f"an equation must be in {path}, however: {', '.join(unknown)}"
        raise ConfigError(msg)
    return [one for one in equations if not names or one.name in names]


def _equation(row: Mapping[str, str | None]) -> Equation:
    name = (row["Filename"] or "").strip()
    inputs = []
    k = 1
    while column := (row.get(f"v{k}_name") or "").strip():
        ends = [(row.get(f"v{k}_{end}") or "").strip() for end in ("low", "high")]
        try:
            low, high = map(float, ends)
        except ValueError:
            msg = f"a range must have two numbers, however {name}: {column} from {ends[0]!r} to {ends[1]!r}"
            raise ConfigError(msg) from None
        inputs.append(EquationInput(column, low, high))
        k += 1
    return Equation(name, (row.get("Output") or "y").strip(), (row.get("Formula") or "").strip(), tuple(inputs))


def _parsed(formula: str, name: str) -> ast.expr:
    if not 0 < len(formula) <= _LONGEST:
        msg = f"a formula must have 1 to {_LONGEST} characters, however {name}: {len(formula)}"
        raise ConfigError(msg)
    try:
        return ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        msg = f"a formula must be readable, however {name}: {formula[:80]!r}"
        raise ConfigError(msg) from error


def _check(node: ast.AST, name: str, inputs: Sequence[str], depth: int = 0) -> None:
    """Refuse whatever is not arithmetic."""
    what = type(node).__name__
    if depth <= _DEEPEST:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e30:
                return
            case ast.Name(id=one):
                if one in inputs or one in CONSTANTS:
                    return
                what = f"the name {one}"
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                _check(left, name, inputs, depth + 1)
                _check(right, name, inputs, depth + 1)
                return
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                _check(operand, name, inputs, depth + 1)
                return
            case ast.Call(func=ast.Name(id=function), args=[argument], keywords=[]) if function in FUNCTIONS:
                _check(argument, name, inputs, depth + 1)
                return
            case ast.Call():
                what = "another call"
    else:
        what = f"more than {_DEEPEST} nested parts"
    msg = (
        f"a formula must be made of numbers, its inputs, + - * / ** and {', '.join(FUNCTIONS)}, "
        f"however {name} has {what}"
    )
    raise ConfigError(msg)


def _value(node: ast.expr, columns: Mapping[str, Floats]) -> Floats:
    match node:
        case ast.Constant(value=int() | float() as value):
            return np.array(float(value))
        case ast.Name(id=one):
            return columns[one] if one in columns else np.array(CONSTANTS[one])
        case ast.BinOp(left=left, op=operator, right=right):
            return _OPERATORS[type(operator)](_value(left, columns), _value(right, columns))
        case ast.UnaryOp(op=operator, operand=operand):
            inner = _value(operand, columns)
            return -inner if isinstance(operator, ast.USub) else inner
        case ast.Call(func=ast.Name(id=function), args=[argument]):
            return FUNCTIONS[function](_value(argument, columns))
    msg = f"a formula must have been checked, however: {type(node).__name__}"
    raise ConfigError(msg)


_Kind = Literal["M", "S", "R", "T", "constant"]

_CONSTANT: Final = "constant"


def _structure(node: ast.expr) -> Structure:
    found = _kind(node)
    return "M" if found == "constant" else found


def _kind(node: ast.expr) -> _Kind:
    """Return the structure of a part; a sum times a product of powers, or times a sum, is still a sum of products."""
    match node:
        case ast.Name(id=one):
            return _CONSTANT if one in CONSTANTS else "M"
        case ast.UnaryOp(operand=operand):
            return _kind(operand)
        case ast.Call(func=ast.Name(id=function), args=[argument]):
            inner = _kind(argument)
            if inner == _CONSTANT:
                return _CONSTANT
            if function != "sqrt":
                return "T"
            return "R" if inner == "S" else inner
        case ast.BinOp(left=left, op=operator, right=right):
            return _kind_of_two(_kind(left), _kind(right), operator, right)
    return _CONSTANT


def _kind_of_two(left: _Kind, right: _Kind, operator: ast.operator, exponent: ast.expr) -> _Kind:
    both = {left, right}
    if both == {_CONSTANT}:
        return _CONSTANT
    if "T" in both:
        return "T"
    if isinstance(operator, ast.Add | ast.Sub):
        return "R" if "R" in both else "S"
    if isinstance(operator, ast.Pow):
        if right != _CONSTANT:
            return "T"
        whole = isinstance(exponent, ast.Constant) and exponent.value in range(1, 10)
        return left if left != "S" or whole else "R"
    if "R" in both or (isinstance(operator, ast.Div) and right == "S"):
        return "R"
    return "S" if "S" in both else "M"
