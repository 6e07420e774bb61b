"""The smooth family behind factored laws, and its fit: Levenberg–Marquardt in float64, many starts in one batch.

y = s e^b ∏ x_i^a_i ∏_j S_j^q_j with S_j = 1 + Σ_k r_jk ∏ x_i^P_jki: a product of powers of the inputs and of sums. The
outer powers q are given by the shape; b, a, r and P are fitted. Logarithms of the inputs are centred, so that every
product is 1 at the rows' middle and a start means the same whatever the units.

Sources: Levenberg, Quart. Appl. Math. 2 (1944); Marquardt, SIAM J. Appl. Math. 11 (1963).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-12, 1e8
_EASED, _STRENGTHENED = 0.2, 5.0

_PATIENCE = 8
"""Steps in a row without a gain of a thousandth after which a member rests."""

_LONGEST_STEP = 1.0
"""Largest change of a power in one step: a product of powers is no longer near its tangent beyond that."""


@dataclass(frozen=True)
class Shape:
    """Which sums a law has.

    Attributes:
        outer: Power of each sum.
        extra: Products of powers in each sum beside the 1.
    """

    outer: tuple[float, ...] = ()
    extra: tuple[int, ...] = ()

    @property
    def n_extra(self) -> int:
        """Products of powers in all sums."""
        return sum(self.extra)

    def n_parameters(self, d_inputs: int) -> int:
        """Return the numbers that are fitted."""
        return (1 + d_inputs) * (1 + self.n_extra)


@dataclass(frozen=True)
class Logs:
    """Rows in the log domain.

    Attributes:
        centred: Centred logarithms, shape (n, d).
        middle: What was taken off, shape (d,).
    """

    centred: Floats
    middle: Floats

    @classmethod
    def of(cls, inputs: Floats) -> "Logs":
        """Return the logarithms of positive inputs."""
        logs = np.log(inputs)
        middle = logs.mean(axis=0)
        return cls(logs - middle, middle)

    def take(self, rows: NDArray[np.intp]) -> "Logs":
        """Return some of the rows."""
        return Logs(self.centred[rows], self.middle)


class FactoredModel:
    """The family of one shape on given rows.

    Parameters of one member stand in a row: b, a (d numbers), then r and P (d numbers) of each extra product. Members
    come in batches of shape (n_members, n_parameters).

    Args:
        shape: The shape.
        logs: The rows.
        sign: Sign s of the results.
    """

    def __init__(self, shape: Shape, logs: Logs, sign: float) -> None:
        self.shape = shape
        self.d = logs.centred.shape[1]
        self._logs = logs.centred
        self._sign = sign

    def split(self, members: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return b (B,), a (B, d), r (B, K) and P (B, K, d)."""
        d = self.d
        rest = members[:, 1 + d :].reshape(len(members), self.shape.n_extra, 1 + d)
        return members[:, 0], members[:, 1 : 1 + d], rest[:, :, 0], rest[:, :, 1:]

    def values(self, members: Floats) -> Floats:
        """Return results, shape (B, n)."""
        front, _, sums, _ = self._parts(members)
        with np.errstate(all="ignore"):
            for q, s in zip(self.shape.outer, sums, strict=True):
                front = front * _power(s, q)
        return front

    def slopes(self, members: Floats, free: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return results (B, n) and their derivatives by the free parameters (B, n, n_free)."""
        front, r, sums, products = self._parts(members)
        d = self.d
        powers = np.flatnonzero(free[1 : 1 + d])
        parts = []
        with np.errstate(all="ignore"):
            raised = [_power(s, q) for q, s in zip(self.shape.outer, sums, strict=True)]
            whole = front
            for one in raised:
                whole = whole * one
            if free[0]:
                parts.append(whole[:, :, None])
            parts.append(whole[:, :, None] * self._logs[:, powers])
            k = 0
            for j, (q, n_terms) in enumerate(zip(self.shape.outer, self.shape.extra, strict=True)):
                slope = front * q * _power(sums[j], q - 1)
                for other, one in enumerate(raised):
                    if other != j:
                        slope = slope * one
                for _ in range(n_terms):
                    start = (1 + d) * (1 + k)
                    along = slope * products[:, k]
                    if free[start]:
                        parts.append(along[:, :, None])
                    powers = np.flatnonzero(free[start + 1 : start + 1 + d])
                    if len(powers):
                        parts.append((along * r[:, k, None])[:, :, None] * self._logs[:, powers])
                    k += 1
        return whole, np.concatenate(parts, axis=2)

    def sums(self, members: Floats) -> list[Floats]:
        """Return the sums, each of shape (B, n)."""
        return self._parts(members)[2]

    def _parts(self, members: Floats) -> tuple[Floats, Floats, list[Floats], Floats]:
        b, a, r, p = self.split(members)
        with np.errstate(all="ignore"):
            front = self._sign * np.exp(b[:, None] + a @ self._logs.T)
            products = np.exp(p @ self._logs.T)
            terms = r[:, :, None] * products
        sums, start = [], 0
        for n_terms in self.shape.extra:
            sums.append(1 + terms[:, start : start + n_terms].sum(axis=1))
            start += n_terms
        return front, r, sums, products


def _power(base: Floats, power: float) -> Floats:
    """Return base^power; a fractional power takes the magnitude, so that a fit may pass through where there is none."""
    return np.asarray(base**power if power == round(power) else np.abs(base) ** power, dtype=np.float64)


@dataclass(frozen=True)
class Batch:
    """Members after a fit.

    Attributes:
        members: Parameters, shape (B, n_parameters).
        costs: Mean squared residual of each over its width, shape (B,).
    """

    members: Floats
    costs: Floats

    def best(self, n: int) -> "Batch":
        """Return the n members of least cost, the best first."""
        order = np.argsort(self.costs, kind="stable")[:n]
        return Batch(self.members[order], self.costs[order])


def improve(
    model: FactoredModel,
    members: Floats,
    targets: Floats,
    widths: Floats,
    *,
    n_steps: int,
    free: NDArray[np.bool_] | None = None,
    enough: float = 0.0,
) -> Batch:
    """Improve members by Levenberg–Marquardt steps.

    Args:
        model: The family on the rows.
        members: Where to start, shape (B, n_parameters).
        targets: Results of the rows, shape (n,).
        widths: What an error counts as one of, shape (n,).
        n_steps: Steps at most.
        free: Parameters that may move; None for all.
        enough: Cost at which the batch's best member ends the fit.
    """
    free = np.ones(members.shape[1], dtype=bool) if free is None else free
    members = members.copy()
    costs = _costs(model.values(members), targets, widths)
    damping = np.full(len(members), _FIRST_DAMPING)
    is_scale = np.zeros(members.shape[1], dtype=bool)
    is_scale[:: 1 + model.d] = True
    powers = (~is_scale)[free]
    stalled = np.zeros(len(members), dtype=np.intp)
    for _ in range(n_steps):
        active = np.flatnonzero((stalled < _PATIENCE) & np.isfinite(costs))
        if not len(active) or costs.min() <= enough:
            break
        given, slopes = model.slopes(members[active], free)
        slopes /= widths[:, None]
        rest = (targets - given) / widths
        steps = _steps(slopes, rest, damping[active])
        longest = np.abs(np.where(powers, steps, 0)).max(axis=1, initial=0.0)
        steps *= np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, 1e-300))[:, None]
        trial = members[active]
        trial[:, free] += steps
        trial_costs = _costs(model.values(trial), targets, widths)
        better = trial_costs < costs[active]
        gained = better & (trial_costs < (1 - 1e-3) * costs[active])
        members[active[better]] = trial[better]
        costs[active[better]] = trial_costs[better]
        damping[active] = np.clip(
            damping[active] * np.where(better, _EASED, _STRENGTHENED), _LEAST_DAMPING, _MOST_DAMPING
        )
        stalled[active] = np.where(gained, 0, stalled[active] + 1)
    return Batch(members, costs)


def _costs(given: Floats, targets: Floats, widths: Floats) -> Floats:
    with np.errstate(all="ignore"):
        costs = np.mean(((given - targets) / widths) ** 2, axis=1)
    return np.asarray(np.nan_to_num(costs, nan=np.inf, posinf=np.inf), dtype=np.float64)


def _steps(slopes: Floats, rest: Floats, damping: Floats) -> Floats:
    size = np.sqrt(np.square(slopes).sum(axis=1))
    fine = np.isfinite(size).all(axis=1)
    size = np.where(size > 0, size, 1.0)
    scaled = np.where(fine[:, None, None], slopes / size[:, None, :], 0.0)
    normal = scaled.transpose(0, 2, 1) @ scaled
    index = np.arange(normal.shape[1])
    normal[:, index, index] += damping[:, None] + 1e-13
    downhill = (scaled.transpose(0, 2, 1) @ np.where(fine[:, None], rest, 0.0)[:, :, None])[:, :, 0]
    return np.asarray(np.linalg.solve(normal, downhill[:, :, None])[:, :, 0] / size, dtype=np.float64)
