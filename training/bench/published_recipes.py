"""Published modules trained as published: Adam, fresh rows in every step, ramped regularisers, one-step projections.

Sources: the NALM benchmark (arXiv:2101.09530) and stable-nalu (arXiv:2001.05016), their code's settings: batches of
128, learning rate 1e-3, a log entry every 1,000 steps, and the entry with the smallest interpolation error chosen. The
Real NPU's learning rate and L1 schedule are those of that benchmark for division.

NOTE[DIFF]: schedules are stretched with the number of iterations. Published schedules of the Real NPU differ between ×
and ÷; since no operation is told here, all have that of ÷.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from models.networks import ArithmeticNetwork
from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU
from training.bench.cell import N_TEST_ROWS, Cell, Floats, Problem, Truth
from training.bench.criterion import threshold
from training.bench.solving import Answer
from training.errors import ConfigError

_BATCH = 128
_LOG_EVERY = 1000
_BATCHES_AT_ONCE = 100


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


def train_published(name: str, cell: Cell, problem: Problem, seed: int, n_iterations: int) -> Answer:
    """Train one module on fresh rows of the problem.

    Extrapolation rows are only looked at to say at which step the result was below the threshold.

    Args:
        name: The module, a key of `RECIPES`.
        cell: The cell.
        problem: What is to be learned.
        seed: Seed of weights and rows.
        n_iterations: Steps.

    Returns:
        The weights with the smallest interpolation error of all logged.
    """
    if problem.truth is None:
        msg = "published recipes need something to learn, however this problem is a control"
        raise ConfigError(msg)
    started = perf_counter()
    recipe, rows = RECIPES[name], _Rows(cell, problem.truth, cell.generator(seed, f"rows of {name}"))
    network = _network(recipe, cell, torch.Generator().manual_seed(seed))
    penalty = recipe.penalty_dataset if cell.task == "dataset" else recipe.penalty_single
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    inside, outside = rows.draw(N_TEST_ROWS), rows.draw(N_TEST_ROWS, outside=True)
    limit = threshold(cell)
    best, weights, solved_at = float("inf"), network.state_dict(), None
    for step in range(n_iterations):
        if step % _BATCHES_AT_ONCE == 0:
            x, y = rows.draw(_BATCH * _BATCHES_AT_ONCE)
        at = step % _BATCHES_AT_ONCE * _BATCH
        batch, targets = x[at : at + _BATCH], y[at : at + _BATCH]
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(network(batch), targets)
        weight = penalty(step / n_iterations)
        if weight:
            loss = loss + weight * network.regulariser()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        network.project_()
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == n_iterations:
            error = _error(network, inside)
            if error < best:
                best, weights = error, {key: value.clone() for key, value in network.state_dict().items()}
            if solved_at is None and _error(network, outside) < limit:
                solved_at = step + 1
    network.load_state_dict(weights)
    said = f"interpolation error {best:.2g}"
    return Answer(
        _predict(network), True, said, perf_counter() - started, n_iterations=n_iterations, solved_at=solved_at
    )


class _Rows:
    """Fresh rows of a problem, in float32 as published."""

    def __init__(self, cell: Cell, truth: Truth, generator: np.random.Generator) -> None:
        self._cell, self._truth, self._generator = cell, truth, generator

    def draw(self, n_rows: int, *, outside: bool = False) -> tuple[Tensor, Tensor]:
        source = self._cell.input_range
        draw = source.draw_outside if outside else source.draw_inside
        inputs = draw(n_rows, self._cell.d_inputs, self._generator)
        targets = self._truth(inputs, np.float64)
        return torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets, dtype=torch.float32)[:, None]


def _network(recipe: Recipe, cell: Cell, generator: torch.Generator) -> ArithmeticNetwork:
    if cell.task == "dataset":
        units = [recipe.first(cell.d_inputs, cell.d_hidden), recipe.last(cell.d_hidden, 1)]
    else:
        units = [recipe.last(cell.d_inputs, 1)]
    for unit in units:
        unit.reset_parameters(generator)
    return ArithmeticNetwork(units)


@torch.no_grad()
def _error(network: ArithmeticNetwork, rows: tuple[Tensor, Tensor]) -> float:
    return float(torch.nn.functional.mse_loss(network(rows[0]), rows[1]))


def _predict(network: ArithmeticNetwork) -> Callable[[Floats], Floats]:
    @torch.no_grad()
    def predict(inputs: Floats) -> Floats:
        result = network(torch.as_tensor(inputs, dtype=torch.float32))[:, 0]
        return np.asarray(result.numpy(), dtype=np.float64)

    return predict
