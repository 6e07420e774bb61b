"""The single module task: one operation on two of 2, 10 or 100 inputs.

Source: Mistry et al., "A Primer for Neural Arithmetic Logic Modules", arXiv:2101.09530, and its code. There, the first
inputs are the relevant ones; here, every seed draws which. The square, the root and the reciprocal are not in it.
"""

import numpy as np

from training.bench.cell import RANGES, Cell, Floats, Numbers, Problem, Truth
from training.tasks.arithmetic import OPERATIONS

N_INPUTS = (2, 10, 100)


def n_rows_of(d_inputs: int) -> int:
    """Return the training rows for a number of inputs."""
    return 128 if d_inputs <= 10 else 512


def cells(operations: tuple[str, ...], ranges: tuple[str, ...], n_inputs: tuple[int, ...]) -> list[Cell]:
    """Return the cells of the task, the root on ranges without negative numbers."""
    return [
        Cell("single", operation, name, d_inputs, n_rows_of(d_inputs))
        for d_inputs in n_inputs
        for operation in operations
        if operation in OPERATIONS
        for name in ranges
        if operation != "sqrt" or RANGES[name].positive
    ]


def draw(cell: Cell, generator: np.random.Generator) -> Problem:
    """Draw a problem: which inputs are relevant, and rows."""
    truth = draw_truth(cell, generator)
    inputs = cell.input_range.draw_inside(cell.n_rows, cell.d_inputs, generator)
    return Problem(inputs, np.asarray(truth(inputs, np.float64), dtype=np.float64), truth)


def draw_truth(cell: Cell, generator: np.random.Generator) -> Truth:
    """Draw which inputs are relevant."""
    operation = OPERATIONS[cell.operation]
    relevant = generator.permutation(cell.d_inputs)[: len(operation.inputs)]

    def truth(inputs: Floats, dtype: type[np.floating]) -> Numbers:
        return operation.compute(inputs[:, relevant].astype(dtype))

    return truth


def nearly_perfect_error(cell: Cell, inputs: Floats, epsilon: float) -> Floats:
    """Return the error of a solution whose weights are all off by ε, the first inputs being the relevant ones.

    The formulas of + − × ÷ are those of the benchmark's code: sums lose ε Σ|x|, products are off by (1 − ε) for each
    factor, (1 + ε) for a divisor, and 1 − ε|x| for each input that should play no part. a² is taken as a · a, √a as
    the root of (1 − ε) a, and 1 / a as a quotient.
    """
    n_relevant = len(OPERATIONS[cell.operation].inputs)
    exact = OPERATIONS[cell.operation].compute(inputs)
    if cell.operation in ("add", "subtract"):
        return np.asarray(epsilon * np.abs(inputs).sum(axis=1), dtype=np.float64)
    factor = {
        "multiply": (1 - epsilon) ** 2,
        "divide": (1 - epsilon) / (1 + epsilon),
        "square": (1 - epsilon) ** 2,
        "sqrt": (1 - epsilon) ** 0.5,
        "reciprocal": 1 / (1 + epsilon),
    }[cell.operation]
    irrelevant = (1 - epsilon * np.abs(inputs[:, n_relevant:])).prod(axis=1)
    return np.asarray(exact * (factor * irrelevant - 1), dtype=np.float64)
