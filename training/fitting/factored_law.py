"""A factored formula: a number times powers of inputs times powers of sums of such products, and its stack of units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.fitting.factored_model import FactoredModel
from training.fitting.law import Floats, Law, Layer

FACTORED = "product of sums of products"

_NOTHING = 1e-9
"""Share of a sum's largest weight below which one is rounding."""

_SIMPLE = 36
"""Powers of inputs and of sums are halves and thirds: a product of two, and sums of such, are multiples of a 36th."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class PoweredSum:
    """A sum of products of powers, raised to a power.

    Attributes:
        power: The power.
        coefficients: Shape (n_terms,).
        powers: Powers of the inputs in each term, shape (n_terms, d).
    """

    power: float
    coefficients: Floats
    powers: Floats


@dataclass(frozen=True)
class Factored:
    """c ∏ x_i^a_i ∏_j S_j^q_j.

    Attributes:
        coefficient: The number c.
        powers: The powers a, shape (d,).
        sums: The sums.
    """

    coefficient: float
    powers: Floats
    sums: tuple[PoweredSum, ...] = ()

    @classmethod
    def of(cls, model: FactoredModel, member: Floats, middle: Floats, sign: float) -> "Factored":
        """Return a member of the fitted family in the inputs' own units.

        Args:
            model: The family.
            member: Parameters, shape (n_parameters,).
            middle: What was taken off the logarithms, shape (d,).
            sign: Sign of the results.
        """
        b, a, r, p = (part[0] for part in model.split(member[None]))
        sums, start = [], 0
        with np.errstate(over="ignore"):
            for q, n_terms in zip(model.shape.outer, model.shape.extra, strict=True):
                own = slice(start, start + n_terms)
                coefficients = np.concatenate([[1.0], r[own] * np.exp(-p[own] @ middle)])
                sums.append(PoweredSum(q, coefficients, np.concatenate([np.zeros((1, len(a))), p[own]])))
                start += n_terms
            return cls(float(sign * np.exp(b - a @ middle)), a, tuple(sums))

    @property
    def finite(self) -> bool:
        """Whether all numbers are finite and the number in front is not zero."""
        parts = [np.array([self.coefficient]), *(one.coefficients for one in self.sums)]
        return self.coefficient != 0 and all(bool(np.isfinite(part).all()) for part in parts)

    def merged(self) -> "Factored":
        """Return the same with each product once in a sum, and none of weight 0; the first weight of a sum is 1 still.

        A sum of one term goes into the product in front.
        """
        coefficient, powers, sums = self.coefficient, self.powers.copy(), []
        for one in self.sums:
            rows, place = np.unique(one.powers, axis=0, return_inverse=True)
            weights = np.bincount(place.ravel(), one.coefficients, minlength=len(rows))
            used = np.abs(weights) > _NOTHING * np.abs(weights).max()
            if not used.any():
                coefficient = 0.0
                continue
            weights, rows = weights[used], rows[used]
            with np.errstate(invalid="ignore"):
                coefficient *= float(weights[0] ** one.power)
            if len(weights) > 1:
                sums.append(PoweredSum(one.power, weights / weights[0], rows))
            else:
                powers = _simple(powers + one.power * rows[0])
        return Factored(coefficient, powers, tuple(sums))

    @property
    def redundant(self) -> bool:
        """Whether a sum has the same product twice."""
        return any(len(np.unique(one.powers, axis=0)) < len(one.powers) for one in self.sums)

    def cleared(self) -> "Factored":
        """Return the same without quotients inside sums: c / √(c² − v²) for 1 / √(1 − v² / c²)."""
        powers, sums = self.powers.copy(), []
        for one in self.sums:
            least = one.powers.min(axis=0)
            powers = _simple(powers + one.power * least)
            sums.append(PoweredSum(one.power, one.coefficients, _simple(one.powers - least)))
        return Factored(self.coefficient, powers, tuple(sums))

    def law(self) -> Law:
        """Return the formula as a stack of sums and products of powers."""
        if not self.sums:
            return Law(FACTORED, (Layer("power", self.powers[None]), *_scale(self.coefficient)))
        if len(self.sums) == 1 and self.sums[0].power == 1 and not self.powers.any():
            return Law(FACTORED, _sums(self.sums, [], self.coefficient))
        front = [self.powers] if self.powers.any() else []
        outer = Layer("power", np.array([[one.power for one in self.sums] + [1.0] * len(front)]))
        return Law(FACTORED, (*_sums(self.sums, front, 1.0), outer, *_scale(self.coefficient)))


def _simple(powers: Floats) -> Floats:
    """Return sums and products of simple powers without what rounding did to them: 1/2 + 1/3 is the float64 of 5/6."""
    nearest = np.round(powers * _SIMPLE) / _SIMPLE
    return np.where(np.abs(powers - nearest) < _ROUNDING, nearest, powers)


def _scale(coefficient: float) -> tuple[Layer, ...]:
    return () if coefficient == 1 else (Layer("sum", np.array([[coefficient]])),)


def _sums(sums: Sequence[PoweredSum], front: Sequence[Floats], scale: float) -> tuple[Layer, Layer]:
    """Return the layers that compute sums, times a scale, and the product in front beside them."""
    rows = [row for one in sums for row in one.powers if row.any()] + list(front)
    products = np.unique(np.array(rows) + 0.0, axis=0)[::-1].copy()
    place = {row.tobytes(): k for k, row in enumerate(products)}
    weight, bias = np.zeros((len(sums) + len(front), len(products))), np.zeros(len(sums) + len(front))
    for j, one in enumerate(sums):
        for coefficient, row in zip(one.coefficients, one.powers, strict=True):
            if row.any():
                weight[j, place[(row + 0.0).tobytes()]] += scale * coefficient
            else:
                bias[j] += scale * coefficient
    for j, row in enumerate(front):
        weight[len(sums) + j, place[(row + 0.0).tobytes()]] = 1.0
    return Layer("power", products), Layer("sum", weight, bias if bias.any() else None)
