"""Peers that are an extra of their own: XGBoost, CatBoost, RealMLP and TabM, imported when asked for.

All at their authors' defaults for regression, beside 600 trees at 0.05 for XGBoost as for LightGBM: RealMLP-TD and
TabM-D are the tuned defaults of pytabkit (D. Holzmüller et al., arXiv:2407.04491; Y. Gorishniy et al.,
arXiv:2410.24210).
"""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import MissingExtraError
from training.evaluation.leaderboard import TableRows

Floats = NDArray[np.float64]

EXTRA = "peers"

PACKAGES = {"XGBoost": "xgboost", "CatBoost": "catboost", "RealMLP": "pytabkit", "TabM": "pytabkit"}
"""Method → module that it needs."""

_N_TREES, _LEARNING_RATE = 600, 0.05


def installed() -> list[str]:
    """Return the methods whose packages are installed."""
    return [name for name, module in PACKAGES.items() if find_spec(module) is not None]


def optional_peer(name: str) -> Callable[[TableRows, TableRows, tuple[int, ...], int], Floats]:
    """Return a method that imports its package when it is called.

    Args:
        name: One of `PACKAGES`.

    Returns:
        The method; it raises `MissingExtraError` where its package is not installed.
    """

    def method(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Floats:
        if find_spec(PACKAGES[name]) is None:
            raise MissingExtraError(f"the method {name}", EXTRA)
        answer = _FITS[name](train, test, n_codes, seed)
        return np.asarray(answer, dtype=np.float64).reshape(-1, 1)

    return method


def _xgboost(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Any:
    import xgboost

    kinds = ["q"] * train.numeric.shape[1] + ["c"] * len(n_codes)

    def matrix(rows: TableRows, label: Floats | None = None) -> Any:
        features = rows.features.copy()
        codes = features[:, rows.numeric.shape[1] :]
        codes[codes < 0] = np.nan
        return xgboost.DMatrix(features, label, feature_types=kinds, enable_categorical=True, nthread=1)

    settings = {"eta": _LEARNING_RATE, "seed": seed, "nthread": 1, "tree_method": "hist"}
    booster = xgboost.train(settings, matrix(train, train.targets[:, 0]), _N_TREES)
    return booster.predict(matrix(test))


def _catboost(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Any:
    import catboost

    categories = list(range(train.numeric.shape[1], train.numeric.shape[1] + len(n_codes)))

    def pool(rows: TableRows, label: Floats | None = None) -> Any:
        columns = [*rows.numeric.T, *rows.codes.T.astype(str)]
        return catboost.Pool([list(row) for row in zip(*columns, strict=True)], label, cat_features=categories)

    model = catboost.CatBoostRegressor(random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False)
    model.fit(pool(train, train.targets[:, 0]))
    return model.predict(pool(test))


def _pytabkit(estimator: str) -> Callable[[TableRows, TableRows, tuple[int, ...], int], Any]:
    def fit(train: TableRows, test: TableRows, n_codes: tuple[int, ...], seed: int) -> Any:
        import pytabkit

        logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # or it says at each fit that no GPU is there
        fill = np.nanmedian(train.numeric, axis=0)

        def features(rows: TableRows) -> Floats:
            filled = np.where(np.isnan(rows.numeric), fill, rows.numeric)
            return np.concatenate([filled, rows.codes + 1.0], axis=1)

        model = getattr(pytabkit, estimator)(device="cpu", random_state=seed, n_threads=1, verbosity=0)
        indicator = [False] * train.numeric.shape[1] + [True] * len(n_codes)
        model.fit(features(train), train.targets[:, 0], cat_indicator=indicator)
        return model.predict(features(test))

    return fit


_FITS: dict[str, Callable[[TableRows, TableRows, tuple[int, ...], int], Any]] = {
    "XGBoost": _xgboost,
    "CatBoost": _catboost,
    "RealMLP": _pytabkit("RealMLP_TD_Regressor"),
    "TabM": _pytabkit("TabM_D_Regressor"),
}
