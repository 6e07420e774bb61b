"""Least squares of a power law, whose exponents are simple numbers where the rows leave no doubt.

Exponents of laws of nature mostly are, and 1.005 instead of 1 is half a per cent for each factor of e by which a column
goes beyond the rows.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from training.tabular.least_squares import LeastSquares, StandardError, fit_least_squares
from training.tabular.rows import Floats

_DIVISORS = ((2,), (3,), (4,), (10,), (2, 3, 4, 10))
"""Simple are halves, or thirds, or quarters, or tenths, or any of these: the first that are beyond doubt."""

_BEYOND_DOUBT = float(np.log(150))
"""Logarithm of a Bayes factor that is very strong evidence (R. E. Kass and A. E. Raftery, J. Am. Stat. Assoc. 90, 1995,
doi:10.1080/01621459.1995.10476572); of laws with other exponents at most one in as many looks like it by chance."""

_ROUNDING = 1e-9
"""Standard error of an exponent that is taken for rounding."""


def fit_power_law(
    logarithms: Floats, spreads: Floats, wanted: Floats, row_weights: Floats | None, used: NDArray[np.bool_]
) -> LeastSquares:
    """Fit the weights of standardised logarithms and of indicators.

    All exponents are made simple numbers of the same kind, or none: what is compared is that each is one of them, and
    that it is any number near them.

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
    for divisors in _DIVISORS:
        simple = _nearest(exponents, divisors)
        n_per_unit = len({Fraction(k, divisor) for divisor in divisors for k in range(divisor)})
        if simple.all() and _log_bayes_factor(exponents - simple, roots.T @ roots, n_per_unit) >= _BEYOND_DOUBT:
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


def _nearest(numbers: Floats, divisors: tuple[int, ...]) -> Floats:
    """Return the multiple of a reciprocal of any of the divisors that is nearest to each number, shape (n,)."""
    multiples = np.array([np.round(numbers * divisor) / divisor for divisor in divisors])
    return np.asarray(multiples[np.abs(multiples - numbers).argmin(axis=0), np.arange(len(numbers))])


def _log_bayes_factor(off: Floats, covariance: Floats, n_per_unit: int) -> float:
    """Return the logarithm of how much likelier estimates are around the simple numbers than around any near them.

    Args:
        off: Estimates less the simple numbers, shape (n,).
        covariance: Of the estimates, shape (n, n).
        n_per_unit: Simple numbers from one whole number to the next.
    """
    covariance = covariance + _ROUNDING**2 * np.eye(len(off))
    _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
    around = -(log_determinant + off @ np.linalg.solve(covariance, off)) / 2
    return float(around - len(off) * np.log(n_per_unit))
