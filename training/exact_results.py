"""A law's results in decimal arithmetic of 80 digits: the oracle of the exactness certificate.

It shares no code with the lowered graph and none with `Law.evaluate`; weights count as the simple fractions that they
stand for.
"""

from decimal import Context, Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from models.simple_numbers import exact_value
from training.fitting.law import Floats, Law, Layer

_DIGITS = 80
"""Twice the digits of a product of two float64 numbers and some, so that sums may cancel 40 of them."""

Results = NDArray[np.object_]


def exact_results(law: Law, inputs: Floats) -> Results:
    """Return a law's results for rows as `Decimal`, shape (n,); NaN or infinite where there is no real one.

    Example:
        >>> import numpy as np
        >>> from training.fitting.law import stack
        >>> law = stack("power", [("power", np.array([0.5, -1.0]))])
        >>> [str(y)[:8] for y in exact_results(law, np.array([[2.0, 1.0], [-2.0, 1.0], [1.0, 0.0]]))]
        ['1.414213', 'NaN', 'Infinity']
    """
    with localcontext(Context(prec=_DIGITS, Emin=-999_999, Emax=999_999, traps=[])):
        layers = [_ExactLayer(layer) for layer in law.layers]
        results = np.empty(len(inputs), dtype=object)
        for position, row in enumerate(inputs.tolist()):
            values = [Decimal(value) for value in row]
            for layer in layers:
                values = layer(values)
            results[position] = values[0]
        return results


class _ExactLayer:
    def __init__(self, layer: Layer) -> None:
        self._power = layer.kind == "power"
        self._rows = [[(i, _Weight(weight)) for i, weight in enumerate(row) if weight] for row in layer.weight.tolist()]
        bias = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        self._bias = [_Weight(constant).decimal for constant in bias.tolist()]

    def __call__(self, x: list[Decimal]) -> list[Decimal]:
        if self._power:
            return [_product(row, x) for row in self._rows]
        return [
            sum((weight.decimal * x[i] for i, weight in row), bias)
            for row, bias in zip(self._rows, self._bias, strict=True)
        ]


class _Weight:
    def __init__(self, value: float) -> None:
        fraction = exact_value(value)
        self.decimal = Decimal(fraction.numerator) / Decimal(fraction.denominator)
        self.is_half = fraction.denominator == 2
        self.doubled = fraction.numerator if self.is_half else 0


def _product(row: list[tuple[int, _Weight]], x: list[Decimal]) -> Decimal:
    result = Decimal(1)
    for i, weight in row:
        result *= x[i].sqrt() ** weight.doubled if weight.is_half else x[i] ** weight.decimal
    return result
