"""Noisy labels, outliers and few rows: the weights found must be the exact ones all the same."""

import numpy as np

from training.bench import single_module
from training.bench.cell import RANGES, Cell, Floats, Problem
from training.tasks.arithmetic import OPERATIONS

N_ROWS = {"1 %": 128, "10 %": 1024, "outliers": 128, "16 rows": 16, "8 rows": 8}
"""Kind → training rows. "1 %" and "10 %" are normal noise in proportion to the result, "outliers" are gross faults in
1 % of the labels, and the others have no noise but few rows."""

_GROSS = 10.0
"""Standard deviation of an outlier's fault, in typical results."""


def cells(operations: tuple[str, ...], ranges: tuple[str, ...]) -> list[Cell]:
    """Return the cells of the task: the single module task with two inputs."""
    return [
        Cell("noise", operation, name, 2, n_rows, noise=noise)
        for noise, n_rows in N_ROWS.items()
        for operation in operations
        if operation in OPERATIONS
        for name in ranges
        if operation != "sqrt" or RANGES[name].positive
    ]


def draw(cell: Cell, generator: np.random.Generator) -> Problem:
    """Draw a problem of the single module task and spoil its labels."""
    problem = single_module.draw(cell, generator)
    return Problem(problem.inputs, _spoiled(cell.noise, problem.targets, generator), problem.truth)


def _spoiled(noise: str, targets: Floats, generator: np.random.Generator) -> Floats:
    n = len(targets)
    if noise in ("1 %", "10 %"):
        spread = float(noise.removesuffix(" %")) / 100
        return targets * (1 + spread * generator.normal(size=n))
    spoiled = targets.copy()
    if noise == "outliers":
        rows = generator.choice(n, max(1, round(n / 100)), replace=False)
        spoiled[rows] += _GROSS * np.median(np.abs(targets)) * generator.normal(size=len(rows))
    return spoiled
