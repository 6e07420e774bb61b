"""The factored family as a structure of the search: fits to exact labels, and guesses through noise."""

from collections.abc import Iterator
from math import log

import numpy as np
from numpy.typing import NDArray

from training.fitting.evidence import Noise, pattern
from training.fitting.factored import GRID, MOST_INPUTS, PATTERNS, Fitted, Search, positive_columns
from training.fitting.factored_law import Factored, PoweredSum
from training.fitting.factored_numbers import likely_numbers, with_exact_numbers
from training.fitting.law import Floats, Law
from training.fitting.noisy import Guess
from training.fitting.structures import Budget, Fit

Integers = NDArray[np.intp]

_EXACT = 1e-9
"""Root mean squared relative residual of a fit to labels without noise; the next best pattern is 1e-6 off and more."""

_SMALL = 0.02
"""Share of the median result that keeps the width of a small one from vanishing."""

_SUM_COST = 3.0
"""Description length of each sum, in nats, beside that of its terms."""

_STRUCTURE_COST = 2.0

_N_FIRST = 3
"""Patterns that tell which kind of noise there is."""

_PATTERN = 3.0
"""Normal score of a pattern in the residuals from which on sums of many terms are tried."""

_N_EXACT_ROWS = 500
_N_NOISY_ROWS = 3000
"""Rows that are fitted, at most, without and with noise."""

_N_ALIKE = 4
_ALIKE = 1.03
"""Patterns whose costs must lie within this factor to be a floor of noise."""

_N_GUESSES = 24
_MOST_BEHIND = 30.0
"""Guesses through noise whose likelihood is computed in full, and nats by which they may lie behind the best before."""


def fit_factored(inputs: Floats, targets: Floats, budget: Budget) -> Iterator[Fit]:
    """Fit y = c ∏ x_i^a_i ∏_j S_j^q_j, the simplest pattern of sums first, from more starts where none is exact."""
    columns = positive_inputs(inputs, targets)
    if columns is None:
        return
    widths = widths_of(targets, "multiplicative")
    search = Search(inputs[:, columns], targets, widths, budget.generator, _N_EXACT_ROWS)
    costs: list[float] = []
    for stage in (search.patterns, search.forms, search.again):
        for fits in stage():
            costs += [one.cost for one in fits[:1]]
            budget.restarts = search.n_starts
            yield from _pairs(fits, columns, inputs.shape[1])
            if _noise_floor(costs):
                return


def guess_factored(inputs: Floats, targets: Floats, generator: np.random.Generator) -> Iterator[Guess]:
    """Yield simple laws of the family that noisy rows may come from.

    Args:
        inputs: Shape (n, d).
        targets: Shape (n,).
        generator: Source of the starts.
    """
    columns = positive_inputs(inputs, targets)
    if columns is None:
        return
    d = inputs.shape[1]
    search, found = _likelier_noise(inputs[:, columns], targets, generator)
    for fits in search.patterns(PATTERNS[_N_FIRST:]):
        found += fits
    if _leaves_pattern(search, found):
        for fits in search.forms():
            found += fits
    raw = [one for one in found if not one.snapped and one.formula().finite]
    snapped = [one for one in found if one.snapped and one.formula().finite and not one.formula().redundant]
    if not raw or not snapped:
        return
    fitted = law_of(min(raw, key=lambda one: one.cost).formula(), columns, d)
    n = len(search.targets)
    ranked = sorted(
        (0.5 * n * log(max(one.cost, 1e-300)) + _cost(one.formula().cleared()), k) for k, one in enumerate(snapped)
    )
    for score, k in ranked[:_N_GUESSES]:
        if score > ranked[0][0] + _MOST_BEHIND:
            break
        one = snapped[k]
        for likely, price in likely_numbers(one.formula(), one.covariance(search.widths)):
            cleared = likely.cleared()
            yield Guess(fitted, law_of(cleared, columns, d), price + _cost(cleared))


def positive_inputs(inputs: Floats, targets: Floats) -> Integers | None:
    """Return the inputs that may take part, or None where there is none, or too few rows for them."""
    columns = positive_columns(inputs)
    enough = len(inputs) >= 4 * (1 + len(columns))
    return columns if 0 < len(columns) <= MOST_INPUTS and enough and targets.any() else None


def widths_of(targets: Floats, noise: Noise) -> Floats:
    """Return what an error counts as one of under a kind of noise, shape (n,)."""
    typical = float(np.median(np.abs(targets))) or float(np.abs(targets).max())
    return np.abs(targets) + _SMALL * typical if noise == "multiplicative" else np.full_like(targets, typical)


def _likelier_noise(inputs: Floats, targets: Floats, generator: np.random.Generator) -> tuple[Search, list[Fitted]]:
    """Return the search under the noise that explains the rows better by the simplest patterns, and its fits."""
    best: tuple[float, Search, list[Fitted]] | None = None
    for noise in ("additive", "multiplicative"):
        search = Search(inputs, targets, widths_of(targets, noise), generator, _N_NOISY_ROWS)
        fits = [one for pattern in PATTERNS[:_N_FIRST] for one in search.fit(pattern)]
        least = min((one.cost for one in fits), default=np.inf)
        score = 0.5 * len(search.targets) * log(max(least, 1e-300)) + float(np.log(search.widths).sum())
        if best is None or score < best[0]:
            best = score, search, fits
    assert best is not None  # noqa: S101 # the loop has run
    return best[1], best[2]


def _leaves_pattern(search: Search, fits: list[Fitted]) -> bool:
    """Return whether the best fit leaves residuals that the inputs tell of: then sums of many terms are worth a try."""
    best = min((one for one in fits if np.isfinite(one.cost)), key=lambda one: one.cost, default=None)
    if best is None:
        return False
    given = best.model.values(best.member[None])[0]
    standard = (search.targets - given) / search.widths / max(best.cost, 1e-300) ** 0.5
    return pattern(search.logs.centred, given, standard) > _PATTERN


def _noise_floor(costs: list[float]) -> bool:
    """Return whether several patterns leave the same residuals: then it is noise that they leave."""
    least = sorted(costs)[:_N_ALIKE]
    return len(least) == _N_ALIKE and least[-1] <= _ALIKE * least[0] and least[0] > _EXACT**2


def _pairs(fits: list[Fitted], columns: Integers, d: int) -> Iterator[Fit]:
    """Yield the best fit as it is, beside the best on the grid with its numbers on constants."""
    raw = [one for one in fits if not one.snapped and one.formula().finite]
    snapped = [one for one in fits if one.snapped and one.formula().finite]
    if not raw or not snapped:
        return
    best = min(snapped, key=lambda one: one.cost)
    formula = best.formula().merged()
    if best.cost < _EXACT**2:
        formula = with_exact_numbers(formula)
    fitted = min(raw, key=lambda one: one.cost).formula()
    yield Fit(law_of(fitted, columns, d), law_of(formula.cleared(), columns, d))


def law_of(formula: Factored, columns: Integers, d: int) -> Law:
    """Return a formula of some of the inputs as a law of all d."""
    return _wide(formula, columns, d).law()


def _wide(formula: Factored, columns: Integers, d: int) -> Factored:
    """Return a formula of some of the inputs as one of all."""

    def rows(powers: Floats) -> Floats:
        result = np.zeros((*powers.shape[:-1], d))
        result[..., columns] = powers
        return result

    sums = tuple(PoweredSum(one.power, one.coefficients, rows(one.powers)) for one in formula.sums)
    return Factored(formula.coefficient, rows(formula.powers), sums)


def _cost(formula: Factored) -> float:
    """Return the description length of a formula's powers and sums in nats; its numbers have their own."""
    cost = _STRUCTURE_COST + GRID.cost(GRID.round(formula.powers))
    for one in formula.sums:
        cost += _SUM_COST + sum(GRID.cost(GRID.round(row)) for row in one.powers)
    return cost
