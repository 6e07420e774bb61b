"""Which trunks, and how far the residual reaches: chosen on training rows, inside and on tails that were held out.

A candidate's score is the mean over folds of log(its error / that of the trees alone), so that every fold counts the
same whatever its scale, and 0 is what no trunk at all gives. Driver tails and target tails weigh the same together.
Folds on which a candidate is worse than the trees count once more in part: a loss outside is worse than a gain is good.

Before all others comes a law (`training.tabular.law_search`): the same few terms, found again without one fold after
the other, that do without any residual as well as all others together with theirs. Approximations are others each time,
or leave much to the residual. Of 40 power laws drawn at random, of one to four of three to eleven columns and of a
category in 150 to 1,000 rows with a noise of 3 to 30 %, all were found again by half of the folds, and their scores
were 0.06 to 0.68 below the committee's; what half of the folds found on real tables was 0.02 to 0.98 above it on all
twelve splits looked at but those of cars' mileages.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.config import Objective
from training.tabular.trials import WIDTHS, Candidate, Trial, kind_name
from training.tabular.trunks import KINDS, LINKS, TrunkKind
from training.threads import AT_A_TIME

INSIDE_WEIGHT: dict[Objective, float] = {"inside": 1.0, "balanced": 1 / 3, "outside": 0.0}
"""Weight of the random fold in a score; the tails of the drivers and of the target share the rest."""

_LOSS_WEIGHT = 0.3
"""Weight of the mean loss (scores above 0) beside the mean score."""

_WORST = 2.0
"""Logarithm of the largest error ratio that counts: a trunk that runs away is ruled out, not how far it runs."""

_BEST = 4.0
"""The same for the smallest: trunks that are exact are told from those that come near, and no single fold decides."""

_MARGIN = 0.3
"""Trunks whose score is this much above the best one's have no voice: where one kind is right and the others are not, a
median of all is wrong. Between 0.3 and 0.5 did best on 53 splits of 12 data sets, and little depends on it. There is no
greatest number of voices, since nine at most did no better: error over that of the trees on upper tails of the driving
columns, held out of the training rows of 48 splits, by driver and by target: 0.915 and 0.757, without a limit 0.914 and
0.738. The mean has no voice beside others, however well the trees do alone: it says nothing of the
direction. On targets' tails held out of the training rows of 24 splits the error without it was 0.71 of the trees',
with it 0.74."""

_LEAST_VOICES = 3
"""The best so many always have a voice, so that one that runs away is outvoted: left alone, a product answered one row
of 7,000 of a steel works' energy use, all of whose columns were zero, with 64 times the largest target."""

_CLEARLY_FREE = 0.05
"""A committee goes all the way beyond the ranges seen, whether or not its trunks agree, where errors on the tails of
the driving columns are smaller by this share for it, on average; otherwise it is wary (`model.agreed`).

On upper tails of the driving columns that were held out of the training rows of 48 splits, and chosen without, the
error over that of the trees was 0.95 by driver and 0.80 by target with all of the way, 0.90 and 0.77 with half of it,
both of nine trunks, and 0.91 and 0.74 with as much as all agree on; at the worst 2.0, 1.6 and 1.5."""

_CLEAR_FADING = 0.1
"""A residual fades where that is this much better by the score, which rests on the same few tails as the choice of the
trunks. On columns' tails that chose nothing, of 48 splits, a residual that fades wherever it did better on the others
gained 1.5 % over a frozen one; on upper tails of the driving columns one that always fades lost 1 %."""

_HANDICAP = 0.05
"""A network must be about this much better than what can be read, on a logarithmic scale, to come before it, a power
law than a sum of products, and a law than the trees alone."""

_LEAST_FINDS = 3
"""Folds without which the same law must be found, beside that they are half of all."""


@dataclass(frozen=True)
class Score:
    """How one candidate did.

    Attributes:
        name: Kind of trunk.
        width: Reach of the residual.
        score: The score; lower is better, 0 is that of the trees alone.
        ratios: Fold → its error over that of the trees alone.
    """

    name: str
    width: float
    score: float
    ratios: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return the score for JSON."""
        reach = "frozen" if np.isinf(self.width) else self.width
        return {"name": self.name, "residual": reach, "score": self.score, "error_over_trees": self.ratios}


@dataclass(frozen=True)
class Choice:
    """What was chosen for one target.

    Attributes:
        kinds: The committee, the best first; None stands for the mean.
        width: Reach of the residual: infinite (frozen) or positive (faded).
        wary: Whether the committee goes beyond the ranges seen only as far as its trunks agree.
        scores: All candidates alone, the best first.
        committee: The committee with each reach, that of the choice first.
    """

    kinds: tuple[TrunkKind | None, ...]
    width: float
    wary: bool
    scores: tuple[Score, ...]
    committee: tuple[Score, ...]

    def ranked(self) -> tuple[TrunkKind | None, ...]:
        """Return all kinds that a search may choose from, the best first; a law stands alone."""
        if any(kind is not None and kind.law for kind in self.kinds):
            return self.kinds
        by_name = {kind_name(kind): kind for kind in (None, *KINDS)}
        return tuple(by_name[name] for name in dict.fromkeys(score.name for score in self.scores))

    def as_dict(self) -> dict[str, Any]:
        """Return the choice for JSON."""
        return {
            "trunks": [kind_name(kind) for kind in self.kinds],
            "residual": self.committee[0].as_dict()["residual"],
            "beyond": "as far as trunks agree" if self.wary else "all the way",
            "candidates": [score.as_dict() for score in self.scores],
            "committee": [score.as_dict() for score in self.committee],
        }


def choose(tried: Sequence[Trial], objective: Objective) -> Choice:
    """Choose trunks and the residual's reach for one target.

    Args:
        tried: From `try_out`.
        objective: What counts.
    """
    kinds: list[TrunkKind | None] = [None, *KINDS]
    there = [kind for kind in kinds if all(kind in trial.candidates for trial in tried)]
    scores = [
        _score(
            kind_name(kind), width, tried, [trial.errors(trial.candidates[kind])[width] for trial in tried], objective
        )
        for kind in there
        for width in WIDTHS
    ]
    scores.sort(key=lambda one: one.score)
    best = {name: next(one.score for one in scores if one.name == name) for name in map(kind_name, there)}
    order = sorted(there, key=lambda kind: best[kind_name(kind)] + _handicap(kind))
    order = [kind for kind in order if kind is not None] or order
    most = best[kind_name(order[0])] + _handicap(order[0]) + _MARGIN
    committee = tuple(
        kind
        for place, kind in enumerate(order)
        if place < _LEAST_VOICES or best[kind_name(kind)] + _handicap(kind) <= most
    )
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        together = list(threads.map(lambda trial: trial.committee(committee), tried))
    held_back = judge(tried, together, True, objective)
    free = judge(tried, together, False, objective)
    wary = _gain(tried, free, held_back) <= _CLEARLY_FREE
    taken = held_back if wary else free
    law = _law(tried, min(taken[0].score, -_HANDICAP), objective)
    if law is not None:
        alone = judge(tried, [trial.committee([law]) for trial in tried], False, objective)
        return Choice((law,), alone[0].width, False, tuple(scores), alone)
    return Choice(committee, taken[0].width, wary, tuple(scores), taken)


def _law(tried: Sequence[Trial], most: float, objective: Objective) -> TrunkKind | None:
    """Return the law whose score without any residual is the lowest, where it is low enough.

    A power law must be clearly better than a sum of products, whose exponents are not fitted.

    Args:
        tried: The folds.
        most: The largest score: that of the committee with its residual, and clearly below that of the trees alone.
        objective: What counts.
    """
    alone = {}
    for law in _laws(tried):
        errors = [trial.trunk_error(trial.candidates[law]) for trial in tried]
        score = _score(law.name, np.inf, tried, errors, objective).score
        if score <= most:
            alone[law] = score
    lowest = min(alone.values(), default=0.0)
    return next((law for law, score in alone.items() if score <= lowest + _HANDICAP), None)


def _laws(tried: Sequence[Trial]) -> list[TrunkKind]:
    """Return the laws that at least half of the folds found, sums first; every fold has tried them then."""
    laws = []
    for link in LINKS:
        found = Counter(trial.laws[link] for trial in tried if link in trial.laws)
        for law, n_finds in found.most_common(1):
            if n_finds >= max(_LEAST_FINDS, len(tried) / 2):
                laws.append(law)
    for trial in tried:
        for law in laws:
            trial.try_kind(law)
    return laws


def _gain(tried: Sequence[Trial], free: Sequence[Score], held_back: Sequence[Score]) -> float:
    """Return by how much a committee errs less that goes all the way: mean over drivers' tails of the logarithm."""
    logs = [
        np.log(held_back[0].ratios[trial.fold.name] / free[0].ratios[trial.fold.name])
        for trial in tried
        if trial.fold.region == "driver"
    ]
    return float(np.mean(np.clip(logs, -_BEST, _BEST))) if logs else 0.0


def judge(
    tried: Sequence[Trial], committees: Sequence[Candidate], wary: bool, objective: Objective
) -> tuple[Score, ...]:
    """Return a committee's scores with each reach of the residual, that to be taken first.

    Args:
        tried: The folds.
        committees: The committee on each fold, from `Trial.committee`.
        wary: Whether it goes beyond the ranges seen only as far as its trunks agree.
        objective: What counts.
    """
    errors = [trial.errors(one, wary) for trial, one in zip(tried, committees, strict=True)]
    scores = [_score("committee", width, tried, [one[width] for one in errors], objective) for width in WIDTHS]
    frozen = next(one.score for one in scores if np.isinf(one.width))
    taken = [one for one in scores if np.isinf(one.width) or one.score < frozen - _CLEAR_FADING]
    taken.sort(key=lambda one: one.score)
    return (*taken, *(one for one in scores if one not in taken))


def _handicap(kind: TrunkKind | None) -> float:
    return _HANDICAP if kind is not None and kind.networked else 0.0


def _score(name: str, width: float, tried: Sequence[Trial], errors: Sequence[float], objective: Objective) -> Score:
    tiny = np.finfo(np.float64).tiny
    ratios = [max(error, tiny) / max(trial.reference, tiny) for trial, error in zip(tried, errors, strict=True)]
    logs = np.clip(np.log(ratios), -_BEST, _WORST)
    regions = [trial.fold.region for trial in tried]

    def mean(region: str) -> float | None:
        there = [log for log, one in zip(logs, regions, strict=True) if one == region]
        return float(np.mean(there)) if there else None

    tails = [value for value in (mean("driver"), mean("target")) if value is not None]
    inside = mean("inside")
    weight = INSIDE_WEIGHT[objective]
    score = weight * (inside or 0.0) + (1 - weight) * (float(np.mean(tails)) if tails else inside or 0.0)
    outside = [log for log, region in zip(logs, regions, strict=True) if region != "inside"]
    if outside:
        score += (1 - weight) * _LOSS_WEIGHT * float(np.mean(np.maximum(outside, 0)))
    return Score(name, width, score, {trial.fold.name: ratio for trial, ratio in zip(tried, ratios, strict=True)})
