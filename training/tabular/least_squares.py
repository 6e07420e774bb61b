"""Least squares of a law's terms, with an intercept where the rows ask for one."""

import numpy as np
from numpy.typing import NDArray

from training.tabular.rows import Floats, mean_of

LEAST_ROWS_PER_TERM = 8
"""Rows for each term at least."""

_ROUNDING = 1e-9
"""Share of the targets' deviation that is taken for rounding."""


def fit_least_squares(
    products: Floats, wanted: Floats, row_weights: Floats | None = None, used: NDArray[np.bool_] | None = None
) -> tuple[Floats, float, Floats]:
    """Fit weights, and an intercept where the Bayesian information criterion is lower for it.

    Most laws have none, and one that is fitted to noise bends what goes on outside (G. Schwarz, Annals of Statistics 6,
    1978: n log(squared error) and log n for each number fitted).

    Args:
        products: Terms, shape (n_rows, n_terms).
        wanted: Shape (n_rows,).
        row_weights: Weights of the rows, shape (n_rows,); None for equal ones.
        used: Rows that are fitted, shape (n_rows,); None for all, and where there are too few of them.

    Returns:
        Weights, intercept, and leave-one-out predictions: ŷ_i − h_i (y_i − ŷ_i) / (1 − h_i), h the leverages. With
        weights of rows they are those of the rows times the roots of their weights.
    """
    if used is not None and not used.all() and used.sum() >= LEAST_ROWS_PER_TERM * products.shape[1]:
        some_weights = None if row_weights is None else row_weights[used]
        weights, intercept, left_out = fit_least_squares(products[used], wanted[used], some_weights)
        answers = products @ weights + intercept
        answers[used] = left_out
        return weights, intercept, answers
    row_weights = np.ones(len(wanted)) if row_weights is None else row_weights
    n_rows = float(row_weights.sum() ** 2 / (row_weights @ row_weights))  # equal ones that know as much (L. Kish, 1965)
    mean, centre = mean_of(products, row_weights), float(mean_of(wanted, row_weights))
    weights, left_out, error = _solved(products, wanted, row_weights, 0.0)
    shifted, left_out_shifted, less = _solved(
        products - mean, wanted - centre, row_weights, row_weights / row_weights.sum()
    )
    least = max(_ROUNDING**2 * float(row_weights @ (wanted - centre) ** 2), np.finfo(np.float64).tiny)
    if n_rows * np.log(max(error, least) / max(less, least)) <= np.log(n_rows):
        return weights, 0.0, left_out
    return shifted, centre - float(mean @ shifted), left_out_shifted + centre


def _solved(
    columns: Floats, wanted: Floats, row_weights: Floats, leverage_of_mean: Floats | float
) -> tuple[Floats, Floats, float]:
    """Return weights, leave-one-out answers and the squared error; columns that say the same share a weight."""
    root = np.sqrt(row_weights)
    size = np.sqrt(row_weights @ columns**2)
    size[~(size > 0)] = np.inf
    u, s, vt = np.linalg.svd(root[:, None] * (columns / size), full_matrices=False)
    known = s > s.max(initial=0.0) * len(wanted) * np.finfo(np.float64).eps
    u, coordinates = u[:, known], u[:, known].T @ (root * wanted)
    fitted = u @ coordinates / root
    leverage = np.minimum((u**2).sum(axis=1) + leverage_of_mean, 1 - 1e-6)
    left_out = wanted - (wanted - fitted) / (1 - leverage)
    return (vt[known].T @ (coordinates / s[known])) / size, left_out, float(row_weights @ (wanted - fitted) ** 2)
