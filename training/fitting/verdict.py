"""Whether rows prove a law."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from training.fitting.evidence import Likelihood, constant_likelihood, likelihood, pattern, t_spread
from training.fitting.law import Floats, Law
from training.fitting.noisy import Guess
from training.fitting.rivals import Rival, rivals

_ROUNDING = 16.0
"""Rounding bounds by which data and an exact law may differ: both are computed in an order of their own."""

_TELLING = 1e-6
"""Largest rounding bound, as a share of a result, at which agreement within it says anything."""

_PATTERN = 4.0
"""Normal score of a pattern in the residuals above which a law is not the whole truth: 3 in 100,000 by chance."""

_FURTHER = 4.0
"""Standard errors by which held-out rows may lie further from a law than fitted ones."""

_MOST_NOISE = 0.25
"""Largest spread of labels around a law, relative to the result or to the results' own spread: beyond it something that
the law leaves out may be taken for noise."""

_NEGLIGIBLE = log(1e-6)
"""Nats behind a law at which another formula is left out of the odds."""

_DOUBT = 0.05
"""Largest odds against a law: the prior-weighed likelihoods of all other formulas, over its own."""


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
    ranking: list[Scored], inputs: Floats, targets: Floats, held_out: NDArray[np.intp], names: Sequence[str]
) -> str | None:
    """Return why a law is not proven by noisy rows, or None where it is.

    A law must be likelier than the best constant by its description length and odds of 20; leave little noise; have
    odds of 20 against all other formulas together, those outside the structures too (`training.fitting.rivals`); lie
    no further from held-out rows than from fitted ones; and leave residuals in which the inputs show no pattern.

    Args:
        ranking: The guesses, the likeliest first.
        inputs: Shape (n, d).
        targets: Shape (n,).
        held_out: Rows that no fit saw.
        names: Names of the inputs, for the formulas that the answer tells.
    """
    guess, predictions, found = ranking[0].guess, ranking[0].predictions, ranking[0].found
    needed = guess.cost - log(_DOUBT)
    beyond = found.total - constant_likelihood(targets)
    if beyond < needed:
        return f"the likeliest law explains the labels no better than a constant ({beyond:.1f} of {needed:.1f} nats)"
    if not _mostly_explained(targets, predictions):
        return f"the likeliest law leaves noise of more than {_MOST_NOISE:.0%} of the results"
    beside = _beside(ranking, inputs, targets, names)
    if beside:
        odds = sum(exp(min(rival.score - ranking[0].score, 700.0)) for rival in beside)
        if odds > 1:
            return f"other formulas are likelier, {beside[0].text} most of all"
        if odds > _DOUBT:
            return f"other formulas are almost as likely (1 to {1 / odds:.2g}), the likeliest of them {beside[0].text}"
    if not _alike(found.residuals, held_out):
        return "the likeliest law explains held-out rows worse than the rows that were fitted"
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


def _beside(ranking: list[Scored], inputs: Floats, targets: Floats, names: Sequence[str]) -> list[Rival]:
    """Return every other formula that the rows may come from, the likeliest first, each set of results once."""
    best = ranking[0]
    used = np.flatnonzero((best.guess.snapped.layers[0].weight != 0).any(axis=0))
    others = rivals(inputs, targets, used, best.predictions, best.found, best.guess.cost, names)
    others += [Rival(f"a {one.guess.snapped.structure}", one.predictions, one.score) for one in ranking[1:]]
    kept: list[Rival] = []
    for rival in sorted(others, key=lambda one: -one.score):
        if rival.score < best.score + _NEGLIGIBLE:
            break
        if not any(
            np.allclose(rival.predictions, known, rtol=1e-9, atol=0)
            for known in (best.predictions, *(one.predictions for one in kept))
        ):
            kept.append(rival)
    return kept
