"""Baselines that a table's model is compared with, on the same rows: mean, linear, gradient-boosted trees."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from training.binary_scale import binary_scale
from training.evaluation.metrics import Metrics, regression_metrics

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_MAX_BINNED_CATEGORIES = 255
"""Largest number of levels that the boosted trees take as a category; more are taken as numbers."""


@dataclass(frozen=True)
class TableRows:
    """Rows as the baselines take them.

    Attributes:
        numeric: Shape (n_rows, d_numeric), missing values as NaN.
        codes: Shape (n_rows, d_categorical).
        targets: Shape (n_rows, d_outputs).
        weights: Weights of the rows, shape (n_rows,); None for equal ones.
    """

    numeric: Floats
    codes: Codes
    targets: Floats
    weights: Floats | None = None

    @property
    def features(self) -> Floats:
        """Number columns, then codes, shape (n_rows, d_numeric + d_categorical)."""
        return np.concatenate([self.numeric, self.codes.astype(np.float64)], axis=1)


def _mean(train: TableRows, test: TableRows, seed: int) -> Floats:  # noqa: ARG001 - one signature for all
    return np.tile(np.average(train.targets, axis=0, weights=train.weights), (len(test.targets), 1))


def _with_known_columns(train: TableRows, test: TableRows) -> tuple[TableRows, TableRows]:
    """Leave out number columns without a value to fit on, at which the trees fail and the imputer warns."""
    known = ~np.isnan(train.numeric).all(axis=0)
    return replace(train, numeric=train.numeric[:, known]), replace(test, numeric=test.numeric[:, known])


def _linear(train: TableRows, test: TableRows, seed: int) -> Floats:  # noqa: ARG001 - one signature for all
    train, test = _with_known_columns(train, test)
    d_numeric = train.numeric.shape[1]
    columns = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
                list(range(d_numeric)),
            ),
            (
                "categories",
                OneHotEncoder(handle_unknown="ignore"),
                list(range(d_numeric, d_numeric + train.codes.shape[1])),
            ),
        ]
    )
    model = make_pipeline(columns, RidgeCV(alphas=np.logspace(-3, 3, 13)))
    model.fit(train.features, train.targets, ridgecv__sample_weight=train.weights)
    return np.asarray(model.predict(test.features), dtype=np.float64).reshape(test.targets.shape)


def _boosted(train: TableRows, test: TableRows, seed: int) -> Floats:
    train, test = _with_known_columns(train, test)
    d_numeric = train.numeric.shape[1]
    categorical = [
        d_numeric + j for j in range(train.codes.shape[1]) if train.codes[:, j].max(initial=0) < _MAX_BINNED_CATEGORIES
    ]
    columns = []
    for j in range(train.targets.shape[1]):
        model = HistGradientBoostingRegressor(categorical_features=categorical, random_state=seed)
        scale = binary_scale(train.targets[:, j])
        model.fit(train.features, train.targets[:, j] / scale, train.weights)
        columns.append(scale * model.predict(test.features))
    return np.stack(columns, axis=1)


BASELINES: dict[str, Callable[[TableRows, TableRows, int], Floats]] = {
    "mean": _mean,
    "linear (ridge)": _linear,
    "gradient-boosted trees": _boosted,
}
"""Name → fits on the first rows and predicts the second, with a seed: scikit-learn at its defaults."""


@dataclass(frozen=True)
class BoardRow:
    """One model's errors on one set of rows.

    Attributes:
        model: Name of the model.
        metrics: Target → metric → value.
    """

    model: str
    metrics: Metrics

    @property
    def rmse(self) -> dict[str, float]:
        """Target → root mean squared error; infinite where it overflowed."""
        return {target: values.get("rmse", float("inf")) for target, values in self.metrics.items()}


def board_row(
    model: str, targets: Floats, predictions: Floats, names: tuple[str, ...], weights: Floats | None = None
) -> BoardRow:
    """Judge a model's predictions, both arrays (n_rows, d_outputs), weighted where there are weights (n_rows,)."""
    return BoardRow(model, regression_metrics(targets, predictions, names, weights))
