"""A run on a table: split, fit, compare with baselines inside and outside the training range, publish."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract.manifest import ModelManifest
from training.all_rows import AllRows, judge_all_rows
from training.coded_table import CodedTable, rows_as_csv
from training.config import TableConfig
from training.datasets import TrainingTable, table_of
from training.evaluation.card_plots import coverage_plot, curves_plot, importance_plot, predicted_plot
from training.evaluation.importance import permutation_importance
from training.evaluation.leaderboard import BASELINES, BoardRow, board_row
from training.evaluation.metrics import Metrics, finite_or_none
from training.evaluation.model_card import CardPlot, model_card
from training.evaluation.plots import driver_error_plot
from training.fitting.selection import Progress
from training.holding_out import hold_out
from training.kept_fits import NOTHING_KEPT, KeptFits, kept_fits
from training.parity import RawRows
from training.publish import FittedModel, library_versions, no_card, publish, report_json
from training.runs import config_report, name_after, save_run
from training.splits import DriverSplit, Split, driver_split
from training.table_fits import FITS, FittedTable
from training.table_judging import Predict, coverage, main_curves, marked_rows, quick_predict
from training.table_model import table_model

OURS = "this model"
"""What the leaderboard calls the published model."""

ERROR_PLOT = "error.png"

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class TableResult:
    """What a run gave.

    Attributes:
        manifest: The published model.
        folder: The run's folder.
        leaderboards: Region ("inside", "outside …", "other groups of …") → rows, ours first.
        notes: What a reader must know, one sentence each.
    """

    manifest: ModelManifest
    folder: Path
    leaderboards: dict[str, list[BoardRow]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """A fitted table with all that was measured of it.

    Attributes:
        table: The table.
        split: Its rows.
        fitted: The model.
        answers: Its answers for the test rows, shape (n_test, d_outputs).
        leaderboards: Region → rows, ours first.
        metrics: Region → output → metric → value.
        covered: Region → level → share of targets within intervals.
        files: Test rows as CSV, and plots.
        notes: What a reader must know, one sentence each.
        kept: Where finished fits are kept.
        everywhere: What all rows say of a model fitted to some of them, None where it was fitted to all.
        published: The model to publish: the one that was judged, or one fitted to the rows that judged it too.
        published_on: The rows of the table that it was fitted to.
    """

    table: TrainingTable
    split: Split
    fitted: FittedTable
    answers: Floats
    leaderboards: dict[str, list[BoardRow]]
    metrics: dict[str, Metrics]
    covered: dict[str, dict[float, float]]
    files: dict[str, bytes]
    notes: list[str]
    kept: KeptFits
    everywhere: AllRows | None
    published: FittedTable
    published_on: Index


def fit_table(
    config: TableConfig,
    progress: Progress,
    tell: Callable[[TrainingTable], object] = id,
    keep: Callable[[TrainingTable], KeptFits] = lambda _: NOTHING_KEPT,
) -> tuple[FittedModel, dict[str, Any]]:
    """Fit a model to a table without publishing it.

    Args:
        config: The run's settings.
        progress: Told what is done.
        tell: Given the table once it is read, before anything is fitted.
        keep: Given the table too; returns where finished fits are kept.

    Returns:
        The fitted model and its report.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When nothing can be learned from it.
        FitError: When every fit diverged.
    """
    judged = _fit_and_judge(config, progress, tell, keep)
    return _model(config, judged), _report(config, judged)


def _fit_and_judge(
    config: TableConfig,
    progress: Progress,
    tell: Callable[[TrainingTable], object],
    keep: Callable[[TrainingTable], KeptFits],
) -> _Judged:
    torch.set_num_threads(config.threads)
    table = table_of(config)
    tell(table)
    kept = keep(table)
    held_out = hold_out(config, table)
    split = held_out.split
    fitted = FITS[config.family](
        config, table, split, progress, f"fit {name_after(config.name, config.data)}", kept.within("whole"), None
    )
    predictions = fitted.predict(split.test)
    leaderboards = {held_out.region: _leaderboard(config, fitted.coded, split, predictions)}
    everywhere = judge_all_rows(config, fitted, held_out) if table.drawn is not None else None
    judged_on = everywhere.metrics if everywhere is not None else leaderboards[held_out.region][0].metrics
    metrics = {held_out.kind: _copied(judged_on)}
    covered = {held_out.kind: _measure_intervals(fitted, split.test, predictions, metrics[held_out.kind])}
    files = {"test.csv": rows_as_csv(table, split.test)}
    notes = [*table.notes, *held_out.notes]
    if config.weight is not None:
        notes.append(f"errors are weighted by {config.weight!r}")
    notes += [*([everywhere.note] if everywhere is not None else [])]
    measured = config.outside and config.split_kind != "outside"
    tail = driver_split(table.numeric, table.targets, config.seed) if measured else None
    if tail is not None:
        column = table.number_names[tail.column]
        region = f"outside ({column} above {tail.threshold:.6g})"
        errors, leaderboards[region], tail_fit, answers = _judge_outside(config, table, tail, progress, kept, fitted)
        metrics["outside"] = _copied(leaderboards[region][0].metrics)
        covered["outside"] = _measure_intervals(tail_fit, tail.split.test, answers, metrics["outside"])
        everything = np.concatenate([tail.split.validation, tail.split.test])
        files[ERROR_PLOT] = driver_error_plot(
            f"{name_after(config.name, config.data)}: fitted up to {column} = {tail.threshold:.6g}",
            column,
            tail.threshold,
            table.numeric[everything, tail.column],
            errors,
        )
    elif measured:
        notes.append("the error outside the training range was not measured: no number column has a tail to hold out")
    published, published_on = fitted, split.train
    if config.all_rows:
        published_on = np.setdiff1d(np.arange(table.n_rows), split.validation)
        again = replace(split, train=published_on)
        published = FITS[config.family](config, table, again, progress, "fit all rows", kept.within("all-rows"), fitted)
        notes.append(
            f"the published model was fitted once more, to {len(published_on)} rows; errors, coverage and plots are of "
            f"the model fitted to {len(split.train)}, without those that judge"
        )
    return _Judged(
        table,
        split,
        fitted,
        predictions,
        leaderboards,
        metrics,
        covered,
        files,
        notes,
        kept,
        everywhere,
        published,
        published_on,
    )


def _model(config: TableConfig, judged: _Judged) -> FittedModel:
    """Return what is published."""
    split = replace(judged.split, train=judged.published_on)
    return table_model(config, judged.published, split, judged.metrics)


def _report(config: TableConfig, judged: _Judged) -> dict[str, Any]:
    table, split = judged.table, judged.split
    return {
        "task": f"table {table.source}",
        "config": config_report(config),
        "data_sha256": table.sha256,
        "split": {"kind": config.split_kind, "judged_on": next(iter(judged.leaderboards))},
        "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "published_on": len(judged.published_on),
        **({"all_rows": judged.everywhere.as_dict()} if judged.everywhere is not None else {}),
        "features": [{"name": feature.name, "kind": feature.kind} for feature in table.features],
        "columns": [asdict(use) for use in table.uses],
        "resumed": judged.kept.recalled,
        "notes": judged.notes,
        **judged.published.report,
        "leaderboards": {
            region: [{"model": row.model, "metrics": row.metrics} for row in rows]
            for region, rows in judged.leaderboards.items()
        },
        "coverage": {
            region: {f"{level:g}": share for level, share in shares.items()}
            for region, shares in judged.covered.items()
        },
        "versions": library_versions(),
    }


def run_table(config: TableConfig, progress: Progress, tell: Callable[[TrainingTable], object] = id) -> TableResult:
    """Fit a model to a table, publish it with its model card and keep the run's folder.

    Args:
        config: The run's settings.
        progress: Told what is done.
        tell: Given the table once it is read, before anything is fitted.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When nothing can be learned from it.
        FitError: When every fit diverged.
        ExportError: When the graph does not answer as the network does.
        PublicationError: When the repository cannot be written.
    """
    name = name_after(config.name, config.data)
    repository = config.open_repository()
    judged = _fit_and_judge(
        config, progress, tell, lambda table: kept_fits(config, name, table.sha256, resume=config.resume)
    )
    model, report = _model(config, judged), _report(config, judged)
    model = replace(
        model.created_at(datetime.now(UTC)),
        leaderboard={region: _told(rows) for region, rows in judged.leaderboards.items()},
    )
    card: Callable[[ModelManifest], Mapping[str, bytes]] = no_card
    if config.card:
        seen = table_model(config, judged.fitted, judged.split, judged.metrics)
        predict = quick_predict(judged.fitted, seen.signature)
        rows, targets = judged.fitted.coded.raw(judged.split.test), judged.table.targets[judged.split.test]
        importance = permutation_importance(predict, seen.inputs, rows, targets, config.seed)
        model = replace(model, importance=importance)
        plots = _card_plots(judged, replace(seen, importance=importance), rows, predict)
        card = partial(model_card, plots=plots, notes=tuple(judged.notes))
    published = {file: content for file, content in judged.files.items() if file.endswith(".png")}
    manifest = publish(repository, model, config.dtype, report, published, card)
    folder = save_run(config.runs, name, config, {"report.json": report_json(report), **judged.files})
    judged.kept.discard()
    return TableResult(manifest, folder, judged.leaderboards, tuple(judged.notes))


def _told(rows: list[BoardRow]) -> dict[str, dict[str, float | None]]:
    """Return a leaderboard for the manifest; an error that overflowed is None."""
    return {row.model: {name: finite_or_none(error) for name, error in row.rmse.items()} for row in rows}


def _card_plots(judged: _Judged, model: FittedModel, rows: RawRows, predict: Predict) -> dict[str, CardPlot]:
    names, fitted, test = judged.table.target_names, judged.fitted, judged.split.test
    marked = marked_rows(fitted, test, judged.answers)
    plots = {
        "errors": CardPlot(
            "predicted.png",
            "Predictions against true values, rows held out.",
            predicted_plot(names, judged.table.targets[test], judged.answers, marked),
        ),
        "importance": CardPlot("importance.png", "Permutation importance.", importance_plot(names, model.importance)),
    }
    if ERROR_PLOT in judged.files:
        caption = "Errors below and above the largest value of the driving column seen in training."
        plots["outside"] = CardPlot(ERROR_PLOT, caption, judged.files[ERROR_PLOT])
    if any(judged.covered.values()):
        caption = "Share of targets within intervals, by their level, on rows held out."
        plots["intervals"] = CardPlot("coverage.png", caption, coverage_plot(judged.covered))
    columns = [one.column for one in model.importance]
    if curves := main_curves(fitted, model.inputs, columns, rows, predict):
        caption = "Answers along the columns that matter most, half a range beyond what was seen on either side."
        plots["curves"] = CardPlot("curves.png", caption, curves_plot(names, curves))
    return plots


def _copied(metrics: Metrics) -> Metrics:
    return {name: dict(values) for name, values in metrics.items()}


def _measure_intervals(fitted: FittedTable, index: Index, answers: Floats, metrics: Metrics) -> dict[float, float]:
    """Return the coverage by level, and add what is told of it to the metrics."""
    covered, more = coverage(fitted, index, answers)
    for name, values in more.items():
        metrics[name] |= values
    return covered


def _judge_outside(
    config: TableConfig,
    table: TrainingTable,
    tail: DriverSplit,
    progress: Progress,
    kept: KeptFits,
    whole: FittedTable,
) -> tuple[dict[str, Floats], list[BoardRow], FittedTable, Floats]:
    """Fit without the tail, which the whole was fitted with.

    Returns:
        Every model's errors on held-out rows inside and outside, the leaderboard, our model, and its answers outside.
    """
    fitted = FITS[config.family](
        config, table, tail.split, progress, "fit without the tail", kept.within("outside"), whole
    )
    everything = np.concatenate([tail.split.validation, tail.split.test])
    train, held_out = fitted.coded.rows(tail.split.train), fitted.coded.rows(everything)
    answers = {OURS: fitted.predict(everything)}
    answers |= {name: baseline(train, held_out, config.seed) for name, baseline in BASELINES.items()}
    n_inside = len(tail.split.validation)
    spread = table.targets.std(axis=0)
    with np.errstate(over="ignore"):
        errors = {name: np.mean(np.abs(answer - held_out.targets) / spread, axis=1) for name, answer in answers.items()}
    board = [
        board_row(
            name,
            held_out.targets[n_inside:],
            answer[n_inside:],
            table.target_names,
            None if held_out.weights is None else held_out.weights[n_inside:],
        )
        for name, answer in answers.items()
    ]
    return errors, board, fitted, answers[OURS][n_inside:]


def _leaderboard(config: TableConfig, coded: CodedTable, split: Split, predictions: Floats) -> list[BoardRow]:
    fitting = coded.rows(split.train)
    test = coded.rows(split.test)
    answers = {OURS: predictions}
    answers |= {name: baseline(fitting, test, config.seed) for name, baseline in BASELINES.items()}
    names = coded.table.target_names
    return [board_row(name, test.targets, answer, names, test.weights) for name, answer in answers.items()]
