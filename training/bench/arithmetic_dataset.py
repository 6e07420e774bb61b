"""The arithmetic dataset task: an operation on sums over two overlapping parts of the inputs.

Source: Madsen and Johansen, "Neural Arithmetic Units", arXiv:2001.05016, and its code: parts are runs of neighbouring
inputs of floor(subset ratio · d) elements, floor(overlap ratio · that) of which they share. Where they begin is drawn
by every seed. The order of the inputs means nothing to a fit.
"""

import numpy as np

from training.bench.cell import RANGES, Cell, Floats, Numbers, Problem

OPERATIONS = ("add", "subtract", "multiply", "divide", "square", "sqrt")

RANGE_NAMES = ("1:2", "-2:2", "0.1:0.2", "1.1:1.2")
"""Ranges for all operations; the published ones for × alone are in `ABLATED_RANGES`."""

ABLATED_RANGES = ("-2:-1", "-2:2", "0:1", "0.1:0.2", "1:2", "1.1:1.2", "10:20")
INPUT_SIZES = (4, 10, 25, 50, 75, 100, 125, 150, 175, 200, 225, 250, 275, 300)
SUBSET_RATIOS = (0.05, 0.1, 0.25, 0.5)
OVERLAP_RATIOS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
HIDDEN_SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10)


def n_rows_of(d_inputs: int) -> int:
    """Return the training rows for a number of inputs: 1,000, and 2,000 where there are more than 125."""
    return 1000 if d_inputs <= 125 else 2000


def cells(operations: tuple[str, ...], ranges: tuple[str, ...]) -> list[Cell]:
    """Return the cells of the task, the root on ranges without negative numbers."""
    return [
        _cell(operation, name)
        for operation in OPERATIONS
        if operation in operations
        for name in RANGE_NAMES
        if name in ranges and (operation != "sqrt" or RANGES[name].positive)
    ]


def ablations() -> list[Cell]:
    """Return the published ablations of the product, each varying one thing of U[1,2], 100 inputs, 0.25, 0.5, 2."""
    return [
        *(_cell("multiply", name, ablation="range") for name in ABLATED_RANGES),
        *(_cell("multiply", "1:2", d_inputs=size, ablation="input size") for size in INPUT_SIZES),
        *(_cell("multiply", "1:2", subset_ratio=ratio, ablation="subset ratio") for ratio in SUBSET_RATIOS),
        *(_cell("multiply", "1:2", overlap_ratio=ratio, ablation="overlap ratio") for ratio in OVERLAP_RATIOS),
        *(_cell("multiply", "1:2", d_hidden=size, ablation="hidden size") for size in HIDDEN_SIZES),
    ]


def _cell(
    operation: str,
    range_name: str,
    *,
    d_inputs: int = 100,
    subset_ratio: float = 0.25,
    overlap_ratio: float = 0.5,
    d_hidden: int = 2,
    ablation: str = "",
) -> Cell:
    return Cell(
        "dataset",
        operation,
        range_name,
        d_inputs,
        n_rows_of(d_inputs),
        ablation=ablation,
        subset_ratio=subset_ratio,
        overlap_ratio=overlap_ratio,
        d_hidden=d_hidden,
    )


def subsets(cell: Cell, start: int) -> tuple[slice, slice]:
    """Return the two parts of the inputs, the first of which begins at `start`."""
    n, shared = _sizes(cell)
    return slice(start, start + n), slice(start + n - shared, start + 2 * n - shared)


def _sizes(cell: Cell) -> tuple[int, int]:
    n = int(cell.subset_ratio * cell.d_inputs)
    return n, int(cell.overlap_ratio * n)


def draw(cell: Cell, generator: np.random.Generator) -> Problem:
    """Draw a problem: where the parts begin, and rows."""
    n, shared = _sizes(cell)
    first, second = subsets(cell, int(generator.integers(0, cell.d_inputs - (2 * n - shared) + 1)))

    def truth(inputs: Floats, dtype: type[np.floating]) -> Numbers:
        a = inputs[:, first].astype(dtype).sum(axis=1)
        b = inputs[:, second].astype(dtype).sum(axis=1)
        return compute(cell.operation, a, b)

    inputs = cell.input_range.draw_inside(cell.n_rows, cell.d_inputs, generator)
    return Problem(inputs, np.asarray(truth(inputs, np.float64), dtype=np.float64), truth)


def compute(operation: str, a: Numbers, b: Numbers) -> Numbers:
    """Return the operation on two sums; the square and the root take the first."""
    match operation:
        case "add":
            return a + b
        case "subtract":
            return a - b
        case "multiply":
            return a * b
        case "divide":
            return a / b
        case "square":
            return a * a
        case _:
            return np.sqrt(a)


def nearly_perfect_error(cell: Cell, inputs: Floats, epsilon: float) -> Floats:
    """Return the error of a solution whose weights are 1 − ε in the parts and ε outside, as in the benchmark's code."""
    first, second = subsets(cell, 0)
    everything = inputs.sum(axis=1)
    a, b = inputs[:, first].sum(axis=1), inputs[:, second].sum(axis=1)
    with np.errstate(invalid="ignore"):
        near = compute(cell.operation, *((1 - 2 * epsilon) * part + epsilon * everything for part in (a, b)))
        return np.asarray(near - compute(cell.operation, a, b), dtype=np.float64)
