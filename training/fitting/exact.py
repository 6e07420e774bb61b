"""The search for an exact law: hypotheses in order of complexity, each fitted, snapped and verified, or none found.

First every structure offered is fitted as if labels had no noise; a snapped law that gives every row to within float64
rounding ends the search. Where none does, structures are fitted once more as if labels had noise or outliers, and the
likeliest simple law must pass the tests of `training.fitting.verdict`.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError
from training.fitting.factored_approximation import approximate
from training.fitting.factored_law import FACTORED
from training.fitting.factored_structure import fit_factored, guess_factored
from training.fitting.law import Floats, Law
from training.fitting.noisy import Guess, guesses
from training.fitting.ordinary import best_ordinary
from training.fitting.outcome import CandidateReport, Found, NotFound, SearchReport
from training.fitting.structures import STRUCTURES, Budget, Fit, Solve
from training.fitting.verdict import Scored, agreement, scored, verdict

__all__ = ["CandidateReport", "ExactSettings", "Found", "NotFound", "SearchReport", "fit_exact"]

SOLVERS: dict[str, Solve] = {**STRUCTURES, FACTORED: fit_factored}
"""Every structure that may be offered → solver. The factored one, whose numbers may be any, is offered when asked for:
it takes seconds where the others take milliseconds, and what rows prove of a law with free numbers is less."""

_MOST_OUTLIERS = 0.05
"""Share of rows that may disagree with a law that gives all others to within rounding."""

_AS_GOOD = 1.05
"""Held-out error over the least at which the likeliest simple law is preferred as the approximation."""

_GROSS = 6.0
"""Spreads from the law, and median distances from it, beyond which a noisy row counts as an outlier."""


@dataclass(frozen=True)
class ExactSettings:
    """What a search may try and cost; one setting serves every operation and range.

    Attributes:
        structures: Structures offered, the simplest first.
        held_out_share: Share of the rows that no fit sees and that every choice is made by.
        n_restarts: Starts of a fit with local minima, at most; the first two sufficed in 118 of 120 products of sums
            of 25 of 100 inputs over three ranges, the next four in the others.
        max_iterations: Steps of each batch of restarts, at most.
        max_terms: Products of powers in a sum of products, at most.
        noise: Whether labels may have noise or outliers; without, a law must give every row to within rounding.
        device: Device of batched restarts: "cpu" or "cuda".
    """

    structures: tuple[str, ...] = tuple(STRUCTURES)
    held_out_share: float = 0.25
    n_restarts: int = 6
    max_iterations: int = 200
    max_terms: int = 200
    noise: bool = True
    device: str = "cpu"


_DEFAULT = ExactSettings()


@dataclass
class _Search:
    x: Floats
    y: Floats
    names: Sequence[str]
    fit: NDArray[np.intp]
    held_out: NDArray[np.intp]
    settings: ExactSettings
    generator: np.random.Generator
    started: float
    tried: list[CandidateReport]
    raw: list[Law]
    likeliest: Law | None = None

    def report(self) -> SearchReport:
        return SearchReport(tuple(self.tried), len(self.fit), len(self.held_out), time.perf_counter() - self.started)

    def held_out_error(self, law: Law) -> float:
        y = self.y[self.held_out]
        with np.errstate(all="ignore"):
            error = np.abs(law.evaluate(self.x[self.held_out]) - y) / np.maximum(np.abs(y), np.finfo(np.float64).tiny)
        return float(np.nan_to_num(np.median(error), nan=np.inf))

    def record(
        self, structure: str, stage: str, law: Law | None, verdict: str, started: float, budget: Budget | None = None
    ) -> None:
        self.tried.append(
            CandidateReport(
                structure=structure,
                stage=stage,
                law=law,
                held_out_error=self.held_out_error(law) if law else None,
                verdict=verdict,
                n_restarts=budget.restarts if budget else 0,
                n_iterations=budget.iterations if budget else 0,
                duration_s=time.perf_counter() - started,
            )
        )


def fit_exact(
    inputs: Floats,
    targets: Floats,
    *,
    seed: int,
    settings: ExactSettings = _DEFAULT,
    names: Sequence[str] | None = None,
) -> Found | NotFound:
    """Search for the exact law behind rows.

    Rows with a number that is not finite are left out.

    Args:
        inputs: Shape (n, d), float64.
        targets: Shape (n,), float64.
        seed: Seed of the split and of the restarts; the same seed gives the same result.
        settings: What may be tried.
        names: Names of the inputs in what is told of other formulas; x1, x2, … where there are none.

    Returns:
        The law, raw and snapped, or that there is none among the structures offered.

    Raises:
        ConfigError: When shapes do not agree, a structure is unknown, or there are too few rows.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).uniform(1, 2, (64, 2))
        >>> found = fit_exact(x, x[:, 0] / x[:, 1], seed=0)
        >>> [layer.weight.tolist() for layer in found.snapped.layers]
        [[[1.0, -1.0]]]
    """
    started = time.perf_counter()
    x, y = _checked(inputs, targets, settings)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(x))
    n_held_out = max(2, round(settings.held_out_share * len(x)))
    held_out, fit = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    named = names or [f"x{i + 1}" for i in range(x.shape[1])]
    search = _Search(x, y, named, fit, held_out, settings, generator, started, [], [])
    reason = "the results do not vary"
    if float(np.ptp(y)) > 0:
        for name in settings.structures:
            exact = _try_exact(search, name)
            if exact is not None:
                return Found(exact.raw, exact.snapped, 0.0, 0.0, search.report())
        reason = "no structure offered gives every row to within rounding"
        if settings.noise:
            noisy = _try_noisy(search)
            if isinstance(noisy, Found):
                return noisy
            reason = noisy
    return NotFound(_approximation(search), reason, search.report())


def _approximation(search: _Search) -> Law:
    """Return what is left where nothing is found; with factored laws on offer, what extrapolates best."""
    ordinary = best_ordinary(search.x, search.y, search.held_out, search.raw)
    if FACTORED not in search.settings.structures:
        return ordinary
    likeliest = search.likeliest
    if likeliest is not None and search.held_out_error(likeliest) <= _AS_GOOD * search.held_out_error(ordinary):
        return likeliest
    found = approximate(search.x, search.y, [ordinary], search.generator)
    return ordinary if found is None else found


def _try_exact(search: _Search, name: str) -> Fit | None:
    started = time.perf_counter()
    settings = search.settings
    budget = Budget(settings.n_restarts, settings.max_iterations, settings.max_terms, search.generator, settings.device)
    best: Fit | None = None
    least = np.inf
    exact = False
    with np.errstate(all="ignore"):
        for candidate in SOLVERS[name](search.x[search.fit], search.y[search.fit], budget):
            search.raw.append(candidate.raw)
            error = search.held_out_error(candidate.snapped)
            if best is None or error < least:
                best, least = candidate, error
            if all(
                agreement(candidate.snapped, search.x[rows], search.y[rows]) == 1
                for rows in (search.held_out, search.fit)
            ):
                best, exact = candidate, True
                break
    said = "exact" if exact else "inexact" if best else "not determined by the rows"
    search.record(name, "exact", best.snapped if best else None, said, started, budget)
    return best if exact else None


def _guesses(search: _Search, name: str) -> Iterator[Guess]:
    x, y = search.x[search.fit], search.y[search.fit]
    return guess_factored(x, y, search.generator) if name == FACTORED else guesses(name, x, y)


def _try_noisy(search: _Search) -> Found | str:
    """Return what was found, or why nothing was."""
    x, y = search.x, search.y
    pool: list[Scored] = []
    for name in search.settings.structures:
        started = time.perf_counter()
        ranking = scored(_guesses(search, name), x, y)
        if not ranking:
            continue
        best = ranking[0]
        share = agreement(best.guess.snapped, x, y)
        if share >= 1 - _MOST_OUTLIERS:
            search.record(name, "noisy", best.guess.snapped, "exact but for outliers", started)
            return Found(best.guess.raw, best.guess.snapped, 0.0, 1 - share, search.report())
        pool += ranking
        search.raw += {id(one.guess.raw): one.guess.raw for one in ranking}.values()
        search.record(name, "noisy", best.guess.snapped, "inexact", started)
    if not pool:
        return "no structure offered is determined by the rows"
    pool.sort(key=lambda one: -one.score)
    fault = verdict(pool, x, y, search.held_out, search.names)
    best = pool[0]
    if fault is not None:
        if best.guess.snapped.structure == FACTORED:  # likelier outside than with powers as fitted
            search.likeliest = best.guess.snapped
        return fault
    off = np.abs(y - best.predictions)
    gross = (np.abs(best.found.residuals) > _GROSS) & (off > _GROSS * np.median(off))
    return Found(best.guess.raw, best.guess.snapped, best.found.spread, float(gross.mean()), search.report())


def _checked(inputs: Floats, targets: Floats, settings: ExactSettings) -> tuple[Floats, Floats]:
    if inputs.ndim != 2 or targets.shape != (len(inputs),):
        msg = f"inputs must be (n, d) and targets (n,), however: {inputs.shape} and {targets.shape}"
        raise ConfigError(msg)
    unknown = [name for name in settings.structures if name not in SOLVERS]
    if unknown:
        msg = f"a structure must be one of {', '.join(SOLVERS)}, however: {unknown[0]}"
        raise ConfigError(msg)
    finite = np.isfinite(inputs).all(axis=1) & np.isfinite(targets)
    x, y = np.asarray(inputs[finite], dtype=np.float64), np.asarray(targets[finite], dtype=np.float64)
    if len(x) < 8:
        msg = f"a search needs at least 8 rows of finite numbers, however: {len(x)}"
        raise ConfigError(msg)
    return x, y
