"""Controls: targets outside the family, for which the right answer is "not found", and a certificate always wrong."""

from collections.abc import Callable

import numpy as np

from training.bench.cell import Cell, Floats, Problem

Labels = Callable[[Floats, np.random.Generator], Floats]

_SMOOTH: dict[str, Callable[[Floats], Floats]] = {
    "sine": lambda x: np.sin(x[:, 0]),
    "exponential": lambda x: np.exp(x[:, 0]),
    "a b + a, not offered": lambda x: x[:, 0] * x[:, 1] + x[:, 0],
    "a^3 + b": lambda x: x[:, 0] ** 3 + x[:, 1],
    "sqrt|a| + b": lambda x: np.sqrt(np.abs(x[:, 0])) + x[:, 1],
}
"""Functions that are put under noise, too."""


def _noisy(compute: Callable[[Floats], Floats], spread: float) -> Labels:
    return lambda x, g: compute(x) * (1 + spread * g.normal(size=len(x)))


CONTROLS: dict[str, Labels] = {
    "sine": lambda x, _: _SMOOTH["sine"](x),
    "pure noise": lambda x, g: g.normal(size=len(x)),
    "positive noise": lambda x, g: np.exp(g.normal(size=len(x))),
    "shuffled labels": lambda x, g: g.permutation(x[:, 0] * x[:, 1]),
    "a b + a, not offered": lambda x, _: _SMOOTH["a b + a, not offered"](x),
    "exponential": lambda x, _: _SMOOTH["exponential"](x),
    "a^1.37 b": lambda x, _: np.abs(x[:, 0]) ** 1.37 * x[:, 1],
    "1.137 a + b": lambda x, _: 1.137 * x[:, 0] + x[:, 1],
    "sine, 1 % noise": _noisy(_SMOOTH["sine"], 0.01),
    "a b + a, not offered, 1 % noise": _noisy(_SMOOTH["a b + a, not offered"], 0.01),
    **{f"{kind}, 10 % noise": _noisy(compute, 0.1) for kind, compute in _SMOOTH.items()},
}
"""Kind → labels of rows."""

RANGE_NAMES = ("1:2", "-2:2", "1.1:1.2", "10:20", "0:1")
N_INPUTS = 2
N_ROWS = 128
N_ROWS_10_PERCENT = 512


def cells(ranges: tuple[str, ...]) -> list[Cell]:
    """Return the cells of the task."""
    return [
        Cell(
            "controls",
            kind,
            name,
            N_INPUTS,
            N_ROWS_10_PERCENT if kind.endswith("10 % noise") else N_ROWS,
            without=("sum of products",) if "not offered" in kind else (),
        )
        for kind in CONTROLS
        for name in RANGE_NAMES
        if name in ranges
    ]


def draw(cell: Cell, generator: np.random.Generator) -> Problem:
    """Draw rows and labels that no law offered gives."""
    inputs = cell.input_range.draw_inside(cell.n_rows, cell.d_inputs, generator)
    return Problem(inputs, CONTROLS[cell.operation](inputs, generator), None)
