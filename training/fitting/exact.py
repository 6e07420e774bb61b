"""The search for an exact law: hypotheses in order of complexity, each fitted, snapped and verified, or none found."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError
from training.fitting.law import Law, sum_law
from training.fitting.structures import STRUCTURES, Budget, Fit

Floats = NDArray[np.float64]

_ROUNDING = 16.0
"""Rounding bounds by which data and an exact law may differ: both are computed in an order of their own."""

_TELLING = 1e-6
"""Largest rounding bound, as a share of a result, at which agreement within it says anything."""


@dataclass(frozen=True)
class ExactSettings:
    """What a search may try and cost; one setting serves every operation and range.

    Attributes:
        structures: Structures offered, the simplest first.
        held_out_share: Share of the rows that no fit sees and that every choice is made by.
        n_restarts: Starts of a fit with local minima, at most.
        max_iterations: Steps of each batch of restarts, at most.
        max_terms: Products of powers in a sum of products, at most.
        device: Device of batched restarts: "cpu" or "cuda".
    """

    structures: tuple[str, ...] = tuple(STRUCTURES)
    held_out_share: float = 0.25
    n_restarts: int = 14
    max_iterations: int = 200
    max_terms: int = 200
    device: str = "cpu"


@dataclass(frozen=True)
class CandidateReport:
    """One structure tried.

    Attributes:
        structure: Its name.
        law: The best law of it, snapped.
        held_out_error: Median relative error of that law on held-out rows; None where there is no fit.
        verdict: What became of it, in a few words.
        n_restarts: Starts of fits with local minima.
        n_iterations: Steps of their batches.
        duration_s: Seconds it took.
    """

    structure: str
    law: Law | None
    held_out_error: float | None
    verdict: str
    n_restarts: int
    n_iterations: int
    duration_s: float


@dataclass(frozen=True)
class SearchReport:
    """What a search did.

    Attributes:
        candidates: Every structure tried, in order.
        n_fit_rows: Rows that fits saw.
        n_held_out_rows: Rows that choices were made by.
        duration_s: Seconds of the whole search.
    """

    candidates: tuple[CandidateReport, ...]
    n_fit_rows: int
    n_held_out_rows: int
    duration_s: float


@dataclass(frozen=True)
class Found:
    """An exact law.

    Attributes:
        raw: Weights as fitted.
        snapped: Weights on the grid of simple values.
        noise: Spread of the labels around the law, relative; 0 where they agree with it to rounding.
        report: What the search did.
    """

    raw: Law
    snapped: Law
    noise: float
    report: SearchReport


@dataclass(frozen=True)
class NotFound:
    """No exact law.

    Attributes:
        ordinary: The best ordinary fit, with weights as fitted: no more than an approximation.
        reason: Why nothing was found.
        report: What the search did.
    """

    ordinary: Law
    reason: str
    report: SearchReport


_DEFAULT = ExactSettings()


def fit_exact(inputs: Floats, targets: Floats, *, seed: int, settings: ExactSettings = _DEFAULT) -> Found | NotFound:
    """Search for the exact law behind rows.

    Rows with a number that is not finite are left out.

    Args:
        inputs: Shape (n, d), float64.
        targets: Shape (n,), float64.
        seed: Seed of the split and of the restarts; the same seed gives the same result.
        settings: What may be tried.

    Returns:
        The law, raw and snapped, or that there is none among the structures offered.

    Raises:
        ConfigError: When shapes do not agree, a structure is unknown, or there are too few rows.
    """
    started = time.perf_counter()
    x, y = _checked(inputs, targets, settings)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(x))
    n_held_out = max(2, round(settings.held_out_share * len(x)))
    held_out, fit = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    tried: list[CandidateReport] = []

    def report() -> SearchReport:
        return SearchReport(tuple(tried), len(fit), len(held_out), time.perf_counter() - started)

    if float(np.ptp(y)) > 0:
        for name in settings.structures:
            exact = _try(name, x, y, fit, held_out, settings, generator, tried)
            if exact is not None:
                return Found(exact.raw, exact.snapped, 0.0, report())
    return NotFound(_ordinary(x[fit], y[fit]), "no structure offered agrees with the held-out rows", report())


def _try(
    name: str,
    x: Floats,
    y: Floats,
    fit: NDArray[np.intp],
    held_out: NDArray[np.intp],
    settings: ExactSettings,
    generator: np.random.Generator,
    tried: list[CandidateReport],
) -> Fit | None:
    started = time.perf_counter()
    budget = Budget(settings.n_restarts, settings.max_iterations, settings.max_terms, generator, settings.device)
    best: Fit | None = None
    least = np.inf
    exact = False
    fits: Iterator[Fit] = STRUCTURES[name](x[fit], y[fit], budget)
    with np.errstate(all="ignore"):
        for candidate in fits:
            error = _held_out_error(candidate.snapped, x[held_out], y[held_out])
            if best is None or error < least:
                best, least = candidate, error
            if agrees(candidate.snapped, x[held_out], y[held_out]) and agrees(candidate.snapped, x[fit], y[fit]):
                best, exact = candidate, True
                break
    tried.append(
        CandidateReport(
            structure=name,
            law=best.snapped if best else None,
            held_out_error=_held_out_error(best.snapped, x[held_out], y[held_out]) if best else None,
            verdict="exact" if exact else "inexact" if best else "not determined by the rows",
            n_restarts=budget.restarts,
            n_iterations=budget.iterations,
            duration_s=time.perf_counter() - started,
        )
    )
    return best if exact else None


def agrees(law: Law, inputs: Floats, targets: Floats) -> bool:
    """Return whether a law gives every result to within rounding."""
    bound = _ROUNDING * law.rounding_bound(inputs)
    with np.errstate(all="ignore"):
        told = bound <= _TELLING * (np.abs(targets) + np.median(np.abs(targets)))
        return bool((told & (np.abs(targets - law.evaluate(inputs)) <= bound)).all())


def _held_out_error(law: Law, inputs: Floats, targets: Floats) -> float:
    with np.errstate(all="ignore"):
        error = np.abs(law.evaluate(inputs) - targets) / np.maximum(np.abs(targets), 1e-300)
    return float(np.nan_to_num(np.median(error), nan=np.inf))


def _ordinary(inputs: Floats, targets: Floats) -> Law:
    design = np.column_stack([inputs, np.ones(len(inputs))])
    weights = np.linalg.lstsq(design, targets, rcond=None)[0]
    return sum_law("affine", weights[:-1], float(weights[-1]))


def _checked(inputs: Floats, targets: Floats, settings: ExactSettings) -> tuple[Floats, Floats]:
    if inputs.ndim != 2 or targets.shape != (len(inputs),):
        msg = f"inputs must be (n, d) and targets (n,), however: {inputs.shape} and {targets.shape}"
        raise ConfigError(msg)
    unknown = [name for name in settings.structures if name not in STRUCTURES]
    if unknown:
        msg = f"a structure must be one of {', '.join(STRUCTURES)}, however: {unknown[0]}"
        raise ConfigError(msg)
    finite = np.isfinite(inputs).all(axis=1) & np.isfinite(targets)
    x, y = np.asarray(inputs[finite], dtype=np.float64), np.asarray(targets[finite], dtype=np.float64)
    if len(x) < 8:
        msg = f"a search needs at least 8 rows of finite numbers, however: {len(x)}"
        raise ConfigError(msg)
    return x, y
