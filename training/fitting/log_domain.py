"""Products of powers by regression of log|y| on log|x|; signs follow from the parity of the powers.

There is no ε: a zero has no logarithm, yet it says something exact. A row whose result is neither zero nor infinite
excludes every input that is zero there, and rows with a zero result say no more than that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.fitting.linear_domain import least_squares

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogRows:
    """Rows in the log domain.

    Attributes:
        columns: Indices of the inputs that may take part.
        inputs: log|x| of these inputs, shape (n, len(columns)).
        targets: log|y|, shape (n,).
        rows: Indices of the rows kept.
    """

    columns: NDArray[np.intp]
    inputs: Floats
    targets: Floats
    rows: NDArray[np.intp]


def log_rows(inputs: Floats, targets: Floats) -> LogRows:
    """Return the rows with results other than zero, over the inputs that are zero in none of them."""
    rows = np.flatnonzero(targets != 0)
    kept = inputs[rows]
    columns = np.flatnonzero((kept != 0).all(axis=0)) if len(rows) else np.arange(0)
    return LogRows(columns, np.log(np.abs(kept[:, columns])), np.log(np.abs(targets[rows])), rows)


def fit_powers(inputs: Floats, targets: Floats, *, coefficient: bool = False) -> tuple[Floats, float] | None:
    """Return powers P and c with |y| = c ∏ |x_i|^P_i in the least-squares sense of logarithms.

    Args:
        inputs: Shape (n, d).
        targets: Shape (n,).
        coefficient: Whether c is free; otherwise it is 1.

    Returns:
        Powers, shape (d,), and c; None where the rows do not determine them.
    """
    logs = log_rows(inputs, targets)
    design = np.column_stack([logs.inputs, np.ones(len(logs.rows))]) if coefficient else logs.inputs
    weights = least_squares(design, logs.targets)
    if weights is None:
        return None
    powers = np.zeros(inputs.shape[1])
    powers[logs.columns] = weights[: len(logs.columns)]
    with np.errstate(over="ignore"):
        return powers, float(np.exp(weights[-1])) if coefficient else 1.0
