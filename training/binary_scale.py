"""A scale at which libraries that hold targets in float32 lose nothing of targets of any magnitude."""

import math

import numpy as np
from numpy.typing import NDArray


def binary_scale(values: NDArray[np.float64]) -> float:
    """Return the power of two next above the largest magnitude, 1 where there is none but 0.

    Targets of 1e51 (ergs of a supernova) are infinite in float32, those of 1e-50 are 0. Divided by this they are at
    most 1, without rounding.

    Args:
        values: Finite, of any shape.

    Example:
        >>> import numpy as np
        >>> binary_scale(np.array([0.3, -5.0])), binary_scale(np.zeros(2))
        (8.0, 1.0)
    """
    return math.ldexp(1.0, math.frexp(float(np.abs(values).max(initial=0.0)))[1])
