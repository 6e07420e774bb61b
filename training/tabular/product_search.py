"""The search for a few products of powers whose weighted sum explains targets: built, changed, and thinned out.

A term is built factor by factor on what the other terms leave, several begun products at a time (beam search), and
terms are changed as long as another factor, one more or one less explains more. What is found in the end is the sum
with the lowest n log(squared error) + Σ (log n + 2 γ log F^m) over terms of m of the F factors: the more terms there
are to choose from, the more must one of them explain (extended Bayesian information criterion: J. Chen and Z. Chen,
Biometrika 95, 2008, doi:10.1093/biomet/asn034).

From the best sum known each term is taken out in turn, and all is built on from there (iterated local search: H. R.
Lourenço, O. C. Martin and T. Stützle, Handbook of Metaheuristics, 2003, doi:10.1007/0-306-48056-5_11). That mends what
was chosen too early, where no step explains much by itself.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.tabular.least_squares import LEAST_ROWS_PER_TERM
from training.tabular.rows import Floats, mean_of
from training.tabular.terms import Term

_Part = TypeVar("_Part")

_BEAM = 5
"""Products that are built on at a time."""

_CAUTION = 2.0
"""The criterion's γ: twice what its authors take at most, for folds that share rows share what they find by chance."""

_MOST_REBUILDS = 10
"""Times that a term is taken out and all is built on: laws need few, and approximations would go on and on."""

_MOST_SWEEPS = 5
"""Rounds through all terms, each changed as the others ask for."""

_ROUNDING = 1e-6
"""Share of the targets' deviation that is taken for rounding."""

_COLLINEAR = 0.05
_CONSTANT = 1e-6
"""A candidate of which less than these shares of the norm, around the mean and at all, is left after the other terms
adds nothing but noise."""


class ProductSearch:
    """Search for sums of products.

    Args:
        factors: Shape (n_rows, n_factors).
        sources: Column that each factor is made of, shape (n_factors,); a term has factors of different ones.
        wanted: Targets, shape (n_rows,).
        row_weights: Weights of the rows; None for equal ones.
        degree: Factors of a term at most.
    """

    def __init__(
        self, factors: Floats, sources: NDArray[np.int64], wanted: Floats, row_weights: Floats | None, degree: int
    ) -> None:
        self._degree = degree
        weights = np.ones(len(wanted)) if row_weights is None else row_weights
        self._n_rows = float(weights.sum() ** 2 / (weights @ weights))  # equal ones that know as much (L. Kish, 1965)
        self._root = np.sqrt(weights)
        self._factors, self._sources = _of_size_one(factors), sources
        self._squares = self._factors**2
        self._wanted = self._root * _of_size_one(wanted - mean_of(wanted, row_weights))
        self._chance = 2 * float(np.log(max(factors.shape[1], 2)))
        self._least = _ROUNDING**2 * self._squared_error(())

    def run(self, most_terms: int) -> tuple[Term, ...]:
        """Return the terms found, as many as are worth having, and at most so many."""
        most_terms = min(most_terms, len(self._wanted) // LEAST_ROWS_PER_TERM)
        if not self._least > 0 or not len(self._sources):
            return ()
        best = self._thinned(self._built((), most_terms))
        lowest = self._criterion(best)
        begun: set[tuple[Term, ...]] = set()
        while len(begun) < _MOST_REBUILDS and (left := [one for one in _shorter(best) if one not in begun]):
            begun.add(left[0])
            terms = self._thinned(self._built(left[0], most_terms))
            criterion = self._criterion(terms)
            if criterion < lowest:
                best, lowest = terms, criterion
        return best

    def _criterion(self, terms: Sequence[Term]) -> float:
        """Return what is to be small."""
        error = max(self._squared_error(terms), self._least)
        cost = float(np.log(self._n_rows)) * len(terms) + _CAUTION * self._chance * sum(map(len, terms))
        return self._n_rows * float(np.log(error)) + cost

    def _squared_error(self, terms: Sequence[Term]) -> float:
        _, rest = self._without(terms)
        return float(rest @ rest)

    def _product(self, term: Sequence[int]) -> Floats:
        return np.asarray(self._root * self._factors[:, list(term)].prod(axis=1))

    def _without(self, terms: Sequence[Term]) -> tuple[Floats, Floats]:
        """Return directions of terms and of the constant, shape (n_rows, n_terms + 1), and what they leave."""
        columns = [self._root, *map(self._product, terms)]
        basis = np.linalg.qr(np.stack([one / np.sqrt(one @ one) for one in columns], axis=1))[0]
        return basis, self._wanted - basis @ (basis.T @ self._wanted)

    def _built(self, begun: Sequence[Term], most_terms: int) -> list[Term]:
        """Add terms one by one, and after each change all as the others ask for."""
        terms = self._agreed(begun)
        for _ in range(most_terms - len(terms)):
            basis, rest = self._without(terms)
            term = self._begun(basis, rest)
            if not term or term in terms or rest @ rest <= self._least:
                break
            terms = self._agreed([*terms, self._changed(term, basis, rest)])
        return terms

    def _agreed(self, begun: Sequence[Term]) -> list[Term]:
        """Change terms one after the other until none changes."""
        terms = list(begun)
        for _ in range(_MOST_SWEEPS):
            before = list(terms)
            for i in range(len(terms)):
                terms[i] = self._changed(terms[i], *self._without(terms[:i] + terms[i + 1 :]))
            terms = list(dict.fromkeys(terms))
            if terms == before:
                break
        return terms

    def _begun(self, basis: Floats, rest: Floats) -> Term:
        """Return the term that explains most of what is left, for its cost."""
        cost = self._cost_of_factor(rest)
        level: list[Term] = [()]
        best: Term = ()
        most = 0.0
        for n_factors in range(1, self._degree + 1):
            found: dict[Term, float] = {}
            for others, gains in zip(level, self._gains(level, basis, rest), strict=True):
                for k in np.argsort(gains)[-_BEAM:]:
                    if gains[k] > 0:
                        found[tuple(sorted((*others, int(k))))] = float(gains[k])
            if not found:
                break
            level = sorted(found, key=lambda term: -found[term])[:_BEAM]
            if found[level[0]] - cost * n_factors > most:
                best, most = level[0], found[level[0]] - cost * n_factors
        return best

    def _changed(self, term: Term, basis: Floats, rest: Floats) -> Term:
        """Replace, drop and add factors one by one as long as that explains more, for its cost."""
        cost = self._cost_of_factor(rest)
        worth = -np.inf
        while True:
            shorter = _shorter(term)
            found: dict[Term, float] = {}
            begun = [*shorter, term] if len(term) < self._degree else shorter
            for others, gains in zip(begun, self._gains(begun, basis, rest), strict=True):
                k = int(np.argmax(gains))
                if gains[k] > 0:
                    found[tuple(sorted((*others, k)))] = float(gains[k]) - cost * (len(others) + 1)
            for others in shorter if len(term) > 1 else []:
                gain = self._gain(others, basis, rest)
                if gain > 0:
                    found[others] = gain - cost * len(others)
            best = max(found, key=lambda one: found[one], default=term)
            if best == term or found[best] <= worth:
                return term
            term, worth = best, found[best]

    def _cost_of_factor(self, rest: Floats) -> float:
        """Return by how much the best factor lowers the squared error by chance."""
        return self._chance * float(rest @ rest) / self._n_rows

    def _gain(self, term: Term, basis: Floats, rest: Floats) -> float:
        """Return by how much a term lowers the squared error, 0 where the other terms leave too little of it."""
        product = self._product(term)
        return float(_lowered(product @ rest, basis.T @ product, product @ product))

    def _gains(self, begun: Sequence[Term], basis: Floats, rest: Floats) -> Floats:
        """Return the same for products begun times each factor, 0 where both have a column; (n_begun, n_factors)."""
        products = np.stack([self._product(one) for one in begun], axis=1)
        squares = (products**2).T @ self._squares
        directions = np.concatenate([basis, rest[:, None]], axis=1)[:, :, None] * products[:, None, :]
        shares = directions.reshape(len(rest), -1).T @ self._factors
        *along, shared = shares.reshape(-1, *squares.shape)
        allowed = np.stack([~np.isin(self._sources, self._sources[list(one)]) for one in begun])
        return np.where(allowed, _lowered(shared, np.stack(along), squares), 0.0)

    def _thinned(self, terms: Sequence[Term]) -> tuple[Term, ...]:
        """Drop terms one by one as long as the criterion falls."""
        kept = tuple(sorted(terms))
        lowest = self._criterion(kept)
        while kept:
            shorter = _shorter(kept)
            criteria = [self._criterion(one) for one in shorter]
            best = int(np.argmin(criteria))
            if criteria[best] > lowest:
                break
            kept, lowest = shorter[best], criteria[best]
        return kept


def _shorter(whole: tuple[_Part, ...]) -> list[tuple[_Part, ...]]:
    """Return what is left of it without one after the other."""
    return [whole[:i] + whole[i + 1 :] for i in range(len(whole))]


def _lowered(shared: Floats, along: Floats, squares: Floats) -> Floats:
    """Return by how much candidates lower the squared error, 0 where the other terms leave too little of one.

    Args:
        shared: Inner product of each with what is left of the targets.
        along: With each direction of the other terms, that of the constant first, shape (n_directions, ...).
        squares: With itself.
    """
    left = squares - (along**2).sum(axis=0)
    useful = left > np.maximum(_COLLINEAR**2 * (squares - along[0] ** 2), _CONSTANT**2 * squares)
    return np.where(useful, shared**2 / np.where(useful, left, 1.0), 0.0)


def _of_size_one(values: Floats) -> Floats:
    """Return columns, or one column, divided by the greatest absolute value, so that products stay finite."""
    size = np.abs(values).max(axis=0)
    return np.asarray(values / np.where(size > 0, size, 1.0))
