"""What the runtime is given at once, and how much one request may ask of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Rows that the graph takes in one run.

    Attributes:
        rows: Their places among the rows of the request, shape (n_rows,).
        feeds: Tensor name → array, its first axis the rows.
    """

    rows: NDArray[np.intp]
    feeds: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SequenceLimits:
    """How much one request may ask of a model of sequences; None for no limit.

    Attributes:
        max_length: Most steps of one sequence.
        max_steps: Most steps of all its sequences together.
        max_pixels: Most pixels of all its images together.
    """

    max_length: int | None = None
    max_steps: int | None = None
    max_pixels: int | None = None


UNLIMITED = SequenceLimits()
"""For a model's own sample, and for files on the user's own machine."""
