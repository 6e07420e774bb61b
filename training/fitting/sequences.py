"""The first-order loop for sequences and other data drawn in steps: clipping, checks, early stopping, restarts.

`training.fitting.first_order` passes over rows that are all of one shape. Here a step is whatever an iterator gives, so
that batches may be drawn afresh or have a length of their own; checks by validation choose the weights that are kept.

Sources: Adam, arXiv:1412.6980; RMSProp, which users of NALUs report to work better at a high learning rate than Adam;
clipping of the gradient's norm, Pascanu et al., arXiv:1211.5063.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from training.errors import ConfigError
from training.fitting.first_order import Loss

Validate = Callable[[], float]
"""Returns the loss that chooses, on rows that no step sees; never on rows that a result is judged by."""

OnCheck = Callable[[int, float], None]
"""Called after a check with the steps done and the validation loss."""

_SMALLEST_SHARE = 1e-3
"""Share of the learning rate at the end of a half cosine."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        inputs: What the network takes, each with the batch first.
        targets: Shape (batch, d_outputs), or whatever the loss takes.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor


@dataclass(frozen=True)
class SequenceFitConfig:
    """Settings of the loop.

    Attributes:
        max_steps: Steps at most.
        learning_rate: Step size at the start.
        optimiser: "adam" or "rmsprop".
        schedule: "cosine" for a step size that falls to a thousandth along a half cosine, or "constant".
        warm_up: Share of the steps in which the step size rises from 0 to `learning_rate`, before its schedule; Adam
            knows little of the gradients' size in its first steps, and convolutions fitted to sums do not recover.
        clip_norm: Largest norm of a gradient; None for no clipping.
        check_every: Steps between checks by validation.
        patience: Checks without a better validation loss after which the fit ends.
        weight_decay: Decoupled weight decay; Adam only.
        target_loss: Validation loss that is good enough to end at once.
    """

    max_steps: int
    learning_rate: float
    optimiser: Literal["adam", "rmsprop"] = "adam"
    schedule: Literal["cosine", "constant"] = "cosine"
    warm_up: float = 0.0
    clip_norm: float | None = None
    check_every: int = 100
    patience: int = 1_000_000
    weight_decay: float = 0.0
    target_loss: float = 0.0


@dataclass(frozen=True)
class SequenceFit:
    """What a fit reached; the network holds the best weights checked.

    Attributes:
        validation_loss: Best validation loss; infinite where none was finite.
        n_steps: Steps made.
        best_step: Steps after which the best weights were checked; 0 where none was finite.
        reason: Why it ended: "target", "patience", "steps" or "diverged".
        history: Steps done and validation loss of every check.
    """

    validation_loss: float
    n_steps: int
    best_step: int
    reason: Literal["target", "patience", "steps", "diverged"]
    history: tuple[tuple[int, float], ...]


def fit_sequences(
    network: nn.Module,
    batches: Iterator[Batch],
    validate: Validate,
    config: SequenceFitConfig,
    loss: Loss,
    *,
    penalty: Callable[[float], Tensor] | None = None,
    on_check: OnCheck = lambda _step, _loss: None,
) -> SequenceFit:
    """Fit `network` in place.

    A network that has a method `project_` is held inside its constraints after every step.

    Args:
        network: The network.
        batches: What the steps see; endless, or as long as `config.max_steps`.
        validate: Judges the network in evaluation mode, without gradients.
        config: Settings of the loop.
        loss: What to minimise: (predictions, targets) → scalar.
        penalty: Share of the steps done → scalar added to the loss, such as a ramped regulariser.
        on_check: Told after every check.

    Returns:
        What was reached; a fit whose loss stops being finite keeps the best weights from before.

    Example:
        >>> import itertools
        >>> network, x = nn.Linear(1, 1), torch.linspace(-1, 1, 32)[:, None]
        >>> batch = Batch((x,), 3 * x)
        >>> mse = nn.functional.mse_loss
        >>> config = SequenceFitConfig(max_steps=300, learning_rate=0.1)
        >>> fit = fit_sequences(network, itertools.repeat(batch), lambda: float(mse(network(x), 3 * x)), config, mse)
        >>> fit.validation_loss < 1e-4
        True
    """
    optimiser = optimiser_of(network.parameters(), config)
    schedule = schedule_of(optimiser, config)
    project_ = getattr(network, "project_", None)
    best, weights, best_step, since_best = math.inf, copy.deepcopy(network.state_dict()), 0, 0
    history: list[tuple[int, float]] = []
    reason: Literal["target", "patience", "steps", "diverged"] = "steps"
    step = 0
    network.train()
    for step, batch in zip(range(1, config.max_steps + 1), batches, strict=False):
        optimiser.zero_grad()
        value = loss(network(*batch.inputs), batch.targets)
        if penalty is not None:
            value = value + penalty(step / config.max_steps)
        if not math.isfinite(value.item()):
            reason = "diverged"
            break
        value.backward()  # type: ignore[no-untyped-call]
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimiser.step()
        if schedule is not None:
            schedule.step()
        if project_ is not None:
            with torch.no_grad():
                project_()
        if step % config.check_every and step != config.max_steps:
            continue
        judged = _judged(network, validate)
        history.append((step, judged))
        on_check(step, judged)
        if judged < best:
            best, weights, best_step, since_best = judged, copy.deepcopy(network.state_dict()), step, 0
        else:
            since_best += 1
        if best <= config.target_loss:
            reason = "target"
            break
        if since_best >= config.patience:
            reason = "patience"
            break
    network.load_state_dict(weights)
    network.eval()
    return SequenceFit(best, step, best_step, reason, tuple(history))


def optimiser_of(parameters: Iterable[Tensor], config: SequenceFitConfig) -> torch.optim.Optimizer:
    """Return the optimiser that a config names.

    Raises:
        ConfigError: When it would ignore a setting.
    """
    if config.optimiser == "rmsprop":
        if config.weight_decay:
            msg = f"RMSProp takes no decoupled weight decay, however: weight_decay={config.weight_decay}; use adam"
            raise ConfigError(msg)
        return torch.optim.RMSprop(parameters, lr=config.learning_rate)
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def schedule_of(
    optimiser: torch.optim.Optimizer, config: SequenceFitConfig
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """Return the schedule that a config names, or None for a constant step size."""
    if config.warm_up:
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: _share_of_rate(config, done))
    if config.schedule == "constant":
        return None
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.max_steps, eta_min=config.learning_rate * 1e-3)


def _share_of_rate(config: SequenceFitConfig, done: int) -> float:
    """Return the share of the learning rate that the step after `done` steps takes, with a warm-up."""
    rising = config.warm_up * config.max_steps
    if done < rising:
        return (done + 1) / (rising + 1)
    if config.schedule == "constant":
        return 1.0
    share = (done - rising) / (config.max_steps - rising) if done < config.max_steps else 1.0
    return _SMALLEST_SHARE + (1 - _SMALLEST_SHARE) * (1 + math.cos(math.pi * share)) / 2


@torch.no_grad()
def _judged(network: nn.Module, validate: Validate) -> float:
    network.eval()
    judged = validate()
    network.train()
    return judged


@dataclass(frozen=True)
class Started(Generic[NetworkT]):
    """The start chosen of several.

    Attributes:
        network: The network, fitted.
        fit: What its fit reached.
        start: Its number, from 0.
        losses: Validation losses of all starts made.
    """

    network: NetworkT
    fit: SequenceFit
    start: int
    losses: tuple[float, ...]


def best_start(
    n_starts: int,
    build: Callable[[torch.Generator], NetworkT],
    train: Callable[[NetworkT, torch.Generator], SequenceFit],
    *,
    seed: int,
    target_loss: float = 0.0,
) -> Started[NetworkT]:
    """Fit several starts and keep the one with the least validation loss.

    Args:
        n_starts: Starts at most.
        build: Draws a network's weights from a generator.
        train: Fits a network; its batches come from the same generator.
        seed: Seed; start k of it has a generator of its own, so that more starts change none of the earlier ones.
        target_loss: Validation loss at which no further start is made.

    Raises:
        ConfigError: When there is to be no start.
    """
    if n_starts < 1:
        msg = f"`n_starts` must be positive, however: n_starts={n_starts}"
        raise ConfigError(msg)
    chosen: Started[NetworkT] | None = None
    losses: list[float] = []
    for start in range(n_starts):
        generator = torch.Generator().manual_seed(1_000_003 * seed + start)
        network = build(generator)
        fit = train(network, generator)
        losses.append(fit.validation_loss)
        if chosen is None or fit.validation_loss < chosen.fit.validation_loss:
            chosen = Started(network, fit, start, ())
        if fit.validation_loss <= target_loss:
            break
    assert chosen is not None  # noqa: S101 # there was a start
    return Started(chosen.network, chosen.fit, chosen.start, tuple(losses))


def batches_by_length(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator
) -> Iterator[tuple[int, Tensor]]:
    """Yield batches of examples of one length, for ever: every example once an epoch, in an order drawn afresh.

    Args:
        lengths: Length of every example.
        batch_size: Examples a batch at most.
        generator: Source of the order.

    Yields:
        The length, and the positions of the examples, int64, shape (≤ batch_size,).

    Raises:
        ConfigError: When there are no examples or a batch is to have none.
    """
    if not lengths or batch_size < 1:
        msg = f"there must be examples and room for them, however: {len(lengths)} examples, batch_size={batch_size}"
        raise ConfigError(msg)
    groups = {length: torch.tensor([i for i, one in enumerate(lengths) if one == length]) for length in set(lengths)}
    while True:
        batches = [
            (length, part)
            for length, group in sorted(groups.items())
            for part in torch.split(group[torch.randperm(len(group), generator=generator)], batch_size)
        ]
        for position in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[position]
