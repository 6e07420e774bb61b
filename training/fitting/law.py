"""A law: what was learned, as a stack of sums and products of powers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.networks import ArithmeticNetwork
from models.simple_numbers import simple_fraction
from models.units import NAU, ArithmeticUnit, LinearUnit, SignedPower

Floats = NDArray[np.float64]

Kind = Literal["sum", "power"]

PARITY_TOLERANCE = 0.25
"""Distance from an integer within which a fitted power has its parity: up to here the integer is nearer than a half.
Simple powers, such as 3/4, are what they are."""

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Layer:
    """One layer of a law.

    Attributes:
        kind: "sum" for Wx + b, "power" for products of powers with the sign by parity.
        weight: Weights or powers, shape (d_out, d_in).
        bias: Constants of a sum, shape (d_out,); None where there are none.
    """

    kind: Kind
    weight: Floats
    bias: Floats | None = None


@dataclass(frozen=True)
class Law:
    """A stack of layers with one output.

    Attributes:
        structure: Name of the structure that it was fitted as.
        layers: The layers in order.
    """

    structure: str
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.weight.shape[0] != after.weight.shape[1]:
                msg = f"a layer must take what the one before it gives, however: {before.weight.shape} before {after}"
                raise ValueError(msg)
        if not self.layers or self.layers[-1].weight.shape[0] != 1:
            msg = f"a law must have layers and one output, however: {len(self.layers)} layers"
            raise ValueError(msg)

    @property
    def n_weights(self) -> int:
        """Number of weights that are not zero, constants included."""
        parts = [part for layer in self.layers for part in (layer.weight, layer.bias) if part is not None]
        return int(sum(np.count_nonzero(part) for part in parts))

    def evaluate(self, inputs: Floats) -> Floats:
        """Return the law's results for rows, shape (n,); infinite or NaN where it has none."""
        x = inputs
        with np.errstate(all="ignore"):
            for layer in self.layers:
                x = _sum(layer, x) if layer.kind == "sum" else _power(layer.weight, x)
        return x[:, 0]

    def rounding_bound(self, inputs: Floats) -> Floats:
        """Return a bound, to first order, on what float64 rounding does to each result, shape (n,).

        Data and law may be computed in different orders; a difference within a few such bounds says nothing against
        the law. Inputs count as exact.
        """
        x, error = inputs, np.zeros_like(inputs)
        with np.errstate(all="ignore"):
            for layer in self.layers:
                if layer.kind == "sum":
                    size = np.abs(layer.weight)
                    constant = 0.0 if layer.bias is None else np.abs(layer.bias)
                    error = error @ size.T + _EPSILON * (np.abs(x) @ size.T + constant)
                    x = _sum(layer, x)
                else:
                    relative = np.where(error > 0, error / np.abs(x), 0.0)
                    used = layer.weight != 0
                    grown = np.where(used[None], np.abs(layer.weight) * relative[:, None, :], 0.0).sum(axis=2)
                    x = _power(layer.weight, x)
                    error = np.abs(x) * (grown + _EPSILON * used.sum(axis=1))
        return error[:, 0]

    def network(self) -> ArithmeticNetwork:
        """Return the law as a network of units in float64."""
        return ArithmeticNetwork([_unit(layer) for layer in self.layers])


def parity_tolerance(powers: Floats) -> float:
    """Return the distance from an integer within which powers have its parity: 0 for simple numbers."""
    return 0.0 if all(simple_fraction(power) is not None for power in powers.flat) else PARITY_TOLERANCE


def power_sign(powers: Floats, inputs: Floats) -> Floats:
    """Return the sign of each product of powers by parity, NaN where a power has no real value.

    Args:
        powers: Shape (d_out, d_in).
        inputs: Shape (n, d_in).

    Returns:
        Shape (n, d_out).
    """
    nearest = np.round(powers)
    odd = nearest % 2 != 0
    not_real = (np.abs(powers - nearest) > parity_tolerance(powers)) & (powers != 0)
    negative = (inputs < 0).astype(np.float64)
    sign = 1.0 - 2.0 * ((negative @ odd.T.astype(np.float64)) % 2)
    return np.where(negative @ not_real.T.astype(np.float64) > 0, np.nan, sign)


def _sum(layer: Layer, x: Floats) -> Floats:
    result = x @ layer.weight.T
    return result if layer.bias is None else result + layer.bias


def _power(powers: Floats, x: Floats) -> Floats:
    size = np.abs(x)
    result = np.ones((len(x), len(powers)))
    for k, row in enumerate(powers):
        for i in np.flatnonzero(row):
            result[:, k] *= size[:, i] ** row[i]
    return result * power_sign(powers, x)


def _unit(layer: Layer) -> ArithmeticUnit:
    d_out, d_in = layer.weight.shape
    weight = torch.as_tensor(layer.weight)
    unit: ArithmeticUnit
    with torch.no_grad():
        if layer.kind == "power":
            power = SignedPower(d_in, d_out, parity_tolerance=parity_tolerance(layer.weight), dtype=torch.float64)
            power.P.copy_(weight)
            unit = power
        elif layer.bias is None and bool((np.abs(layer.weight) <= 1).all()):
            nau = NAU(d_in, d_out, dtype=torch.float64)
            nau.W.copy_(weight)
            unit = nau
        else:
            linear = LinearUnit(d_in, d_out, bias=layer.bias is not None, dtype=torch.float64)
            linear.W.copy_(weight)
            if linear.b is not None and layer.bias is not None:
                linear.b.copy_(torch.as_tensor(layer.bias))
            unit = linear
    return unit


def sum_law(structure: str, weights: Floats, bias: float | None = None) -> Law:
    """Return a law that is one sum."""
    constant = None if bias is None else np.array([bias])
    return Law(structure, (Layer("sum", np.atleast_2d(weights), constant),))


def stack(structure: str, layers: Sequence[tuple[Kind, Floats]]) -> Law:
    """Return a law of layers without constants."""
    return Law(structure, tuple(Layer(kind, np.atleast_2d(weight)) for kind, weight in layers))
