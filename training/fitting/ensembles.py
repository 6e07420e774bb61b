"""Many small networks fitted at once: their weights are stacked, and every step is one batched product for all.

A hundred networks of a few units cost little more than one, since a single one leaves the processor waiting for
torch's overhead. Adam and RMSProp work element by element, so that every network takes the steps that it would take
alone; a gradient's norm is clipped for each network by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from training.errors import ConfigError
from training.fitting.sequences import Batch, OnCheck, SequenceFitConfig, optimiser_of, schedule_of

Penalty = Callable[[nn.Module, float], Tensor]
"""(network, share of the steps done) → scalar added to its loss; it must be made of the network's own tensors."""

RowLoss = Callable[[Tensor, Tensor], Tensor]
"""(predictions, targets) of one network → its loss, a scalar."""


@dataclass(frozen=True)
class EnsembleFit:
    """What a fit of many networks reached; each network holds the best weights checked.

    Attributes:
        validation_losses: Best validation loss of each network; infinite where none was finite.
        n_steps: Steps made.
    """

    validation_losses: tuple[float, ...]
    n_steps: int


class _Objective(nn.Module):
    """A network's loss on a batch, as a module, so that its weights can be replaced from outside."""

    def __init__(self, network: nn.Module, loss: RowLoss, penalty: Penalty | None) -> None:
        super().__init__()
        self.network = network
        self._loss, self._penalty = loss, penalty

    def forward(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        value = self._loss(self.network(inputs), targets)
        return value if self._penalty is None else value + self._penalty(self.network, share)


def fit_ensemble(
    networks: Sequence[nn.Module],
    draw: Callable[[int], Batch],
    validation: Batch,
    config: SequenceFitConfig,
    loss: RowLoss,
    *,
    penalty: Penalty | None = None,
    on_check: OnCheck = lambda _step, _loss: None,
) -> EnsembleFit:
    """Fit networks of one architecture in place, each on rows of its own.

    Args:
        networks: Networks alike in everything but their weights, each taking one tensor.
        draw: Step, from 1 → what the networks see: one input of shape (networks, batch, …), targets likewise.
        validation: Rows that choose each network's weights, of the same form; never rows that a result is judged by.
        config: Settings of the loop; its patience and target hold for all networks together.
        loss: What each network minimises.
        penalty: Added to each network's loss.
        on_check: Told after every check, with the median validation loss.

    Raises:
        ConfigError: When there are no networks or a batch is not one a network.

    Example:
        >>> networks = [nn.Linear(1, 1) for _ in range(3)]
        >>> x = torch.linspace(-1, 1, 32).reshape(1, -1, 1).repeat(3, 1, 1)
        >>> batch = Batch((x,), torch.stack([slope * x[0] for slope in (1.0, 2.0, 3.0)]))
        >>> config = SequenceFitConfig(max_steps=300, learning_rate=0.1)
        >>> _ = fit_ensemble(networks, lambda _step: batch, batch, config, nn.functional.mse_loss)
        >>> [round(network.weight.item()) for network in networks]
        [1, 2, 3]
    """
    if not networks or len(validation.targets) != len(networks):
        msg = f"there must be rows for every network, however: {len(networks)} networks, {len(validation.targets)} rows"
        raise ConfigError(msg)
    weights, buffers = stack_module_state(list(networks))
    template = _Objective(networks[0], loss, penalty)
    judging = _Objective(networks[0], loss, None)
    optimiser = optimiser_of(weights.values(), config)
    schedule = schedule_of(optimiser, config)

    def losses(objective: _Objective, batch: Batch, share: float) -> Tensor:
        def one(weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            state = {f"network.{name}": value for name, value in (*weights.items(), *buffers.items())}
            return functional_call(objective, state, (x, y, share))  # type: ignore[no-any-return]

        each: Tensor = vmap(one)(weights, buffers, batch.inputs[0], batch.targets)
        return each

    best = torch.full((len(networks),), torch.inf, dtype=torch.float64)
    kept = {name: value.detach().clone() for name, value in weights.items()}
    since_best, step = 0, 0
    for step in range(1, config.max_steps + 1):
        optimiser.zero_grad()
        losses(template, draw(step), step / config.max_steps).sum().backward()  # type: ignore[no-untyped-call]
        if config.clip_norm is not None:
            _clip(list(weights.values()), config.clip_norm)
        optimiser.step()
        if schedule is not None:
            schedule.step()
        if step % config.check_every and step != config.max_steps:
            continue
        with torch.no_grad():
            judged = losses(judging, validation, 1.0).double()
        better = judged < best  # NaN is never better
        best = torch.where(better, judged, best)
        for name, value in weights.items():
            kept[name][better] = value.detach()[better]
        on_check(step, float(best.median()))
        since_best = 0 if bool(better.any()) else since_best + 1
        if since_best >= config.patience or bool((best <= config.target_loss).all()):
            break
    for i, network in enumerate(networks):
        network.load_state_dict({name: value[i] for name, value in kept.items()}, strict=False)
        network.eval()
    return EnsembleFit(tuple(best.tolist()), step)


@torch.no_grad()
def answers(networks: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """Return what networks of one architecture answer to the same rows: (rows, …) → (networks, rows, outputs)."""
    weights, buffers = stack_module_state(list(networks))

    def one(weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> Tensor:
        return functional_call(networks[0], {**weights, **buffers}, (inputs,))  # type: ignore[no-any-return]

    each: Tensor = vmap(one)(weights, buffers)
    return each


@torch.no_grad()
def _clip(weights: Sequence[Tensor], largest: float) -> None:
    """Scale each network's gradient to a norm of at most `largest`."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norms = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0).sqrt()
    scale = (largest / (norms + 1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.reshape(-1, *[1] * (gradient.dim() - 1)))
