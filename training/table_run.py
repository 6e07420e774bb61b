"""A run on a table: split, fit, compare with baselines inside and outside the training range, publish."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract.dates import DatePart
from models.contract.manifest import (
    CategoryColumn,
    Column,
    DateColumn,
    ModelManifest,
    NumberColumn,
    OutputColumn,
    Provenance,
    tensor_numbers,
)
from models.contract.repository import ModelRepository
from training.all_rows import judge_all_rows
from training.coded_table import CodedTable, rows_as_csv
from training.config import TableConfig
from training.datasets import TrainingTable, check_units, load_training_table
from training.evaluation.leaderboard import BASELINES, BoardRow, board_row
from training.evaluation.plots import driver_error_plot
from training.fitting.selection import Progress
from training.holding_out import hold_out
from training.kept_fits import NOTHING_KEPT, KeptFits, kept_fits
from training.parity import RawRows
from training.publish import FittedModel, library_versions, publish, report_json
from training.runs import config_report, name_after, save_run
from training.splits import DriverSplit, Split, driver_split
from training.table_fits import FITS, FittedTable

OURS = "this model"
"""What the leaderboard calls the published model."""

_STRETCH = 3.0
"""Parity outside the range is checked on rows stretched this far from the middle of each column's range."""

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


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


def fit_table(
    config: TableConfig,
    progress: Progress,
    tell: Callable[[TrainingTable], object] = id,
    keep: Callable[[TrainingTable], KeptFits] = lambda _: NOTHING_KEPT,
) -> tuple[FittedModel, dict[str, Any], dict[str, bytes], dict[str, list[BoardRow]]]:
    """Fit a model to a table without publishing it.

    Args:
        config: The run's settings.
        progress: Told what is done.
        tell: Given the table once it is read, before anything is fitted.
        keep: Given the table too; returns where finished fits are kept.

    Returns:
        The fitted model, its report, its plots with the rows of the test split as CSV, and the leaderboards.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When nothing can be learned from it.
        FitError: When every fit diverged.
    """
    torch.set_num_threads(config.threads)
    table = load_training_table(
        config.data,
        config.targets,
        drop=config.drop,
        categories=config.categories,
        numbers=config.numbers,
        dates=config.dates,
        weight=config.weight,
        group=config.group,
        time=config.time_column,
        max_rows=config.max_rows,
        seed=config.seed,
    )
    check_units(config.units, table)
    tell(table)
    kept = keep(table)
    held_out = hold_out(config, table)
    split = held_out.split
    fitted = FITS[config.family](
        config, table, split, progress, f"fit {name_after(config.name, config.data)}", kept.within("whole")
    )
    predictions = fitted.predict(split.test)
    leaderboards = {held_out.region: _leaderboard(config, fitted.coded, split, predictions)}
    metrics = {held_out.kind: leaderboards[held_out.region][0].metrics}
    everywhere = judge_all_rows(config, fitted, held_out) if table.drawn is not None else None
    if everywhere is not None:
        metrics[held_out.kind] = everywhere.metrics
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
        errors, leaderboards[region] = _judge_outside(config, table, tail, progress, kept)
        metrics["outside"] = leaderboards[region][0].metrics
        everything = np.concatenate([tail.split.validation, tail.split.test])
        files["error.png"] = driver_error_plot(
            f"{name_after(config.name, config.data)}: fitted up to {column} = {tail.threshold:.6g}",
            column,
            tail.threshold,
            table.numeric[everything, tail.column],
            errors,
        )
    elif measured:
        notes.append("the error outside the training range was not measured: no number column has a tail to hold out")
    model = _fitted_model(config, fitted, split, metrics)
    report = {
        "task": f"table {table.source}",
        "config": config_report(config),
        "data_sha256": table.sha256,
        "split": {"kind": config.split_kind, "judged_on": held_out.region},
        "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        **({"all_rows": everywhere.as_dict()} if everywhere is not None else {}),
        "features": [{"name": feature.name, "kind": feature.kind} for feature in table.features],
        "columns": [asdict(use) for use in table.uses],
        "resumed": kept.recalled,
        "notes": notes,
        **fitted.report,
        "leaderboards": {
            region: [{"model": row.model, "metrics": row.metrics} for row in rows]
            for region, rows in leaderboards.items()
        },
        "versions": library_versions(),
    }
    return model, report, files, leaderboards


def run_table(config: TableConfig, progress: Progress, tell: Callable[[TrainingTable], object] = id) -> TableResult:
    """Fit a model to a table, publish it and keep the run's folder.

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
    repository = ModelRepository(config.repository)
    repository.check_writable()
    stores: list[KeptFits] = []

    def keep(table: TrainingTable) -> KeptFits:
        stores.append(kept_fits(config, name, table.sha256, resume=config.resume))
        return stores[0]

    model, report, files, leaderboards = fit_table(config, progress, tell, keep)
    plots = {file: content for file, content in files.items() if file.endswith(".png")}
    manifest = publish(repository, model.created_at(datetime.now(UTC)), config.dtype, report, plots)
    folder = save_run(config.runs, name, config, {"report.json": report_json(report), **files})
    stores[0].discard()
    return TableResult(manifest, folder, leaderboards, tuple(report["notes"]))


def _judge_outside(
    config: TableConfig, table: TrainingTable, tail: DriverSplit, progress: Progress, kept: KeptFits
) -> tuple[dict[str, Floats], list[BoardRow]]:
    """Fit without the tail; return every model's errors on held-out rows inside and outside, and the leaderboard."""
    fitted = FITS[config.family](config, table, tail.split, progress, "fit without the tail", kept.within("outside"))
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
    return errors, board


def _leaderboard(config: TableConfig, coded: CodedTable, split: Split, predictions: Floats) -> list[BoardRow]:
    fitting = coded.rows(split.train)
    test = coded.rows(split.test)
    answers = {OURS: predictions}
    answers |= {name: baseline(fitting, test, config.seed) for name, baseline in BASELINES.items()}
    names = coded.table.target_names
    return [board_row(name, test.targets, answer, names, test.weights) for name, answer in answers.items()]


def _fitted_model(config: TableConfig, fitted: FittedTable, split: Split, metrics: dict[str, Any]) -> FittedModel:
    coded = fitted.coded
    table = coded.table
    inside = coded.raw(split.test)
    inputs = _inputs(config, coded, split.train)
    return FittedModel(
        name=name_after(config.name, config.data),
        kind="tabular",
        description=f"{', '.join(table.target_names)} from {len(inputs)} columns of {table.source}.",
        network=fitted.model,
        inputs=inputs,
        outputs=tuple(
            OutputColumn(name=name, unit=config.units.get(name), minimum=column.min(), maximum=column.max())
            for name, column in zip(table.target_names, table.targets[split.train].T, strict=True)
        ),
        regions={"inside": inside, "outside": _stretched(inside, inputs)},
        metrics=metrics,
        provenance=Provenance(
            task=f"table {table.source}",
            n_rows=len(split.train),
            data_sha256=table.sha256,
            seed=config.seed,
            versions=library_versions(),
            note=config.note,
        ),
        trust=fitted.trust,
    )


def _inputs(config: TableConfig, coded: CodedTable, train: NDArray[np.int64]) -> tuple[Column, ...]:
    inputs: list[Column] = []
    numbers = iter(coded.table.numeric[train].T)
    levels = iter(coded.levels)
    for feature in coded.table.features:
        if feature.kind == "category":
            inputs.append(
                CategoryColumn(
                    name=feature.name,
                    categories=next(levels),
                    may_be_missing=feature.may_be_missing,
                    unseen=config.unseen,
                )
            )
            continue
        column = next(numbers)
        if feature.date is not None:
            part = DatePart(name=feature.date.part, minimum=np.nanmin(column), maximum=np.nanmax(column))
            before = inputs[-1] if inputs else None
            if isinstance(before, DateColumn) and before.name == feature.date.column:
                inputs[-1] = before.model_copy(update={"parts": (*before.parts, part)})
            else:
                inputs.append(
                    DateColumn(
                        name=feature.date.column,
                        origin=feature.date.origin,
                        parts=(part,),
                        may_be_missing=feature.may_be_missing,
                    )
                )
            continue
        inputs.append(
            NumberColumn(
                name=feature.name,
                unit=config.units.get(feature.name),
                minimum=np.nanmin(column),
                maximum=np.nanmax(column),
                may_be_missing=feature.may_be_missing,
            )
        )
    return tuple(inputs)


def _stretched(rows: RawRows, inputs: tuple[Column, ...]) -> RawRows:
    if rows.numeric is None:
        return rows
    middle = np.array([(column.minimum + column.maximum) / 2 for column in tensor_numbers(inputs)])
    return replace(rows, numeric=middle + _STRETCH * (rows.numeric - middle))
