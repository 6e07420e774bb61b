"""Ordinary fits: what is left where no exact law is found."""

import numpy as np
from numpy.typing import NDArray

from training.fitting.dictionary import polynomial_powers, terms
from training.fitting.law import Floats, Law, Layer

_RIDGE = 1e-8
"""Ridge penalty on standardised terms: enough to decide between terms that the rows cannot tell apart."""


def best_ordinary(inputs: Floats, targets: Floats, held_out: NDArray[np.intp], raw: list[Law]) -> Law:
    """Return the best approximation by the median absolute error on held-out rows.

    Args:
        inputs: Shape (n, d).
        targets: Shape (n,).
        held_out: Rows to choose by; the others are fitted.
        raw: Laws as fitted that failed as exact ones.
    """
    fit = np.ones(len(inputs), dtype=bool)
    fit[held_out] = False
    candidates = [_constant(targets[fit], inputs.shape[1]), _affine(inputs[fit], targets[fit])]
    if 3 * len(polynomial_powers(inputs.shape[1])) <= fit.sum():
        candidates.append(_quadratic(inputs[fit], targets[fit]))

    def error(law: Law) -> float:
        with np.errstate(all="ignore"):
            return float(np.nan_to_num(np.mean(np.abs(law.evaluate(inputs[held_out]) - targets[held_out])), nan=np.inf))

    return min([*candidates, *raw], key=error)


def _constant(targets: Floats, d_inputs: int) -> Law:
    return Law("constant", (Layer("sum", np.zeros((1, d_inputs)), np.array([np.mean(targets)])),))


def _affine(inputs: Floats, targets: Floats) -> Law:
    weights, bias = _ridge(inputs, targets)
    return Law("affine", (Layer("sum", weights[None], bias),))


def _quadratic(inputs: Floats, targets: Floats) -> Law:
    powers = polynomial_powers(inputs.shape[1])
    weights, bias = _ridge(terms(inputs, powers), targets)
    return Law("quadratic", (Layer("power", powers), Layer("sum", weights[None], bias)))


def _ridge(columns: Floats, targets: Floats) -> tuple[Floats, Floats]:
    middle, width = columns.mean(axis=0), columns.std(axis=0)
    width = np.where(width > 0, width, 1.0)
    scaled = (columns - middle) / width
    n, k = scaled.shape
    padded = np.concatenate([scaled, np.sqrt(n * _RIDGE) * np.eye(k)])
    level = float(targets.mean())
    solved = np.linalg.lstsq(padded, np.concatenate([targets - level, np.zeros(k)]), rcond=None)[0] / width
    weights = np.asarray(solved, dtype=np.float64)
    return weights, np.array([level - float(weights @ middle)])
