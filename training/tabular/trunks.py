"""Arithmetic trunks: a sum of products of columns and of hinges, behind an identity or a logarithmic link.

One representation holds every trunk. A *factor* is a column u, a hinge max(u − t, 0), or an indicator; a *term* is a
factor or the product of two; the trunk is link⁻¹(Σ weight · term + intercept). On raw columns with the identity link
that is a linear model or a sum of products; on logarithms with the logarithmic link it is a product of powers, and a
hinge there changes a power from a threshold on. Hinges are those of multivariate adaptive regression splines (J. H.
Friedman, Annals of Statistics 19, 1991, doi:10.1214/aos/1176347963): straight outside the outermost knot, so that the
trunk continues with the slope it has at the border.

A kind may add an ensemble of networks to the sum (on logarithms behind the logarithmic link: a power law whose powers
change smoothly). Its linear part is written as terms; the hidden layers become straight far outside.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.tabular.network_settings import NetworkSettings
from training.tabular.networks import LEAST_ROWS, Network, fit_network
from training.tabular.rows import Columns, Floats, Rows, Scale, mean_of

Link = Literal["identity", "log"]

_RIDGE_SHARES = 10.0 ** np.arange(-6, 2.5, 0.5)
"""Ridge penalties tried, as shares of the number of rows (terms are standardised)."""

_ROOM: dict[Link, float] = {"identity": 3.0, "log": 1.0}
"""A trunk's sum is held within this many ranges beyond the range that it had to reach in training: a guard against a
runaway term, far beyond what any validation accepts."""

N_KNOTS = 5
"""Quantiles at which a column may bend."""

_MAX_TERMS = 20
_KNOT_COST = 3.0
"""Friedman's penalty d for each term that was searched for, in generalised cross-validation (his recommendation)."""

_MIN_SIDE_SHARE = 0.05
_MIN_SIDE_ROWS = 10
"""Rows that must lie on either side of a knot."""

_COLLINEAR = 0.05
"""A candidate of which less than this share of the norm is left after the terms chosen adds nothing but noise."""

SEARCH_ROWS = 10_000
"""Rows that terms are chosen on, drawn at random: thousands of candidates are weighed for each at every step. The
weights of the terms chosen are fitted on all rows."""

_CONSTANT = 1e-12
"""A candidate whose variance is less than this share of its mean square is a constant but for rounding."""

_PATIENCE = 1.05
"""The search ends when the criterion is this much above its best."""

Term = tuple[int, ...]

NETWORK_TERM: Term = ()
"""Stands for the network's answer, always the last term; it is no product of factors."""


@dataclass(frozen=True)
class Hinge:
    """max(u − knot, 0) of one standardised number column."""

    column: int
    knot: float


@dataclass(frozen=True)
class TrunkKind:
    """A kind of trunk to fit.

    Attributes:
        name: How reports call it.
        scale: Scale of its columns.
        link: Its link.
        degree: 0 for all columns, none chosen (ridge); 1 for chosen columns and hinges; 2 with their products.
        networked: Whether an ensemble of networks is added; the degree is 0 then.
    """

    name: str
    scale: Scale
    link: Link
    degree: int
    networked: bool = False


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
        bounds: The sum is held within these.
        factor: The answer's factor behind the logarithmic link, against the bias of averaging logarithms.
        network: Takes all columns; its answer is the last term, `NETWORK_TERM`, whose weight is 1.
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

    def predict(self, rows: Rows) -> Floats:
        """Return predictions, shape (n_rows,)."""
        return self.answer(self.products(rows) @ self.weights)

    def products(self, rows: Rows) -> Floats:
        """Return the terms without their weights, shape (n_rows, n_terms); the network's answer is the last."""
        block = self.columns(rows)
        result = _products(_factors(block, self.hinges), self.terms)
        if self.network is not None:
            result[:, -1] = self.network(block)
        return result

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
        The fit, or None where the targets do not allow it (a logarithm of negative targets, a network of few rows).
    """
    shift = _target_shift(targets) if kind.link == "log" else 0.0
    if shift is None:
        return None
    wanted = targets if kind.link == "identity" else np.log(targets + shift)
    columns = Columns.fit(rows, n_codes, kind.scale)
    block = columns(rows)
    hinges: tuple[Hinge, ...] = ()
    terms: tuple[Term, ...]
    network = None
    if kind.degree == 0:
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
        weights, intercept, left_out = _ridge(_products(_factors(block, hinges), terms), wanted, rows.weights)
    low, high = float(wanted.min()), float(wanted.max())
    room = _ROOM[kind.link] * (high - low)
    bounds = (low - room, high + room)
    trunk = Trunk(kind, columns, hinges, terms, weights, intercept, shift, bounds, network=network)
    if kind.link == "log":
        fitted = np.exp(np.clip(left_out, *trunk.bounds))
        weighted = fitted if rows.weights is None else fitted * rows.weights
        trunk = replace(trunk, factor=float(weighted @ (targets + shift) / (weighted @ fitted)))
    return TrunkFit(trunk, trunk.answer(left_out - intercept))


def _target_shift(targets: Floats) -> float | None:
    smallest = float(targets.min())
    if smallest > 0:
        return 0.0
    if smallest < 0 or not (targets > 0).any():
        return None
    return float(np.median(targets[targets > 0]))


def _factors(block: Floats, hinges: tuple[Hinge, ...]) -> Floats:
    bent = [np.maximum(block[:, hinge.column] - hinge.knot, 0.0) for hinge in hinges]
    return np.column_stack([block, *bent]) if bent else block


def _products(factors: Floats, terms: tuple[Term, ...]) -> Floats:
    result = np.ones((len(factors), len(terms)))
    for i, term in enumerate(terms):
        if term:
            result[:, i] = factors[:, term[0]]
        for k in term[1:]:
            result[:, i] *= factors[:, k]
    return result


def _ridge(products: Floats, wanted: Floats, row_weights: Floats | None = None) -> tuple[Floats, float, Floats]:
    """Fit weights by ridge regression on standardised terms, the penalty by leave-one-out.

    Returns:
        Weights, intercept, and leave-one-out predictions: ŷ_i − h_i (y_i − ŷ_i) / (1 − h_i), h the leverages. With
        weights of rows they are those of the rows times the roots of their weights.
    """
    n_rows = len(wanted)
    mean, centre = mean_of(products, row_weights), float(mean_of(wanted, row_weights))
    spread = products.std(axis=0) if row_weights is None else np.sqrt(mean_of((products - mean) ** 2, row_weights))
    root: Floats | float = 1.0 if row_weights is None else np.sqrt(row_weights)
    share_of_mean: Floats | float = 1 / n_rows if row_weights is None else row_weights / row_weights.sum()
    spread[~(spread > 1e-12 * (1 + np.abs(mean)))] = np.inf
    standard = (products - mean) / spread
    u, s, vt = np.linalg.svd(
        standard if row_weights is None else standard * np.sqrt(row_weights)[:, None], full_matrices=False
    )
    coordinates = u.T @ ((wanted - centre) * root)
    best, result = np.inf, (np.zeros(products.shape[1]), centre, np.full(n_rows, centre))
    for share in _RIDGE_SHARES:
        shrink = s**2 / (s**2 + share * n_rows)
        fitted = u @ (shrink * coordinates) / root + centre
        leverage = np.minimum((u**2) @ shrink + share_of_mean, 1 - 1e-6)
        left_out = wanted - (wanted - fitted) / (1 - leverage)
        error = float(mean_of((wanted - left_out) ** 2, row_weights))
        if error < best:
            with np.errstate(divide="ignore", invalid="ignore"):
                pull = np.where(s > 0, shrink * coordinates / s, 0.0)
            weights = (vt.T @ pull) / spread
            best, result = error, (weights, centre - float(mean @ weights), left_out)
    return result


def search_terms(
    block: Floats, d_numeric: int, wanted: Floats, degree: int, row_weights: Floats | None = None
) -> tuple[tuple[Hinge, ...], tuple[Term, ...]]:
    """Choose terms forward, each the one that explains most of what is left, as many as cross-validation wants.

    Args:
        block: Columns and indicators, shape (n_rows, width), number columns first.
        d_numeric: Number columns.
        wanted: Shape (n_rows,).
        degree: 1, or 2 with products of a chosen factor and any other.
        row_weights: Weights of the rows, shape (n_rows,); None for equal ones.

    Returns:
        Hinges used, and terms.
    """
    if len(block) > SEARCH_ROWS:
        index = np.random.default_rng(0).choice(len(block), SEARCH_ROWS, replace=False)
        block, wanted = block[index], wanted[index]
        row_weights = None if row_weights is None else row_weights[index]
    hinges = _hinges(block, d_numeric)
    factors = _factors(block, hinges)
    width = block.shape[1]
    sources = np.array([*range(width), *(hinge.column for hinge in hinges)])
    search = _Search(factors, sources, wanted, row_weights)
    while len(search.chosen) < min(_MAX_TERMS, len(wanted) // 8) and search.step():
        last = search.chosen[-1]
        if degree == 2 and len(last) == 1:
            search.offer_products(last[0])
    terms = search.best()
    used = sorted({k for term in terms for k in term if k >= width})
    place = {k: width + i for i, k in enumerate(used)}
    return (
        tuple(hinges[k - width] for k in used),
        tuple(tuple(place.get(k, k) for k in term) for term in terms),
    )


def _hinges(block: Floats, d_numeric: int) -> tuple[Hinge, ...]:
    """Return a hinge for each inner quantile with enough rows and at least two values on either side."""
    n_rows = len(block)
    least = max(_MIN_SIDE_ROWS, _MIN_SIDE_SHARE * n_rows)
    result = []
    for j in range(d_numeric):
        values = np.unique(block[:, j])
        if len(values) < 5:
            continue
        for knot in np.unique(np.quantile(block[:, j], np.linspace(0, 1, N_KNOTS + 2)[1:-1])):
            n_above, n_below = int((block[:, j] > knot).sum()), int((block[:, j] < knot).sum())
            if min(n_above, n_below) >= least and (values > knot).sum() >= 2 and (values < knot).sum() >= 2:
                result.append(Hinge(j, float(knot)))
    return tuple(result)


class _Search:
    """Orthogonal matching pursuit over a growing set of candidates: all factors, and products of some with all.

    No candidate is ever written out. What is left of each, and what it shares with what is still to be explained,
    follows from its product with each direction chosen (R. Rubinstein, M. Zibulevsky and M. Elad, Technion CS-2008-08:
    batch orthogonal matching pursuit), and (a · b)ᵀ v = bᵀ (a · v): one product of the factors with a matrix a step.

    Args:
        factors: Shape (n_rows, n_factors).
        sources: Column that each factor is made of; a product has factors of two.
        wanted: Shape (n_rows,).
        row_weights: Weights of the rows; None for equal ones.
    """

    def __init__(self, factors: Floats, sources: NDArray[np.int64], wanted: Floats, row_weights: Floats | None) -> None:
        self._factors, self._sources = factors, sources
        self._squared_factors = factors**2
        self._weights = np.ones(len(wanted)) if row_weights is None else row_weights
        self._root = np.sqrt(self._weights)
        self._rest = (wanted - mean_of(wanted, row_weights)) * self._root
        self._directions: list[Floats] = []
        self._others: list[int | None] = []
        self._multipliers = np.empty((len(wanted), 0))
        none = np.empty((0, factors.shape[1]))
        self._squares, self._left, self._shared = none, none, none
        self._criteria: list[float] = []
        self.chosen: list[Term] = []
        self._offer(None, np.ones(len(wanted)), np.ones(factors.shape[1], dtype=bool))

    def offer_products(self, factor: int) -> None:
        """Offer the products of a factor with all those of other columns."""
        self._offer(factor, self._factors[:, factor], self._sources != self._sources[factor])

    def _offer(self, other: int | None, multiplier: Floats, allowed: NDArray[np.bool_]) -> None:
        weighted = self._weights * multiplier
        moments = (weighted * multiplier) @ self._squared_factors
        squares = moments - (weighted @ self._factors) ** 2 / self._weights.sum()
        squares[~(allowed & (squares > _CONSTANT * moments))] = 0.0
        scaled = (self._root * multiplier)[:, None]
        left = squares.copy()
        if self._directions:
            left -= (((scaled * np.stack(self._directions, axis=1)).T @ self._factors) ** 2).sum(axis=0)
        self._others.append(other)
        self._multipliers = np.column_stack([self._multipliers, scaled])
        self._squares = np.vstack([self._squares, squares])
        self._left = np.vstack([self._left, left])
        self._shared = np.vstack([self._shared, (scaled[:, 0] * self._rest) @ self._factors])

    def step(self) -> bool:
        """Choose one more term; return whether another is worth trying."""
        useful = self._left > np.maximum(_COLLINEAR**2 * self._squares, 1e-18)
        if not useful.any():
            return False
        gains = np.where(useful, self._shared**2 / np.where(useful, self._left, 1.0), 0.0)
        place, factor = divmod(int(np.argmax(gains)), gains.shape[1])
        direction = self._direction(place, factor)
        along = (self._multipliers * direction[:, None]).T @ self._factors
        explained = float(direction @ self._rest)
        self._rest = self._rest - explained * direction
        self._left = self._left - along**2
        self._shared = self._shared - explained * along
        self._directions.append(direction)
        other = self._others[place]
        self.chosen.append((factor,) if other is None else (other, factor))
        n_rows = len(self._rest)
        n_parameters = 1 + len(self.chosen) * (1 + _KNOT_COST / 2)
        slack = max(1 - n_parameters / n_rows, 0.05)
        self._criteria.append(float(self._rest @ self._rest) / n_rows / slack**2)
        return len(self.chosen) < 6 or self._criteria[-1] <= _PATIENCE * min(self._criteria)

    def best(self) -> tuple[Term, ...]:
        return tuple(self.chosen[: int(np.argmin(self._criteria)) + 1]) if self._criteria else ()

    def _direction(self, place: int, factor: int) -> Floats:
        """Return what a candidate adds to the directions chosen, of length 1; freed of them twice, against rounding."""
        column = self._multipliers[:, place] * self._factors[:, factor]
        column -= self._root * (self._root @ column / self._weights.sum())
        if self._directions:
            basis = np.stack(self._directions)
            for _ in range(2):
                column -= basis.T @ (basis @ column)
        return np.asarray(column / np.sqrt(column @ column))
