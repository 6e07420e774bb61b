"""Terms that a trunk is a sum of: columns, hinges, indicators, and products of two of them.

A *factor* is a column, an indicator, or a hinge: columns and indicators have the first numbers, hinges those behind.
Hinges are those of multivariate adaptive regression splines (J. H. Friedman, Annals of Statistics 19, 1991,
doi:10.1214/aos/1176347963): straight outside the outermost knot, so that a trunk continues with the slope that it has
at the border.
"""

from dataclasses import dataclass

import numpy as np

from training.tabular.rows import Floats

Term = tuple[int, ...]
"""The factors that it is the product of, by number."""

NETWORK_TERM: Term = ()
"""Stands for the network's answer, always the last term; it is no product of factors."""


@dataclass(frozen=True)
class Hinge:
    """max(u − knot, 0) of one standardised number column."""

    column: int
    knot: float


def with_hinges(block: Floats, hinges: tuple[Hinge, ...]) -> Floats:
    """Return all factors: columns and indicators, shape (n_rows, width), and behind them the hinges' values."""
    bent = [np.maximum(block[:, hinge.column] - hinge.knot, 0.0) for hinge in hinges]
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
