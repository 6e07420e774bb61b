"""A fitted table as what is published: its inputs and outputs, its formula, where it comes from, rows for parity."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.contract.dates import DatePart
from models.contract.manifest import (
    CategoryColumn,
    Column,
    DateColumn,
    Formula,
    NumberColumn,
    OutputColumn,
    Provenance,
    tensor_numbers,
)
from training.coded_table import CodedTable
from training.config import TableConfig
from training.evaluation.metrics import Metrics
from training.parity import RawRows
from training.publish import FittedModel, library_versions
from training.runs import name_after
from training.splits import Split
from training.table_fits import FittedTable
from training.tabular.model import TabularModel
from training.tabular.trunk_text import model_formula

_STRETCH = 3.0
"""Parity outside the range is checked on rows stretched this far from the middle of each column's range."""


def table_model(config: TableConfig, fitted: FittedTable, split: Split, metrics: dict[str, Metrics]) -> FittedModel:
    """Return a fitted table as what is published.

    Args:
        config: The run's settings.
        fitted: The model.
        split: Its rows; parity is checked on the test rows, as they are and stretched.
        metrics: Region → output → metric → value.
    """
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
        formula=_formula(fitted, inputs),
        trust=fitted.trust,
    )


def _formula(fitted: FittedTable, inputs: tuple[Column, ...]) -> Formula | None:
    if not isinstance(fitted.model, TabularModel):
        return None
    return model_formula(
        fitted.model,
        fitted.coded.table.target_names,
        [column.name for column in tensor_numbers(inputs)],
        [(column.name, column.categories) for column in inputs if isinstance(column, CategoryColumn)],
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
