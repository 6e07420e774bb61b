"""A cell of a benchmark: one task at one setting, from which every seed draws a problem of its own."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]

TaskName = Literal["single", "dataset", "noise", "compositions", "controls"]

N_TEST_ROWS = 10_000
"""Rows that a result is judged by, as in the published benchmark (arXiv:2101.09530)."""


@dataclass(frozen=True)
class InputRange:
    """Where inputs are drawn from.

    Attributes:
        low: Smallest training input.
        high: Largest training input.
        outside: Intervals of the extrapolation inputs; more than one are equally likely.
    """

    low: float
    high: float
    outside: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        """What the command line calls it, such as "1:2"."""
        return f"{self.low:g}:{self.high:g}"

    @property
    def label(self) -> str:
        """What tables call it, such as "U[1,2]"."""
        return f"U[{self.low:g},{self.high:g}]"

    @property
    def outside_label(self) -> str:
        """What tables call the extrapolation range."""
        return " ∪ ".join(f"U[{low:g},{high:g}]" for low, high in self.outside)

    @property
    def positive(self) -> bool:
        """Whether no input is negative, inside and outside."""
        return self.low >= 0 and all(low >= 0 for low, _ in self.outside)

    def draw_inside(self, n_rows: int, d_inputs: int, generator: np.random.Generator) -> Floats:
        """Draw rows as in training."""
        return generator.uniform(self.low, self.high, (n_rows, d_inputs))

    def draw_outside(self, n_rows: int, d_inputs: int, generator: np.random.Generator) -> Floats:
        """Draw rows from the extrapolation range, every input from an interval of its own."""
        if len(self.outside) == 1:
            return generator.uniform(*self.outside[0], (n_rows, d_inputs))
        low, high = np.array(self.outside).T[:, generator.integers(len(self.outside), size=(n_rows, d_inputs))]
        return np.asarray(low + (high - low) * generator.random((n_rows, d_inputs)), dtype=np.float64)


RANGES = {
    one.name: one
    for one in (
        InputRange(-20, -10, ((-40, -20),)),
        InputRange(-2, -1, ((-6, -2),)),
        InputRange(-1.2, -1.1, ((-6.1, -1.2),)),
        InputRange(-0.2, -0.1, ((-2, -0.2),)),
        InputRange(-2, 2, ((-6, -2), (2, 6))),
        InputRange(0, 1e-4, ((1e-4, 5e-4),)),
        InputRange(0.1, 0.2, ((0.2, 2),)),
        InputRange(0, 1, ((1, 5),)),
        InputRange(1, 2, ((2, 6),)),
        InputRange(1.1, 1.2, ((1.2, 6),)),
        InputRange(10, 20, ((20, 40),)),
    )
}
"""Name → range. Nine are those of the NALM benchmark (arXiv:2101.09530, its scripts), U[0,1] with U[1,5] is one of the
arithmetic dataset's (arXiv:2001.05016, its scripts), and U[0,1e-4] extrapolates likewise."""

Truth = Callable[[Floats, type[np.floating]], Numbers]
"""Rows (n, d_inputs) → results (n,), computed in the type given."""


@dataclass(frozen=True)
class Problem:
    """What one seed draws.

    Attributes:
        inputs: Training rows, shape (n, d_inputs).
        targets: Their results, shape (n,), noise included.
        truth: What is to be learned; None where there is nothing to learn.
    """

    inputs: Floats
    targets: Floats
    truth: Truth | None


@dataclass(frozen=True)
class Cell:
    """One task at one setting.

    Attributes:
        task: The task.
        operation: What is to be learned.
        range_name: Key of `RANGES`.
        d_inputs: Inputs, those that play no part included.
        n_rows: Training rows.
        ablation: What is varied, where the cell belongs to an ablation.
        subset_ratio: Share of the inputs in each subset (dataset task).
        overlap_ratio: Share of a subset that lies in the other one, too (dataset task).
        d_hidden: Width of the hidden layer (dataset task).
        noise: Kind of noise (noise task).
        without: Structures that are not offered.
    """

    task: TaskName
    operation: str
    range_name: str
    d_inputs: int
    n_rows: int
    ablation: str = ""
    subset_ratio: float = 0.25
    overlap_ratio: float = 0.5
    d_hidden: int = 2
    noise: str = ""
    without: tuple[str, ...] = ()

    @property
    def input_range(self) -> InputRange:
        """The range that inputs are drawn from."""
        return RANGES[self.range_name]

    @property
    def key(self) -> str:
        """The cell in one line; it decides the random numbers."""
        parts = [self.task, self.operation, self.range_name, f"d={self.d_inputs}", f"n={self.n_rows}"]
        if self.task == "dataset":
            parts += [f"subset={self.subset_ratio:g}", f"overlap={self.overlap_ratio:g}", f"hidden={self.d_hidden}"]
        return " ".join([*parts, *([self.noise] if self.noise else [])])

    def generator(self, seed: int, purpose: str) -> np.random.Generator:
        """Return the source of one seed's random numbers for one purpose."""
        return np.random.default_rng([seed, zlib.crc32(f"{self.key} {purpose}".encode())])
