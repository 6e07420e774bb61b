"""Models of Table 1 trained as published: every operation and seed at once, by Adam on the squared error."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from training.bench.arithmetic_dataset import OPERATIONS
from training.fitting.ensembles import fit_ensemble
from training.fitting.sequences import Batch, SequenceFitConfig
from training.reproduce.experiment import Progress, told_by_checks
from training.reproduce.simple_functions import Floats, Method, Predict, Problem, Sums, scored

_BATCH = 64


def as_published(
    label: str,
    build: Callable[[], nn.Module],
    problems: Sequence[Problem],
    config: SequenceFitConfig,
    progress: Progress,
    *,
    family: int,
) -> Method:
    """Train one kind of model in float32 and score it; the best check on the validation rows is kept.

    Args:
        label: What it is called.
        build: Makes one, its weights from torch's global generator.
        problems: One a seed, with as many rows each.
        config: Settings of the loop.
        progress: Told of every check; the whole is one step.
        family: Number of the kind, so that kinds do not share their random numbers.
    """
    networks = []
    with torch.random.fork_rng(devices=[]):
        for position in range(len(OPERATIONS)):
            for problem in problems:
                torch.manual_seed(1000 * problem.seed + 10 * position + family)
                networks.append(build())
    inputs, targets = _of_all([problem.train for problem in problems])
    inside, answers = _of_all([problem.validation for problem in problems])
    seeds = torch.arange(len(problems)).repeat(len(OPERATIONS))[:, None]
    tasks = torch.arange(len(networks))[:, None]
    generator = torch.Generator().manual_seed(family)

    def draw(_step: int) -> Batch:
        index = torch.randint(0, inputs.shape[1], (len(networks), _BATCH), generator=generator)
        return Batch((inputs[seeds, index],), targets[tasks, index])

    validation = Batch((inside[seeds[:, 0]],), answers)
    tell = told_by_checks(progress, label, config.max_steps, config.check_every)
    fit_ensemble(networks, draw, validation, config, nn.functional.mse_loss, on_check=tell)
    n = len(problems)
    models = {
        operation: [predictor(network, torch.float32) for network in networks[n * position : n * (position + 1)]]
        for position, operation in enumerate(OPERATIONS)
    }
    return scored(label, "reproduction", problems, models)


def predictor(network: nn.Module, dtype: torch.dtype) -> Predict:
    """Return a network's first output as a function of rows in NumPy."""

    @torch.no_grad()
    def predict(rows: Floats) -> Floats:
        return np.asarray(network(torch.as_tensor(rows, dtype=dtype))[:, 0].double().numpy(), dtype=np.float64)

    return predict


def _of_all(parts: Sequence[Sums]) -> tuple[Tensor, Tensor]:
    """Return inputs, shape (seeds, n, …), and targets, shape (operations · seeds, n, 1), in float32."""
    inputs = torch.stack([torch.as_tensor(part.inputs, dtype=torch.float32) for part in parts])
    targets = [
        torch.as_tensor(part.targets(operation), dtype=torch.float32)[:, None]
        for operation in OPERATIONS
        for part in parts
    ]
    return inputs, torch.stack(targets)
