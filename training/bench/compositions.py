"""Compositions of two operations."""

from collections.abc import Callable

import numpy as np

from training.bench.cell import Cell, Floats, Numbers, Problem

COMPOSITIONS: dict[str, tuple[int, Callable[[Numbers], Numbers]]] = {
    "(a + b)(c - d)": (4, lambda x: (x[:, 0] + x[:, 1]) * (x[:, 2] - x[:, 3])),
    "a b / c": (3, lambda x: x[:, 0] * x[:, 1] / x[:, 2]),
    "sqrt(a^2 + b^2)": (2, lambda x: np.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2)),
    "a b + c": (3, lambda x: x[:, 0] * x[:, 1] + x[:, 2]),
}
"""Formula → inputs taking part, and what it computes."""

RANGE_NAMES = ("1:2", "-2:2", "0.1:0.2", "10:20")
N_IRRELEVANT = (0, 2)
N_ROWS = 256


def cells(ranges: tuple[str, ...]) -> list[Cell]:
    """Return the cells of the task, each with and without inputs that play no part."""
    return [
        Cell("compositions", formula, name, d_relevant + irrelevant, N_ROWS)
        for formula, (d_relevant, _) in COMPOSITIONS.items()
        for irrelevant in N_IRRELEVANT
        for name in RANGE_NAMES
        if name in ranges
    ]


def draw(cell: Cell, generator: np.random.Generator) -> Problem:
    """Draw a problem: which inputs take part, and rows."""
    d_relevant, compute = COMPOSITIONS[cell.operation]
    relevant = generator.permutation(cell.d_inputs)[:d_relevant]

    def truth(inputs: Floats, dtype: type[np.floating]) -> Numbers:
        return compute(inputs[:, relevant].astype(dtype))

    inputs = cell.input_range.draw_inside(cell.n_rows, cell.d_inputs, generator)
    return Problem(inputs, np.asarray(truth(inputs, np.float64), dtype=np.float64), truth)
