"""Second-order fits of small networks with few rows: Levenberg–Marquardt with a ridge that is lowered on the way.

With fewer rows than weights a step is cheap in the rows' space: the damped normal equations are solved through the
n × n matrix J Jᵀ. A ridge draws all weights to zero and is lowered after every step that helps, so that the fit goes
from the smoothest networks to those that give the rows exactly; validation chooses the point to keep.

Sources: Levenberg, Quart. Appl. Math. 2 (1944); Marquardt, SIAM J. Appl. Math. 11 (1963); the ridge as a prior on the
weights as in MacKay, Neural Computation 4 (1992).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from training.errors import ConfigError
from training.fitting.sequences import Batch, Validate

OnStep = Callable[[int, float], None]
"""Called with the steps done and the best validation loss so far."""


@dataclass(frozen=True)
class SecondOrderConfig:
    """Settings of a fit.

    Attributes:
        max_steps: Steps tried at most.
        ridge: Weight of the squared weights beside the sum of squared errors, at the start.
        ridge_decay: What a step that helps multiplies the ridge by.
        ridge_floor: Where the ridge stays.
        unit: Size of an error that counts as one.
        check_every: Steps between checks by validation.
    """

    max_steps: int
    ridge: float = 1e-3
    ridge_decay: float = 0.98
    ridge_floor: float = 1e-9
    unit: float = 1.0
    check_every: int = 5


@dataclass(frozen=True)
class SecondOrderFit:
    """What a fit reached; the network holds the weights that validated best.

    Attributes:
        validation_loss: Their validation loss; infinite where none was finite.
        n_steps: Steps tried.
        best_step: Steps after which they were checked.
        ridge: The ridge then.
    """

    validation_loss: float
    n_steps: int
    best_step: int
    ridge: float


_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 0.1, 1e-9, 1e6
_EASED, _STRENGTHENED = 0.3, 4.0
"""What damping is multiplied by after a step that helps, and after one that does not."""


def fit_second_order(
    network: nn.Module,
    rows: Batch,
    validate: Validate,
    config: SecondOrderConfig,
    on_check: OnStep = lambda _step, _loss: None,
) -> SecondOrderFit:
    """Fit a network with one output in place, by squared errors.

    Args:
        network: The network; it must treat rows apart from each other, and be twice differentiable almost everywhere.
        rows: All rows; targets of shape (n, 1).
        validate: Judges the network on rows that no step sees.
        config: Settings.
        on_check: Told after every check.

    Returns:
        What was reached.

    Raises:
        ConfigError: When the targets are not one a row.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
        >>> network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        >>> judge = lambda: float((network(x) - x.sin()).abs().mean())
        >>> config = SecondOrderConfig(200, ridge_decay=0.8)
        >>> fit_second_order(network, Batch((x,), x.sin()), judge, config).validation_loss < 1e-3
        True
    """
    if rows.targets.dim() != 2 or rows.targets.shape[1] != 1:
        msg = f"targets must have shape (n, 1), however: {tuple(rows.targets.shape)}"
        raise ConfigError(msg)
    weights = _Weights(network)

    def answer(flat: Tensor, *inputs: Tensor) -> Tensor:
        row = tuple(one.unsqueeze(0) for one in inputs)
        given: Tensor = functional_call(network, weights.named(flat), row)
        return given.squeeze() / config.unit

    apart = (None, *(0 for _ in rows.inputs))
    with_slopes = vmap(grad_and_value(answer), in_dims=apart)
    answers = vmap(answer, in_dims=apart)
    target = rows.targets[:, 0] / config.unit

    flat = weights.flat()
    slopes, given = with_slopes(flat, *rows.inputs)
    error = target - given
    ridge, damping = config.ridge, _FIRST_DAMPING
    cost = error @ error + ridge * flat @ flat
    best, best_flat, best_step, best_ridge = math.inf, flat, 0, ridge
    step = 0
    for step in range(1, config.max_steps + 1):
        move = _move(slopes, slopes.T @ error - ridge * flat, ridge + damping)
        trial = flat + move
        trial_error = target - answers(trial, *rows.inputs)
        trial_cost = trial_error @ trial_error + ridge * trial @ trial
        if trial_cost < cost:
            flat = trial
            slopes, given = with_slopes(flat, *rows.inputs)
            error = target - given
            damping = max(damping * _EASED, _LEAST_DAMPING)
            ridge = max(ridge * config.ridge_decay, config.ridge_floor)
            cost = error @ error + ridge * flat @ flat
        else:
            damping *= _STRENGTHENED
        if step % config.check_every == 0 or step == config.max_steps:
            weights.put_(flat)
            with torch.no_grad():
                loss = validate()
            if loss < best:
                best, best_flat, best_step, best_ridge = loss, flat, step, ridge
            on_check(step, best)
        if damping > _MOST_DAMPING:
            break
    weights.put_(best_flat)
    return SecondOrderFit(best, step, best_step, best_ridge)


def _move(slopes: Tensor, downhill: Tensor, lift: float) -> Tensor:
    """Return (JᵀJ + lift)⁻¹ downhill by way of the rows."""
    inner = slopes @ slopes.T
    inner.diagonal().add_(lift)
    through_rows: Tensor = torch.linalg.solve(inner, slopes @ downhill)
    return (downhill - slopes.T @ through_rows) / lift


class _Weights:
    """The trained parameters of a network as one vector."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}

    def flat(self) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters.values()])

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [parameter.numel() for parameter in self.parameters.values()]
        parts = torch.split(flat, sizes)
        return {
            name: part.reshape(parameter.shape)
            for (name, parameter), part in zip(self.parameters.items(), parts, strict=True)
        }

    @torch.no_grad()
    def put_(self, flat: Tensor) -> None:
        for name, value in self.named(flat).items():
            self.parameters[name].copy_(value)
