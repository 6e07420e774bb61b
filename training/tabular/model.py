"""A fitted tabular model: a committee of trunks, a residual of boosted trees, and how far that reaches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.tabular.forest import Forest
from training.tabular.reach import Reach
from training.tabular.residual import SmoothResidual, TreeColumns
from training.tabular.rows import Floats, Rows
from training.tabular.trunks import Trunk

COMMITTEE = 9
"""Trunks whose median is the trunk's answer; an odd number, so that four that run away are outvoted.

Measured on upper tails of the driving columns that were held out of the training rows of 48 splits, errors over those
of the trees alone, geometric mean: the median of five 0.93, of seven 0.91, of nine 0.91."""


def middle(answers: Sequence[Floats]) -> Floats:
    """Return each row's median of the answers (of two: their mean), shape (n_rows,)."""
    return np.asarray(np.median(np.stack(answers, axis=1), axis=1))


def left_out(n_answers: int) -> int:
    """Return how many answers a median leaves out at either end."""
    return (n_answers - 1) // 2


@dataclass(frozen=True)
class TargetModel:
    """The model of one target: trunk + share · residual.

    Attributes:
        trunks: The committee.
        columns: Columns of the trees; None without a residual.
        forest: The residual; None for none.
        reach: The ranges seen in training.
        width: Ranges outside at which nothing is left of the residual; infinite where it stays frozen.
        smooth: The residual's networks; None for none.
    """

    trunks: tuple[Trunk, ...]
    columns: TreeColumns | None
    forest: Forest | None
    reach: Reach
    width: float
    smooth: SmoothResidual | None = None

    def trunk(self, rows: Rows) -> Floats:
        """Return the committee's answers, held within what the distance allows, shape (n_rows,)."""
        return self.reach.held(middle([trunk.predict(rows) for trunk in self.trunks]), self.reach.distance(rows))

    def predict(self, rows: Rows) -> Floats:
        """Return predictions, shape (n_rows,)."""
        trunk = self.trunk(rows)
        share = self.reach.share(trunk, self.reach.distance(rows), self.width)
        return np.asarray(trunk + share * self.residual(rows))

    def residual(self, rows: Rows) -> Floats:
        """Return the residual's answers, all of them wherever a row is, shape (n_rows,)."""
        result = np.zeros(len(rows))
        if self.forest is not None and self.columns is not None:
            result += self.forest.predict(self.columns(rows))
        if self.smooth is not None:
            result += self.smooth.predict(rows)
        return result


@dataclass(frozen=True)
class TabularModel:
    """Models of all targets.

    Attributes:
        targets: One per target.
    """

    targets: tuple[TargetModel, ...]

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Return predictions, shape (n_rows, d_outputs)."""
        return np.stack([target.predict(rows) for target in self.targets], axis=1)
