"""Errors of networks on sequences of test images, and the success rule of Madsen and Johansen.

Source of the rule: arXiv:2001.05016, appendix on sequential MNIST, and its code: a network succeeds at a length where
its squared error is below the upper end of the one-sided 99 % confidence interval, by Student's t, of the mean error of
networks in which the arithmetic is solved by hand and the encoder alone is learned.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from models.networks.sequence import SequenceNetwork
from training.reproduce.digits.fitting import HALF, read
from training.reproduce.digits.task import DigitTask, Shown

CONFIDENCE = 0.99
"""Of the one-sided interval."""

_NOT_SOLVED = 3.0
"""A solved baseline whose error on held-out training sequences is so many times the median of all seeds did not learn
to read; the published threshold leaves such seeds out, too (three of ten), so that it stays low."""


_FEWEST = 5
"""Seeds for a confidence interval."""


@dataclass(frozen=True)
class JudgedSequences:
    """What all networks of a task are judged by.

    Attributes:
        test: The test images.
        index: Length → positions of the images of the sequences, shape (n_sequences, length).
    """

    test: Shown
    index: Mapping[int, torch.Tensor]


def draw_test(test: Shown, n_images: int, n_most: int, n_least: int) -> JudgedSequences:
    """Draw test sequences of every length, the same for every seed and network.

    At length 1 each test image is one sequence; else images are drawn with replacement.

    Args:
        test: The test images.
        n_images: Images of all sequences of a length, about.
        n_most: Sequences of a length at most.
        n_least: Sequences of a length at least.
    """
    index = {}
    for length in test.task.lengths:
        if length == 1:
            index[length] = torch.arange(len(test.images))[:, None]
            continue
        n_sequences = min(n_most, max(n_least, n_images // length))
        index[length] = test.draw(n_sequences, length, test.task.generator(0, f"test {length}"))
    return JudgedSequences(test, index)


@dataclass(frozen=True)
class Errors:
    """Errors at one length.

    Attributes:
        absolute: Mean absolute error over sequences and numbers of a result.
        squared: Mean squared error.
        right: Share of the sequences whose result is right in every number, to the nearest whole number.
    """

    absolute: float
    squared: float
    right: float


@torch.no_grad()
def judge(network: SequenceNetwork, sequences: JudgedSequences) -> dict[int, Errors]:
    """Return a network's errors at every length; the encoder reads each image once, cell and head are in float64."""
    encoded = read(network.encoder, sequences.test.images).double()
    cell, head = copy.deepcopy(network.cell).double(), copy.deepcopy(network.head).double()
    errors = {}
    for length, index in sequences.index.items():
        state = network.initial.double().expand(len(index), -1)
        for position in range(length):
            state = cell(encoded[index[:, position]], state)
        wrong = (head(state) - sequences.test.results(index)).abs()
        errors[length] = Errors(
            absolute=float(wrong.mean()),
            squared=float(wrong.square().mean()),
            right=float((wrong < HALF).all(1).double().mean()),
        )
    return errors


def upper_bound(values: Sequence[float]) -> float:
    """Return the upper end of the one-sided 99 % confidence interval of a mean error.

    Fewer than `_FEWEST` seeds make it too wide to say anything (with two it reaches 22 standard deviations beyond the
    mean); twice the worst of them stands in then.

    Example:
        >>> round(upper_bound([1.0, 1.0, 2.0, 2.0, 1.5]), 2), upper_bound([1.0, 2.0])
        (2.34, 4.0)
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(values) < _FEWEST:
        return float(2 * numbers.max())
    t = stats.t.ppf(CONFIDENCE, len(values) - 1)
    return float(numbers.mean() + t * numbers.std(ddof=1) / len(values) ** 0.5)


def thresholds(
    task: DigitTask, baselines: Sequence[Mapping[int, Errors]], validation_losses: Sequence[float]
) -> dict[int, float]:
    """Return the squared error below which a network succeeds, for every length.

    Args:
        task: The task.
        baselines: Errors of networks with the arithmetic solved by hand, one a seed.
        validation_losses: Their squared errors on held-out training sequences.
    """
    worst = _NOT_SOLVED * float(np.median(validation_losses))
    solved = [one for one, loss in zip(baselines, validation_losses, strict=True) if loss <= worst]
    return {length: upper_bound([one[length].squared for one in solved]) for length in task.lengths}
