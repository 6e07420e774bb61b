"""Least squares of a power law, whose exponents are simple numbers where the rows leave no doubt.

Exponents of laws of nature mostly are, and 1.005 instead of 1 is half a per cent for each factor of e by which a column
goes beyond the rows.
"""

import numpy as np
from numpy.typing import NDArray

from training.tabular.least_squares import LeastSquares, StandardError, fit_least_squares
from training.tabular.rows import Floats

_STEPS = (1 / 2, 1 / 3, 1 / 4, 1 / 10)
"""Simple are multiples of one of these, the first whose multiples are beyond doubt."""

_BEYOND_DOUBT = float(np.log(150))
"""Logarithm of a Bayes factor that is very strong evidence (R. E. Kass and A. E. Raftery, J. Am. Stat. Assoc. 90, 1995,
doi:10.1080/01621459.1995.10476572); of laws with other exponents at most one in as many looks like it by chance."""

_ROUNDING = 1e-9
"""Standard error of an exponent that is taken for rounding."""


def fit_power_law(
    logarithms: Floats, spreads: Floats, wanted: Floats, row_weights: Floats | None, used: NDArray[np.bool_]
) -> LeastSquares:
    """Fit the weights of standardised logarithms and of indicators.

    All exponents are made multiples of the same step, or none: what is compared is that each is the nearest of them,
    and that it is any number at most half a step from there.

    Args:
        logarithms: Columns and indicators, shape (n_rows, n_terms).
        spreads: What the logarithms were divided by, NaN for an indicator, shape (n_terms,).
        wanted: Logarithms of the targets, shape (n_rows,).
        row_weights: Weights of the rows, shape (n_rows,); None for equal ones.
        used: Rows that are fitted, shape (n_rows,).
    """
    fit = fit_least_squares(logarithms, wanted, row_weights, used)
    raised = np.isfinite(spreads)
    exponents = fit.weights[raised] / spreads[raised]
    roots = fit.standard_error.root[:, 1:][:, raised] / spreads[raised]
    for step in _STEPS:
        simple = step * np.round(exponents / step)
        if simple.all() and _log_bayes_factor(exponents - simple, roots.T @ roots, step) >= _BEYOND_DOUBT:
            break
    else:
        return fit
    weights = np.zeros(len(spreads))
    weights[raised] = simple * spreads[raised]
    told = logarithms @ weights
    rest = fit_least_squares(logarithms[:, ~raised], wanted - told, row_weights, used)
    weights[~raised] = rest.weights
    centre, root = np.zeros(len(spreads)), np.zeros((len(rest.standard_error.root), 1 + len(spreads)))
    centre[~raised] = rest.standard_error.centre
    root[:, np.append(True, ~raised)] = rest.standard_error.root
    return LeastSquares(weights, rest.intercept, rest.left_out + told, StandardError(centre, root))


def _log_bayes_factor(off: Floats, covariance: Floats, step: float) -> float:
    """Return the logarithm of how much likelier estimates are around the simple numbers than around any near them.

    Args:
        off: Estimates less the simple numbers, shape (n,).
        covariance: Of the estimates, shape (n, n).
        step: Distance between simple numbers.
    """
    covariance = covariance + _ROUNDING**2 * np.eye(len(off))
    _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
    around = -(log_determinant + off @ np.linalg.solve(covariance, off)) / 2
    return float(around - len(off) * np.log(1 / step))
