"""What all rows of the tables share: one reader of images, and the cells that accumulate what it reads."""

import torch
from torch import Tensor, nn

from models.networks.sequence import SequenceNetwork
from models.networks.unit_cell import UnitCell
from models.units.arithmetic_unit import ArithmeticUnit
from training.reproduce.digits.task import Operation

D_FEATURES = 64
"""Numbers that an image is described by."""

_LARGE = 16
"""Least height and width of images that the first convolution makes smaller."""


class DigitReader(nn.Module):
    """An image → features: a strided convolution, another one, and a linear layer.

    It is smaller than the network of the papers (20 and 50 channels of 5 × 5 with pooling, 500 features) and takes a
    tenth of its time; a classifier of it reads 99.1 % of MNIST's test images after eight passes. Of six small
    networks that were tried no other reached 99 % in that time.

    Args:
        height: Height of the images.
        width: Width of the images.
        mean: Mean of the training pixels.
        std: Their standard deviation.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, height: int, width: int, mean: float, std: float) -> None:
        super().__init__()
        large = min(height, width) >= _LARGE
        first, second = (
            (nn.Conv2d(1, 16, 7, 3), nn.Conv2d(16, 32, 3)) if large else (nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3, 2))
        )
        self.convolutions = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            d_flat = self.convolutions(torch.zeros(1, 1, height, width)).shape[1]
        self.features = nn.Linear(d_flat, D_FEATURES)
        self.register_buffer("_mean", torch.tensor(mean))
        self.register_buffer("_std", torch.tensor(std))

    def forward(self, images: Tensor) -> Tensor:
        """Read images (n, height, width) of 0 to 1 in any type, as features (n, D_FEATURES) in float32."""
        x = (images.to(self._mean.dtype) - self._mean) / self._std
        return self.features(self.convolutions(x.unsqueeze(1))).relu()  # type: ignore[no-any-return]


def reader_for(images: Tensor) -> DigitReader:
    """Return a fresh reader for training images of shape (n, height, width)."""
    height, width = images.shape[1:]
    return DigitReader(height, width, float(images.mean()), float(images.std()))


class ValueEncoder(nn.Module):
    """An image → the numbers it stands for, unbounded.

    Args:
        reader: Reads the image.
        d_values: Numbers of an image.
        start: What they are about before any training, shape (d_values,); None for 0.
    """

    def __init__(self, reader: DigitReader, d_values: int, start: Tensor | None = None) -> None:
        super().__init__()
        self.reader = reader
        self.values = nn.Linear(D_FEATURES, d_values)
        if start is not None:
            with torch.no_grad():
                self.values.bias.copy_(start)

    def forward(self, images: Tensor) -> Tensor:
        """Return numbers of shape (n, d_values)."""
        return self.values(self.reader(images))  # type: ignore[no-any-return]


class LevelEncoder(nn.Module):
    """An image → one of a few levels: the numbers that images may stand for.

    Args:
        reader: Reads the image.
        levels: Shape (n_levels, d_values).
        hard: Whether an image stands for its likeliest level, rather than for the mean over their probabilities.
    """

    levels: Tensor

    def __init__(self, reader: DigitReader, levels: Tensor, *, hard: bool) -> None:
        super().__init__()
        self.reader = reader
        self.logits = nn.Linear(D_FEATURES, len(levels))
        self.hard = hard
        self.register_buffer("levels", levels.clone())

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities of the levels, shape (n, n_levels), float32."""
        return self.logits(self.reader(images)).softmax(-1)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Return numbers of shape (n, d_values), in the type of the levels."""
        if self.hard:
            return self.levels[self.logits(self.reader(images)).argmax(-1)]
        return self.probabilities(images).to(self.levels.dtype) @ self.levels


class Accumulator(nn.Module):
    """The arithmetic solved by hand: adds or multiplies what it reads.

    It is a NAU or an NMU of both inputs with all weights 1. How large the weight of an input is and how large the
    numbers that the encoder gives cannot be told apart by a result, so that 1 is no loss.
    """

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next state."""
        return state + step if self.operation == "add" else state * step


class PulledCell(UnitCell):
    """A cell whose inputs are drawn to what changes nothing, where its weights leave them out (R_z).

    The penalty is the mean of (1 − |W|)(identity − mean input)².

    Source:
        Madsen and Johansen, arXiv:2001.05016, section 4.2 and its code.

    Args:
        unit: Takes d_step + d_state numbers and gives d_state.
        identity: What changes nothing: 0 for a sum, 1 for a product.
    """

    def __init__(self, unit: ArithmeticUnit, identity: float) -> None:
        super().__init__(unit)
        self.identity = identity
        self._seen: list[Tensor] = []

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next state."""
        joined = torch.cat([step, state], dim=-1)
        if self.training:
            self._seen.append(joined)
        return self.unit(joined)  # type: ignore[no-any-return]

    def pull_to_identity(self) -> Tensor:
        """Return the penalty of the inputs seen in training since the last call."""
        mean = torch.cat(self._seen).mean(0)
        self._seen.clear()
        return ((1 - self.unit.effective_weight().abs()) * (self.identity - mean).square()).mean()


class PowerCell(UnitCell):
    """The NAC of logarithms (NAC•): exp(W log(|x| + ε)), as a NALU's product path has it."""

    _epsilon = 1e-7

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next state."""
        joined = torch.cat([step, state], dim=-1)
        return self.unit((joined.abs() + self._epsilon).log()).exp()  # type: ignore[no-any-return]


def accumulating(encoder: nn.Module, operation: Operation, d_values: int, dtype: torch.dtype) -> SequenceNetwork:
    """Return a network that joins what its encoder reads by an `Accumulator`."""
    start = 0.0 if operation == "add" else 1.0
    return SequenceNetwork(encoder, Accumulator(operation), nn.Identity(), torch.full((d_values,), start, dtype=dtype))
