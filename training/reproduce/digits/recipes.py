"""The published recipes: an encoder of values and a recurrent cell, trained together by the squared error.

Sources: Trask et al., arXiv:1808.00508, section 4.2 (LSTM, NAC and NALU over digits); Madsen and Johansen,
arXiv:2001.05016, section 4.2 and its code (NAU, NMU, NAC• and the regulariser R_z; sums and products after every image
are the targets there, so that the first image of a sequence comes with its label).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.networks.gated_cells import HiddenPart, LSTMCell
from models.networks.sequence import AfterEveryStep, SequenceNetwork
from models.networks.unit_cell import UnitCell
from models.units import NAC, NALU, NAU, NMU
from training.fitting.sequences import fit_sequences
from training.reproduce.digits.fitting import Passes
from training.reproduce.digits.networks import (
    PowerCell,
    PulledCell,
    ValueEncoder,
    accumulating,
    reader_for,
)
from training.reproduce.digits.task import DigitTask, TaskImages

D_HIDDEN = 32
"""Hidden units of the LSTM. The code of Madsen and Johansen has as many as outputs, one, and an LSTM's state is
then held between −1 and 1, so that no sum can come out."""

D_STEP = 10
"""Numbers that the LSTM is given of an image."""

_SPARSITY = 10.0
"""Factor of the NAU's and NMU's regulariser at the end of its ramp, which begins at 12 % of the steps: in the code from
step 10,000 of about 86,000."""

_RAMP_STARTS = 0.12

Network = Callable[[DigitTask, TaskImages], SequenceNetwork]


@dataclass(frozen=True)
class Recipe:
    """A published way to learn a task.

    Attributes:
        label: Its row.
        task: The task.
        build: Makes a fresh network.
        prefixes: Whether the result after each image is a target, rather than the last one only.
        source: Which paper has it.
        quick: Whether it is part of the quick size.
    """

    label: str
    task: str
    build: Network
    prefixes: bool
    source: str
    quick: bool


def _lstm(task: DigitTask, images: TaskImages) -> SequenceNetwork:
    cell, last = LSTMCell(D_STEP, D_HIDDEN), nn.Linear(D_HIDDEN, task.d_outputs)
    index = images.train.draw(1_000, task.train_length, task.generator(0, "mean result"))
    with torch.no_grad():
        last.bias.copy_(images.train.results(index).mean(0))
    encoder = ValueEncoder(reader_for(images.train.images), D_STEP)
    return SequenceNetwork(encoder, cell, nn.Sequential(HiddenPart(D_HIDDEN), last), cell.initial())


def _arithmetic(cell: Callable[[int, int], UnitCell], start: float = 0.0) -> Network:
    def build(task: DigitTask, images: TaskImages) -> SequenceNetwork:
        d_values = task.d_outputs
        recurrent = cell(2 * d_values, d_values)
        return SequenceNetwork(_values(task, images), recurrent, nn.Identity(), torch.full((d_values,), start))

    return build


def _solved(task: DigitTask, images: TaskImages) -> SequenceNetwork:
    return accumulating(_values(task, images), task.operation, task.d_outputs, torch.float32)


def _values(task: DigitTask, images: TaskImages) -> ValueEncoder:
    return ValueEncoder(reader_for(images.train.images), task.d_outputs, images.train.values().mean(0))


def _nac(d_in: int, d_out: int) -> UnitCell:
    return UnitCell(NAC(d_in, d_out))


def _nalu(d_in: int, d_out: int) -> UnitCell:
    return UnitCell(NALU(d_in, d_out))


def _nac_of_logarithms(d_in: int, d_out: int) -> UnitCell:
    return PowerCell(NAC(d_in, d_out))


def _nau(d_in: int, d_out: int) -> UnitCell:
    return PulledCell(NAU(d_in, d_out), 0.0)


def _nmu(d_in: int, d_out: int) -> UnitCell:
    return PulledCell(NMU(d_in, d_out), 1.0)


_TRASK, _MADSEN = "arXiv:1808.00508", "arXiv:2001.05016"

RECIPES: tuple[Recipe, ...] = (
    Recipe("LSTM", "count", _lstm, prefixes=False, source=_TRASK, quick=True),
    Recipe("NAC", "count", _arithmetic(_nac), prefixes=False, source=_TRASK, quick=False),
    Recipe("NALU", "count", _arithmetic(_nalu), prefixes=False, source=_TRASK, quick=False),
    Recipe("LSTM", "sum", _lstm, prefixes=True, source=_MADSEN, quick=False),
    Recipe("NAC", "sum", _arithmetic(_nac), prefixes=True, source=_MADSEN, quick=False),
    Recipe("NALU", "sum", _arithmetic(_nalu), prefixes=True, source=_MADSEN, quick=False),
    Recipe("NAU with R_z", "sum", _arithmetic(_nau), prefixes=True, source=_MADSEN, quick=True),
    Recipe("LSTM", "product", _lstm, prefixes=True, source=_MADSEN, quick=False),
    Recipe("NALU", "product", _arithmetic(_nalu), prefixes=True, source=_MADSEN, quick=False),
    Recipe("NAC•", "product", _arithmetic(_nac_of_logarithms, 1.0), prefixes=True, source=_MADSEN, quick=False),
    Recipe("NMU with R_z", "product", _arithmetic(_nmu, 1.0), prefixes=True, source=_MADSEN, quick=True),
)

SOLVED: tuple[Recipe, ...] = tuple(
    Recipe("arithmetic solved by hand", name, _solved, prefixes=True, source=_MADSEN, quick=True)
    for name in ("sum", "product")
)
"""The baselines of the success rule: only the encoder is learned."""


@dataclass(frozen=True)
class RecipeFit:
    """What a recipe gave.

    Attributes:
        network: The network with its best weights on held-out sequences of the training length.
        validation_loss: Its squared error there.
    """

    network: SequenceNetwork
    validation_loss: float


def fit_recipe(recipe: Recipe, images: TaskImages, seed: int, passes: Passes) -> RecipeFit:
    """Train a recipe for as many passes as our fit has."""
    task, shown = images.train.task, images.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = recipe.build(task, images)
    cell = network.cell
    held_out = images.validation.draw(
        len(images.validation.images) // task.train_length, task.train_length, task.generator(0, "validation")
    )
    results = images.validation.results(held_out)
    validation = images.validation.images

    def validate() -> float:
        predictions = torch.cat([network(validation[part]) for part in torch.split(held_out, 200)])
        return float(nn.functional.mse_loss(predictions.double(), results))

    def penalty(share: float) -> Tensor:
        assert isinstance(cell, PulledCell)  # noqa: S101 # the only one that is penalised
        ramp = max(0.0, share - _RAMP_STARTS) / (1 - _RAMP_STARTS)
        return _SPARSITY * ramp * cell.regulariser() + cell.pull_to_identity()

    config = passes.config(passes.total, shown)
    fitted = fit_sequences(
        _AllStates(network) if recipe.prefixes else network,
        shown.batches(passes.n_images, task.generator(seed, recipe.label), prefixes=recipe.prefixes),
        validate,
        replace(config, clip_norm=1.0) if isinstance(cell, LSTMCell) else config,
        lambda predictions, targets: nn.functional.mse_loss(predictions, targets.to(predictions.dtype)),
        penalty=penalty if isinstance(cell, PulledCell) else None,
    )
    return RecipeFit(network, fitted.validation_loss)


class _AllStates(AfterEveryStep):
    """Gives the result after every image, and holds the cell inside its bounds."""

    def project_(self) -> None:
        if isinstance(self.network.cell, UnitCell):
            self.network.cell.project_()
