"""Constants of nature's formulas: which numbers beside the grid of simple weights a fitted coefficient may stand for.

They are p/q · π^k with few digits. A coefficient that is none of them stays the number that was fitted.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import log, pi

import numpy as np
from numpy.typing import NDArray

from models.simple_numbers import MAX_DENOMINATOR, MAX_NUMERATOR
from training.fitting.snapping import SUM_GRID

Floats = NDArray[np.float64]

_PARTS = (*range(1, 13), 15, 16, 18, 20, 24, 32, 64)
"""Numerators and denominators: 1/32 and 3/20 occur, 13/11 does not."""

_PI_POWERS = (0, 1, -1, 2, -2)

_CLOSE = 1e-10
"""Relative distance at which a number fitted to labels without noise is a constant: there are about a thousand in each
power of ten, so that one in ten million numbers meets one by chance."""

_FRACTION_CLOSE = 1e-12
"""The same for the six million fractions such as 9.81."""

_FREE_PRIOR = log(2 * log(1e60))
"""Nats of a free number's sign and magnitude, evenly from 1e-30 to 1e30 on a logarithmic scale."""

_MOST_NEAR = 3
"""Constants within the error of a fitted number that are tried."""

_FAR = 4.0
"""Standard errors beyond which a constant is not tried."""


@dataclass(frozen=True)
class Constants:
    """Positive constants in ascending order.

    Attributes:
        values: The constants.
        costs: Description length of each in nats.
    """

    values: Floats
    costs: Floats


@cache
def constants() -> Constants:
    """Return p/q · π^k and their description lengths: that of the grid of weights where it has the number."""
    known = {abs(value): cost for value, cost in zip(SUM_GRID.values.tolist(), SUM_GRID.costs.tolist(), strict=True)}
    found: dict[float, float] = {}
    for p in _PARTS:
        for q in _PARTS:
            fraction = Fraction(p, q)
            for k in _PI_POWERS:
                value = float(fraction) * pi**k
                cost = 4.0 + log(fraction.numerator * fraction.denominator) + 1.5 * abs(k)
                found[value] = min(found.get(value, np.inf), known.get(value, cost))
    values = sorted(found)
    return Constants(np.array(values), np.array([found[value] for value in values]))


def exact_constant(value: float) -> float:
    """Return the constant that a number fitted without noise stands for, or the number itself.

    Example:
        >>> from math import pi
        >>> exact_constant(0.25 / pi * (1 + 1e-13)) == 0.25 / pi
        True
        >>> exact_constant(-9.8100000000000005), exact_constant(1.1234567)
        (-9.81, 1.1234567)
    """
    table = constants().values
    size, sign = abs(value), 1.0 if value >= 0 else -1.0
    nearest = float(table[np.argmin(np.abs(table - size))])
    if abs(nearest - size) <= _CLOSE * size:
        return sign * nearest
    if size <= MAX_NUMERATOR:
        fraction = Fraction(size).limit_denominator(MAX_DENOMINATOR)
        if fraction.numerator <= MAX_NUMERATOR and abs(float(fraction) - size) <= _FRACTION_CLOSE * size:
            return sign * float(fraction)
    return value


def likely_constants(value: float, error: float) -> list[tuple[float, float]]:
    """Return what a number fitted through noise may stand for, and the description length of each, the number last.

    A free number costs its magnitude and what its standard error leaves of its digits.

    Args:
        value: The number.
        error: Its standard error.
    """
    known = constants()
    size, sign = abs(value), 1.0 if value >= 0 else -1.0
    near = np.flatnonzero(np.abs(known.values - size) <= _FAR * error)
    penalty = known.costs[near] + 0.5 * ((known.values[near] - size) / max(error, 1e-300)) ** 2
    best = near[np.argsort(penalty)][:_MOST_NEAR]
    digits = log(max(size / max(error, 1e-300), 1.0)) - 0.5 * log(2 * pi)
    result = [(sign * float(known.values[k]), float(known.costs[k])) for k in best]
    return [*result, (value, _FREE_PRIOR + max(digits, 0.0))]
