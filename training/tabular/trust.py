"""How far a tabular model's answers are to be trusted: which rows are like the training rows, and intervals.

Both are calibrated by what the model answered for training rows that it had not seen.
"""

from dataclasses import dataclass

import numpy as np

from training.tabular.difficulty import Difficulty, Errors
from training.tabular.fit import TabularFit
from training.tabular.gains import gain_of_the_whole
from training.tabular.landmarks import Landmarks
from training.tabular.model import TargetModel
from training.tabular.reach import Reach
from training.tabular.rows import Floats, Rows

MARKED_SHARE = 0.035
"""Share of rows like the training rows that are marked as outside all the same, by column, jointly or by their answer.

Rows whose target alone is outside can be marked by nothing but their answer, and the more of them are, the larger this
share; the project's bound is 0.05, and rows held out vary around what training rows say."""

LEVELS = tuple(round(level, 3) for level in (*np.arange(0.5, 0.9, 0.05), *np.arange(0.9, 0.9951, 0.005), 0.999))
"""Levels of intervals that a model carries; another level between them takes the next one above."""

_N_PARTS = 5
_MOST_ROWS = 5000
"""Rows that distances are calibrated on, drawn at random."""

_LEAST_DISTANCE = 1e-6
"""The limit of a table whose rows repeat: distances of equal rows differ by rounding."""


@dataclass(frozen=True)
class Intervals:
    """Split-conformal intervals of one target, normalised by the error expected of a row.

    An interval is the answer ± score · difficulty. With n rows that the model had not seen, the score of level p is
    the ⌈p (n + 1)⌉-th smallest of |error| / difficulty (Papadopoulos et al., ECML 2002, doi:10.1007/3-540-36755-1_29;
    Lei et al., J. Am. Stat. Assoc. 113, 2018, arXiv:1604.04173, section 5.2). NOTE[DIFF]: the rows are those of the
    training table, each answered by parts of the model that left it out, as in cross-conformal prediction, whose errors
    are brought to those of the whole by one factor (`training.tabular.gains`); the choice of trunks and of their terms
    saw all rows.

    Attributes:
        difficulty: The error expected of a row.
        levels: Shares of rows whose target is to lie within, ascending.
        scores: Score of each level.
    """

    difficulty: Difficulty
    levels: tuple[float, ...]
    scores: tuple[float, ...]

    def width(self, rows: Rows, model: TargetModel) -> Floats:
        """Return the error expected of each row, shape (n_rows,)."""
        return self.difficulty(rows, model.reach, model.trunk(rows), model.standard_error(rows))

    def score(self, level: float) -> float:
        """Return the score of the least level carried that is at least `level`, infinite beyond them."""
        return next((score for one, score in zip(self.levels, self.scores, strict=True) if one >= level), np.inf)


@dataclass(frozen=True)
class Trust:
    """What a published model says beside its answers.

    Attributes:
        landmarks: What distances are measured from.
        limit: Largest distance of a row inside.
        answers: For each target the smallest and largest answer inside.
        intervals: Of each target.
        n_rows: Rows that all was calibrated on.
        gains: For each target the error to be expected over that of the answers left out.
    """

    landmarks: Landmarks
    limit: float
    answers: tuple[tuple[float, float], ...]
    intervals: tuple[Intervals, ...]
    n_rows: int
    gains: tuple[float, ...]

    def inside(self, rows: Rows, answers: Floats, reach: Reach) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return whether each row is like the training rows, shape (n_rows,).

        Args:
            rows: Any rows.
            answers: The model's, shape (n_rows, d_outputs).
            reach: The ranges seen in training.
        """
        low, high = np.array(self.answers).T
        within = ((answers >= low) & (answers <= high)).all(axis=1)
        return np.asarray(within & (reach.distance(rows) == 0) & (self.landmarks.distance(rows) <= self.limit))


def fit_trust(
    rows: Rows,
    n_codes: tuple[int, ...],
    targets: Floats,
    fit: TabularFit,
    seed: int = 0,
    gains: tuple[float, ...] | None = None,
) -> Trust:
    """Calibrate on training rows.

    Args:
        rows: Training rows.
        n_codes: Codes of each category column.
        targets: Shape (n_rows, d_outputs).
        fit: What was fitted to them.
        seed: Seed of landmarks, parts and trees.
        gains: Of each target, where another fit to rows of this table has told it; None measures it.
    """
    if gains is None:
        columns = zip(fit.again, targets.T, fit.left_out.T, strict=True)
        gains = tuple(gain_of_the_whole(again, rows, target, left_out, seed + 1) for again, target, left_out in columns)
    limit, answers = _limits(rows, n_codes, fit.left_out, seed)
    intervals = []
    for j, (tail, gain) in enumerate(zip(fit.tails, gains, strict=True)):
        model, left_out, smallest = fit.model.targets[j], fit.left_out[:, j], float(targets[:, j].min())
        absolute = gain * np.abs(targets[:, j] - left_out)
        errors = Errors(rows, absolute, left_out, model.standard_error(rows), np.zeros(len(rows)))
        least_answer = smallest if model.follows_law and smallest > 0 else None
        difficulty, expected = Difficulty.fit(errors, n_codes, tail, seed, least_answer)
        intervals.append(_calibrated(difficulty, absolute / expected))
    return Trust(Landmarks.fit(rows, n_codes, seed), limit, answers, tuple(intervals), len(rows), gains)


def _calibrated(difficulty: Difficulty, scores: Floats) -> Intervals:
    ordered = np.sort(scores)
    places = [int(np.ceil(level * (len(scores) + 1))) for level in LEVELS]
    there = [(level, float(ordered[k - 1])) for level, k in zip(LEVELS, places, strict=True) if k <= len(scores)]
    return Intervals(difficulty, tuple(level for level, _ in there), tuple(score for _, score in there))


def _limits(
    rows: Rows, n_codes: tuple[int, ...], left_out: Floats, seed: int
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Find the limits that together mark `MARKED_SHARE` of the training rows.

    A row's rank is the largest of its ranks by distance and by answers, both of them seen from outside; one beyond the
    range of a column has the highest.
    """
    index = np.random.default_rng(seed).permutation(len(rows))[:_MOST_ROWS]
    sample, answers = rows.take(index), left_out[index]
    distance, beyond = np.empty(len(index)), np.zeros(len(index), dtype=np.bool_)
    part = np.arange(len(index)) % _N_PARTS
    for i in range(_N_PARTS):
        rest, there = np.flatnonzero(part != i), np.flatnonzero(part == i)
        seen, new = sample.take(rest), sample.take(there)
        distance[there] = Landmarks.fit(seen, n_codes, seed).distance(new)
        beyond[there] = Reach.fit(seen, np.zeros(1)).distance(new) > 0
    ranks = [_ranks(distance)]
    for column in answers.T:
        upwards = _ranks(column)
        ranks.append(np.maximum(upwards, 1 - upwards))
    worst = np.where(beyond, 1.0, np.max(ranks, axis=0))
    place = min(float(np.quantile(worst, 1 - MARKED_SHARE)), 1.0)
    low, high = np.quantile(answers, [1 - place, place], axis=0)
    limit = max(float(np.quantile(distance, place)), _LEAST_DISTANCE)
    return limit, tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))


def _ranks(values: Floats) -> Floats:
    """Return the share of values that are at most each value, shape as given."""
    return np.searchsorted(np.sort(values), values, side="right") / len(values)
