"""Fits to noisy labels: likeliest weights of a structure, and the simple laws near them.

Weights are those of greatest likelihood under Student's t noise, multiplicative or additive, found by iteratively
reweighted Gauss–Newton steps (which are the EM algorithm for that density): gross outliers lose their weight. The
curvature there says how far each grid point lies off, in nats.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.fitting.evidence import Noise, t_spread
from training.fitting.law import Law, stack, sum_law
from training.fitting.log_domain import log_rows
from training.fitting.snapping import POWER_GRID, SUM_GRID, Grid, lattice
from training.fitting.structures import OUTER_POWERS

Floats = NDArray[np.float64]

_NU = 4.0
_STEPS = 30
_STRUCTURE_COST = {"sum": 0.0, "power": 0.7, "scaled power": 2.0, "power of a sum": 4.0}
"""Description length of a structure in nats, by the layers that it has."""

LOG_SCALE_GRID = Grid(
    np.concatenate([[0.0], np.log(SUM_GRID.values[SUM_GRID.values > 1])]),
    np.concatenate([[0.0], SUM_GRID.costs[SUM_GRID.values > 1]]),
)


@dataclass(frozen=True)
class Guess:
    """A simple law that may lie behind noisy labels.

    Attributes:
        raw: The fitted law that it is near to.
        snapped: The law.
        cost: Its description length in nats.
    """

    raw: Law
    snapped: Law
    cost: float


@dataclass(frozen=True)
class _Model:
    """A structure that is smooth in its weights.

    Attributes:
        name: The structure.
        start: Weights to begin with.
        predict: Weights → predictions (n,) and their slope (n, k), on the rows of `targets`.
        targets: What the predictions are compared with.
        law: Weights → law.
        grids: Grid of each weight.
    """

    name: str
    start: Floats
    predict: Callable[[Floats], tuple[Floats, Floats]]
    targets: Floats
    law: Callable[[Floats], Law]
    grids: tuple[Grid, ...]


def guesses(structure: str, inputs: Floats, targets: Floats) -> Iterator[Guess]:
    """Yield simple laws of a structure that noisy rows may come from.

    Structures whose weights noise leaves undetermined up to a factor have none.

    Args:
        structure: Name of the structure.
        inputs: Shape (n, d).
        targets: Shape (n,).
    """
    with np.errstate(all="ignore"):
        for model in _models(structure, inputs, targets):
            for noise in ("multiplicative", "additive"):
                fitted = _likeliest(model, noise)
                if fitted is None:
                    continue
                weights, precision = fitted
                raw = model.law(weights)
                for point in lattice(weights, precision, model.grids):
                    cost = sum(
                        grid.cost(value[None]) + (np.log(len(point)) if value else 0.0)
                        for grid, value in zip(model.grids, point, strict=True)
                    )
                    if point.any():
                        yield Guess(raw, model.law(point), cost + _STRUCTURE_COST[structure])


def _models(structure: str, inputs: Floats, targets: Floats) -> Iterator[_Model]:
    if structure == "sum":
        yield from _sum_model(inputs, targets)
    elif structure == "power":
        yield from _power_model(inputs, targets, scaled=False)
    elif structure == "scaled power":
        yield from _power_model(inputs, targets, scaled=True)
    elif structure == "power of a sum":
        for p in OUTER_POWERS:
            yield from _power_of_sum_model(inputs, targets, p)


def _sum_model(inputs: Floats, targets: Floats) -> Iterator[_Model]:
    start = _robust(inputs, targets)
    if start is not None:
        yield _Model(
            "sum",
            start,
            lambda w: (inputs @ w, inputs),
            targets,
            lambda w: sum_law("sum", w),
            (SUM_GRID,) * inputs.shape[1],
        )


def _power_model(inputs: Floats, targets: Floats, *, scaled: bool) -> Iterator[_Model]:
    logs = log_rows(inputs, targets)
    design = np.column_stack([logs.inputs, np.ones(len(logs.rows))]) if scaled else logs.inputs
    start = _robust(design, logs.targets)
    if start is None:
        return
    d, n_powers = inputs.shape[1], len(logs.columns)

    def predict(w: Floats) -> tuple[Floats, Floats]:
        f = np.exp(design @ w)
        return f, f[:, None] * design

    def law(w: Floats) -> Law:
        powers = np.zeros(d)
        powers[logs.columns] = w[:n_powers]
        if not scaled:
            return stack("power", [("power", powers)])
        unsigned = stack("power", [("power", powers)])
        agree = np.nansum(np.sign(unsigned.evaluate(inputs)) * np.sign(targets))
        c = np.exp(w[n_powers]) * (1.0 if agree >= 0 else -1.0)
        nearest = SUM_GRID.round(np.array([c]))
        if abs(nearest[0] - c) < 1e-12 * abs(c):
            c = float(nearest[0])
        return stack("scaled power", [("power", powers), ("sum", np.array([c]))])

    grids = (POWER_GRID,) * n_powers + ((LOG_SCALE_GRID,) if scaled else ())
    name = "scaled power" if scaled else "power"
    yield _Model(name, start, predict, np.exp(logs.targets), law, grids)


def _power_of_sum_model(inputs: Floats, targets: Floats, p: float) -> Iterator[_Model]:
    keep = targets != 0 if p < 0 else np.ones(len(targets), dtype=bool)
    if p != -1.0:
        keep &= targets >= 0
    if keep.sum() < 0.9 * len(targets):
        return
    x, y = inputs[keep], targets[keep]
    inner = y ** (1 / p)
    size = np.abs(inner) + np.median(np.abs(inner))
    start = _robust(x / size[:, None], inner / size)
    if start is None:
        return

    def predict(w: Floats) -> tuple[Floats, Floats]:
        s = x @ w
        f = s**p
        return f, (p * f / s)[:, None] * x

    yield _Model(
        "power of a sum",
        start,
        predict,
        y,
        lambda w: stack("power of a sum", [("sum", w), ("power", np.array([p]))]),
        (SUM_GRID,) * inputs.shape[1],
    )


def _robust(columns: Floats, targets: Floats) -> Floats | None:
    """Return the weights of least absolute residuals, by iteratively reweighted least squares."""
    n, k = columns.shape
    if k == 0 or n < 2 * k:
        return None
    size = np.abs(columns).max(axis=0)
    if not (size > 0).all() or not np.isfinite(columns).all() or not np.isfinite(targets).all():
        return None
    scaled = columns / size
    weight = np.ones(n)
    solution = np.zeros(k)
    for _ in range(_STEPS):
        root = np.sqrt(weight)
        updated, _, rank, _ = np.linalg.lstsq(scaled * root[:, None], targets * root, rcond=1e-11)
        if rank < k:
            return None
        residual = np.abs(targets - scaled @ updated)
        typical = float(np.median(residual))
        moved = float(np.abs(updated - solution).max())
        solution = updated
        if moved <= 1e-6 * float(np.abs(solution).max()):
            break
        weight = 1 / np.maximum(residual, max(1e-2 * typical, 1e-300))
        weight /= weight.max()
    return np.asarray(solution / size, dtype=np.float64)


def _likeliest(model: _Model, noise: Noise) -> tuple[Floats, Floats] | None:
    """Return weights of greatest likelihood and their precision."""
    y = model.targets
    weights = model.start
    typical = float(np.median(np.abs(y))) or float(np.abs(y).max())
    least = np.inf
    best: tuple[Floats, Floats] | None = None
    for _ in range(_STEPS):
        f, slope = model.predict(weights)
        scale = np.maximum(np.abs(f), 1e-9 * typical) if noise == "multiplicative" else np.full_like(f, typical)
        if not (np.isfinite(f).all() and np.isfinite(slope).all()):
            break
        residual = (y - f) / scale
        spread = t_spread(residual)
        loss = float((np.log(spread * scale) + (_NU + 1) / 2 * np.log1p((residual / spread) ** 2 / _NU)).sum())
        slope = slope / scale[:, None]
        if loss < least:
            gain = least - loss
            least = loss
            best = weights, slope.T @ slope * ((_NU + 1) / (_NU + 3) / spread**2)
            if gain < 1e-6:
                break
        else:
            break
        root = np.sqrt((_NU + 1) / (_NU + (residual / spread) ** 2))
        size = np.maximum(np.abs(slope).max(axis=0), 1e-300)
        step = np.linalg.lstsq(slope / size * root[:, None], residual * root, rcond=1e-12)[0]
        weights = weights + step / size
    return best
