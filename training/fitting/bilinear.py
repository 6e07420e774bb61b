"""Products of two sums, y = (u·x)(v·x), by Levenberg–Marquardt, all restarts in one batched computation.

Sources: Levenberg (1944) and Marquardt (1963); the damping's update is Nielsen's (1999): it shrinks by the cube of how
well the quadratic model foretold the step. The start from a linear fit uses that near the mean m of the inputs
y ≈ (u·m)(v·m) + ((v·m) u + (u·m) v)·(x − m): a linear fit shows u + v up to a factor, and only u − v is left to find.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

_CONVERGED = 1e-26
"""Mean squared error over the targets' mean square at which a fit has reached float64 rounding: 1e-13 a row."""

_STALLED = 1e-3
"""Relative gain over `_STALL_STEPS` steps below which a fit is stuck in a local minimum."""

_STALL_STEPS = 10


@dataclass(frozen=True)
class BilinearFit:
    """What a batch of restarts reached.

    Attributes:
        first: u of the best restart, shape (d,).
        second: v of the best restart, shape (d,).
        loss: Its mean squared error over the targets' mean square.
        n_iterations: Steps of the batch.
    """

    first: Floats
    second: Floats
    loss: float
    n_iterations: int


def fit_product(
    inputs: Floats,
    targets: Floats,
    *,
    n_restarts: int,
    max_iterations: int,
    generator: np.random.Generator,
    device: str = "cpu",
) -> BilinearFit:
    """Fit a product of two sums from several starts at once.

    Args:
        inputs: Shape (n, d), finite.
        targets: Shape (n,), finite, not all zero.
        n_restarts: Starts; every second one is drawn around a linear fit, the others at random.
        max_iterations: Steps at most.
        generator: Source of the starts.
        device: Device of the computation.

    Returns:
        The best restart.
    """
    size = np.sqrt(np.mean(inputs**2, axis=0))
    size[size == 0] = 1.0
    height = float(np.sqrt(np.mean((targets / np.abs(targets).max()) ** 2)) * np.abs(targets).max())
    start = _starts(inputs / size, targets / height, n_restarts, generator)
    x = torch.as_tensor(inputs / size, device=device)
    y = torch.as_tensor(targets / height, device=device)
    weights, losses, n_iterations = _levenberg_marquardt(x, y, torch.as_tensor(start, device=device), max_iterations)
    best = int(torch.argmin(losses))
    u, v = (weights[best].cpu().numpy().reshape(2, -1) / size).astype(np.float64)
    # height may be as small as 1e-60: shared out, neither factor leaves the floating-point range
    share = np.sqrt(height)
    return BilinearFit(u * share, v * share, float(losses[best]), n_iterations)


def _starts(x: Floats, y: Floats, n_restarts: int, generator: np.random.Generator) -> Floats:
    n_rows, d = x.shape
    starts = np.empty((n_restarts, 2, d))
    mean = x.mean(axis=0)
    linear = np.linalg.lstsq(np.column_stack([np.ones(n_rows), x - mean]), y, rcond=None)[0]
    level = np.sqrt(abs(linear[0])) + 1e-3
    both = linear[1:] / level
    for k in range(n_restarts):
        if k % 2 == 0:
            apart = generator.normal(size=d) * (0.5 * both.std() + 1e-3)
            starts[k] = (both + apart) / 2, (both - apart) / 2
        else:
            starts[k] = generator.normal(size=(2, d)) / np.sqrt(d)
    return starts.reshape(n_restarts, 2 * d)


def _levenberg_marquardt(x: Tensor, y: Tensor, weights: Tensor, max_iterations: int) -> tuple[Tensor, Tensor, int]:
    """Return weights (restarts, 2d), losses (restarts,) and steps done."""
    n_restarts, d = weights.shape[0], x.shape[1]
    damping = torch.full((n_restarts,), 1e-2, dtype=x.dtype, device=x.device)
    growth = torch.full_like(damping, 2.0)

    def predict(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second = weights[:, :d] @ x.T, weights[:, d:] @ x.T
        residual = first * second - y
        return first, second, residual

    first, second, residual = predict(weights)
    loss = residual.square().mean(dim=1)
    history = [loss]
    for step in range(1, max_iterations + 1):
        slope = torch.cat([second.unsqueeze(-1) * x, first.unsqueeze(-1) * x], dim=2)
        curvature = slope.mT @ slope
        gradient = (slope.mT @ residual.unsqueeze(-1)).squeeze(-1)
        diagonal = curvature.diagonal(dim1=1, dim2=2)
        damped = curvature + torch.diag_embed(damping[:, None] * diagonal + 1e-30)
        factor, failed = torch.linalg.cholesky_ex(damped)
        move = torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
        trial = weights - move
        trial_first, trial_second, trial_residual = predict(trial)
        trial_loss = trial_residual.square().mean(dim=1)
        foretold = (move * (damping[:, None] * diagonal * move + gradient)).sum(dim=1) / len(y)
        better = (failed == 0) & (trial_loss < loss)
        ratio = (loss - trial_loss) / foretold.clamp(min=1e-300)
        shrink = (1 - (2 * ratio - 1) ** 3).clamp(min=1 / 3)
        damping = torch.where(better, (damping * shrink).clamp(min=1e-15), damping * growth)
        growth = torch.where(better, 2.0, growth * 2)
        keep = better[:, None]
        weights = torch.where(keep, trial, weights)
        first, second = torch.where(keep, trial_first, first), torch.where(keep, trial_second, second)
        residual = torch.where(keep, trial_residual, residual)
        loss = torch.where(better, trial_loss, loss)
        history.append(loss)
        if bool((loss <= _CONVERGED).any()):
            break
        if step > _STALL_STEPS and bool((loss > (1 - _STALLED) * history[step - _STALL_STEPS]).all()):
            break
    return weights, loss, step
