"""A NALU of two layers by gradients alone: sums of inputs, then a sum or a product of powers of them.

Trained as published, a NALU's gates stay half open and its weights short of 0 and 1. Nothing here solves for weights
and nothing is rounded; what differs from the usual recipe is:

1. The unit has weights of its own for sum and product and gates that are independent of the input, as iNALU (Schlör et
   al., arXiv:2003.07629) and the best public reproductions of the paper's table have.
2. Every start has its gates saturated, so that they choose instead of mix: sums first, then a sum or a product. The
   signs of the last layer's weights differ from start to start, since a weight hardly crosses 0 under a logarithm.
3. A product is fitted in the logarithm, where an error is relative and the powers are nearly linear.
4. Float64, and a loss large enough that Adam's ε = 1e-8 does not hold the last steps back.
5. Adam; L-BFGS; Adam with a penalty that draws weights to the nearest of −1, 0, 1 (and ±1/2 in the last layer);
   L-BFGS.

Starts and heads are chosen by rows of the training range that no step sees.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.networks import ArithmeticNetwork
from models.units import NALU
from training.errors import ConfigError
from training.fitting.ensembles import fit_ensemble
from training.fitting.first_order import FirstOrderConfig, Rows, fit, judge
from training.fitting.sequences import Batch, SequenceFitConfig

Head = Literal["sum", "product"]

_D_HIDDEN = 2
_OPEN = 20.0
"""Logit of a gate at the sum; 1 − g is 2e-9."""

_SCALE = 1e8
"""Factor of the loss: without it products ended at relative errors of 1e-3 instead of 1e-5."""

_SIGNS = ((1.0, 1.0), (1.0, -1.0))
"""Signs of the last layer's weights at the start; all others are these with units exchanged or all turned."""

_TINY = 1e-12
"""Added to a magnitude before its logarithm; far below every sum of inputs."""


@dataclass(frozen=True)
class NaluSettings:
    """What a fit may cost; one setting serves every operation.

    Attributes:
        n_steps: Steps of Adam of every start.
        n_refining_steps: Steps of Adam with the penalty.
        learning_rate: Step size of both at their start.
        batch_size: Rows a step.
        polish_steps: Steps of each round of L-BFGS.
        n_polish_rows: Rows that L-BFGS sees.
        penalty: Weight of the penalty, against a loss that is 1 for an answer off by a standard deviation.
        n_starts: Starts for every head and pattern of signs.
        good_enough: Validation loss, in the same unit, below which nothing more is done.
    """

    n_steps: int = 1500
    n_refining_steps: int = 800
    learning_rate: float = 0.1
    batch_size: int = 64
    polish_steps: int = 100
    n_polish_rows: int = 1000
    penalty: float = 1.0
    n_starts: int = 1
    good_enough: float = 1e-18


@dataclass(frozen=True)
class NaluTask:
    """What a NALU is to learn.

    Attributes:
        train: Rows for the steps: one input of shape (n, d), targets (n, 1), float64.
        validation: Rows that choose.
        seed: Seed of the starts and of the batches.
    """

    train: Rows
    validation: Rows
    seed: int


@dataclass(frozen=True)
class FittedNalu:
    """A NALU fitted.

    Attributes:
        network: Two NALUs, one after the other, float64.
        head: What the second computes.
        validation_loss: Squared error over the targets' variance, on the validation rows.
    """

    network: ArithmeticNetwork
    head: Head
    validation_loss: float


_DEFAULT = NaluSettings()


def fit_nalus(tasks: Sequence[NaluTask], settings: NaluSettings = _DEFAULT) -> list[FittedNalu]:
    """Fit a NALU to each of several tasks of one shape, such as the seeds of an operation.

    Args:
        tasks: The tasks, with as many rows and inputs each.
        settings: What the fits may cost.

    Raises:
        ConfigError: When there is no task.
    """
    if not tasks:
        msg = "there must be tasks to fit, however: 0 tasks"
        raise ConfigError(msg)
    chosen: list[FittedNalu | None] = [None] * len(tasks)
    for head in _heads(tasks):
        for position, network in enumerate(_best_starts(tasks, head, settings)):
            _polish(network, tasks[position], head, settings)
            found = FittedNalu(network, head, _error(network, tasks[position]))
            before = chosen[position]
            if before is None or found.validation_loss < before.validation_loss:
                chosen[position] = found
    fitted = [one for one in chosen if one is not None]
    unfinished = [position for position, one in enumerate(fitted) if one.validation_loss > settings.good_enough]
    for head in ("sum", "product"):
        group = [position for position in unfinished if fitted[position].head == head]
        if group:
            _refine([tasks[position] for position in group], group, fitted, head, settings)
    return fitted


def _heads(tasks: Sequence[NaluTask]) -> tuple[Head, ...]:
    """Return the heads that the targets allow: a NALU's product has no sign."""
    if all(bool((task.train.targets > 0).all()) for task in tasks):
        return ("sum", "product")
    return ("sum",)


def _best_starts(tasks: Sequence[NaluTask], head: Head, settings: NaluSettings) -> list[ArithmeticNetwork]:
    """Return each task's best start after Adam."""
    n_starts = settings.n_starts * len(_SIGNS)
    networks, repeated = [], []
    for task in tasks:
        for start in range(n_starts):
            generator = torch.Generator().manual_seed(1000 * task.seed + start)
            networks.append(_start(task.train, head, _SIGNS[start % len(_SIGNS)], generator))
            repeated.append(task)
    losses = _adam(networks, repeated, head, settings, settings.n_steps, 0.0)
    best = []
    for position in range(len(tasks)):
        part = range(position * n_starts, (position + 1) * n_starts)
        best.append(networks[min(part, key=losses.__getitem__)])
    return best


def _refine(
    tasks: Sequence[NaluTask], positions: Sequence[int], fitted: list[FittedNalu], head: Head, settings: NaluSettings
) -> None:
    """Draw weights to simple values, polish, and keep what is better by validation."""
    networks = [copy.deepcopy(fitted[position].network) for position in positions]
    _adam(networks, tasks, head, settings, settings.n_refining_steps, settings.penalty)
    for task, network, position in zip(tasks, networks, positions, strict=True):
        _polish(network, task, head, settings)
        found = FittedNalu(network, head, _error(network, task))
        if found.validation_loss < fitted[position].validation_loss:
            fitted[position] = found


def _start(rows: Rows, head: Head, signs: tuple[float, float], generator: torch.Generator) -> ArithmeticNetwork:
    (inputs,) = rows.inputs
    assert inputs is not None  # noqa: S101 # a task has one input
    units = [
        NALU(d_in, d_out, separate_weights=True, gate="independent", dtype=torch.float64)
        for d_in, d_out in ((inputs.shape[1], _D_HIDDEN), (_D_HIDDEN, 1))
    ]
    first, last = units

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(1, _D_HIDDEN, generator=generator, dtype=torch.float64)

    with torch.no_grad():
        for unit, opened in ((first, _OPEN), (last, _OPEN if head == "sum" else -_OPEN)):
            assert unit.g_hat is not None  # noqa: S101 # asked for above
            unit.g_hat.fill_(opened)
        first.additive.W_hat.normal_(0.5, 0.3, generator=generator)  # sums above 0, where logarithms are
        first.additive.M_hat.normal_(0.0, 0.3, generator=generator)
        for weights in (last.additive, last.multiplicative):
            assert weights is not None  # noqa: S101 # weights are separate
            weights.W_hat.copy_(torch.tensor([signs], dtype=torch.float64) * uniform(1, 2))
            weights.M_hat.copy_(uniform(1, 2))
        assert first.multiplicative is not None  # noqa: S101 # likewise
        first.multiplicative.W_hat.zero_()  # not used: a product of no inputs
        first.multiplicative.M_hat.zero_()
    return ArithmeticNetwork(units)


def _adam(
    networks: Sequence[ArithmeticNetwork],
    tasks: Sequence[NaluTask],
    head: Head,
    settings: NaluSettings,
    n_steps: int,
    penalty: float,
) -> tuple[float, ...]:
    inputs = torch.stack([_only(task.train) for task in tasks])
    targets = torch.stack([task.train.targets for task in tasks])
    generator = torch.Generator().manual_seed(tasks[0].seed)
    n_rows = inputs.shape[1]
    each = torch.arange(len(tasks))[:, None]

    def draw(_step: int) -> Batch:
        index = torch.randint(0, n_rows, (len(tasks), settings.batch_size), generator=generator)
        return Batch((inputs[each, index],), targets[each, index])

    validation = Batch(
        (torch.stack([_only(task.validation) for task in tasks]),),
        torch.stack([task.validation.targets for task in tasks]),
    )
    variance = float(targets.var())
    return fit_ensemble(
        networks,
        draw,
        validation,
        SequenceFitConfig(max_steps=n_steps, learning_rate=settings.learning_rate),
        _loss(head, variance),
        penalty=_drawn_to_simple_values(head, penalty) if penalty else None,
    ).validation_losses


def _polish(network: ArithmeticNetwork, task: NaluTask, head: Head, settings: NaluSettings) -> None:
    generator = torch.Generator().manual_seed(task.seed)
    rows = task.train.take(torch.arange(min(settings.n_polish_rows, len(task.train))))
    config = FirstOrderConfig(max_epochs=1, learning_rate=1e-6, polish_steps=settings.polish_steps)
    fit(network, rows, task.validation, config, _loss(head, float(task.train.targets.var())), generator)


def _loss(head: Head, variance: float) -> Callable[[Tensor, Tensor], Tensor]:
    def squared(predictions: Tensor, targets: Tensor) -> Tensor:
        return _SCALE * (predictions - targets).square().mean() / variance

    def logarithmic(predictions: Tensor, targets: Tensor) -> Tensor:
        return _SCALE * ((predictions.abs() + _TINY).log() - targets.log()).square().mean()

    return squared if head == "sum" else logarithmic


def _drawn_to_simple_values(head: Head, weight: float) -> Callable[[nn.Module, float], Tensor]:
    """Return the penalty: the mean distance of the weights in use from the nearest of 0 and ±1, or of ±1/2 at the end.

    It reaches its weight when half of the steps are done.
    """

    def penalty(network: nn.Module, share: float) -> Tensor:
        assert isinstance(network, ArithmeticNetwork)  # noqa: S101 # all are
        first, last = network.units
        assert isinstance(first, NALU)  # noqa: S101 # likewise
        assert isinstance(last, NALU)  # noqa: S101 # likewise
        sums = first.effective_weight().abs()
        powers = (last.effective_weight() if head == "sum" else last.multiplicative_weight()).abs()
        distance = torch.stack([powers, (powers - 0.5).abs(), 1 - powers]).amin(dim=0)
        return _SCALE * weight * min(1.0, 2 * share) * (torch.minimum(sums, 1 - sums).mean() + distance.mean())

    return penalty


def _error(network: ArithmeticNetwork, task: NaluTask) -> float:
    error = judge(network, task.validation, lambda y, t: (y - t).square().mean() / task.validation.targets.var())
    return error if error == error else float("inf")  # NaN is worse than anything


def _only(rows: Rows) -> Tensor:
    (inputs,) = rows.inputs
    assert inputs is not None  # noqa: S101 # a task has one input
    return inputs
