"""The search for settings: judged on the folds that choose the trunks, bounded, seeded, never worse than default."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import typer

from training.config import TableConfig, load_config
from training.errors import ConfigError, MissingExtraError
from training.tabular.fit import fit_table_model
from training.tabular.rows import Rows
from training.tabular.search import Budget, search_settings
from training.tabular.selection import Choice, choose
from training.tabular.tree_settings import TreeSettings
from training.tabular.trials import Trial, try_out

FEW_TREES = TreeSettings(n_trees=20, n_ensembles=2)


def waves() -> tuple[Rows, np.ndarray]:
    """Rows whose target is a wave under as much noise: the default trees learn the noise."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 6, (160, 2))
    return Rows(x, np.zeros((160, 0), dtype=np.int64)), np.sin(2 * x[:, 0]) + rng.normal(size=160)


@pytest.fixture(scope="module")
def tried() -> tuple[list[Trial], Choice]:
    rows, targets = waves()
    trials = try_out(rows, (), targets, 0)
    return trials, choose(trials, "inside")


def test_finds_better_settings_and_the_same_ones_again(tried: tuple[list[Trial], Choice]) -> None:
    before = optuna.logging.get_verbosity()
    first, second = (
        search_settings(*tried, "inside", FEW_TREES, seed=1, budget=Budget(np.inf, trials=6)) for _ in range(2)
    )
    assert optuna.logging.get_verbosity() == before
    assert first == second
    report = first.as_dict()
    assert report["n_trials"] == 7
    assert report["score"] < report["default_score"] == tried[1].committee[0].score
    assert first.choice.committee[0].score == report["score"]
    assert first.choice.width == first.choice.committee[0].width
    assert (first.trees.n_trees, first.trees.n_ensembles, first.trees.learning_rate) == (20, 2, 0.05)
    best = min(first.trials, key=lambda trial: trial["score"])
    assert best["n_leaves"] == first.trees.n_leaves != FEW_TREES.n_leaves
    other = search_settings(*tried, "inside", FEW_TREES, seed=2, budget=Budget(np.inf, trials=2))
    assert other.trials[1:] != first.trials[1:3]


def test_ends_when_the_time_is_over_and_keeps_the_default_where_nothing_is_better(
    tried: tuple[list[Trial], Choice],
) -> None:
    trials, choice = tried
    clock = iter([0.0, 1.0, 2.0, 10.0])
    found = search_settings(trials, choice, "inside", FEW_TREES, 0, Budget(10.0, clock=lambda: next(clock)))
    assert len(found.trials) == 3
    perfect = replace(choice, committee=(replace(choice.committee[0], score=-9.0),))
    found = search_settings(trials, perfect, "inside", FEW_TREES, 0, Budget(np.inf, trials=1))
    assert (found.choice, found.trees) == (perfect, FEW_TREES)


def test_a_missing_package_is_told(tried: tuple[list[Trial], Choice], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*'\.\[search\]'"):
        search_settings(*tried, "inside", FEW_TREES, 0, Budget(1.0))


def test_a_fit_takes_what_was_found_and_reports_it() -> None:
    rows, targets = waves()
    few = np.arange(36)  # too few for networks, which take their time
    fit = fit_table_model(
        rows.take(few), (), targets[few, None], objective="inside", trees=FEW_TREES, budget=Budget(np.inf, trials=2)
    )
    assert len(fit.searches) == 1
    assert fit.choices[0] == fit.searches[0].choice
    plain = fit_table_model(rows.take(few), (), targets[few, None], objective="inside", trees=FEW_TREES)
    assert plain.searches == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "network", "search_s": 5}, "must be of the trunk family"),
        ({"search_s": 0}, "search_s"),
        ({"search_trials": 0}, "search_trials"),
    ],
)
def test_settings_that_make_no_search_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(TableConfig, None, {"data": Path("d.csv"), "targets": ("y",), **options})


@pytest.mark.parametrize(("given", "seconds"), [("60s", 60), ("1.5m", 90), ("2 h", 7200), ("45", 45)])
def test_times_are_read(given: str, seconds: float) -> None:
    from training.table_command import _seconds

    assert _seconds(given) == seconds
    with pytest.raises(typer.BadParameter, match="a time is given as 60s"):
        _seconds("soon")
