"""An arithmetic operation learned by first-order steps, as published: units tried in turn, Adam, then L-BFGS."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks import ArithmeticNetwork
from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU
from training.config import ArithmeticConfig
from training.fitting.first_order import FirstOrderConfig, Loss, Rows
from training.fitting.selection import Candidate, Progress, Selection, search
from training.tasks.arithmetic import Operation

_EXACT_LOSS = 1e-26
"""Mean squared relative error that ends the search: 1e-13 a row, a few hundred units in the last place of float64."""

_PATIENCE = 300
"""Steps without a better validation loss that end a fit: a fit that converges improves on almost every step."""

Floats = NDArray[np.float64]


def search_units(
    config: ArithmeticConfig, operation: Operation, train: Floats, validation: Floats, progress: Progress
) -> Selection:
    """Fit every unit from several starts and keep the one that validates best.

    Raises:
        FitError: When every fit diverged.
    """
    return search(
        _candidates(config, len(operation.inputs)),
        _rows(operation, train),
        _rows(operation, validation),
        _relative_loss(float(np.median(np.abs(operation.compute(train))))),
        seed=config.seed,
        n_restarts=config.restarts,
        progress=progress,
        title=f"fit {operation.name}",
        good_enough=_EXACT_LOSS,
    )


def _rows(operation: Operation, inputs: Floats) -> Rows:
    return Rows((torch.as_tensor(inputs),), torch.as_tensor(operation.compute(inputs))[:, None])


def _relative_loss(typical: float) -> Loss:
    """Squared error over the target's magnitude, so that a quotient's few huge results do not drown the rest."""

    def loss(predictions: Tensor, targets: Tensor) -> Tensor:
        return torch.mean(((predictions - targets) / (targets.abs() + typical)) ** 2)

    return loss


def _candidates(config: ArithmeticConfig, d_inputs: int) -> list[Candidate]:
    smallest = float(np.finfo(np.float64).tiny)

    units: dict[str, Callable[[], list[ArithmeticUnit]]] = {
        "nac": lambda: [NAC(d_inputs, 1, dtype=torch.float64)],
        "nau": lambda: [NAU(d_inputs, 1, dtype=torch.float64)],
        "nmu": lambda: [NMU(d_inputs, 1, dtype=torch.float64)],
        "real_npu": lambda: [RealNPU(d_inputs, 1, epsilon=smallest, initialisation="nau", dtype=torch.float64)],
        "modified_real_npu": lambda: [
            RealNPU(d_inputs, 1, epsilon=smallest, clip_weights=True, initialisation="nau", dtype=torch.float64)
        ],
        "nau_nmu": lambda: [NAU(d_inputs, 2, dtype=torch.float64), NMU(2, 1, dtype=torch.float64)],
        "nalu": lambda: [NALU(d_inputs, 1, dtype=torch.float64)],
    }

    def build(kind: str, generator: torch.Generator) -> ArithmeticNetwork:
        made = units[kind]()
        for unit in made:
            unit.reset_parameters(generator)
        return ArithmeticNetwork(made)

    settings = FirstOrderConfig(
        max_epochs=config.max_epochs,
        learning_rate=3e-2,
        patience=_PATIENCE,
        polish_steps=200,
        target_loss=_EXACT_LOSS,
    )
    return [Candidate(kind, partial(build, kind), settings) for kind in config.units]
