"""How well rows speak for a law: likelihood, what chance would give, and whether the residuals hold a pattern.

Noise is multiplicative (spread in proportion to the result) or additive (the same spread everywhere); of the two the
likelier is taken. Its density is Student's t with 4 degrees of freedom, which a few gross outliers do not move.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import gamma, log, pi, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Noise = Literal["multiplicative", "additive"]

NU = 4.0
"""Degrees of freedom of the noise's density."""
_LOG_T = log(gamma((NU + 1) / 2) / gamma(NU / 2) / sqrt(NU * pi))

LEVEL_WIDTH = 4.0
"""Width of the prior of a level, in typical results."""

_FLOOR = 1e-16
"""Smallest relative spread: float64 rounding."""

_EM_STEPS = 40


@dataclass(frozen=True)
class Likelihood:
    """How well predictions explain results.

    Attributes:
        total: Log-likelihood in nats.
        noise: Kind of noise that gives it.
        spread: Spread of the residuals under it, relative where it is multiplicative.
        widths: Spread of each result in its own unit, shape (n,).
        residuals: Residuals over their widths, shape (n,).
    """

    total: float
    noise: Noise
    spread: float
    widths: Floats
    residuals: Floats


def likelihood(targets: Floats, predictions: Floats) -> Likelihood | None:
    """Return the likelihood of `targets` under the likelier noise; None where a prediction is not finite."""
    if not np.isfinite(predictions).all():
        return None
    found = [_likelihood(targets, predictions, noise) for noise in ("multiplicative", "additive")]
    return max(found, key=lambda one: one.total)


def constant_likelihood(targets: Floats) -> float:
    """Return the log-likelihood of the best constant, less the price of its number.

    The number's prior is even within twice the typical result either side of 0 (`LEVEL_WIDTH`).
    """
    level = float(np.median(targets))
    for _ in range(_EM_STEPS):
        spread = t_spread(targets - level)
        weight = 1 / (NU + ((targets - level) / spread) ** 2)
        level = float((weight * targets).sum() / weight.sum())
    found = _likelihood(targets, np.full_like(targets, level), "additive")
    curvature = float(np.sum(1 / found.widths**2)) * (NU + 1) / (NU + 3)
    width = LEVEL_WIDTH * (float(np.median(np.abs(targets))) or float(np.abs(targets).max()))
    return found.total - max(0.5 * log(curvature / (2 * pi)) + log(width), 0.0)


def _likelihood(targets: Floats, predictions: Floats, noise: Noise) -> Likelihood:
    typical = float(np.median(np.abs(targets))) or float(np.abs(targets).max())
    if noise == "multiplicative":
        scale = np.maximum(np.abs(predictions), 1e-9 * typical)
    else:
        scale = np.full_like(predictions, typical)
    residuals = (targets - predictions) / scale
    spread = t_spread(residuals)
    standard = residuals / spread
    density = _LOG_T - (NU + 1) / 2 * np.log1p(standard**2 / NU)
    total = float((density - np.log(spread) - np.log(scale)).sum())
    return Likelihood(total, noise, spread, spread * scale, standard)


def t_spread(residuals: Floats) -> float:
    """Return the likeliest spread of residuals with Student's t density around 0.

    Where more than a fifth of the residuals are large and the others are next to nothing there are two maxima, one
    for each; the likelier counts.
    """
    square = residuals * residuals
    # the median of t² with 4 degrees of freedom is 0.55; the mean is 2
    starts = (max(float(np.median(square)) / 0.55, _FLOOR**2), max(float(np.mean(square)) / 2, _FLOOR**2))
    variance = _climb(square, starts[0])
    if starts[1] <= 100 * starts[0]:
        return sqrt(variance)
    return sqrt(max((variance, _climb(square, starts[1])), key=lambda one: _log_likelihood(square, one)))


def _climb(square: Floats, variance: float) -> float:
    """Return the variance at the maximum of likelihood next to a start, by expectation–maximisation."""
    for _ in range(_EM_STEPS):
        updated = max((NU + 1) * float((square / (NU + square / variance)).sum()) / len(square), _FLOOR**2)
        if abs(updated - variance) <= 1e-3 * variance:
            return updated
        variance = updated
    return variance


def _log_likelihood(square: Floats, variance: float) -> float:
    return -0.5 * len(square) * log(variance) - (NU + 1) / 2 * float(np.log1p(square / (NU * variance)).sum())


def pattern(inputs: Floats, predictions: Floats, residuals: Floats) -> float:
    """Return how strongly residuals can be foretold from inputs, as a standard normal number under no pattern.

    Two tests, the stronger of which counts. An F test of a regression on powers of the prediction (Ramsey's RESET
    test) and on products of powers of the inputs up to the third degree where they are few, on powers of single inputs
    where they are many; Paulson's approximation makes F normal. And the largest correlation with one input or one
    product of two, however many there are. Residuals are clipped, so that outliers neither hide a pattern nor make one.
    """
    return max(_regression_score(inputs, predictions, residuals), _correlation_score(inputs, residuals))


def _correlation_score(inputs: Floats, residuals: Floats) -> float:
    """Return the largest correlation with a product of up to two inputs, as a normal score for a single test."""
    n = len(residuals)
    y = np.clip(residuals, -4, 4)
    y = y - y.mean()
    x = _standard(inputs)
    x = x - x.mean(axis=0)
    weighed = y[:, None] * x
    products = np.square(x)
    with np.errstate(all="ignore"):
        single = weighed.sum(axis=0) / np.sqrt(products.sum(axis=0))
        pairs = (x.T @ weighed) / np.sqrt(products.T @ products)
    z = np.abs(np.concatenate([single, pairs[np.triu_indices(x.shape[1])]])) / max(float(y.std()), 1e-300)
    most = float(np.nanmax(z, initial=0.0))
    n_tests = z.size
    # P(|z| > most) n_tests, turned into the z of a single test by the tail exp(−z²/2)
    return sqrt(max(most**2 - 2 * log(n_tests), 0.0)) if n > 8 else 0.0


def _regression_score(inputs: Floats, predictions: Floats, residuals: Floats) -> float:
    features = _pattern_features(inputs, predictions, len(residuals) // 4)
    y = np.clip(residuals, -4, 4)
    design, triangle = np.linalg.qr(features)
    keep = np.abs(np.diag(triangle)) > 1e-9 * np.abs(triangle[0, 0])
    basis = design[:, keep]
    centred = y - y.mean()
    inside = basis.T @ centred
    k = int(keep.sum()) - 1
    m = len(y) - k - 1
    explained = float(inside @ inside)
    left = max(float(centred @ centred) - explained, 1e-300)
    if k < 1 or m < 1:
        return 0.0
    f = (explained / k) / (left / m)
    top = (1 - 2 / (9 * m)) * f ** (1 / 3) - (1 - 2 / (9 * k))
    return float(top / sqrt(2 / (9 * m) * f ** (2 / 3) + 2 / (9 * k)))


def _pattern_features(inputs: Floats, predictions: Floats, n_most: int) -> Floats:
    x = _standard(inputs)
    columns = [np.ones(len(x))]
    g = _standard(predictions[:, None])[:, 0]
    columns += [g, g**2, g**3]
    d = x.shape[1]
    for degree in (1, 2, 3):
        picks = list(combinations_with_replacement(range(d), degree))
        if len(columns) + len(picks) > n_most:
            picks = [pick for pick in picks if len(set(pick)) == 1]
        if len(columns) + len(picks) > n_most:
            break
        columns += [np.prod(x[:, pick], axis=1) for pick in picks]
    return np.column_stack(columns)


def _standard(columns: Floats) -> Floats:
    centred = columns - np.median(columns, axis=0)
    width = np.median(np.abs(centred), axis=0)
    return np.clip(centred / np.where(width > 0, width, 1.0), -10, 10)
