"""The best approximation of the factored family where nothing exact is found, chosen by how it extrapolates.

Rows at the upper end of the inputs are held out, each pattern is fitted to the others, and the pattern that errs least
on those held out is fitted once more to all rows.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.fitting.factored import Pattern, Search
from training.fitting.factored_model import Shape
from training.fitting.factored_structure import law_of, positive_inputs, widths_of
from training.fitting.law import Floats, Law

_PATTERNS = (
    Pattern(1.0, Shape()),
    *(Pattern(p, Shape((1.0,), (n,))) for n in (1, 2, 3) for p in (1.0, -1.0)),
    Pattern(0.5, Shape((1.0,), (2,))),
    Pattern(1.0, Shape((1.0, -1.0), (1, 1))),
)
"""Sums of up to four products of powers, their reciprocals, and quotients: what a smooth function mostly is near."""

_HELD_OUT_SHARE = 0.35
"""Rows held out: those of which one input is nearest to its largest value."""

_FURTHER = 1.5
_MOST_GROWTH = 1e3
"""Multiple of the rows at which an approximation must still be finite and no larger than so many times the results."""

_N_ROWS = 1000
_N_STARTS = 8


def approximate(inputs: Floats, targets: Floats, laws: list[Law], generator: np.random.Generator) -> Law | None:
    """Return the approximation that extrapolates best from the rows' inner part to their upper ends.

    Args:
        inputs: Shape (n, d).
        targets: Shape (n,).
        laws: Laws fitted to all rows: one of them is returned only where no pattern is better on the rows held out, on
            which they have an advantage.
        generator: Source of the starts.

    Returns:
        A law with weights as fitted, or None where no input may take part.
    """
    columns = positive_inputs(inputs, targets)
    if columns is None:
        return None
    ranks = np.argsort(np.argsort(inputs[:, columns], axis=0), axis=0).max(axis=1)
    outer = ranks > np.quantile(ranks, 1 - _HELD_OUT_SHARE)

    def error(law: Law) -> float:
        with np.errstate(all="ignore"):
            far = np.abs(law.evaluate(_FURTHER * inputs))
            if not (far <= _MOST_GROWTH * np.abs(targets).max()).all():
                return np.inf
            return float(
                np.nan_to_num(np.mean((law.evaluate(inputs[outer]) - targets[outer]) ** 2), nan=np.inf, posinf=np.inf)
            )

    best: tuple[float, Pattern] | None = None
    for pattern in _PATTERNS:
        for law in _fits(pattern, inputs[~outer], targets[~outer], columns, generator):
            reached = error(law)
            if np.isfinite(reached) and (best is None or reached < best[0]):
                best = reached, pattern
    least = min(laws, key=error, default=None)
    if best is None:
        return least
    found = [law for law in _fits(best[1], inputs, targets, columns, generator) if np.isfinite(error(law))]
    if least is not None and error(least) < best[0]:
        found.append(least)
    return min(found, key=error, default=least)


def _fits(
    pattern: Pattern, inputs: Floats, targets: Floats, columns: NDArray[np.intp], generator: np.random.Generator
) -> Iterator[Law]:
    widths = widths_of(targets, "additive")
    search = Search(inputs[:, columns], targets, widths, generator, _N_ROWS)
    for one in search.fit(pattern, _N_STARTS, snap=False)[:1]:
        formula = one.formula()
        if formula.finite:
            yield law_of(formula, columns, inputs.shape[1])
