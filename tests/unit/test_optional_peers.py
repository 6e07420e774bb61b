"""Peers of the extra `peers`: what their libraries are given, without the libraries."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.bench.table.optional_peers import installed, optional_peer
from training.evaluation.leaderboard import TableRows


def rows(n_rows: int) -> TableRows:
    rng = np.random.default_rng(n_rows)
    numeric = rng.normal(size=(n_rows, 2))
    numeric[0, 0] = np.nan
    codes = rng.integers(0, 3, (n_rows, 1))
    codes[0, 0] = -1
    return TableRows(numeric, codes, rng.normal(size=(n_rows, 1)))


class Recorder:
    """Stands for a library: keeps what it was given and answers with ones."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def keep(self, name: str, *values: Any, **named: Any) -> "Recorder":
        self.given.setdefault(name, []).append((values, named))
        return self

    def fit(self, *values: Any, **named: Any) -> None:
        self.keep("fit", *values, **named)

    def predict(self, *values: Any) -> np.ndarray:
        self.keep("predict", *values)
        return np.ones(5)


@pytest.mark.parametrize(
    ("method", "module", "members"),
    [
        ("XGBoost", "xgboost", {"DMatrix": "matrix", "train": "train"}),
        ("CatBoost", "catboost", {"Pool": "pool", "CatBoostRegressor": "model"}),
        ("RealMLP", "pytabkit", {"RealMLP_TD_Regressor": "model"}),
        ("TabM", "pytabkit", {"TabM_D_Regressor": "model"}),
    ],
)
def test_a_peer_takes_one_thread_a_seed_and_categories_and_answers_a_column(
    monkeypatch: pytest.MonkeyPatch, method: str, module: str, members: dict[str, str]
) -> None:
    library = Recorder()

    def member(name: str) -> Any:
        return lambda *values, **named: library.keep(name, *values, **named)

    fake = SimpleNamespace(**{name: member(kind) for name, kind in members.items()})
    monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.setattr("training.bench.table.optional_peers.find_spec", {module: fake}.get)
    assert method in installed()
    answer = optional_peer(method)(rows(30), rows(5), (3,), 7)
    np.testing.assert_array_equal(answer, np.ones((5, 1)))
    given = library.given
    if method == "XGBoost":
        assert given["train"][0][0][0]["seed"] == 7
        assert given["train"][0][0][0]["nthread"] == 1
        for values, named in given["matrix"]:
            assert named["feature_types"] == ["q", "q", "c"]
            assert np.isnan(values[0][0, 2])  # a level never seen is no level
    elif method == "CatBoost":
        assert given["model"][0][1]["random_seed"] == 7
        assert given["model"][0][1]["thread_count"] == 1
        assert [len(values[0]) for values, _ in given["pool"]] == [30, 5]
        assert given["pool"][0][1]["cat_features"] == [2]
        assert given["pool"][0][0][0][0][2] == "-1"
    else:
        assert given["model"][0][1]["random_state"] == 7
        assert given["model"][0][1]["n_threads"] == 1
        assert given["fit"][0][1]["cat_indicator"] == [False, False, True]
        assert np.isfinite(given["fit"][0][0][0]).all()
