"""The three tasks and the sequences of images that they are learned from and judged by."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from training.digit_images import DigitImages
from training.fitting.sequences import Batch

Operation = Literal["add", "multiply"]


@dataclass(frozen=True)
class DigitTask:
    """What is to be learned from sequences of images.

    Attributes:
        name: "count", "sum" or "product".
        title: The same for people.
        digits: Digits that appear.
        operation: What joins the images of a sequence. The published recipes are given it too: an additive cell for
            counts and sums, a multiplicative one for products.
        train_length: Images in a training sequence.
        lengths: Lengths to be tested at.
        one_hot: Whether an image counts for the class that it shows, rather than for the digit's value.
    """

    name: Literal["count", "sum", "product"]
    title: str
    digits: tuple[int, ...]
    operation: Operation
    train_length: int
    lengths: tuple[int, ...]
    one_hot: bool = False

    @property
    def d_outputs(self) -> int:
        """Numbers in a result."""
        return len(self.digits) if self.one_hot else 1

    def values(self) -> Tensor:
        """Return what an image of each digit stands for, shape (n_digits, d_outputs), float64."""
        if self.one_hot:
            return torch.eye(len(self.digits), dtype=torch.float64)
        return torch.tensor(self.digits, dtype=torch.float64)[:, None]

    def join(self, values: Tensor) -> Tensor:
        """Return the results of sequences of values, shape (n, length, d) → (n, d)."""
        return values.sum(1) if self.operation == "add" else values.prod(1)

    def generator(self, seed: int, purpose: str) -> torch.Generator:
        """Return the source of one seed's random numbers for one purpose."""
        return torch.Generator().manual_seed(1_000_003 * seed + zlib.crc32(f"{self.name} {purpose}".encode()))


def tasks(*, long: bool) -> tuple[DigitTask, ...]:
    """Return the three tasks.

    Args:
        long: Whether as published; else counts and sums are learned from 5 images instead of 10, and fewer lengths
            are tested.
    """
    few, train_length = ((1, 10, 100), 10) if long else ((1, 5, 10, 100), 5)
    digits = tuple(range(10))
    return (
        DigitTask(
            "count", "how often each digit appears", digits, "add", train_length, few + (1000,) * long, one_hot=True
        ),
        DigitTask("sum", "sum of the digits", digits, "add", train_length, few + (500, 1000) * long),
        DigitTask(
            "product",
            "product of the digits (without 0)",
            tuple(range(1, 10)),
            "multiply",
            2,
            tuple(range(1, 21)) if long else (1, 2, 5, 10, 20),
        ),
    )


@dataclass(frozen=True)
class Shown:
    """Images and what each stands for in a task.

    Attributes:
        task: The task.
        images: Shape (n, height, width), float32, 0 to 1.
        classes: Position of each image's digit in `task.digits`, shape (n,), int64.
    """

    task: DigitTask
    images: Tensor
    classes: Tensor

    def values(self) -> Tensor:
        """Return what each image stands for, shape (n, d_outputs), float64."""
        return self.task.values()[self.classes]

    def results(self, index: Tensor) -> Tensor:
        """Return the results of sequences of images, positions (n, length) → (n, d_outputs), float64."""
        return self.task.join(self.values()[index])

    def prefixes(self, index: Tensor) -> Tensor:
        """Return the results after each image, shape (n, length, d_outputs), float64."""
        values = self.values()[index]
        return values.cumsum(1) if self.task.operation == "add" else values.cumprod(1)

    def draw(self, n_sequences: int, length: int, generator: torch.Generator) -> Tensor:
        """Draw sequences with replacement: positions of their images, shape (n_sequences, length)."""
        return torch.randint(len(self.images), (n_sequences, length), generator=generator)

    def batches(self, n_images: int, generator: torch.Generator, *, prefixes: bool = False) -> Iterator[Batch]:
        """Yield batches of training sequences for ever; each image is in one sequence of every pass.

        Args:
            n_images: Images in a batch, about.
            generator: Source of the order, drawn afresh for every pass.
            prefixes: Whether to give the results after each image instead of those of whole sequences.
        """
        length = self.task.train_length
        n_sequences = max(1, n_images // length)
        while True:
            order = torch.randperm(len(self.images), generator=generator)
            index = order[: len(order) // length * length].reshape(-1, length)
            for part in torch.split(index, n_sequences):
                targets = self.prefixes(part) if prefixes else self.results(part)
                yield Batch((self.images[part],), targets)

    def n_batches(self, n_images: int) -> int:
        """Return the number of batches in a pass."""
        length = self.task.train_length
        return -(-(len(self.images) // length) // max(1, n_images // length))


@dataclass(frozen=True)
class TaskImages:
    """The images of a task: to learn from, to choose by, and to be judged by."""

    train: Shown
    validation: Shown
    test: Shown

    def of(self, task: DigitTask) -> "TaskImages":
        """Return the same images for another task with the same digits."""
        parts = (self.train, self.validation, self.test)
        return TaskImages(*(replace(part, task=task) for part in parts))


VALIDATION_SHARE = 1 / 12
"""Share of the training images that choose, the last ones: 5,000 of MNIST's 60,000, as Madsen and Johansen have it."""


def task_images(task: DigitTask, digits: DigitImages) -> TaskImages:
    """Return the images that show the digits of a task."""
    n_validation = round(len(digits.train_images) * VALIDATION_SHARE)
    parts = (
        (digits.train_images[:-n_validation], digits.train_labels[:-n_validation]),
        (digits.train_images[-n_validation:], digits.train_labels[-n_validation:]),
        (digits.test_images, digits.test_labels),
    )
    shown = []
    for images, labels in parts:
        kept = np.isin(labels, task.digits)
        pixels = torch.as_tensor(images[kept], dtype=torch.float32) / 255
        shown.append(Shown(task, pixels, torch.as_tensor(np.searchsorted(task.digits, labels[kept]))))
    return TaskImages(*shown)
