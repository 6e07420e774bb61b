"""How published modules are trained: layers, learning rate, and the ramp of the regulariser.

Sources: the NALM benchmark (arXiv:2101.09530) and stable-nalu (arXiv:2001.05016), their code's settings. The Real NPU's
learning rate and L1 schedule are those of that benchmark for division.

NOTE[DIFF]: schedules are stretched with the number of iterations. Published schedules of the Real NPU differ between ×
and ÷; since no operation is told here, all have that of ÷.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from models.networks import ArithmeticNetwork
from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU
from training.bench.cell import Cell
from training.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """How a module is trained.

    Attributes:
        first: Unit of the first layer where there are two: (d_in, d_out) → unit.
        last: Unit of the last layer.
        learning_rate: Adam's.
        penalty_single: Share of the iterations done → weight of the regulariser, single module task.
        penalty_dataset: The same for the arithmetic dataset.
    """

    first: Callable[[int, int], ArithmeticUnit]
    last: Callable[[int, int], ArithmeticUnit]
    learning_rate: float
    penalty_single: Callable[[float], float]
    penalty_dataset: Callable[[float], float]

    def penalty(self, cell: Cell, done: float) -> float:
        """Return the weight of the regulariser after a share of the iterations."""
        return (self.penalty_dataset if cell.task == "dataset" else self.penalty_single)(done)

    def network(self, cell: Cell, seed: int) -> ArithmeticNetwork:
        """Return the network for a cell with the weights that a seed draws: one layer, two for the dataset task."""
        if cell.task == "dataset":
            units = [self.first(cell.d_inputs, cell.d_hidden), self.last(cell.d_hidden, 1)]
        else:
            units = [self.last(cell.d_inputs, 1)]
        generator = torch.Generator().manual_seed(seed)
        for unit in units:
            unit.reset_parameters(generator)
        return ArithmeticNetwork(units)


def _ramp(weight: float, start: float, end: float) -> Callable[[float], float]:
    """Return a weight that grows from 0 between two shares of the iterations."""
    return lambda done: weight * min(1.0, max(0.0, (done - start) / (end - start)))


def _tenfold(done: float) -> float:
    """Return the Real NPU's L1 weight: from 1e-9, tenfold after every fifth of the iterations, to 1e-7."""
    return min(1e-9 * 10.0 ** int(5 * done), 1e-7)


def _none(_done: float) -> float:
    return 0.0


RECIPES = {
    "nac": Recipe(NAC, NAC, 1e-3, _none, _none),
    "nalu": Recipe(NALU, NALU, 1e-3, _none, _none),
    "nau": Recipe(NAU, NAU, 1e-3, _ramp(0.01, 0.4, 0.7), _ramp(0.01, 0.001, 0.01)),
    "nmu": Recipe(NAU, NMU, 1e-3, _ramp(10, 0.4, 0.7), _ramp(10, 0.2, 0.4)),
    "real_npu": Recipe(NAU, RealNPU, 5e-3, _tenfold, _tenfold),
}
"""Module → recipe. Regulariser of the NAU: 0.01, raised from step 20,000 to 35,000 of 50,000, and from 5e3 to 5e4 of
5e6 for the dataset; of the NMU: 10, likewise, and from 1e6 to 2e6."""


def check_units(names: tuple[str, ...]) -> None:
    """Raise ConfigError where a name has no recipe."""
    for name in names:
        if name not in RECIPES:
            msg = f"a unit must be one of {', '.join(RECIPES)}, however: {name}"
            raise ConfigError(msg)
