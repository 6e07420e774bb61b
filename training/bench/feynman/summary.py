"""Results of the benchmark on equations, counted."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.bench.feynman.methods import OURS
from training.bench.feynman.running import Result
from training.tasks.physics import STRUCTURES

ALGEBRAIC = tuple(name for name in STRUCTURES if name != "T")
"""Structures that the search has."""

GOOD = 0.99
"""Coefficient of determination outside from which on an equation counts as held."""


@dataclass(frozen=True)
class MethodSummary:
    """What one method reached over equations.

    Attributes:
        method: The method.
        noise: Noise of the labels.
        n_equations: Equations.
        n_exact: Formulas recovered.
        n_false: Laws that the method says it found and that are not the equation's.
        n_false_proofs: Those of them said to be proven.
        n_good: Equations with a coefficient of determination outside of `GOOD` and more.
        r2_inside: Median coefficient of determination inside.
        r2_outside: The same outside.
        error_outside: Median over equations of the median relative error outside.
        seconds: Median and largest processor time.
    """

    method: str
    noise: float
    n_equations: int
    n_exact: int
    n_false: int
    n_false_proofs: int
    n_good: int
    r2_inside: float
    r2_outside: float
    error_outside: float
    seconds: tuple[float, float]


def summarise(results: Iterable[Result]) -> list[MethodSummary]:
    """Return one summary for each method and noise; what is not finite counts as the worst."""
    groups: dict[tuple[float, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.noise, result.method), []).append(result)
    return [_summary(group) for _, group in sorted(groups.items(), key=lambda one: (one[0][0], one[0][1] != OURS))]


def _summary(group: Sequence[Result]) -> MethodSummary:
    seconds = [one.seconds for one in group]
    wrong = [one for one in group if one.found and not one.exact]
    return MethodSummary(
        group[0].method,
        group[0].noise,
        len(group),
        sum(one.exact for one in group),
        len(wrong),
        sum(one.proven for one in wrong),
        sum((one.r2_outside if one.r2_outside is not None else -np.inf) >= GOOD for one in group),
        _median([one.r2_inside for one in group], -np.inf),
        _median([one.r2_outside for one in group], -np.inf),
        _median([one.error_outside for one in group], np.inf),
        (float(np.median(seconds)), max(seconds)),
    )


def _median(values: Sequence[float | None], worst: float) -> float:
    return float(np.median([worst if value is None else value for value in values]))


def recovered(results: Sequence[Result], structures: Sequence[str] = ALGEBRAIC) -> tuple[int, int]:
    """Return how many formulas of some structures our search recovered, of how many."""
    own = [one for one in results if one.method == OURS and one.structure in structures]
    return sum(one.exact for one in own), len(own)


def as_document(results: Sequence[Result]) -> dict[str, Any]:
    """Return results for JSON."""
    return {"results": [_plain(asdict(one)) for one in results]}


def from_document(content: dict[str, Any]) -> list[Result]:
    """Return the results of a document."""
    return [Result(**one) for one in content["results"]]


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Round to six digits, since the last ones of a kept result differ from machine to machine."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in record.items()}
