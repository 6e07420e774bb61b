"""Layers of weights → terms: numbers times powers of inputs and of sums, as the manifest's formula holds them.

A column stands for what one output of a layer computes: a sum of terms. Nothing is rearranged that would change a
result: a sum inside a product stays a sum, and powers are merged only where the result is the same for every sign.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from models.contract.errors import NaluError
from models.contract.formula import PoweredSum, Term
from models.simple_numbers import exact_value

SUM_TOLERANCE = 1e-9
"""Share of the largest weight that is taken for zero in a sum by default: the rounding left by a float64 fit. Not
larger, because inputs in different units have weights of different sizes."""

POWER_TOLERANCE = 1e-6
"""Power that is taken for zero in a product by default, and distance at which one is taken for an integer: it changes
numbers up to 1e9 by less than 3 parts in 100,000, below the four digits shown."""

Column = tuple[Term, ...]


class FormulaError(NaluError, ValueError):
    """Weights and columns that do not make a formula."""


def input_columns(names: Sequence[str]) -> list[Column]:
    """Return the columns that stand for the inputs themselves."""
    return [(Term(coefficient=1.0, powers={name: 1.0}),) for name in names]


def sum_column(
    weights: Sequence[float], columns: Sequence[Column], *, constant: float = 0.0, tolerance: float = SUM_TOLERANCE
) -> Column:
    """Return a weighted sum of columns.

    Args:
        weights: Weight of each column.
        columns: The columns.
        constant: Number added to the sum.
        tolerance: A column is left out when its weight is at most this share of the largest one, constant included.

    Raises:
        FormulaError: When there is not one weight per column, a weight is not finite, or the tolerance is out of range.
    """
    _check([*weights, constant], len(columns) + 1, tolerance)
    least = tolerance * max(abs(weight) for weight in (*weights, constant))
    merged: dict[str, Term] = {}
    for weight, column in [*zip(weights, columns, strict=True), (constant, (Term(coefficient=1.0),))]:
        if abs(weight) <= least or weight == 0:
            continue
        for term in column:
            key = repr((sorted(term.powers.items()), term.sums))
            total = exact_value(weight) * exact_value(term.coefficient)
            if key in merged:
                total += exact_value(merged[key].coefficient)
            merged[key] = Term(coefficient=_number(total), powers=term.powers, sums=term.sums)
    return tuple(term for term in merged.values() if term.coefficient)


def product_column(powers: Sequence[float], columns: Sequence[Column], *, tolerance: float = POWER_TOLERANCE) -> Column:
    """Return a product of powers of columns.

    Args:
        powers: Power of each column.
        columns: The columns.
        tolerance: A column is left out when its power is at most this far from zero.

    Raises:
        FormulaError: When there is not one power per column, a power is not finite, or the tolerance is out of range.
    """
    _check(powers, len(columns), tolerance)
    used = [
        (_near_integer(power, tolerance), column)
        for power, column in zip(powers, columns, strict=True)
        if abs(power) > tolerance
    ]
    if len(used) == 1 and used[0][0] == 1:
        return used[0][1]
    coefficient, merged, sums = 1.0, dict[str, float](), list[PoweredSum]()
    for power, column in used:
        single = _merged(column, power) if len(column) == 1 else None
        if single is not None and not single.powers.keys() & merged.keys():
            coefficient = _number(exact_value(coefficient) * exact_value(single.coefficient))
            merged |= single.powers
            sums += single.sums
        else:
            sums.append(PoweredSum(power=power, terms=column))
    return (Term(coefficient=coefficient, powers=merged, sums=tuple(sums)),)


def _merged(column: Column, power: float) -> Term | None:
    """Return a term raised to a power as a term, or None where that would not be the same for every sign."""
    term = column[0]
    inner = [*term.powers.values(), *(factor.power for factor in term.sums)]
    plain = term.coefficient == 1 and inner == [1.0]
    if power != 1 and not plain and not (power.is_integer() and all(p.is_integer() for p in inner)):
        return None
    coefficient = exact_value(term.coefficient)
    return Term(
        coefficient=_number(coefficient if power == 1 or plain else coefficient ** int(power)),
        powers={name: p * power for name, p in term.powers.items()},
        sums=tuple(PoweredSum(power=factor.power * power, terms=factor.terms) for factor in term.sums),
    )


def _number(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        msg = "a formula needs coefficients that a float64 holds, however one is larger"
        raise FormulaError(msg) from None


def _near_integer(power: float, tolerance: float) -> float:
    nearest = float(round(power))
    return nearest if nearest and abs(power - nearest) <= tolerance else power


def _check(numbers: Sequence[float], n_expected: int, tolerance: float) -> None:
    if len(numbers) != n_expected:
        msg = f"a formula needs one weight per column, however: {len(numbers)} weights for {n_expected} columns"
        raise FormulaError(msg)
    for position, number in enumerate(numbers):
        if not math.isfinite(number):
            msg = f"a formula needs finite weights, however weight {position} is {number}"
            raise FormulaError(msg)
    if not 0 <= tolerance < 1:
        msg = f"`tolerance` must be at least 0 and less than 1, however: tolerance={tolerance}"
        raise FormulaError(msg)
