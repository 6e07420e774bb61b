"""Whether rows prove a law."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from training.fitting.evidence import Likelihood, constant_likelihood, likelihood, pattern, standing_out, t_spread
from training.fitting.law import Floats, Law
from training.fitting.noisy import Guess

_ROUNDING = 16.0
"""Rounding bounds by which data and an exact law may differ: both are computed in an order of their own."""

_TELLING = 1e-6
"""Largest rounding bound, as a share of a result, at which agreement within it says anything."""

_ODDS = log(100)
"""How much likelier than chance a law must be beyond its description length, in nats."""

_PATTERN = 4.0
"""Normal score of a pattern in the residuals above which a law is not the whole truth: 3 in 100,000 by chance."""

_WORSE = 3.0
"""Standard errors by which the snapped law may explain held-out rows worse than the fitted one."""

_FURTHER = 4.0
"""Standard errors by which held-out rows may lie further from a law than fitted ones."""

_MOST_NOISE = 0.25
"""Largest spread of labels around a law, relative to the result or to the results' own spread: beyond it something that
the law leaves out may be taken for noise."""

_AHEAD = log(100)
"""How much likelier than the next law a law must be, in nats."""


def agreement(law: Law, inputs: Floats, targets: Floats) -> float:
    """Return the share of rows whose results a law gives to within rounding."""
    bound = _ROUNDING * law.rounding_bound(inputs)
    with np.errstate(all="ignore"):
        told = bound <= _TELLING * (np.abs(targets) + np.median(np.abs(targets)))
        return float(np.mean(told & (np.abs(targets - law.evaluate(inputs)) <= bound)))


@dataclass(frozen=True)
class Scored:
    """A guess and how well all rows speak for it.

    Attributes:
        guess: The guess.
        predictions: Its results, shape (n,).
        found: Their likelihood.
        score: Log-likelihood less the description length.
    """

    guess: Guess
    predictions: Floats
    found: Likelihood
    score: float


def scored(guesses: Iterable[Guess], inputs: Floats, targets: Floats) -> list[Scored]:
    """Return the guesses that have a result for every row, the likeliest first, each set of results once."""
    seen: set[bytes] = set()
    result = []
    for guess in guesses:
        predictions = guess.snapped.evaluate(inputs)
        key = predictions.tobytes()
        if key in seen:
            continue
        seen.add(key)
        found = likelihood(targets, predictions)
        if found is not None:
            result.append(Scored(guess, predictions, found, found.total - guess.cost))
    return sorted(result, key=lambda one: -one.score)


def verdict(
    ranking: list[Scored], inputs: Floats, targets: Floats, held_out: NDArray[np.intp], generator: np.random.Generator
) -> str | None:
    """Return why a law is not proven by noisy rows, or None where it is.

    A law must be likelier than the best constant and than itself on shuffled labels, each by its description length and
    odds of 100; be ahead of the next law; explain held-out rows as well as the weights fitted do, up to their sampling
    error; and leave residuals in which the inputs show no pattern.
    """
    guess, predictions, found = ranking[0].guess, ranking[0].predictions, ranking[0].found
    needed = guess.cost + _ODDS
    beyond = found.total - constant_likelihood(targets)
    if beyond < needed:
        return f"the likeliest law explains the labels no better than a constant ({beyond:.1f} of {needed:.1f} nats)"
    if not _mostly_explained(targets, predictions):
        return f"the likeliest law leaves noise of more than {_MOST_NOISE:.0%} of the results"
    out = standing_out(targets, predictions, found, generator)
    if out < sqrt(2 * needed):
        return f"the likeliest law explains shuffled labels too ({out:.1f} standard deviations apart)"
    different = [other for other in ranking[1:] if not np.allclose(other.predictions, predictions, rtol=1e-9, atol=0)]
    ahead = ranking[0].score - different[0].score if different else np.inf
    if ahead < _AHEAD:
        return f"another law is almost as likely (1 to {exp(ahead):.1f})"
    if not _alike(found.residuals, held_out):
        return "the likeliest law explains held-out rows worse than the rows that were fitted"
    if not _holds_out(ranking[0], inputs, targets, held_out):
        return "the likeliest law explains held-out rows worse than the weights as fitted"
    score = pattern(inputs, predictions, found.residuals)
    if score > _PATTERN:
        return f"the likeliest law leaves a pattern in its residuals (normal score {score:.1f})"
    return None


def _mostly_explained(targets: Floats, predictions: Floats) -> bool:
    residuals = targets - predictions
    size = np.maximum(np.abs(predictions), np.finfo(np.float64).tiny)
    return min(t_spread(residuals / size), t_spread(residuals) / max(float(predictions.std()), 1e-300)) <= _MOST_NOISE


def _alike(residuals: Floats, held_out: NDArray[np.intp]) -> bool:
    """Return whether rows held out lie no further from the law than those fitted, up to sampling error."""
    distance = np.log1p(residuals**2 / 4)
    out = np.zeros(len(residuals), dtype=bool)
    out[held_out] = True
    error = sqrt(distance[out].var() / out.sum() + distance[~out].var() / (~out).sum())
    return bool(distance[out].mean() - distance[~out].mean() <= _FURTHER * error + 1e-12)


def _holds_out(one: Scored, inputs: Floats, targets: Floats, held_out: NDArray[np.intp]) -> bool:
    """Return whether the snapped law explains held-out rows as well as the weights fitted, up to sampling error."""
    raw = one.guess.raw.evaluate(inputs[held_out])
    if not np.isfinite(raw).all():
        return True
    fitted = (targets[held_out] - raw) / one.found.widths[held_out]
    gap = np.log1p(one.found.residuals[held_out] ** 2 / 4) - np.log1p(fitted**2 / 4)
    return bool(gap.mean() <= _WORSE * gap.std() / sqrt(len(gap)) + 1e-12)
