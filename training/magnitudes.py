"""Magnitudes of inputs for which no step of a lowered law over- or underflows."""

import math
from dataclasses import dataclass

import numpy as np

from models.contract.manifest import Dtype
from models.simple_numbers import simple_fraction
from training.fitting.law import Law, Layer

_SLACK = 2.0
"""Powers of two kept free for the multiples of a sum's terms and for rounding."""


@dataclass(frozen=True)
class _Limits:
    """Exponents of two of a type's smallest and largest normal number, and its digits."""

    low: float
    high: float
    n_bits: int


def safe_magnitudes(law: Law, dtype: Dtype) -> tuple[float, float] | None:
    """Return magnitudes between which inputs may lie without over- or underflow, as powers of ten.

    The range is symmetric, 10^−k to 10^k, and holds for every combination of inputs in it and 0, also where a sum
    cancels: a sum that is not 0 is at least the last place of its smallest term.

    Returns:
        (10^−k, 10^k) for the largest k, or None where there is none.

    Example:
        >>> import numpy as np
        >>> from training.fitting.law import stack
        >>> safe_magnitudes(stack("power", [("power", np.array([1.0, 1.0]))]), "float64")
        (1e-153, 1e+153)
    """
    type_ = np.finfo(dtype)
    limits = _Limits(math.log2(float(type_.tiny)), math.log2(float(type_.max)), type_.nmant + 1)
    for k in range(math.floor(limits.high / math.log2(10)), -1, -1):
        bounds = [(-k * math.log2(10), k * math.log2(10))] * law.layers[0].weight.shape[1]
        if _holds(law, bounds, limits):
            return float(f"1e-{k}"), float(f"1e{k}")
    return None


_Bounds = list[tuple[float, float]]


def _holds(law: Law, bounds: _Bounds, limits: _Limits) -> bool:
    if not all(limits.low <= low and high <= limits.high for low, high in bounds):
        return False
    for layer in law.layers:
        after = _sums(layer, bounds, limits) if layer.kind == "sum" else _products(layer, bounds, limits)
        if after is None:
            return False
        bounds = after
    return True


def _sums(layer: Layer, bounds: _Bounds, limits: _Limits) -> _Bounds | None:
    after = []
    for k, row in enumerate(layer.weight.tolist()):
        terms = [(low + math.log2(abs(w)), high + math.log2(abs(w))) for w, (low, high) in _used(row, bounds)]
        constant = 0.0 if layer.bias is None else float(layer.bias[k])
        if constant:
            terms.append((math.log2(abs(constant)),) * 2)
        if not terms:
            after.append((0.0, 0.0))
            continue
        plain = all(abs(w) == 1 for w, _ in _used(row, bounds)) and not constant
        largest = max(high for _, high in terms)
        total = largest + math.log2(sum(2 ** (high - largest) for _, high in terms))
        least = min(low for low, _ in terms) - (0 if len(terms) == 1 else limits.n_bits)
        scale = 0.0 if plain else _SLACK + _multiple(row)
        if total + scale > limits.high or (not plain and min(low for low, _ in terms) - scale < limits.low):
            return None
        after.append((least, total))
    return after


def _multiple(row: list[float]) -> float:
    """Return the exponent of two of the largest number that a lowered sum may multiply its terms by."""
    fractions = [simple_fraction(weight) for weight in row]
    return math.log2(math.lcm(*(fraction.denominator for fraction in fractions if fraction is not None)))


def _products(layer: Layer, bounds: _Bounds, limits: _Limits) -> _Bounds | None:
    after = []
    for row in layer.weight.tolist():
        sides = []
        for sign in (1, -1):
            factors = [(abs(p), low, high) for p, (low, high) in _used(row, bounds) if p * sign > 0]
            low = sum(min(0.0, p * low) for p, low, _ in factors)
            high = sum(max(0.0, p * high) for p, _, high in factors)
            sides.append((low, high, sum(p * a for p, a, _ in factors), sum(p * b for p, _, b in factors)))
        (low, high, least, most), (low_below, high_below, least_below, most_below) = sides
        result = (least - most_below, most - least_below)
        lowest, highest = min(low, low_below, result[0]), max(high, high_below, result[1])
        if lowest < limits.low or highest + _SLACK > limits.high:
            return None
        after.append(result)
    return after


def _used(row: list[float], bounds: _Bounds) -> list[tuple[float, tuple[float, float]]]:
    return [(weight, bound) for weight, bound in zip(row, bounds, strict=True) if weight]
