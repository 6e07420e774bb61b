"""Terms that a trunk is a sum of: columns, hinges, indicators, and products of two of them.

A *factor* is a column, an indicator, a hinge, or a power: columns and indicators have the first numbers, hinges and
powers those behind.
Hinges are those of multivariate adaptive regression splines (J. H. Friedman, Annals of Statistics 19, 1991,
doi:10.1214/aos/1176347963): straight outside the outermost knot, so that a trunk continues with the slope that it has
at the border.
"""

from dataclasses import dataclass

import numpy as np

from training.tabular.rows import Floats

Term = tuple[int, ...]
"""The factors that it is the product of, by number."""

Law = tuple[tuple[tuple[int, float], ...], ...]
"""Terms as products of powers: a number column, or an indicator, and its exponent, 1 for an indicator. With d number
columns j is column j and d + j its gaps; the levels of the categories have the numbers from 2 d on."""

NETWORK_TERM: Term = ()
"""Stands for the network's answer, always the last term; it is no product of factors."""


@dataclass(frozen=True)
class Hinge:
    """max(u − knot, 0) of one standardised number column."""

    column: int
    knot: float


@dataclass(frozen=True)
class Power:
    """A power of u − origin, of one standardised number column u, which is 0 at the origin.

    Attributes:
        column: The column.
        exponent: The exponent.
        origin: Where the column is 0.
        floor: Stands in for what is not above `least`.
        least: Minus infinity where the exponent takes any number.
    """

    column: int
    exponent: float
    origin: float
    floor: float
    least: float


def with_bends(block: Floats, hinges: tuple[Hinge, ...], powers: tuple[Power, ...] = ()) -> Floats:
    """Return all factors: columns and indicators, shape (n_rows, width), behind them hinges, then powers."""
    bent = [np.maximum(block[:, hinge.column] - hinge.knot, 0.0) for hinge in hinges]
    for one in powers:
        base = block[:, one.column] - one.origin
        bent.append(np.where(base > one.least, base, one.floor) ** one.exponent)
    return np.column_stack([block, *bent]) if bent else block


def products_of(factors: Floats, terms: tuple[Term, ...]) -> Floats:
    """Return the terms' values, shape (n_rows, n_terms); 1 for `NETWORK_TERM`."""
    result = np.ones((len(factors), len(terms)))
    for i, term in enumerate(terms):
        if term:
            result[:, i] = factors[:, term[0]]
        for k in term[1:]:
            result[:, i] *= factors[:, k]
    return result
