"""The numbers of a factored formula: which constants they stand for, exactly or through noise.

A sum's coefficients are known up to a factor that belongs to the number in front; the term that counts as 1 is the one
that leaves the simplest numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import log

import numpy as np
from numpy.typing import NDArray

from training.fitting.constants import constants, exact_constant, likely_constants
from training.fitting.factored_law import Factored, PoweredSum
from training.fitting.law import Floats

_NOT_SIMPLE = 30.0
"""Description length, in nats, of a number that is no constant, when numbers are known to rounding."""

_MINUS = 0.1
"""What a minus in front costs: of a − b and −(b − a) the first is taken."""

_BEAM = 24
_N_BEST = 4
"""Beginnings kept while constants are chosen one by one, and choices returned."""


def with_exact_numbers(formula: Factored) -> Factored:
    """Return a formula fitted to labels without noise with its numbers on constants, where they are such."""
    return min((_snapped(_referred(formula, choice)) for choice in _all_references(formula)), key=_price)


def _all_references(formula: Factored) -> Iterator[tuple[int, ...]]:
    """Yield which term of each sum may count as 1."""
    return product(*(_references(one) for one in formula.sums))


def _referred(formula: Factored, choice: Sequence[int]) -> Factored:
    coefficient, sums = formula.coefficient, []
    for one, k in zip(formula.sums, choice, strict=True):
        unit = one.coefficients[k]
        sums.append(replace(one, coefficients=one.coefficients / unit))
        coefficient *= float(unit**one.power)
    return replace(formula, coefficient=coefficient, sums=tuple(sums))


def _references(one: PoweredSum) -> list[int]:
    """Return the terms that may count as 1: positive ones, where a fractional power keeps the sum's sign."""
    whole = one.power == round(one.power)
    return [k for k, value in enumerate(one.coefficients) if value and (whole or value > 0)]


def _snapped(formula: Factored) -> Factored:
    sums = tuple(
        replace(one, coefficients=np.array([exact_constant(value) for value in one.coefficients.tolist()]))
        for one in formula.sums
    )
    return replace(formula, coefficient=exact_constant(formula.coefficient), sums=sums)


def _price(formula: Factored) -> float:
    numbers = [formula.coefficient, *(value for one in formula.sums for value in one.coefficients.tolist())]
    return sum(map(_cost, numbers)) + _MINUS * (formula.coefficient < 0)


def _cost(value: float) -> float:
    known = constants()
    place = int(np.argmin(np.abs(known.values - abs(value))))
    return float(known.costs[place]) if known.values[place] == abs(value) else _NOT_SIMPLE


def likely_numbers(formula: Factored, covariance: Floats) -> list[tuple[Factored, float]]:
    """Return a formula fitted through noise with the constants that its numbers may stand for, the likeliest first.

    Args:
        formula: The formula, the first coefficient of each sum 1.
        covariance: Covariance of the logarithms of its numbers: the one in front, then each sum's from the second on.

    Returns:
        Formulas and the description length of their numbers in nats; the last one keeps all numbers as fitted.
    """
    found: list[tuple[float, float, Factored]] = []
    free: tuple[Factored, float] | None = None
    for choice in _all_references(formula):
        turn = _turned(formula, choice)
        own = turn @ covariance @ turn.T
        referred = _referred(formula, choice)
        numbers = _numbers(referred)
        used = np.flatnonzero(np.diag(own) > 0)
        for penalty, cost, values in _choices(numbers, own, used):
            price = cost + _MINUS * (values[0] < 0)
            found.append((penalty + price, price, _with(referred, values)))
        if free is None:
            errors = np.sqrt(np.diag(own)) * np.abs(numbers)
            free = referred, sum(likely_constants(numbers[i], errors[i])[-1][1] for i in used)
    found.sort(key=lambda one: one[0])
    best = [(one, cost) for _, cost, one in found[:_N_BEST]]
    return best if free is None else [*best, free]


def _numbers(formula: Factored) -> Floats:
    return np.array([formula.coefficient, *(value for one in formula.sums for value in one.coefficients)])


def _with(formula: Factored, numbers: Floats) -> Factored:
    sums, start = [], 1
    for one in formula.sums:
        end = start + len(one.coefficients)
        sums.append(replace(one, coefficients=numbers[start:end]))
        start = end
    return replace(formula, coefficient=float(numbers[0]), sums=tuple(sums))


def _turned(formula: Factored, choice: Sequence[int]) -> Floats:
    """Return the matrix from the logarithms of the fitted numbers to those of all numbers under another reference."""
    n_fitted = 1 + sum(len(one.coefficients) - 1 for one in formula.sums)
    rows = [np.eye(n_fitted)[0]]
    start = 1
    for one, k in zip(formula.sums, choice, strict=True):
        n_terms = len(one.coefficients)
        own = [np.zeros(n_fitted), *np.eye(n_fitted)[start : start + n_terms - 1]]
        rows[0] = rows[0] + one.power * own[k]
        rows += [row - own[k] for row in own]
        start += n_terms - 1
    return np.array(rows)


def _choices(numbers: Floats, covariance: Floats, used: NDArray[np.intp]) -> list[tuple[float, float, Floats]]:
    """Return ½ z², description length and numbers of the likeliest constants, chosen one by one, the surest first.

    What is chosen for one number moves the others by what their errors have in common.
    """
    beams = [(0.0, 0.0, numbers, covariance)]
    for _ in range(len(used)):
        left = [i for i in used if beams[0][3][i, i] > 0]
        if not left:
            break
        i = min(left, key=lambda place: beams[0][3][place, place])
        after = []
        for penalty, cost, values, own in beams:
            variance = own[i, i]
            if not variance > 0:
                after.append((penalty, cost, values, own))
                continue
            error = abs(values[i]) * float(np.sqrt(variance))
            for constant, price in likely_constants(float(values[i]), error):
                step = log(abs(constant / values[i]))
                gain = own[:, i] / variance
                moved = values * np.exp(np.clip(gain * step, -5, 5))
                moved[i] = constant
                rest = own - np.outer(gain, own[i])
                rest[i] = rest[:, i] = 0.0
                rest[np.abs(rest) < 1e-12 * np.abs(own).max()] = 0.0
                after.append((penalty + 0.5 * step**2 / variance, cost + price, moved, rest))
        beams = sorted(after, key=lambda one: one[0] + one[1])[:_BEAM]
    return [(penalty, cost, values) for penalty, cost, values, _ in beams[:_N_BEST]]
