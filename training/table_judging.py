"""What is measured of a fitted table's model beside its errors: marks, coverage, curves, importance."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract.manifest import Column, NumberColumn, tensor_numbers
from training.evaluation.card_plots import Curve
from training.evaluation.metrics import Metrics
from training.export import Signature
from training.parity import GraphRunner, RawRows
from training.publish_trust import as_received
from training.table_fits import FittedTable
from training.tabular.lowering import lower_table_model
from training.tabular.model import TabularModel

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
Predict = Callable[[RawRows], NDArray[np.floating]]

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels whose coverage is drawn."""

LEVEL = 0.9
"""Level told in the metrics."""

_MOST_ROWS = 2000
_MOST_CURVES = 3
_N_POINTS = 61
_BEYOND = 0.5
"""Curves run on by this share of the column's range on either side."""


def quick_predict(fitted: FittedTable, signature: Signature) -> Predict:
    """Return what predicts raw rows fast: a tabular model's graph, for its trees take long in NumPy."""
    model = fitted.model
    if isinstance(model, TabularModel):
        return GraphRunner(lower_table_model(model, signature, "float64"), "float64")

    @torch.no_grad()
    def predict(rows: RawRows) -> NDArray[np.floating]:
        parts = [None if block is None else torch.as_tensor(block) for block in (rows.numeric, rows.codes)]
        return np.asarray(model(*parts).numpy())

    return predict


def marked_rows(fitted: FittedTable, index: Index, answers: Floats) -> NDArray[np.bool_]:
    """Return which rows the model would mark as outside, shape (len(index),)."""
    model, trust = fitted.model, fitted.trust
    if trust is None or not isinstance(model, TabularModel):
        return np.zeros(len(index), dtype=np.bool_)
    return ~trust.inside(fitted.rows(index), answers, model.targets[0].reach)


def half_widths(fitted: FittedTable, rows: RawRows, level: float) -> Floats | None:
    """Return half the widths of intervals, shape (n_rows, d_outputs), or None where there are none of that level."""
    model, trust = fitted.model, fitted.trust
    if trust is None or not isinstance(model, TabularModel):
        return None
    received = as_received(rows, "float64")
    halves = [
        one.score(level) * one.width(received, target)
        for one, target in zip(trust.intervals, model.targets, strict=True)
    ]
    return np.stack(halves, axis=1) if np.isfinite(halves).all() else None


def coverage(fitted: FittedTable, index: Index, answers: Floats) -> tuple[dict[float, float], Metrics]:
    """Measure intervals on rows held out.

    Args:
        fitted: The model.
        index: Rows of its table.
        answers: Its answers for them, shape (len(index), d_outputs).

    Returns:
        Level → share of targets within, the mean over outputs; and for each output "coverage_90" and "width_90", the
        mean width of such an interval. Both are empty for a model without intervals.
    """
    index, answers = index[:_MOST_ROWS], answers[:_MOST_ROWS]
    targets, rows = fitted.coded.table.targets[index], fitted.coded.raw(index)
    shares: dict[float, float] = {}
    metrics: Metrics = {}
    for level in LEVELS:
        half = half_widths(fitted, rows, level)
        if half is None:
            continue
        within = (np.abs(answers - targets) <= half).mean(axis=0)
        shares[level] = float(within.mean())
        if level == LEVEL:
            metrics = {
                name: {"coverage_90": float(share), "width_90": float(2 * width)}
                for name, share, width in zip(fitted.coded.table.target_names, within, half.mean(axis=0), strict=True)
            }
    return shares, metrics


def main_curves(
    fitted: FittedTable, inputs: Sequence[Column], columns: Sequence[str], rows: RawRows, predict: Predict
) -> list[Curve]:
    """Return the model's answers along its main number columns.

    Args:
        fitted: The model.
        inputs: Its columns.
        columns: Their names, the most important first; the first three with a range are taken.
        rows: Rows from which the typical one, the nearest to their medians, is taken.
        predict: The model's answers.
    """
    numbers = {column.name: (j, column) for j, column in enumerate(tensor_numbers(inputs))}
    plain = {column.name for column in inputs if isinstance(column, NumberColumn)}
    curves: list[Curve] = []
    for name in columns:
        if name not in plain or len(curves) == _MOST_CURVES or rows.numeric is None:
            continue
        j, column = numbers[name]
        low, high = column.minimum, column.maximum
        if not high > low:
            continue
        values = np.linspace(low - _BEYOND * (high - low), high + _BEYOND * (high - low), _N_POINTS)
        values = values[(values > 0) | (values >= low) | (low < 0)]  # what was never negative stays so
        index = np.repeat(_typical(rows.numeric), len(values))
        numeric = rows.numeric[index]
        numeric[:, j] = values
        line = replace(rows.take(index), numeric=numeric)
        answers = np.asarray(predict(line), dtype=np.float64)
        curves.append(Curve(name, (low, high), values, answers, half_widths(fitted, line, LEVEL)))
    return curves


def _typical(numeric: Floats) -> Index:
    """Return the row nearest to the medians, in units of each column's spread, as an index of one."""
    distance = np.zeros(len(numeric))
    for column in numeric.T:
        known = ~np.isnan(column)
        if known.any() and np.ptp(column[known]) > 0:
            away = np.abs(column - np.median(column[known])) / np.std(column[known])
            distance += np.where(known, away, 1.0)
    return np.array([int(np.argmin(distance))])
