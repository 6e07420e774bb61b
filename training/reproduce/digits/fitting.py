"""Our fit: values first, then levels, from the results of whole sequences alone.

1. *Values.* The encoder reads one number (or one per class) from an image, and the accumulator adds them; the squared
   error of the results is minimised. Products are learned as sums of logarithms.
2. *Levels.* The whole numbers that the values are near to, and that enough images are near to, become the levels that
   an image may stand for. The values become the log-odds of the levels, and training goes on by the likelihood of the
   results (`training.reproduce.digits.likelihood`).
3. *Snapping.* An image then stands for its likeliest level, and the arithmetic is exact for as long as images are read
   rightly. It is taken only where no more held-out results of the training length are wrong with it, to the nearest
   whole number; results are whole numbers in all three tasks.

Steps 2 and 3 are this project's own and no part of the published recipes; the tables have rows without them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.sequence import SequenceNetwork
from training.fitting.sequences import SequenceFitConfig, fit_sequences
from training.reproduce.digits.likelihood import ResultLikelihood
from training.reproduce.digits.networks import LevelEncoder, ValueEncoder, accumulating, reader_for
from training.reproduce.digits.task import DigitTask, Shown, TaskImages

MIN_SHARE = 0.01
"""Least share of the images for a level: a tenth of what ten even classes have. What fewer are near to is stray."""

WARM_UP = 0.2
"""Share of each fit in which the step size rises. Without it counts learned in three and five passes on MNIST read
97.5 % of the digits, with it 98.9 %."""

_LEAST_VARIANCE = 0.2
"""Least variance of the values' errors when they become log-odds: the errors are not normal, and log-odds that are too
sure of themselves are slow to unlearn."""

HALF = 0.5
"""A whole number that is off by less is right to the nearest one."""

_AT_ONCE = 2_000
"""Images read at once: few enough to keep their features in the processor's cache."""

_MOST_WHOLE_NUMBER = 1e4
"""Largest level: rounding finds no digits in values that ran away."""


@dataclass(frozen=True)
class Passes:
    """How long and with what to train.

    Attributes:
        values: Passes over the images while values are learned.
        levels: Passes while levels are learned.
        n_images: Images in a batch, about.
        learning_rate: Adam's step size; it falls along a half cosine in each part.
    """

    values: int
    levels: int
    n_images: int
    learning_rate: float

    @property
    def total(self) -> int:
        """Passes in all, which the labelled classifier and the recipes are given, too."""
        return self.values + self.levels

    def config(self, passes: int, shown: Shown) -> SequenceFitConfig:
        """Return the settings of a fit of so many passes; it is checked after each."""
        n_batches = shown.n_batches(self.n_images)
        return SequenceFitConfig(
            max_steps=max(1, passes * n_batches),
            learning_rate=self.learning_rate,
            warm_up=WARM_UP,
            check_every=n_batches,
        )


@dataclass(frozen=True)
class OurFit:
    """What our fit found.

    Attributes:
        values: The network after step 1.
        soft: The network after step 2; an image stands for the mean over its levels.
        snapped: The same with an image standing for its likeliest level.
        levels: The levels, shape (n_levels, d_outputs), float64.
        validation_error: Share of the held-out sequences of the training length that `chosen` gets wrong.
        accepts_snapping: Whether the snapped network's share is not above that of the others; where it is, the mean
            over levels is `chosen`.
    """

    values: SequenceNetwork
    soft: SequenceNetwork
    snapped: SequenceNetwork
    levels: Tensor
    validation_error: float
    accepts_snapping: bool

    @property
    def chosen(self) -> SequenceNetwork:
        """The network that validation chooses."""
        return self.snapped if self.accepts_snapping else self.soft


class OfLogarithms(nn.Module):
    """An encoder of numbers, from one of their logarithms."""

    def __init__(self, logarithms: nn.Module) -> None:
        super().__init__()
        self.logarithms = logarithms

    def forward(self, images: Tensor) -> Tensor:
        """Return numbers of shape (n, d_values)."""
        return self.logarithms(images).exp()  # type: ignore[no-any-return]


def fit_ours(images: TaskImages, seed: int, passes: Passes, told: Callable[[str], None] = lambda _what: None) -> OurFit:
    """Learn a task from the results of training sequences.

    Args:
        images: The images; their labels are looked at only through the results of whole sequences, and the test part
            not at all.
        seed: Seed of weights and sequences.
        passes: How long to train.
        told: Called after every pass with what was done.
    """
    task = images.train.task
    held_out = _held_out(images.validation)
    values, error = _fit_values(images, seed, passes, held_out, told)
    levels = find_levels(_natural(task, read(values, images.train.images)))
    encoder = _with_levels(task, values, levels, error / task.train_length)
    _fit_levels(encoder, images, seed, passes, held_out, told)
    encoder = _without_unused(encoder, images.train.images)
    natural = values if task.operation == "add" else OfLogarithms(values)
    networks = [
        accumulating(one, task.operation, task.d_outputs, torch.float64)
        for one in (natural, encoder, _hardened(encoder))
    ]
    errors = [_share_wrong(network, images.validation, held_out) for network in networks]
    accepts = errors[2] <= min(errors[:2])
    return OurFit(
        values=networks[0],
        soft=networks[1],
        snapped=networks[2],
        levels=encoder.levels,
        validation_error=errors[2] if accepts else errors[1],
        accepts_snapping=accepts,
    )


def find_levels(values: Tensor) -> Tensor:
    """Return the whole numbers that values are near to, shape (n_levels, d_values), float64, in order.

    Args:
        values: What the encoder reads from images, shape (n, d_values). A level is a row of whole numbers that at
            least `MIN_SHARE` of the rows round to.

    Example:
        >>> find_levels(torch.tensor([[0.1], [0.9], [1.2], [-0.2]])).tolist()
        [[0.0], [1.0]]
    """
    rounded = values.double().nan_to_num(0, _MOST_WHOLE_NUMBER, -_MOST_WHOLE_NUMBER)
    whole = rounded.clamp(-_MOST_WHOLE_NUMBER, _MOST_WHOLE_NUMBER).round() + 0.0  # no −0
    levels: Tensor
    levels, counts = torch.unique(whole, dim=0, return_counts=True)
    common = counts >= MIN_SHARE * len(values)
    return levels[common] if bool(common.any()) else levels[counts.argmax()][None]


@torch.no_grad()
def read(encoder: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return what an encoder reads from images, some at a time."""
    return torch.cat([encoder(part) for part in torch.split(images, _AT_ONCE)])


def _fit_values(
    images: TaskImages, seed: int, passes: Passes, held_out: Tensor, told: Callable[[str], None]
) -> tuple[ValueEncoder, float]:
    """Return the encoder of values, of logarithms for a product, and the squared error of held-out results."""
    task, shown = images.train.task, images.train
    generator = task.generator(seed, "values")
    first = [_summed(task, batch.targets) for _, batch in zip(range(20), shown.batches(1_000, generator), strict=False)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ValueEncoder(reader_for(shown.images), task.d_outputs, torch.cat(first).mean(0) / task.train_length)
    results = _summed(task, images.validation.results(held_out))

    def loss(predictions: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(predictions, _summed(task, targets).to(predictions.dtype))

    def validate() -> float:
        values = read(encoder, images.validation.images).double()
        return float((values[held_out].sum(1) - results).square().mean())

    fitted = fit_sequences(
        _SumOfValues(encoder),
        shown.batches(passes.n_images, generator),
        validate,
        passes.config(passes.values, shown),
        loss,
        on_check=lambda _step, _error: told(f"{task.name} values"),
    )
    return encoder, fitted.validation_loss


def _fit_levels(
    encoder: LevelEncoder,
    images: TaskImages,
    seed: int,
    passes: Passes,
    held_out: Tensor,
    told: Callable[[str], None],
) -> None:
    task, shown = images.train.task, images.train
    likelihood = ResultLikelihood(encoder.levels, task.operation, task.train_length)
    results = images.validation.results(held_out)

    def validate() -> float:
        probabilities = read(encoder.probabilities, images.validation.images)
        return float(likelihood(probabilities[held_out], results))

    fit_sequences(
        _Probabilities(encoder),
        shown.batches(passes.n_images, task.generator(seed, "levels")),
        validate,
        passes.config(passes.levels, shown),
        likelihood,
        on_check=lambda _step, _error: told(f"{task.name} levels"),
    )


class _SumOfValues(nn.Module):
    """Sequences of images (n, length, height, width) → sums of their values, as an `Accumulator` has them, at once."""

    def __init__(self, encoder: ValueEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.encoder(images.flatten(0, 1))
        return values.reshape(*images.shape[:2], -1).sum(1)


class _Probabilities(nn.Module):
    """Sequences of images (n, length, height, width) → probabilities of levels (n, length, n_levels)."""

    def __init__(self, encoder: LevelEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        probabilities = self.encoder.probabilities(images.flatten(0, 1))
        return probabilities.reshape(*images.shape[:2], -1)


def _with_levels(task: DigitTask, values: ValueEncoder, levels: Tensor, variance: float) -> LevelEncoder:
    """Return an encoder of levels whose log-odds are those of values with a normal error of a variance.

    A level v is then as likely as exp(−(x − v)² / 2σ²) makes it, in which x² falls out and the rest is linear in x.
    """
    encoder = LevelEncoder(copy.deepcopy(values.reader), levels, hard=False)
    at = _summed(task, levels)
    weighted = at / max(variance, _LEAST_VARIANCE)
    weight, bias = values.values.weight.detach().double(), values.values.bias.detach().double()
    with torch.no_grad():
        encoder.logits.weight.copy_(weighted @ weight)
        encoder.logits.bias.copy_(weighted @ bias - (weighted * at).sum(1) / 2)
    return encoder


@torch.no_grad()
def _without_unused(encoder: LevelEncoder, images: Tensor) -> LevelEncoder:
    """Return the encoder without the levels that fewer than `MIN_SHARE` of the images stand for."""
    chosen = read(encoder.probabilities, images).argmax(-1)
    used = torch.bincount(chosen, minlength=len(encoder.levels)) >= MIN_SHARE * len(images)
    kept = LevelEncoder(encoder.reader, encoder.levels[used], hard=False)
    kept.logits.weight.copy_(encoder.logits.weight[used])
    kept.logits.bias.copy_(encoder.logits.bias[used])
    return kept.eval()


def _hardened(encoder: LevelEncoder) -> LevelEncoder:
    hard = LevelEncoder(encoder.reader, encoder.levels, hard=True)
    hard.logits = encoder.logits
    return hard.eval()


def _held_out(validation: Shown) -> Tensor:
    """Return validation sequences: each image in ten of them, the same for every seed."""
    generator = validation.task.generator(0, "validation")
    n_sequences = 10 * len(validation.images) // validation.task.train_length
    return validation.draw(n_sequences, validation.task.train_length, generator)


@torch.no_grad()
def _share_wrong(network: SequenceNetwork, validation: Shown, held_out: Tensor) -> float:
    values = read(network.encoder, validation.images).double()
    wrong = (validation.task.join(values[held_out]) - validation.results(held_out)).abs() >= HALF
    return float(wrong.any(1).double().mean())


def _summed(task: DigitTask, numbers: Tensor) -> Tensor:
    """Return numbers where they add up: as they are, or as logarithms for a product."""
    return numbers if task.operation == "add" else numbers.clamp_min(1e-9).log()


def _natural(task: DigitTask, values: Tensor) -> Tensor:
    return values if task.operation == "add" else values.exp()
