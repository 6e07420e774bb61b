"""A first-order loop: Adam with projection, mini-batches, early stopping, and an optional L-BFGS polish.

Sources: Adam, arXiv:1412.6980; decoupled weight decay, arXiv:1711.05101; projection after each step as the NAU and
NMU papers do it (arXiv:2001.05016); L-BFGS uses gradients only and finishes what Adam's step size leaves undone.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
"""(predictions, targets), both (batch, d_outputs) → scalar."""

OnEpoch = Callable[[int, float, float], None]
"""Called with epoch, training loss and validation loss."""


class Network(Protocol):
    """What the loop needs beside `nn.Module`: a regulariser and a projection."""

    def regulariser(self) -> Tensor:
        """Return a scalar added to the loss."""
        ...

    def project_(self) -> None:
        """Hold the weights inside their constraints, in place."""
        ...


_POLISH_ROUNDS = 8
"""Rounds of L-BFGS, each over the weights then free; a round without a better validation loss is the last."""

_NUDGE = 1e-6
"""Step that finds out which weights a bound holds: far above float64 rounding, far below any weight that matters."""


@dataclass(frozen=True)
class Rows:
    """Rows to fit or to judge by.

    Attributes:
        inputs: What the network takes, each with the batch first; None where it takes none of that kind.
        targets: Shape (n_rows, d_outputs).
    """

    inputs: tuple[Tensor | None, ...]
    targets: Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.targets.shape[0]

    def take(self, index: Tensor) -> "Rows":
        """Return the rows at `index`, an int64 tensor."""
        return Rows(tuple(None if x is None else x[index] for x in self.inputs), self.targets[index])


@dataclass(frozen=True)
class FirstOrderConfig:
    """Settings of the loop.

    Attributes:
        max_epochs: Passes over the training rows at most.
        learning_rate: Adam's step size at the start; it falls to a thousandth along a half cosine.
        batch_size: Rows a step; None takes all of them.
        patience: Epochs without a better validation loss after which the fit ends.
        weight_decay: Decoupled weight decay.
        regulariser_weight: Weight of the network's own regulariser.
        polish_steps: L-BFGS steps at the end, on all rows; 0 for none.
        target_loss: Validation loss that is good enough to end at once.
    """

    max_epochs: int
    learning_rate: float
    batch_size: int | None = None
    patience: int = 200
    weight_decay: float = 0.0
    regulariser_weight: float = 0.0
    polish_steps: int = 0
    target_loss: float = 0.0


@dataclass(frozen=True)
class FirstOrderFit:
    """What a fit reached; the network holds the best weights seen.

    Attributes:
        validation_loss: Best validation loss; infinite where the fit diverged from the start.
        n_epochs: Epochs run.
        reason: Why it ended: "target", "patience", "epochs" or "diverged".
    """

    validation_loss: float
    n_epochs: int
    reason: str


class _Best:
    """The best weights seen, judged by validation loss."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.loss = math.inf
        self.state = copy.deepcopy(network.state_dict())

    def offer(self, loss: float) -> bool:
        if not loss < self.loss:
            return False
        self.loss = loss
        self.state = copy.deepcopy(self.network.state_dict())
        return True

    def restore(self) -> None:
        self.network.load_state_dict(self.state)


def fit(
    network: nn.Module,
    train: Rows,
    validation: Rows,
    config: FirstOrderConfig,
    loss: Loss,
    generator: torch.Generator,
    on_epoch: OnEpoch = lambda _epoch, _train, _validation: None,
) -> FirstOrderFit:
    """Fit `network` in place.

    Args:
        network: A module that also satisfies `Network`.
        train: Rows to fit.
        validation: Rows that choose the best weights; never rows that the result is judged by.
        config: Settings of the loop.
        loss: What to minimise.
        generator: Source of the order of the batches.
        on_epoch: Told after every epoch.

    Returns:
        What was reached; a fit that diverges keeps the best weights from before.
    """
    constrained = _constrained(network)
    best = _Best(network)
    batch_size = min(config.batch_size or len(train), len(train))
    steps = math.ceil(len(train) / batch_size)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, config.max_epochs * steps, eta_min=config.learning_rate * 1e-3
    )

    def objective(rows: Rows) -> Tensor:
        value = loss(network(*rows.inputs), rows.targets)
        return value + config.regulariser_weight * constrained.regulariser() if config.regulariser_weight else value

    reason, epoch, since_best = "epochs", 0, 0
    for epoch in range(1, config.max_epochs + 1):
        order = torch.randperm(len(train), generator=generator)
        total = 0.0
        network.train()
        for step in range(steps):
            batch = train if steps == 1 else train.take(order[step * batch_size : (step + 1) * batch_size])
            optimiser.zero_grad()
            value = objective(batch)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                constrained.project_()
            total += value.item()
        judged = judge(network, validation, loss)
        on_epoch(epoch, total / steps, judged)
        if not (math.isfinite(total) and math.isfinite(judged)):
            reason = "diverged"
            break
        since_best = 0 if best.offer(judged) else since_best + 1
        if best.loss <= config.target_loss:
            reason = "target"
            break
        if since_best >= config.patience:
            reason = "patience"
            break
    best.restore()
    if config.polish_steps and reason != "target" and math.isfinite(best.loss):
        for _ in range(_POLISH_ROUNDS):
            _polish(network, constrained, lambda: objective(train), config.polish_steps)
            if not best.offer(judge(network, validation, loss)):
                break
        best.restore()
    network.eval()
    return FirstOrderFit(best.loss, epoch, reason)


@torch.no_grad()
def judge(network: nn.Module, rows: Rows, loss: Loss) -> float:
    """Return the loss on `rows`, without touching the network's weights."""
    network.eval()
    return float(loss(network(*rows.inputs), rows.targets))


def _polish(network: nn.Module, constrained: Network, objective: Callable[[], Tensor], steps: int) -> None:
    """Minimise by L-BFGS over the weights that are not held at a bound.

    A weight is held where a small step downhill is undone by the projection; beyond a bound the units are flat, and a
    quasi-Newton step that crosses one would stall there.
    """
    parameters = list(network.parameters())
    network.zero_grad()
    objective().backward()  # type: ignore[no-untyped-call]
    here = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.sub_(_NUDGE * parameter.grad.sign())
        constrained.project_()
        free = [(parameter != before).to(parameter.dtype) for parameter, before in zip(parameters, here, strict=True)]
        for parameter, before in zip(parameters, here, strict=True):
            parameter.copy_(before)
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=steps,
        history_size=20,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = objective()
        value.backward()  # type: ignore[no-untyped-call]
        for parameter, mask in zip(parameters, free, strict=True):
            if parameter.grad is not None:
                parameter.grad *= mask
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        constrained.project_()


def _constrained(network: nn.Module) -> Network:
    for method in ("regulariser", "project_"):
        if not callable(getattr(network, method, None)):
            msg = f"a network to fit must have a method {method!r}, however {type(network).__name__} has none"
            raise TypeError(msg)
    return network  # type: ignore[return-value]
