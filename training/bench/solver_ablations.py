"""What each part of the search is good for: snapping, the loss in the log domain, restarts, precision."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from training.bench import arithmetic_dataset, single_module
from training.bench.cell import N_TEST_ROWS, Cell, Floats, Problem
from training.bench.criterion import largest_relative_error, mean_squared_error, threshold
from training.bench.judging import draw
from training.errors import ConfigError
from training.fitting.exact import ExactSettings, Found, fit_exact
from training.fitting.law import stack

_RANGES = ("1:2", "-2:2", "1.1:1.2", "0:0.0001")
_RESTARTS = (1, 2, 6)
_ADAM_STEPS = 3000
_ADAM_RATE = 1e-2


@dataclass
class Row:
    """One line of an ablation.

    Attributes:
        ablation: What is varied.
        setting: To what.
        what: On which problems.
        n_seeds: Problems.
        n_solved: Problems below the threshold of the criterion.
        error: Largest relative error on extrapolation rows over the problems solved.
    """

    ablation: str
    setting: str
    what: str
    n_seeds: int = 0
    n_solved: int = 0
    error: float | None = None

    def add(self, cell: Cell, problem: Problem, seed: int, predict: Callable[[Floats], Floats] | None) -> None:
        """Judge one answer; None is none."""
        self.n_seeds += 1
        if predict is None or problem.truth is None:
            return
        outside = cell.input_range.draw_outside(N_TEST_ROWS, cell.d_inputs, cell.generator(seed, "test"))
        truth = problem.truth(outside, np.longdouble)
        predictions = predict(outside)
        if mean_squared_error(predictions, truth) < threshold(cell):
            self.n_solved += 1
            self.error = max(self.error or 0.0, largest_relative_error(predictions, truth))

    def as_dict(self) -> dict[str, Any]:
        """Return the line as JSON can carry it."""
        error = self.error
        return vars(self) | {"error": None if error is None or not np.isfinite(error) else float(f"{error:.3g}")}


def ablate(names: Sequence[str], n_seeds: int, report: Callable[[Row], None]) -> list[Row]:
    """Run ablations, a fit at a time.

    Args:
        names: Names of `ABLATIONS`; empty for all.
        n_seeds: Seeds a cell.
        report: Told about every line.

    Raises:
        ConfigError: When a name is unknown.
    """
    for name in names:
        if name not in ABLATIONS:
            msg = f"an ablation must be one of {', '.join(ABLATIONS)}, however: {name}"
            raise ConfigError(msg)
    torch.set_num_threads(1)
    rows = []
    for name in names or ABLATIONS:
        for row in ABLATIONS[name](n_seeds):
            report(row)
            rows.append(row)
    return rows


def _tasks() -> dict[str, list[Cell]]:
    names = ("add", "subtract", "multiply", "divide", "square", "sqrt", "reciprocal")
    return {
        "single module, 2 inputs": single_module.cells(names, _RANGES, (2,)),
        "single module, 10 inputs": single_module.cells(names, _RANGES, (10,)),
        "arithmetic dataset": arithmetic_dataset.cells(names, _RANGES),
    }


def _snapping(n_seeds: int) -> Iterator[Row]:
    for what, cells in _tasks().items():
        raw, snapped = Row("snapping", "weights as fitted", what), Row("snapping", "weights snapped", what)
        for cell in cells:
            for seed in range(n_seeds):
                problem = draw(cell, seed)
                found = fit_exact(problem.inputs, problem.targets, seed=seed)
                laws = (found.raw, found.snapped) if isinstance(found, Found) else (None, None)
                for row, law in zip((raw, snapped), laws, strict=True):
                    row.add(cell, problem, seed, None if law is None else law.evaluate)
        yield raw
        yield snapped


def _precision(n_seeds: int) -> Iterator[Row]:
    for what, cells in _tasks().items():
        settings = {
            "float64 rows": Row("precision", "float64 rows", what),
            "float32 inputs, float64 results": Row("precision", "float32 inputs, float64 results", what),
            "float32 inputs and results": Row("precision", "float32 inputs and results", what),
        }
        for cell in cells:
            for seed in range(n_seeds):
                problem = draw(cell, seed)
                assert problem.truth is not None  # noqa: S101 # no control is among the tasks
                for name, row in settings.items():
                    inputs, targets = problem.inputs, problem.targets
                    if name != "float64 rows":
                        inputs = inputs.astype(np.float32).astype(np.float64)
                        targets = np.asarray(problem.truth(inputs, np.float64), dtype=np.float64)
                    if name == "float32 inputs and results":
                        targets = targets.astype(np.float32).astype(np.float64)
                    found = fit_exact(inputs, targets, seed=seed)
                    row.add(cell, problem, seed, found.snapped.evaluate if isinstance(found, Found) else None)
        yield from settings.values()


def _loss(n_seeds: int) -> Iterator[Row]:
    cells = single_module.cells(("multiply", "divide", "square", "reciprocal"), _RANGES, (2,))
    for name in ("mean squared error, Adam", "log loss, Adam", "log loss, closed form"):
        for range_name in _RANGES:
            row = Row("loss", name, f"× ÷ a² 1/a, {range_name.replace(':', ' to ')}, powers as fitted")
            for cell in cells:
                if cell.range_name != range_name:
                    continue
                for seed in range(n_seeds):
                    problem = draw(cell, seed)
                    powers = _powers(problem, name, seed)
                    law = stack("power", [("power", powers)])
                    row.add(cell, problem, seed, law.evaluate)
            yield row


def _powers(problem: Problem, name: str, seed: int) -> Floats:
    """Return powers of |y| = ∏ |x_i|^P_i by a loss and a solver."""
    logs, target_logs = np.log(np.abs(problem.inputs)), np.log(np.abs(problem.targets))
    if "closed" in name:
        return np.asarray(np.linalg.lstsq(logs, target_logs)[0], dtype=np.float64)
    x, log_y = torch.as_tensor(logs), torch.as_tensor(target_logs)
    y = log_y.exp()
    powers = torch.empty(x.shape[1], dtype=torch.float64)
    powers.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    optimiser = torch.optim.Adam([powers], lr=_ADAM_RATE)
    for _ in range(_ADAM_STEPS):
        optimiser.zero_grad()
        guess = x @ powers
        loss = ((guess - log_y) if name.startswith("log") else (guess.exp() - y)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return powers.detach().numpy()


def _restarts(n_seeds: int) -> Iterator[Row]:
    cells = {
        cell.range_name: cell for cell in arithmetic_dataset.cells(("multiply",), ("1:2", "-2:2", "0.1:0.2", "1.1:1.2"))
    }
    for cell in cells.values():
        for n_restarts in _RESTARTS:
            row = Row("restarts", f"at most {n_restarts}", f"arithmetic dataset, a · b, {cell.input_range.label}")
            settings = replace(ExactSettings(), n_restarts=n_restarts, noise=False)
            for seed in range(n_seeds):
                problem = draw(cell, seed)
                found = fit_exact(problem.inputs, problem.targets, seed=seed, settings=settings)
                row.add(cell, problem, seed, found.snapped.evaluate if isinstance(found, Found) else None)
            yield row


ABLATIONS = {"snapping": _snapping, "precision": _precision, "loss": _loss, "restarts": _restarts}
"""Name → what runs it, given the seeds a cell."""
