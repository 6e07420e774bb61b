"""Least squares of a law's terms, with an intercept where the rows ask for one."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.tabular.rows import Floats, mean_of

LEAST_ROWS_PER_TERM = 8
"""Rows for each term at least."""

_ROUNDING = 1e-9
"""Share of the targets' deviation that is taken for rounding."""


@dataclass(frozen=True)
class StandardError:
    """How far a fitted sum is from the true one: ‖R [1, z − z̄]‖ for terms z.

    RᵀR is the covariance of what was fitted, heteroscedasticity-consistent: the sum over rows of what the row's error,
    had it been left out, moves the numbers fitted by (HC3 of J. G. MacKinnon and H. White, Journal of Econometrics 29,
    1985).

    Attributes:
        centre: z̄, shape (n_terms,): means of the terms, and 0 without an intercept.
        root: R, shape (n, 1 + n_terms).
    """

    centre: Floats
    root: Floats

    def __call__(self, products: Floats) -> Floats:
        """Return it for terms of shape (n_rows, n_terms), shape (n_rows,)."""
        moved = self.root[:, 0] + (products - self.centre) @ self.root[:, 1:].T
        return np.asarray(np.sqrt((moved**2).sum(axis=1)))


@dataclass(frozen=True)
class LeastSquares:
    """A fitted sum.

    Attributes:
        weights: Of the terms, shape (n_terms,).
        intercept: Added to the sum.
        left_out: Leave-one-out predictions, shape (n_rows,): ŷ_i − h_i (y_i − ŷ_i) / (1 − h_i), h the leverages. With
            weights of rows they are those of the rows times the roots of their weights.
        standard_error: Of sums.
    """

    weights: Floats
    intercept: float
    left_out: Floats
    standard_error: StandardError


def fit_least_squares(
    products: Floats, wanted: Floats, row_weights: Floats | None = None, used: NDArray[np.bool_] | None = None
) -> LeastSquares:
    """Fit weights, and an intercept where the Bayesian information criterion is lower for it.

    Most laws have none, and one that is fitted to noise bends what goes on outside (G. Schwarz, Annals of Statistics 6,
    1978: n log(squared error) and log n for each number fitted).

    Args:
        products: Terms, shape (n_rows, n_terms).
        wanted: Shape (n_rows,).
        row_weights: Weights of the rows, shape (n_rows,); None for equal ones.
        used: Rows that are fitted, shape (n_rows,); None for all, and where there are too few of them.
    """
    if used is not None and not used.all() and used.sum() >= LEAST_ROWS_PER_TERM * products.shape[1]:
        fit = fit_least_squares(products[used], wanted[used], None if row_weights is None else row_weights[used])
        answers = products @ fit.weights + fit.intercept
        answers[used] = fit.left_out
        return replace(fit, left_out=answers)
    row_weights = np.ones(len(wanted)) if row_weights is None else row_weights
    n_rows = float(row_weights.sum() ** 2 / (row_weights @ row_weights))  # equal ones that know as much (L. Kish, 1965)
    mean, centre = mean_of(products, row_weights), float(mean_of(wanted, row_weights))
    plain, error = _solved(products, wanted, row_weights)
    shifted, less = _solved(products - mean, wanted - centre, row_weights, row_weights / row_weights.sum())
    least = max(_ROUNDING**2 * float(row_weights @ (wanted - centre) ** 2), np.finfo(np.float64).tiny)
    if n_rows * (np.log(max(error, least)) - np.log(max(less, least))) <= np.log(n_rows):
        return plain
    return LeastSquares(
        shifted.weights,
        centre - float(mean @ shifted.weights),
        shifted.left_out + centre,
        replace(shifted.standard_error, centre=mean),
    )


def _solved(
    columns: Floats, wanted: Floats, row_weights: Floats, shares: Floats | None = None
) -> tuple[LeastSquares, float]:
    """Return the fit without intercept, and its squared error; columns that say the same share a weight.

    Args:
        columns: Shape (n_rows, n_terms).
        wanted: Shape (n_rows,).
        row_weights: Shape (n_rows,).
        shares: Of the rows in a mean that was subtracted from both, None for none.
    """
    shares = np.zeros(len(wanted)) if shares is None else shares
    root = np.sqrt(row_weights)
    size = np.sqrt(row_weights @ columns**2)
    size[~(size > 0)] = np.inf
    u, s, vt = np.linalg.svd(root[:, None] * (columns / size), full_matrices=False)
    known = s > s.max(initial=0.0) * len(wanted) * np.finfo(np.float64).eps
    u, turned = u[:, known], vt[known] / s[known, None] / size
    coordinates = u.T @ (root * wanted)
    fitted = u @ coordinates / root
    leverage = np.minimum((u**2).sum(axis=1) + shares, 1 - 1e-6)
    errors = (wanted - fitted) / (1 - leverage)
    moved = errors[:, None] * np.column_stack([shares, root[:, None] * u @ turned])
    standard_error = StandardError(np.zeros(columns.shape[1]), np.asarray(np.linalg.qr(moved, mode="r")))
    fit = LeastSquares(coordinates @ turned, 0.0, wanted - errors, standard_error)
    return fit, float(row_weights @ (wanted - fitted) ** 2)
