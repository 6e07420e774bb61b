"""Arithmetic trunks: a sum of products of columns and of hinges, behind an identity or a logarithmic link.

One representation holds every trunk. A *factor* is a column u, a hinge max(u − t, 0), or an indicator; a *term* is a
factor or the product of two; the trunk is link⁻¹(Σ weight · term + intercept). On raw columns with the identity link
that is a linear model or a sum of products; on logarithms with the logarithmic link it is a product of powers, and a
hinge there changes a power from a threshold on.

A kind may add an ensemble of networks to the sum (on logarithms behind the logarithmic link: a power law whose powers
change smoothly). Its linear part is written as terms; the hidden layers become straight far outside.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.tabular.law_search import law_factors, law_rows, search_law, search_power_law
from training.tabular.least_squares import StandardError, fit_least_squares
from training.tabular.network_settings import NetworkSettings
from training.tabular.networks import LEAST_ROWS, Network, fit_network
from training.tabular.power_law_fit import fit_power_law
from training.tabular.ridge import fit_ridge
from training.tabular.rows import Columns, Floats, Rows, Scale, mean_of
from training.tabular.term_search import search_terms
from training.tabular.terms import NETWORK_TERM, Hinge, Law, Power, Term, products_of, with_bends

Link = Literal["identity", "log"]
LINKS: tuple[Link, ...] = ("identity", "log")

_ROOM: dict[Link, float] = {"identity": 3.0, "log": 1.0}
"""A trunk's sum is held within this many ranges beyond the range that it had to reach in training: a guard against a
runaway term, far beyond what any validation accepts."""

_LAW_ROOM: dict[Link, float] = {"identity": 1000.0, "log": 10.0}
"""A law's columns are held within this many ranges beyond: it is found again and again, and holds far outside. Of a
power law they are ranges of logarithms, and the sum is held within as many, so that answers stay finite."""


@dataclass(frozen=True)
class TrunkKind:
    """A kind of trunk to fit.

    Attributes:
        name: How reports call it.
        scale: Scale of its columns.
        link: Its link.
        degree: 0 for all columns, none chosen (ridge); 1 for chosen columns and hinges; 2 with their products.
        networked: Whether an ensemble of networks is added; the degree is 0 then.
        law: Its terms where they are given, and all that is fitted are their weights.
    """

    name: str
    scale: Scale
    link: Link
    degree: int
    networked: bool = False
    law: Law = ()


KINDS = (
    TrunkKind("linear", "raw", "identity", 0),
    TrunkKind("exponential", "raw", "log", 0),
    TrunkKind("logarithms", "log", "identity", 0),
    TrunkKind("power law", "log", "log", 0),
    TrunkKind("bent lines", "raw", "identity", 1),
    TrunkKind("bent exponential", "raw", "log", 1),
    TrunkKind("bent logarithms", "log", "identity", 1),
    TrunkKind("bent power law", "log", "log", 1),
    TrunkKind("products of bent lines", "raw", "identity", 2),
    TrunkKind("products of bent logarithms", "log", "identity", 2),
    TrunkKind("bent power law with products", "log", "log", 2),
    TrunkKind("network", "raw", "identity", 0, networked=True),
    TrunkKind("network of powers", "log", "log", 0, networked=True),
)


def law_kind(law: Law, link: Link = "identity") -> TrunkKind:
    """Return the kind of trunk whose terms are those of a law: a sum, or behind the logarithmic link a power law."""
    return TrunkKind("law", "raw" if link == "identity" else "log", link, 0, law=law)


def find_law(rows: Rows, n_codes: tuple[int, ...], targets: Floats, link: Link = "identity") -> TrunkKind | None:
    """Look for a law in rows, as `training.tabular.law_search` says; a power law has positive targets."""
    if link == "identity":
        law = search_law(rows, Columns.fit(rows, n_codes, "raw"), targets)
    elif targets.min() > 0:
        law = search_power_law(rows, Columns.fit(rows, n_codes, "log"), np.log(targets))
    else:
        law = None
    return law_kind(law, link) if law else None


@dataclass(frozen=True)
class Trunk:
    """A fitted trunk.

    Attributes:
        kind: What it is.
        columns: Its columns.
        hinges: Its hinges; factor `columns.width + i` is hinge i.
        terms: Factors of each term.
        weights: Weight of each term, shape (n_terms,).
        intercept: Added to the sum.
        shift: Added to the target before the logarithm; 0 for positive targets.
        bounds: The sum is held within these; infinite for a law.
        factor: The answer's factor behind the logarithmic link, against the bias of averaging logarithms.
        network: Takes all columns; its answer is the last term, `NETWORK_TERM`, whose weight is 1.
        powers: Its powers; factor `columns.width + len(hinges) + i` is power i.
        error: The standard error of a law's sum; None for other kinds.
    """

    kind: TrunkKind
    columns: Columns
    hinges: tuple[Hinge, ...]
    terms: tuple[Term, ...]
    weights: Floats
    intercept: float
    shift: float
    bounds: tuple[float, float]
    factor: float = 1.0
    network: Network | None = None
    powers: tuple[Power, ...] = ()
    error: StandardError | None = None

    def predict(self, rows: Rows) -> Floats:
        """Return predictions, shape (n_rows,)."""
        return self.answer(self.products(rows) @ self.weights)

    def products(self, rows: Rows) -> Floats:
        """Return the terms without their weights, shape (n_rows, n_terms); the network's answer is the last."""
        block = self.columns(rows)
        result = products_of(with_bends(block, self.hinges, self.powers), self.terms)
        if self.network is not None:
            result[:, -1] = self.network(block)
        return result

    def standard_error(self, rows: Rows) -> Floats:
        """Return the standard error of a law's predictions, 0 for other kinds, shape (n_rows,).

        Behind the logarithmic link it is that of the sum times the prediction (delta method).
        """
        if self.error is None:
            return np.zeros(len(rows))
        products = self.products(rows)
        error = self.error(products)
        return error if self.kind.link == "identity" else error * self.answer(products @ self.weights)

    def answer(self, total: Floats) -> Floats:
        """Return predictions for the weighted sums of the terms, intercept not included."""
        held = np.clip(total + self.intercept, *self.bounds)
        return held if self.kind.link == "identity" else self.factor * np.exp(held) - self.shift


@dataclass(frozen=True)
class TrunkFit:
    """A trunk and what it would have answered for each training row, had that row not been fitted.

    Attributes:
        trunk: The trunk.
        left_out: Leave-one-out predictions, shape (n_rows,), with the terms held fixed; of networks those of the
            members fitted without the row.
    """

    trunk: Trunk
    left_out: Floats


def fit_trunk(
    kind: TrunkKind,
    rows: Rows,
    n_codes: tuple[int, ...],
    targets: Floats,
    *,
    seed: int = 0,
    networks: NetworkSettings | None = None,
    n_threads: int = 1,
) -> TrunkFit | None:
    """Fit a trunk.

    Args:
        kind: What to fit.
        rows: Training rows.
        n_codes: Codes of each category column.
        targets: Shape (n_rows,).
        seed: Seed of networks.
        networks: Settings of networks.
        n_threads: Threads that a network takes.

    Returns:
        The fit, or None where the rows do not allow it (a logarithm of negative targets, a network of few rows).
    """
    shift = _target_shift(targets) if kind.link == "log" else 0.0
    if shift is None:
        return None
    wanted = targets if kind.link == "identity" else np.log(targets + shift)
    columns = Columns.fit(rows, n_codes, kind.scale)
    block = columns(rows)
    hinges: tuple[Hinge, ...] = ()
    powers: tuple[Power, ...] = ()
    terms: tuple[Term, ...]
    network, error = None, None
    used = law_rows(kind.law, rows)
    if kind.law:
        powers, terms = law_factors(kind.law, block, columns)
    elif kind.degree == 0:
        terms = tuple((j,) for j in range(columns.width))
    else:
        hinges, terms = search_terms(block, columns.d_numeric, wanted, kind.degree, rows.weights)
    if kind.networked:
        if len(wanted) < LEAST_ROWS or not np.ptp(wanted) > 0:
            return None
        fit = fit_network(rows, block, wanted, networks or NetworkSettings(), seed, n_threads=n_threads)
        network, left_out = replace(fit.network, linear=np.zeros(columns.width)), fit.left_out
        terms, weights, intercept = (*terms, NETWORK_TERM), np.array([*fit.network.linear, 1.0]), 0.0
    else:
        products = products_of(with_bends(block, hinges, powers), terms)
        if kind.law:
            if kind.link == "log":
                spreads = np.array([columns.spread[k] if k < columns.d_numeric else np.nan for (k,) in terms])
                law = fit_power_law(products, spreads, wanted, rows.weights, used)
            else:
                law = fit_least_squares(products, wanted, rows.weights, used)
            weights, intercept, left_out, error = law.weights, law.intercept, law.left_out, law.standard_error
        else:
            weights, intercept, left_out = fit_ridge(products, wanted, rows.weights)
    if kind.law:
        columns = columns.widened(_LAW_ROOM[kind.link])
    if kind.law and kind.link == "identity":
        bounds = (-np.inf, np.inf)
    else:
        low, high = float(wanted.min()), float(wanted.max())
        room = (_LAW_ROOM if kind.law else _ROOM)[kind.link] * (high - low)
        bounds = (low - room, high + room)
    trunk = Trunk(
        kind, columns, hinges, terms, weights, intercept, shift, bounds, network=network, powers=powers, error=error
    )
    if kind.link == "log":
        factor = _factor(np.exp(np.clip(left_out, *trunk.bounds)), targets + shift, rows.weights, used, bool(kind.law))
        trunk = replace(trunk, factor=factor)
    return TrunkFit(trunk, trunk.answer(left_out - intercept))


def _factor(
    fitted: Floats, targets: Floats, row_weights: Floats | None, used: NDArray[np.bool_], in_proportion: bool
) -> float:
    """Return the factor by which targets are larger than what averaging logarithms says, that of least squares.

    Where errors may be in proportion and are less surprising so, it is the mean of the targets' factors instead (N.
    Duan, J. Am. Stat. Assoc. 78, 1983, doi:10.1080/01621459.1983.10478017): by least squares few large targets decide,
    and constants of products of four columns were off seven times as much.

    Args:
        fitted: Positive, shape (n_rows,).
        targets: Shape (n_rows,).
        row_weights: Weights of the rows, shape (n_rows,); None for equal ones.
        used: Rows that are fitted, shape (n_rows,); none of them stands for all.
        in_proportion: Whether errors may be in proportion to what is fitted.
    """
    weights = np.ones(len(fitted)) if row_weights is None else row_weights
    if used.any():
        weights = weights * used
    errors = np.abs(targets - fitted)
    middle = np.exp(mean_of(np.log(fitted), weights))
    if in_proportion and middle * mean_of(errors / fitted, weights) < mean_of(errors, weights):
        return float(mean_of(targets / fitted, weights))
    weights = weights * fitted
    return float(weights @ targets / (weights @ fitted))


def _target_shift(targets: Floats) -> float | None:
    smallest = float(targets.min())
    if smallest > 0:
        return 0.0
    if smallest < 0 or not (targets > 0).any():
        return None
    return float(np.median(targets[targets > 0]))
