"""The errors of a model on all rows of a table that it was not fitted on, in one pass and in bounded memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.dates import date_numbers, read_moments
from models.contract.tables import Batch, Column, iter_batches
from training.coded_table import CodedTable
from training.config import TableConfig
from training.datasets import TrainingTable, group_names, times_of
from training.evaluation.metrics import Metrics
from training.export import CategoryCodes, Signature
from training.holding_out import HeldOut
from training.parity import load_graph
from training.table_fits import FittedTable
from training.tabular.lowering import lower_table_model
from training.tabular.model import TabularModel

Floats = NDArray[np.float64]

MOST_JUDGED = 1_000_000
"""Rows judged, drawn at random where there are more: an error of so many rows is known to a thousandth."""


@dataclass(frozen=True)
class AllRows:
    """Errors on all rows that were not fitted on.

    Attributes:
        metrics: Errors of each target.
        n_rows: Rows judged, all or about `MOST_JUDGED` of them.
        n_file_rows: Rows of the table.
    """

    metrics: Metrics
    n_rows: int
    n_file_rows: int

    @property
    def note(self) -> str:
        """What the numbers are of, in a sentence."""
        return (
            f"the model's errors in the manifest are of {self.n_rows} of {self.n_file_rows} rows, none of which it was "
            "fitted on; the leaderboard compares on those drawn"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the errors for JSON."""
        return {"n_rows": self.n_rows, "n_file_rows": self.n_file_rows, "metrics": self.metrics}


class RunningErrors:
    """Errors of predictions that come piece by piece, as `training.evaluation.metrics` has them of whole ones.

    Args:
        centre: A value near the mean of each target, shape (d_outputs,), against cancellation.
    """

    def __init__(self, centre: Floats) -> None:
        self._centre = centre
        self._sums = np.zeros((5, len(centre)))
        self._largest = float(np.finfo(np.float64).tiny)
        self.n_rows = 0

    def add(self, targets: Floats, predictions: Floats, weights: Floats | None = None) -> None:
        """Add rows, both arrays (n_rows, d_outputs), weights (n_rows,)."""
        weight = np.ones((len(targets), 1)) if weights is None else weights[:, None]
        largest = max(self._largest, float(weight.max()))
        self._sums *= self._largest / largest
        self._largest, weight = largest, weight / largest  # sums of weights near the largest float overflow
        error, shifted = predictions - targets, targets - self._centre
        with np.errstate(over="ignore"):
            for i, values in enumerate((np.ones_like(error), np.abs(error), error**2, shifted, shifted**2)):
                self._sums[i] += (weight * values).sum(axis=0)
        self.n_rows += len(targets)

    def metrics(self, names: tuple[str, ...]) -> Metrics:
        """Return mean absolute error, root mean squared error and coefficient of determination of each target."""
        with np.errstate(all="ignore"):
            _, mae, squared, mean, spread = self._sums / self._sums[0]
            variance = spread - mean**2
            r2 = np.where(variance > 0, 1 - squared / variance, np.nan)
        result: Metrics = {}
        for j, name in enumerate(names):
            values = {"mae": float(mae[j]), "rmse": float(np.sqrt(squared[j])), "r2": float(r2[j])}
            result[name] = {metric: value for metric, value in values.items() if np.isfinite(value)}
        return result


def judge_all_rows(config: TableConfig, fitted: FittedTable, held_out: HeldOut) -> AllRows:
    """Judge a model on every row of its table that it was neither fitted on nor chosen by.

    Args:
        config: The run's settings.
        fitted: Fitted on rows drawn of the table.
        held_out: How rows were held out; the same rule is kept on all rows.

    Raises:
        TableError: When the file can no longer be read.
        ValueError: When the table was not drawn.
    """
    table = fitted.coded.table
    if table.drawn is None:
        msg = "all rows of a table are judged where some were drawn, however all were taken"
        raise ValueError(msg)
    used = np.concatenate([held_out.split.train, held_out.split.validation])
    used_numbers = np.sort(table.drawn.numbers[used])
    errors = RunningErrors(table.targets.mean(axis=0))
    used_groups: set[str] | None = None
    if config.split_kind == "group":
        used_groups = _groups_of(config, table, used_numbers)
    first_time = None
    if config.split_kind == "time" and table.times is not None:
        first_time = table.times[held_out.split.test].min()
    answer = _answers(fitted)
    rng, share = np.random.default_rng(config.seed), MOST_JUDGED / table.drawn.n_rows
    for batch, rows in _batches(config, table):
        numbers = batch.first_row + np.arange(rows.n_rows)
        judged = ~np.isin(numbers, used_numbers, assume_unique=True)
        judged &= ~np.isnan(rows.targets).any(axis=1)
        if rows.weights is not None:
            judged &= rows.weights > 0
        if used_groups is not None and config.group is not None:
            judged &= [name not in used_groups for name in group_names(batch.columns[config.group])]
        if first_time is not None and config.time_column is not None:
            left = np.flatnonzero(judged)
            judged[left] = times_of(config.time_column, batch.columns[config.time_column][left]) >= first_time
        if held_out.tail is not None:
            column, threshold = held_out.tail
            judged &= rows.numeric[:, column] > threshold
        coded = CodedTable.with_levels(rows, fitted.coded.levels)
        if config.unseen == "refuse":
            judged &= (coded.codes >= 0).all(axis=1)
        index = np.flatnonzero(judged & (rng.random(rows.n_rows) < share))
        if index.size:
            answers = answer(coded, index)
            errors.add(rows.targets[index], answers, None if rows.weights is None else rows.weights[index])
    return AllRows(errors.metrics(table.target_names), errors.n_rows, table.drawn.n_rows)


def _answers(fitted: FittedTable) -> Callable[[CodedTable, NDArray[np.int64]], Floats]:
    """Return what predicts rows of a table, by the graph where a model of many trees would take long in NumPy."""
    if not isinstance(fitted.model, TabularModel):
        return lambda coded, index: replace(fitted, coded=coded).predict(index)
    categories = [feature for feature in fitted.coded.table.features if feature.kind == "category"]
    signature = Signature(
        fitted.coded.table.numeric.shape[1],
        tuple(
            CategoryCodes(levels, feature.may_be_missing)
            for levels, feature in zip(fitted.coded.levels, categories, strict=True)
        ),
    )
    runner = load_graph(lower_table_model(fitted.model, signature, "float64"), "float64")
    return lambda coded, index: np.asarray(runner(coded.raw(index)), dtype=np.float64)


def _batches(config: TableConfig, table: TrainingTable) -> Iterator[tuple[Batch, TrainingTable]]:
    """Yield the rows of the file piece by piece, each piece as a table of the same features."""
    names = {feature.date.column if feature.date else feature.name for feature in table.features}
    names |= {*table.target_names, *filter(None, [config.weight, config.group, config.time_column])}
    numeric = set() if table.drawn is None else names & set(table.drawn.number_columns)
    texts, numbers = sorted(names - numeric), sorted(numeric)
    for batch in iter_batches(config.data, numbers=numbers, texts=texts, lenient=config.numbers, whole=False):
        yield batch, _table_of(table, batch.columns, config.weight)


def _table_of(table: TrainingTable, columns: Mapping[str, Column], weight: str | None) -> TrainingTable:
    moments = {}
    for feature in table.features:
        if feature.date is not None and feature.date.column not in moments:
            moments[feature.date.column] = read_moments(columns[feature.date.column].tolist())[0]
    n_rows = len(columns[table.target_names[0]])
    numeric, categorical = np.empty((n_rows, len(table.number_names))), []
    j = 0
    for feature in table.features:
        if feature.kind == "category":
            levels = columns[feature.name].tolist()
            categorical.append(np.array(["" if level is None else level for level in levels], dtype=object))
            continue
        if feature.date is None:
            numeric[:, j] = columns[feature.name]
        else:
            numeric[:, j] = date_numbers(moments[feature.date.column], feature.date.origin, [feature.date.part])[:, 0]
        j += 1
    return replace(
        table,
        numeric=numeric,
        categorical=np.stack(categorical, axis=1) if categorical else np.empty((n_rows, 0), dtype=object),
        targets=np.stack([columns[name].astype(np.float64) for name in table.target_names], axis=1),
        weights=None if weight is None else np.nan_to_num(columns[weight].astype(np.float64)),
        groups=None,
        times=None,
        drawn=None,
    )


def _groups_of(config: TableConfig, table: TrainingTable, numbers: NDArray[np.int64]) -> set[str]:
    """Return the names of the groups of some rows, by their numbers in the file."""
    names: set[str] = set()
    for batch, rows in _batches(config, table):
        here = np.isin(batch.first_row + np.arange(rows.n_rows), numbers, assume_unique=True)
        if config.group is not None:
            names |= set(group_names(batch.columns[config.group][here]).tolist())
    return names
