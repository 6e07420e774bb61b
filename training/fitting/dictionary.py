"""Sums of products: y^s is linear in products of powers of the inputs."""

from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def polynomial_powers(d_inputs: int) -> Floats:
    """Return the powers of x_i, x_i² and x_i x_j, one row a term.

    Example:
        >>> polynomial_powers(2).tolist()
        [[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]
    """
    one = np.eye(d_inputs)
    pairs = [one[i] + one[j] for i, j in combinations(range(d_inputs), 2)]
    return np.concatenate([one, 2 * one, np.reshape(pairs, (-1, d_inputs))])


def quotient_powers(d_inputs: int) -> Floats:
    """Return the powers of 1 / x_i and x_i / x_j, one row a term.

    Example:
        >>> quotient_powers(2).tolist()
        [[-1.0, 0.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]
    """
    one = np.eye(d_inputs)
    pairs = [one[i] - one[j] for i, j in permutations(range(d_inputs), 2)]
    return np.concatenate([0.0 - one, np.reshape(pairs, (-1, d_inputs))])


def terms(inputs: Floats, powers: Floats) -> Floats:
    """Return integer powers' products, shape (n, n_terms)."""
    result = np.ones((len(inputs), len(powers)))
    with np.errstate(all="ignore"):
        for k, row in enumerate(powers):
            for i in np.flatnonzero(row):
                result[:, k] *= inputs[:, i] ** row[i]
    return result
