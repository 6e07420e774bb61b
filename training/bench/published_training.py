"""Published modules trained as published: Adam, fresh rows in every step, ramped regularisers, one-step projections.

Sources: the NALM benchmark (arXiv:2101.09530) and stable-nalu (arXiv:2001.05016), their code's settings: batches of
128, a log entry every 1,000 steps, and the entry with the smallest interpolation error chosen.

Networks of one shape are trained together, as one batched computation: a hundred small ones take hardly longer than
one. Adam, the projections and the losses work on each by itself, so that this changes rounding only.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from models.networks import ArithmeticNetwork
from training.bench.cell import N_TEST_ROWS, Cell, Floats, Problem
from training.bench.criterion import threshold
from training.bench.published_recipes import RECIPES
from training.bench.solving import Answer
from training.errors import ConfigError

_BATCH = 128
_LOG_EVERY = 1000
_BATCHES_AT_ONCE = 100
_INPUTS_A_STEP = 2**15
"""Numbers that enter one step of all networks together. On two inputs that is 128 networks, a step of which takes 1.1
to 1.6 times as long as that of one; with 360, what is computed no longer fits the cache and a step took 2 to 17 times
as long."""


@dataclass(frozen=True)
class Pupil:
    """One network to train.

    Attributes:
        cell: The cell.
        problem: What is to be learned.
        seed: Seed of weights and rows.
    """

    cell: Cell
    problem: Problem
    seed: int


def shape(cell: Cell) -> tuple[str, int, int]:
    """Return what cells must share to be trained together."""
    return cell.task, cell.d_inputs, cell.d_hidden


def n_together(cell: Cell) -> int:
    """Return how many networks of a cell's shape are best trained together."""
    return max(1, _INPUTS_A_STEP // (_BATCH * cell.d_inputs))


def train_published(name: str, pupils: Sequence[Pupil], n_iterations: int) -> list[Answer]:
    """Train one module on fresh rows of each problem.

    Extrapolation rows are only looked at to say at which step the result was below the threshold.

    Args:
        name: The module, a key of `RECIPES`.
        pupils: The networks, all of one shape.
        n_iterations: Steps.

    Returns:
        For each, the weights with the smallest interpolation error of all logged. The seconds are its share of the time
        that all took together.

    Raises:
        ConfigError: When there is nothing to learn, or shapes differ.
    """
    if len({shape(pupil.cell) for pupil in pupils}) != 1:
        msg = "networks that are trained together must have one shape, however these have several, or there is none"
        raise ConfigError(msg)
    if any(pupil.problem.truth is None for pupil in pupils):
        msg = "published recipes need something to learn, however one of these problems is a control"
        raise ConfigError(msg)
    started = process_time()
    recipe, rows = RECIPES[name], _Rows(name, pupils)
    networks = [recipe.network(pupil.cell, pupil.seed) for pupil in pupils]
    together = _Together(networks)
    optimiser = torch.optim.Adam(together.parameters(), lr=recipe.learning_rate)
    inside, outside = rows.draw(N_TEST_ROWS), rows.draw(N_TEST_ROWS, outside=True)
    limits = torch.tensor([threshold(pupil.cell) for pupil in pupils])
    best, weights = torch.full((len(pupils),), torch.inf), together.weights()
    solved_at = torch.zeros(len(pupils), dtype=torch.int64)
    for step in range(n_iterations):
        if step % _BATCHES_AT_ONCE == 0:
            x, y = rows.draw(_BATCH * _BATCHES_AT_ONCE)
        at = slice(step % _BATCHES_AT_ONCE * _BATCH, (step % _BATCHES_AT_ONCE + 1) * _BATCH)
        optimiser.zero_grad()
        predictions, penalties = together(x[:, at])
        loss = _errors(predictions, y[:, at]).sum()
        weight = recipe.penalty(pupils[0].cell, step / n_iterations)
        if weight:
            loss = loss + weight * penalties.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        together.project_()
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == n_iterations:
            errors = together.errors(*inside)
            better = errors < best
            best = torch.where(better, errors, best)
            for key, values in together.weights().items():
                weights[key][better] = values[better]
            first = (solved_at == 0) & (together.errors(*outside) < limits)
            solved_at[first] = step + 1
    duration_s = (process_time() - started) / len(pupils)
    for position, network in enumerate(networks):
        network.load_state_dict({key: values[position] for key, values in weights.items()}, strict=False)
    return [
        Answer(
            _predict(network),
            True,
            f"interpolation error {error:.2g}",
            duration_s,
            n_iterations=n_iterations,
            solved_at=at or None,
        )
        for network, error, at in zip(networks, best.tolist(), solved_at.tolist(), strict=True)
    ]


class _Rows:
    """Fresh rows of every problem, in float32 as published."""

    def __init__(self, name: str, pupils: Sequence[Pupil]) -> None:
        self._pupils = [(one, one.cell.generator(one.seed, f"rows of {name}")) for one in pupils]

    def draw(self, n_rows: int, *, outside: bool = False) -> tuple[Tensor, Tensor]:
        """Return inputs (n_networks, n_rows, d_inputs) and targets (n_networks, n_rows, 1)."""
        first = self._pupils[0][0].cell
        x = np.empty((len(self._pupils), n_rows, first.d_inputs), dtype=np.float32)
        y = np.empty((len(self._pupils), n_rows, 1), dtype=np.float32)
        for position, (pupil, generator) in enumerate(self._pupils):
            source = pupil.cell.input_range
            inputs = (source.draw_outside if outside else source.draw_inside)(n_rows, first.d_inputs, generator)
            assert pupil.problem.truth is not None  # noqa: S101 # looked at before training
            x[position], y[position, :, 0] = inputs, pupil.problem.truth(inputs, np.float64)
        return torch.as_tensor(x), torch.as_tensor(y)


class _Measured(nn.Module):
    """A network that gives its regulariser beside its results."""

    def __init__(self, network: ArithmeticNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return results and regulariser."""
        return self.network(x), self.network.regulariser()


class _Together:
    """Networks of one shape as one, every parameter of which has a leading dimension of the networks.

    Args:
        networks: The networks; they are left as they are.
    """

    def __init__(self, networks: Sequence[ArithmeticNetwork]) -> None:
        self._stack = deepcopy(networks[0])
        self._measured = _Measured(self._stack)
        stacked, _ = stack_module_state(list(networks))
        for key, parameter in self._stack.named_parameters():
            parameter.data = stacked[key].detach()

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return results (n_networks, n_rows, 1) and regularisers (n_networks,) for inputs (n_networks, n_rows, d)."""

        def one(parameters: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
            results: tuple[Tensor, Tensor] = functional_call(self._measured, parameters, (inputs,))
            return results

        results: tuple[Tensor, Tensor] = vmap(one)(dict(self._measured.named_parameters()), x)
        return results

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        return list(self._stack.parameters())

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of all parameters by their names in one network."""
        return {key: values.detach().clone() for key, values in self._stack.named_parameters()}

    def project_(self) -> None:
        """Hold every weight inside its constraints, in place: units clamp entry by entry."""
        self._stack.project_()

    @torch.no_grad()
    def errors(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared error of every network, shape (n_networks,)."""
        return _errors(self(x)[0], y)


def _errors(results: Tensor, targets: Tensor) -> Tensor:
    return (results - targets).square().mean(dim=(1, 2))


def _predict(network: ArithmeticNetwork) -> Callable[[Floats], Floats]:
    @torch.no_grad()
    def predict(inputs: Floats) -> Floats:
        result = network(torch.as_tensor(inputs, dtype=torch.float32))[:, 0]
        return np.asarray(result.numpy(), dtype=np.float64)

    return predict
