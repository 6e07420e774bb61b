"""The choice of a trunk's terms: forward, by generalised cross-validation.

As in multivariate adaptive regression splines (J. H. Friedman, Annals of Statistics 19, 1991,
doi:10.1214/aos/1176347963), without the pruning afterwards.
"""

import numpy as np
from numpy.typing import NDArray

from training.tabular.rows import Floats, mean_of
from training.tabular.terms import Hinge, Term, with_bends

_N_KNOTS = 5
"""Quantiles at which a column may bend."""

_MAX_TERMS = 20
_KNOT_COST = 3.0
"""Friedman's penalty d for each term that was searched for, in generalised cross-validation (his recommendation)."""

_MIN_SIDE_SHARE = 0.05
_MIN_SIDE_ROWS = 10
"""Rows that must lie on either side of a knot."""

_COLLINEAR = 0.05
"""A candidate of which less than this share of the norm is left after the terms chosen adds nothing but noise."""

_SEARCH_ROWS = 10_000
"""Rows that terms are chosen on, drawn at random: thousands of candidates are weighed for each at every step. The
weights of the terms chosen are fitted on all rows."""

_CONSTANT = 1e-12
"""A candidate whose variance is less than this share of its mean square is a constant but for rounding."""

_PATIENCE = 1.05
"""The search ends when the criterion is this much above its best."""


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
    if len(block) > _SEARCH_ROWS:
        index = np.random.default_rng(0).choice(len(block), _SEARCH_ROWS, replace=False)
        block, wanted = block[index], wanted[index]
        row_weights = None if row_weights is None else row_weights[index]
    hinges = _hinges(block, d_numeric)
    factors = with_bends(block, hinges)
    width = block.shape[1]
    sources = np.array([*range(width), *(hinge.column for hinge in hinges)])
    search = TermSearch(factors, sources, wanted, row_weights)
    terms = search.run(degree)
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
        for knot in np.unique(np.quantile(block[:, j], np.linspace(0, 1, _N_KNOTS + 2)[1:-1])):
            n_above, n_below = int((block[:, j] > knot).sum()), int((block[:, j] < knot).sum())
            if min(n_above, n_below) >= least and (values > knot).sum() >= 2 and (values < knot).sum() >= 2:
                result.append(Hinge(j, float(knot)))
    return tuple(result)


class TermSearch:
    """Orthogonal matching pursuit over a growing set of candidates: all factors, and products of some with all.

    No candidate is ever written out. What is left of each, and what it shares with what is still to be explained,
    follows from its product with each direction chosen (R. Rubinstein, M. Zibulevsky and M. Elad, Technion CS-2008-08:
    batch orthogonal matching pursuit), and (a · b)ᵀ v = bᵀ (a · v): one product of the factors with a matrix a step.

    Args:
        factors: Shape (n_rows, n_factors).
        sources: Column that each factor is made of; a product has factors of different ones.
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
        self._others: list[Term] = []
        self._multipliers = np.empty((len(wanted), 0))
        none = np.empty((0, factors.shape[1]))
        self._squares, self._left, self._shared = none, none, none
        self._criteria: list[float] = []
        self.chosen: list[Term] = []
        self._offer((), np.ones(len(wanted)), np.ones(factors.shape[1], dtype=np.bool_))

    def run(self, degree: int) -> tuple[Term, ...]:
        """Choose terms, and offer the products of each chosen with all factors, up to as many factors as the degree."""
        while len(self.chosen) < min(_MAX_TERMS, len(self._rest) // 8) and self.step():
            last = self.chosen[-1]
            if len(last) < degree:
                others = ~np.isin(self._sources, self._sources[list(last)])
                self._offer(last, self._factors[:, list(last)].prod(axis=1), others)
        return tuple(self.chosen[: int(np.argmin(self._criteria)) + 1]) if self._criteria else ()

    def _offer(self, other: Term, multiplier: Floats, allowed: NDArray[np.bool_]) -> None:
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
        gains = np.where(useful, self._shared**2 / np.where(useful, self._left, 1.0), 0.0)
        if not gains.max() > 0:
            return False
        place, factor = divmod(int(np.argmax(gains)), gains.shape[1])
        direction = self._direction(place, factor)
        along = (self._multipliers * direction[:, None]).T @ self._factors
        explained = float(direction @ self._rest)
        self._rest = self._rest - explained * direction
        self._left = self._left - along**2
        self._shared = self._shared - explained * along
        self._directions.append(direction)
        other = self._others[place]
        self.chosen.append((*other, factor))
        n_rows = len(self._rest)
        n_parameters = 1 + len(self.chosen) * (1 + _KNOT_COST / 2)
        slack = max(1 - n_parameters / n_rows, 0.05)
        self._criteria.append(float(self._rest @ self._rest) / n_rows / slack**2)
        return len(self.chosen) < 6 or self._criteria[-1] <= _PATIENCE * min(self._criteria)

    def _direction(self, place: int, factor: int) -> Floats:
        """Return what a candidate adds to the directions chosen, of length 1; freed of them twice, against rounding."""
        column = self._multipliers[:, place] * self._factors[:, factor]
        column -= self._root * (self._root @ column / self._weights.sum())
        if self._directions:
            basis = np.stack(self._directions)
            for _ in range(2):
                column -= basis.T @ (basis @ column)
        return np.asarray(column / np.sqrt(column @ column))
