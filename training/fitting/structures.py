"""The structures that a law may have, each with the solver that makes its fit a linear or near-linear problem.

A structure is a stack of sums and powers, at most sum, power, sum, power. Which solver fits it follows from the stack:

| Structure | Stack | Solver |
|---|---|---|
| sum | sum | least squares |
| power | power | least squares of logarithms |
| scaled power | power, sum | the same with a constant |
| power of a sum | sum, power | y^(1/p) is linear |
| quotient of sums | 2 sums, power (1, −1) | null space of [X, −yX] |
| product of sums | 2 sums, power (1, 1) | Levenberg–Marquardt with restarts |
| sum of products | powers, sum | least squares over products of powers |
| power of a sum of products | powers, sum, power | the same for y^(1/p) |
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.fitting.bilinear import fit_product
from training.fitting.dictionary import polynomial_powers, quotient_powers, terms
from training.fitting.law import Floats, Kind, Law, power_sign, stack, sum_law
from training.fitting.linear_domain import least_squares
from training.fitting.log_domain import fit_powers
from training.fitting.null_space import fit_quotient
from training.fitting.snapping import POWER_GRID, SUM_GRID

OUTER_POWERS = (0.5, -1.0, 2.0, -0.5, -2.0)
"""Powers of a whole sum that are tried, the commonest first."""


@dataclass
class Budget:
    """What a fit may cost, and what it has cost.

    Attributes:
        n_restarts: Starts of a fit with local minima, at most.
        max_iterations: Steps of each of its batches, at most.
        max_terms: Products of powers in a sum of products, at most.
        generator: Source of the starts.
        device: Device of batched restarts.
        restarts: Starts made.
        iterations: Steps made.
    """

    n_restarts: int
    max_iterations: int
    max_terms: int
    generator: np.random.Generator
    device: str = "cpu"
    restarts: int = field(default=0)
    iterations: int = field(default=0)


@dataclass(frozen=True)
class Fit:
    """A fitted law and the same on the grid of simple values.

    Attributes:
        raw: Weights as fitted.
        snapped: Weights on the grid.
    """

    raw: Law
    snapped: Law


Solve = Callable[[Floats, Floats, Budget], Iterator[Fit]]
"""(inputs, targets, budget) → fits, the likeliest first; a caller stops when one is exact."""


def fit_sum(inputs: Floats, targets: Floats, _budget: Budget) -> Iterator[Fit]:
    """Fit y = w·x."""
    weights = least_squares(inputs, targets)
    if weights is not None:
        yield Fit(sum_law("sum", weights), sum_law("sum", SUM_GRID.round(weights)))


def fit_power(inputs: Floats, targets: Floats, _budget: Budget) -> Iterator[Fit]:
    """Fit y = ∏ x_i^P_i."""
    fitted = fit_powers(inputs, targets)
    if fitted is not None:
        powers, _ = fitted
        yield Fit(
            stack("power", [("power", powers)]),
            stack("power", [("power", POWER_GRID.round(powers))]),
        )


def fit_scaled_power(inputs: Floats, targets: Floats, _budget: Budget) -> Iterator[Fit]:
    """Fit y = c ∏ x_i^P_i."""
    fitted = fit_powers(inputs, targets, coefficient=True)
    if fitted is None or not np.isfinite(fitted[1]):
        return
    powers, size = fitted
    snapped = POWER_GRID.round(powers)
    sign = power_sign(snapped[None], inputs)[:, 0]
    c = size if np.nansum(sign * np.sign(targets)) >= 0 else -size
    one = np.array([c])
    yield Fit(
        stack("scaled power", [("power", powers), ("sum", one)]),
        stack("scaled power", [("power", snapped), ("sum", SUM_GRID.round(one))]),
    )


def fit_power_of_sum(inputs: Floats, targets: Floats, _budget: Budget) -> Iterator[Fit]:
    """Fit y = (w·x)^p for each outer power p."""
    for p, rows, inner in _inner_targets(targets, OUTER_POWERS):
        weights = _relative_least_squares(inputs[rows], inner)
        if weights is None:
            continue
        power = np.array([p])
        yield Fit(
            stack("power of a sum", [("sum", weights), ("power", power)]),
            stack("power of a sum", [("sum", SUM_GRID.round(weights)), ("power", power)]),
        )


def fit_quotient_of_sums(inputs: Floats, targets: Floats, _budget: Budget) -> Iterator[Fit]:
    """Fit y = (u·x) / (v·x)."""
    fitted = fit_quotient(inputs, targets)
    if fitted is None:
        return
    both = np.stack(fitted)
    powers = np.array([1.0, -1.0])
    for unit in _likely_units(both):
        yield Fit(
            stack("quotient of sums", [("sum", both / unit), ("power", powers)]),
            stack("quotient of sums", [("sum", SUM_GRID.round(both / unit)), ("power", powers)]),
        )


def fit_product_of_sums(inputs: Floats, targets: Floats, budget: Budget) -> Iterator[Fit]:
    """Fit y = (u·x)(v·x), by batches of restarts of growing size."""
    if len(inputs) < 2 * inputs.shape[1] or not targets.any():
        return
    made, batch = 0, 2
    while made < budget.n_restarts:
        batch = min(batch, budget.n_restarts - made)
        fitted = fit_product(
            inputs,
            targets,
            n_restarts=batch,
            max_iterations=budget.max_iterations,
            generator=budget.generator,
            device=budget.device,
        )
        made += batch
        budget.restarts += batch
        budget.iterations += fitted.n_iterations
        powers = np.array([1.0, 1.0])
        for unit in _likely_units(fitted.first):
            both = np.stack([fitted.first / unit, fitted.second * unit])
            yield Fit(
                stack("product of sums", [("sum", both), ("power", powers)]),
                stack("product of sums", [("sum", SUM_GRID.round(both)), ("power", powers)]),
            )
        batch *= 2


def fit_sum_of_products(inputs: Floats, targets: Floats, budget: Budget) -> Iterator[Fit]:
    """Fit y^(1/p) = Σ_k c_k ∏ x_i^P_ki over products of up to two inputs, then over quotients too."""
    d = inputs.shape[1]
    polynomial = polynomial_powers(d)
    everything = np.concatenate([polynomial, quotient_powers(d)])
    for powers in (polynomial, everything):
        if len(powers) > min(budget.max_terms, len(inputs) // 2):
            return
        columns = terms(inputs, powers)
        if not np.isfinite(columns).all():
            return
        for p, rows, inner in _inner_targets(targets, (1.0, *OUTER_POWERS[:3])):
            weights = _relative_least_squares(columns[rows], inner)
            if weights is None:
                continue
            name = "sum of products" if p == 1 else "power of a sum of products"
            outer: list[tuple[Kind, Floats]] = [] if p == 1 else [("power", np.array([p]))]
            snapped = SUM_GRID.round(weights)
            used = snapped != 0
            if not used.any():
                continue
            yield Fit(
                stack(name, [("power", powers), ("sum", weights), *outer]),
                stack(name, [("power", powers[used]), ("sum", snapped[used]), *outer]),
            )


STRUCTURES: dict[str, Solve] = {
    "sum": fit_sum,
    "power": fit_power,
    "scaled power": fit_scaled_power,
    "power of a sum": fit_power_of_sum,
    "quotient of sums": fit_quotient_of_sums,
    "product of sums": fit_product_of_sums,
    "sum of products": fit_sum_of_products,
}
"""Structure → solver, the simplest first."""


def _inner_targets(targets: Floats, outer: tuple[float, ...]) -> Iterator[tuple[float, NDArray[np.bool_], Floats]]:
    """Yield p, rows and y^(1/p) for the outer powers that the signs of the results allow."""
    for p in outer:
        rows = targets != 0 if p < 0 else np.ones(len(targets), dtype=bool)
        y = targets[rows]
        if p not in (1.0, -1.0) and (y < 0).any():
            continue
        with np.errstate(over="ignore"):
            inner = y ** (1 / p)
        if np.isfinite(inner).all() and len(inner):
            yield p, rows, inner


def _relative_least_squares(columns: Floats, targets: Floats) -> Floats | None:
    """Return least-squares weights with rows of large targets weighed down: reciprocals would drown the rest."""
    size = np.abs(targets) + np.median(np.abs(targets))
    if not (size > 0).all():
        return None
    return least_squares(columns / size[:, None], targets / size)


def _likely_units(weights: Floats) -> list[float]:
    """Return weights that may stand for 1 in a fit whose scale is free: the typical ones, with the sign of most."""
    size = np.abs(weights).ravel()
    large = size[size > 0.1 * size.max()]
    sign = 1.0 if weights.sum() >= 0 else -1.0
    middle = float(np.median(large))
    found: list[float] = []
    for unit in (middle, float(size.max()), float(large.min())):
        if unit > 0 and all(abs(unit - other) > 1e-3 * other for other in found):
            found.append(unit)
    return [sign * unit for unit in found]
