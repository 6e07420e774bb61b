"""Ridge regression whose penalty is chosen by leave-one-out errors (D. M. Allen, Technometrics 16, 1974: PRESS)."""

import numpy as np

from training.tabular.rows import Floats, mean_of

_SHARES = tuple(10.0 ** np.arange(-6, 2.5, 0.5))
"""Ridge penalties tried, as shares of the number of rows (terms are standardised)."""


def fit_ridge(products: Floats, wanted: Floats, row_weights: Floats | None = None) -> tuple[Floats, float, Floats]:
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
    for share in _SHARES:
        shrink = np.where(s > 0, s**2 / np.maximum(s**2 + share * n_rows, np.finfo(np.float64).tiny), 0.0)
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
