"""A search for better settings within a time: the residual's trees and the size of the committee of trunks.

The trunks that were tried on every fold stay as they are; what changes is how many of them have a voice and what the
trees beside them look like. A setting is judged by the score that chooses the trunks (`training.tabular.selection`), on
the same folds: one at random, and the tails of the drivers and of the target. The default settings are the first trial,
and stay unless another is better.

Trials are drawn by optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011; Akiba et al., KDD 2019,
arXiv:1907.10902), seeded: as many trials give the same settings. How many fit into a time depends on the machine.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from training.config import Objective
from training.errors import MissingExtraError
from training.tabular.selection import Choice, Score, judge
from training.tabular.tree_settings import QUICK_TREES, TreeSettings
from training.tabular.trials import Trial

_MOST_TRIALS = 1000
"""Trials of a target at most, however long there is time."""

_VOICES = (1, 3, 5, 9)
"""Sizes of the committee that are offered; odd, so that a median is one of the trunks' answers."""


@dataclass(frozen=True)
class Budget:
    """How long to search for the settings of one target.

    Attributes:
        seconds: No trial begins after this time.
        trials: Trials at most, beside that of the defaults; None for as many as there is time for.
        clock: Tells the seconds.
    """

    seconds: float
    trials: int | None = None
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        choice: The choice of trunks, with the committee's size and reach that go with the settings.
        trees: Settings of the residual.
        trials: Every trial's settings with its score, in order; the first is that of the defaults.
    """

    choice: Choice
    trees: TreeSettings
    trials: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what was found for JSON."""
        return {
            "n_trials": len(self.trials),
            "default_score": self.trials[0]["score"],
            "score": min(trial["score"] for trial in self.trials),
            "trees": asdict(self.trees),
            "n_trunks": len(self.choice.kinds),
            "trials": list(self.trials),
        }


def search_settings(
    tried: Sequence[Trial],
    choice: Choice,
    objective: Objective,
    trees: TreeSettings,
    seed: int,
    budget: Budget,
) -> Found:
    """Search settings for one target.

    Args:
        tried: All candidates on every fold, from `try_out`.
        choice: What was chosen with the default settings.
        objective: What counts.
        trees: Default settings of the residual.
        seed: Seed of the draws.
        budget: How long.

    Raises:
        MissingExtraError: When optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("a search for settings", "search") from error
    began = budget.clock()
    ranked = tuple(kind for kind in choice.ranked() if kind is not None) or choice.ranked()
    best: tuple[float, Choice, TreeSettings] = (choice.committee[0].score, choice, trees)
    told: list[dict[str, Any]] = [_told(best[0], len(choice.kinds), trees)]
    most = _MOST_TRIALS if budget.trials is None else min(budget.trials, _MOST_TRIALS)
    quiet = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        while len(told) <= most and budget.clock() - began < budget.seconds:
            trial = study.ask()
            n_voices = min(trial.suggest_categorical("n_trunks", _VOICES), len(ranked))
            settings = replace(
                trees,
                n_leaves=trial.suggest_int("n_leaves", 4, 127, log=True),
                least_rows=trial.suggest_int("least_rows", 2, 100, log=True),
                feature_share=trial.suggest_float("feature_share", 0.3, 1.0),
                row_share=trial.suggest_float("row_share", 0.4, 1.0),
                penalty=trial.suggest_float("penalty", 1e-3, 100.0, log=True),
            )
            kinds = ranked[:n_voices]
            scores = _scores(tried, kinds, choice.wary, settings, objective)
            study.tell(trial, scores[0].score)
            told.append(_told(scores[0].score, n_voices, settings))
            if scores[0].score < best[0]:
                best = (
                    scores[0].score,
                    replace(choice, kinds=kinds, width=scores[0].width, committee=scores),
                    settings,
                )
    finally:
        optuna.logging.set_verbosity(quiet)
    return Found(best[1], best[2], tuple(told))


def _scores(
    tried: Sequence[Trial], kinds: tuple[Any, ...], wary: bool, settings: TreeSettings, objective: Objective
) -> tuple[Score, ...]:
    """Return the committee's scores with each reach, the best first, with quick trees of the settings."""
    quick = replace(
        settings,
        n_trees=QUICK_TREES.n_trees,
        n_ensembles=QUICK_TREES.n_ensembles,
        learning_rate=QUICK_TREES.learning_rate,
    )
    return judge(tried, [trial.committee(kinds, quick) for trial in tried], wary, objective)


def _told(score: float, n_trunks: int, trees: TreeSettings) -> dict[str, Any]:
    return {"score": score, "n_trunks": n_trunks, **asdict(trees)}
