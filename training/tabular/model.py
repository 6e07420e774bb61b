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


def middle(answers: Sequence[Floats]) -> Floats:
    """Return each row's median of the answers (of two: their mean), shape (n_rows,)."""
    return np.asarray(np.median(np.stack(answers, axis=1), axis=1))


SPREAD_PER_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

SMALLEST_SQUARE = 1e-300
"""Keeps a row inside, where no trunk goes any way, from dividing by zero."""


def agreed(ways: Floats) -> tuple[Floats, Floats]:
    """Return the median way that the trunks of a committee go beyond the ranges seen, and how much of it they agree on.

    The share of the median way m is m² / (m² + s²), s the spread of the ways (from their median absolute
    deviation): what is left of an estimate of m with the variance s² once it is shrunk towards 0, so that its mean
    squared error is least (W. James and C. Stein, Proc. 4th Berkeley Symposium 1, 1961). Where trunks agree the
    committee goes with them; where they do not, nobody knows, and it stays near the border.

    Args:
        ways: Each trunk's answer less its answer at the border, shape (n_rows, n_trunks).

    Returns:
        The median way and its share, both of shape (n_rows,).

    Example:
        >>> way, share = agreed(np.array([[2.0, 2.0, 2.0], [2.0, 4.0, -1.0]]))
        >>> (way * share).round(2).tolist()
        [2.0, 0.63]
    """
    way = np.median(ways, axis=1)
    spread = SPREAD_PER_DEVIATION * np.median(np.abs(ways - way[:, None]), axis=1)
    return way, np.asarray(way**2 / np.maximum(way**2 + spread**2, SMALLEST_SQUARE))


def wary_middle(answers: Sequence[Floats], border: Sequence[Floats]) -> Floats:
    """Return the median of the answers at the border and the way beyond that is agreed on, shape (n_rows,).

    Args:
        answers: Each trunk's, of shape (n_rows,).
        border: The same for rows whose columns are brought to the border of their ranges.
    """
    way, share = agreed(np.stack(answers, axis=1) - np.stack(border, axis=1))
    return middle(border) + way * share


def left_out(n_answers: int) -> int:
    """Return how many answers a median leaves out at either end."""
    return (n_answers - 1) // 2


@dataclass(frozen=True)
class TargetModel:
    """The model of one target: trunk + share · residual.

    The trunk is the median of the committee's answers; of a wary one the median of its answers at the border of the
    ranges seen, and the way beyond that its trunks agree on.

    Attributes:
        trunks: The committee.
        columns: Columns of the trees; None without a residual.
        forest: The residual; None for none.
        reach: The ranges seen in training.
        width: Ranges outside at which nothing is left of the residual; infinite where it stays frozen.
        smooth: The residual's networks; None for none.
        wary: Whether the committee goes beyond the ranges seen only as far as its trunks agree.
    """

    trunks: tuple[Trunk, ...]
    columns: TreeColumns | None
    forest: Forest | None
    reach: Reach
    width: float
    smooth: SmoothResidual | None = None
    wary: bool = False

    @property
    def follows_law(self) -> bool:
        """Whether a law answers alone, which is followed wherever it leads."""
        return len(self.trunks) == 1 and bool(self.trunks[0].kind.law)

    def trunk(self, rows: Rows) -> Floats:
        """Return the committee's answers, held within what the distance allows, or a law's, shape (n_rows,)."""
        answers = [trunk.predict(rows) for trunk in self.trunks]
        if self.follows_law:
            return answers[0]
        if not self.wary:
            return self.reach.held(middle(answers), self.reach.distance(rows))
        border = [trunk.predict(self.reach.clipped(rows)) for trunk in self.trunks]
        return self.reach.held(wary_middle(answers, border), self.reach.distance(rows))

    def standard_error(self, rows: Rows) -> Floats:
        """Return the standard error of a law that answers alone, 0 for a committee, shape (n_rows,)."""
        return self.trunks[0].standard_error(rows) if self.follows_law else np.zeros(len(rows))

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
