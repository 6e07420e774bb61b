"""The simple function tasks of both halves of Table 1: operations on two sums, their scores and published numbers.

Source: Trask et al., arXiv:1808.00508, section 4.1 and table 1. An error is told in hundredths of the error of a random
model: 0 is perfect, 100 no better than random, more is worse.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.bench.arithmetic_dataset import OPERATIONS, compute
from training.reproduce.outcome import Curve, Kind, Panel, Row, Table, measured, published

Floats = NDArray[np.float64]

Predict = Callable[[Floats], Floats]
"""Inputs → predictions, shape (n,)."""

Numbers = tuple[float | str, float | str, float | str, float | str, float | str, float | str]
"""One number an operation, in the order of `OPERATIONS`."""

SYMBOLS = {
    "add": "a + b",
    "subtract": "a − b",
    "multiply": "a · b",
    "divide": "a / b",
    "square": "a²",
    "sqrt": "√a",
}

NARROW, FAR = 0.5, 2.0
"""Inputs are drawn from 0 to the first in training and from 0 to the second outside. The paper does not say how far
outside it tests; these are the ranges of the best public reproduction of its table, github.com/merrymercy/NALU."""

SHOWN_AS_ZERO = 0.05
"""Scores below this are 0.0 in a table of one decimal, as the paper's is."""

PUBLISHED: dict[tuple[str, str], dict[str, Numbers]] = {
    ("static", "inside"): {
        "ReLU6": (0.2, 0.0, 3.2, 4.2, 0.7, 0.5),
        "none": (0.0, 0.0, 20.9, 35.0, 4.3, 2.2),
        "NAC": (0.0, 0.0, 21.4, 37.1, 22.4, 3.6),
        "NALU": (0.0, 0.0, 0.0, 5.3, 0.0, 0.0),
    },
    ("static", "outside"): {
        "ReLU6": (42.6, 29.0, 10.1, 37.2, 47.0, 10.3),
        "none": (0.0, 0.0, 29.5, 52.3, 25.1, 20.0),
        "NAC": (0.0, 0.0, 33.3, 61.3, 53.3, 16.4),
        "NALU": (0.0, 0.0, 0.0, 0.7, 0.0, 0.0),
    },
    ("recurrent", "inside"): {
        "LSTM": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        "RNN-ReLU": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        "NAC": (0.0, 0.0, 1.5, 1.2, 2.3, 2.1),
        "NALU": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    },
    ("recurrent", "outside"): {
        "LSTM": (96.1, 97.0, 98.2, 95.6, 98.0, 95.8),
        "RNN-ReLU": (85.5, 70.9, 97.9, 863.5, 98.0, 34.1),
        "NAC": (0.0, 0.0, 88.4, "> 999", 123.7, "> 999"),
        "NALU": (0.0, 0.0, 0.0, "> 999", 0.0, 0.0),
    },
}
"""Table 1: (half, region) → model → score of each operation."""

PUBLIC_REPRODUCTION: dict[str, Numbers] = {
    "inside": (0.01, 0.12, 0.0, 0.01, 0.0, 0.02),
    "outside": (0.44, 0.43, 0.0, 0.11, 0.0, 0.17),
}
"""Best public reproductions of the static NALU: github.com/merrymercy/NALU, and for a / b outside the README of
github.com/SthePasso/NALU2IMG. Both have weights of their own for sum and product and a gate that is independent of the
input. One run each."""


@dataclass(frozen=True)
class Sums:
    """Rows with the two sums that an operation takes.

    Attributes:
        inputs: What a model sees, rows first.
        a: First sum, shape (n,).
        b: Second sum, shape (n,).
    """

    inputs: Floats
    a: Floats
    b: Floats

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.a)

    def take(self, index: NDArray[np.generic] | slice) -> "Sums":
        """Return some of the rows."""
        return Sums(self.inputs[index], self.a[index], self.b[index])

    def targets(self, operation: str) -> Floats:
        """Return the operation's results, shape (n,)."""
        return np.asarray(compute(operation, self.a, self.b), dtype=np.float64)


def far_rows(train: Sums, candidates: Sums, operation: str) -> Sums:
    """Return the candidates of which at least one of a, b and the result is above its largest value in training."""
    within = (
        (candidates.a <= train.a.max())
        & (candidates.b <= train.b.max())
        & (candidates.targets(operation) <= train.targets(operation).max())
    )
    return candidates.take(np.flatnonzero(~within))


def rmse(predictions: Floats, targets: Floats) -> float:
    """Return the root mean squared error."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean((predictions - targets) ** 2)))


def score(predictions: Floats, targets: Floats, random_predictions: Sequence[Floats]) -> float:
    """Return 100 times the error over the mean error of random models, infinite where a prediction is not finite.

    Args:
        predictions: Shape (n,).
        targets: Shape (n,).
        random_predictions: What random models answer to the same rows.
    """
    if not np.isfinite(predictions).all():
        return float("inf")
    return 100 * rmse(predictions, targets) / float(np.mean([rmse(one, targets) for one in random_predictions]))


@dataclass(frozen=True)
class Problem:
    """Rows of one seed, and what random models answer to them.

    Attributes:
        seed: The seed.
        train: Rows to learn from.
        validation: Rows of the same range that choose.
        tests: Region → operation → rows to judge by.
        random: Region → operation → what random models answer to these rows.
    """

    seed: int
    train: Sums
    validation: Sums
    tests: Mapping[str, Mapping[str, Sums]]
    random: Mapping[str, Mapping[str, Sequence[Floats]]]

    def scores(self, operation: str, predict: Predict) -> dict[str, float]:
        """Return the score of a model in each region."""
        found = {}
        for region, by_operation in self.tests.items():
            rows = by_operation[operation]
            found[region] = score(predict(rows.inputs), rows.targets(operation), self.random[region][operation])
        return found


def random_answers(
    tests: Mapping[str, Mapping[str, Sums]], models: Sequence[Predict]
) -> dict[str, dict[str, Sequence[Floats]]]:
    """Return what random models answer to the rows of each region and operation, as `Problem` keeps it."""
    answered: dict[int, Sequence[Floats]] = {}  # operations that share their rows share the answers
    for by_operation in tests.values():
        for rows in by_operation.values():
            if id(rows) not in answered:
                answered[id(rows)] = [model(rows.inputs) for model in models]
    return {
        region: {operation: answered[id(rows)] for operation, rows in by_operation.items()}
        for region, by_operation in tests.items()
    }


def scored(
    label: str,
    kind: Kind,
    problems: Sequence[Problem],
    models: Mapping[str, Sequence[Predict]],
) -> "Method":
    """Return the scores of a method: operation → one model a seed, of the first seeds at least."""
    scores: dict[str, dict[str, list[float]]] = {region: {} for region in problems[0].tests}
    for operation, by_seed in models.items():
        for problem, predict in zip(problems, by_seed, strict=False):
            for region, value in problem.scores(operation, predict).items():
                scores[region].setdefault(operation, []).append(value)
    return Method(label, kind, scores)


@dataclass(frozen=True)
class Method:
    """What one method reached.

    Attributes:
        label: Its name.
        kind: Whether it is the paper's recipe or ours.
        scores: Region → operation → one score a seed; an operation that was not run is left out.
    """

    label: str
    kind: Kind
    scores: Mapping[str, Mapping[str, Sequence[float]]]


def score_table(half: Literal["static", "recurrent"], region: str, title: str, methods: Sequence[Method]) -> Table:
    """Return the table of a region: published rows, then ours of the same models, then our fits.

    Args:
        half: Which half of Table 1.
        region: "inside" or a name of a region outside.
        title: Its title.
        methods: What was measured.
    """
    rows = [
        Row(kind="published", label=label, cells=tuple(published(value) for value in numbers))
        for label, numbers in PUBLISHED.get((half, region), {}).items()
    ]
    notes = ["Published: Table 1 of the paper."] if rows else ["The paper has no such column of its own."]
    if half == "static":
        numbers = PUBLIC_REPRODUCTION[region]
        label = "NALU, best public reproduction"
        rows.append(Row(kind="published", label=label, cells=tuple(published(value) for value in numbers)))
        notes.append("Best public reproduction: github.com/merrymercy/NALU and github.com/SthePasso/NALU2IMG.")
    for method in methods:
        measurements = method.scores[region]
        cells = (
            measured(measurements[operation]) if operation in measurements else published("not run")
            for operation in OPERATIONS
        )
        rows.append(Row(kind=method.kind, label=method.label, cells=tuple(cells)))
    return Table(
        title=title, columns=tuple(SYMBOLS[one] for one in OPERATIONS), rows=tuple(rows), notes=tuple(notes), decimals=2
    )


def score_panel(region: str, title: str, methods: Sequence[Method]) -> Panel:
    """Return the median scores by operation, with the best and the worst seed."""
    curves = []
    for method in methods:
        ran = [position for position, operation in enumerate(OPERATIONS) if operation in method.scores[region]]
        values = [np.nan_to_num(method.scores[region][OPERATIONS[position]], posinf=_LARGEST) for position in ran]
        curves.append(
            Curve(
                label=method.label,
                x=tuple(float(position) for position in ran),
                y=tuple(_short(np.median(one)) for one in values),
                low=tuple(_short(np.min(one)) for one in values),
                high=tuple(_short(np.max(one)) for one in values),
                style="bars",
                kind=method.kind,
            )
        )
    return Panel(
        title=title,
        x_label="operation",
        y_label="score, 0 at the bottom",
        curves=tuple(curves),
        ticks=tuple(SYMBOLS[operation] for operation in OPERATIONS),
        y_scale="log",
        y_floor=1e-4,
        y_ceiling=2000.0,
    )


_LARGEST = 1e30
"""Where a score that is not finite is drawn: above every axis."""


def _short(value: float) -> float:
    return float(f"{min(float(value), _LARGEST):.4g}")
