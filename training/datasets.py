"""A user's table as something to learn from: features, targets, and what was left out and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.contract.tables import (
    Column,
    Table,
    Text,
    file_sha256,
    has_more_rows,
    judge_columns,
    place_of_row,
    read_table,
)
from training.columns import Columns, check_columns
from training.config import TableConfig
from training.errors import TrainingDataError
from training.feature_columns import ColumnUse, Feature, FeatureColumns, beyond_squares, dates_of, way_to_numbers
from training.lone_values import lone_values
from training.shown_names import hint
from training.table_sample import Drawn, draw_rows

MIN_ROWS = 20
"""Fewest rows to learn from: a test and a validation part of 15 % are then three rows each, below which an error says
nothing about the next row."""


@dataclass(frozen=True)
class TrainingTable:
    """A table to learn from.

    Attributes:
        source: Name of the file.
        features: Input columns, in the file's order.
        numeric: Number features in order, missing as NaN, shape (n_rows, d_numeric), float64.
        categorical: Category features in order, missing as "", shape (n_rows, d_categorical), objects (str).
        target_names: Columns to predict, in the order asked for.
        targets: Their values, shape (n_rows, d_outputs), float64, finite.
        sha256: Checksum of the file.
        notes: What was left out or decided, one sentence each.
        uses: What every column of the table is taken for.
        weights: Weights of the rows, shape (n_rows,), their mean 1; None for equal ones.
        groups: Number of each row's group, from 0, shape (n_rows,), int64; None for none.
        times: What orders the rows, shape (n_rows,), finite; None for nothing.
        drawn: Which rows of the file these are; None for all.
    """

    source: str
    features: tuple[Feature, ...]
    numeric: NDArray[np.float64]
    categorical: NDArray[np.object_]
    target_names: tuple[str, ...]
    targets: NDArray[np.float64]
    sha256: str
    notes: tuple[str, ...] = ()
    uses: tuple[ColumnUse, ...] = ()
    weights: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None
    drawn: Drawn | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.targets)

    @property
    def number_names(self) -> tuple[str, ...]:
        """Names of the columns of `numeric`."""
        return tuple(feature.name for feature in self.features if feature.kind == "number")

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the columns of `categorical`."""
        return tuple(feature.name for feature in self.features if feature.kind == "category")

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which values are missing, number features before categories, shape (n_rows, d_numeric + d_categorical)."""
        return np.concatenate([np.isnan(self.numeric), self.categorical == ""], axis=1)


def load_training_table(
    path: Path,
    targets: Sequence[str],
    *,
    drop: Sequence[str] = (),
    categories: Sequence[str] = (),
    numbers: Sequence[str] = (),
    dates: Sequence[str] = (),
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
    max_rows: int | None = None,
    seed: int = 0,
) -> TrainingTable:
    """Read a table to learn from.

    A column of numbers becomes a number feature, any other a category. Left out, with a note: columns without a value,
    columns with one value, columns equal to another, and text columns with as many levels as rows or more than
    `MAX_LEVELS`. Rows with a missing target are left out, with a note.

    Args:
        path: CSV, Parquet or Arrow file.
        targets: Columns to predict.
        drop: As for the rest, see `Columns`.
        categories: Columns to take as categories.
        numbers: Columns to take as numbers.
        dates: Columns to take as dates.
        weight: Column of weights.
        group: Column whose equal values belong together.
        time: Column that orders the rows.
        max_rows: Of a longer table as many rows are drawn (`training.table_sample`); None takes all.
        seed: Seed of the draw.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When a named column is not there or is named for two purposes, a target is textual, constant
            or without a value, a weight is none, a date is none, there are fewer than `MIN_ROWS` rows with targets, or
            no feature is left.
    """
    columns = Columns(tuple(targets), tuple(drop), tuple(categories), tuple(numbers), tuple(dates), weight, group, time)
    check_columns(path, columns)
    if max_rows is not None and has_more_rows(path, max_rows):
        return drawn_table(path, columns, max_rows, seed)
    table = read_table(path, skip=drop, as_text=[*categories, *dates], as_numbers=numbers)
    return training_table(path, table, columns)


def table_of(config: TableConfig) -> TrainingTable:
    """Read the table that a run learns from.

    Raises:
        TableError: As `load_training_table`.
        TrainingDataError: Likewise, or when a unit is that of no number column or target.
    """
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
    return table


def drawn_table(path: Path, columns: Columns, max_rows: int, seed: int) -> TrainingTable:
    """Return what is to be learned from rows drawn of a table, in memory that does not grow with it.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When nothing can be learned from it.
    """
    kinds = judge_columns(
        path, skip=columns.drop, as_text=[*columns.categories, *columns.dates], as_numbers=columns.numbers
    )
    _refuse_text(path, columns, kinds.texts)
    sample = draw_rows(path, kinds, columns, max_rows, seed)
    table = training_table(path, sample.table, columns, sample.drawn)
    notes = (
        f"{table.n_rows} of {kinds.n_rows} rows were drawn to fit and to choose on (--max-rows); ranges, levels and "
        "missing values are those of all rows that count",
        *table.notes,
    )
    uses = tuple(replace(use, n_missing=kinds.n_missing[use.name]) for use in table.uses)
    return replace(table, notes=notes, uses=uses)


def training_table(path: Path, table: Table, columns: Columns, drawn: Drawn | None = None) -> TrainingTable:
    """Return what is to be learned from a table's columns; as `load_training_table`, which reads them.

    Raises:
        TrainingDataError: When nothing can be learned from them.
    """
    notes = list(table.notes)
    _refuse_text(path, columns, table.texts)
    targets = _targets(path, table, columns.targets)
    known: NDArray[np.bool_] = np.logical_not(np.isnan(targets).any(axis=1))
    n_targets = int(known.sum())
    weights = None if columns.weight is None else _weights(path, table, columns.weight, known, drawn)
    if weights is not None:
        known &= weights > 0
    n_known = int(known.sum())
    if n_known < MIN_ROWS:
        weighted = "" if columns.weight is None else f" and a positive weight in {columns.weight!r}"
        msg = (
            f"a table must have at least {MIN_ROWS} rows with every target{weighted} (fewer leave nothing to judge a "
            f"model by), however {path.name} has {n_known}; add rows"
        )
        raise TrainingDataError(msg)
    if n_targets < len(known):
        notes.append(f"{len(known) - n_targets} of {len(known)} rows were left out: a target is missing")
    if n_known < n_targets:
        notes.append(f"{n_targets - n_known} rows were left out: their weight in {columns.weight!r} is 0")
    for name, column in zip(columns.targets, targets[known].T, strict=True):
        if column.min() == column.max():
            msg = f"a target must vary, however {name!r} is {column[0]:g} in every row; there is nothing to learn"
            raise TrainingDataError(msg)
        told = beyond_squares(column)
        if told:
            msg = f"a target must be of a magnitude that can be squared, however {name!r} {told}"
            raise TrainingDataError(msg)
    chosen = FeatureColumns()
    for name in table.names:
        values = table.columns[name][known]
        role = columns.role_of(name)
        if role is not None:
            chosen.pass_over(name, role, _n_missing(table.columns[name]), _range_of(values))
        elif name in columns.dates:
            chosen.add_date(name, values.astype(object))
        elif table.is_number(name):
            chosen.add_number(name, values.astype(np.float64))
        else:
            chosen.add_category(name, values.astype(object), table.texts.get(name))
    uses = tuple(_with_lone_values(use, table, known, drawn) for use in chosen.uses)
    notes += [use.note for use in uses if use.note is not None]
    if not chosen.features:
        left_out = "; ".join(use.note for use in uses if use.role == "left out" and use.note)
        why = left_out or "all others are dropped, or named as weight, group or time; keep one"
        msg = f"a table must have a column to predict from, however none of {path.name} is left: {why}"
        raise TrainingDataError(msg)
    names = [feature.name for feature in chosen.features]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"the numbers of a date must have names of their own, however {twice!r} is a column too; rename it"
        raise TrainingDataError(msg)
    return TrainingTable(
        source=path.name,
        features=tuple(chosen.features),
        numeric=np.stack(chosen.numeric, axis=1) if chosen.numeric else np.empty((n_known, 0)),
        categorical=np.stack(chosen.categorical, axis=1)
        if chosen.categorical
        else np.empty((n_known, 0), dtype=object),
        target_names=columns.targets,
        targets=targets[known],
        sha256=file_sha256(path),
        notes=tuple(notes),
        uses=uses,
        weights=None if weights is None else weights[known] / weights[known].mean(),
        groups=None if columns.group is None else _groups(table.columns[columns.group][known]),
        times=None if columns.time is None else _times(path, table, columns.time, known, drawn),
        drawn=None if drawn is None else drawn.take(known),
    )


def _with_lone_values(use: ColumnUse, table: Table, known: NDArray[np.bool_], drawn: Drawn | None) -> ColumnUse:
    """Say of a column of numbers which values in rows that are learned from are far from all others."""
    if use.role not in ("number", "target"):
        return use
    lone = lone_values(np.where(known, table.columns[use.name].astype(np.float64), np.nan))
    if lone is None:
        return use
    told = lone.told(None if drawn is None else drawn.numbers)
    return replace(use, why=f"{use.why}; {told}" if use.why else told)


def check_units(units: Mapping[str, str], table: TrainingTable) -> None:
    """Refuse a unit of a column that is neither a number nor a target of the model, rather than lose it.

    Raises:
        TrainingDataError: When there is one.
    """
    there = [use.name for use in table.uses if use.role in ("number", "target")]
    for name in units:
        if name not in there:
            msg = (
                f"a unit must be that of a number column or target of the model, however {name[:80]!r} is none"
                f"{hint(name, there)}"
            )
            raise TrainingDataError(msg)


def _refuse_text(path: Path, columns: Columns, texts: Mapping[str, Text | None]) -> None:
    roles = dict.fromkeys(columns.targets, "target") | ({columns.weight: "weight"} if columns.weight else {})
    for name, role in roles.items():
        why = texts.get(name)
        if why is not None:
            way = way_to_numbers(name, why) if role == "target" else ""
            msg = (
                f"a {role} must hold numbers, however {name!r} of {path.name} holds {why.first[:40]!r} in "
                f"{place_of_row(path, why.row)}; correct it{f' ({way})' if way else ''}"
            )
            raise TrainingDataError(msg)


def _targets(path: Path, table: Table, names: Sequence[str]) -> NDArray[np.float64]:
    for name in names:
        column = table.columns[name]
        if column.size and np.isnan(column.astype(np.float64)).all():
            msg = f"a target must have values, however {name!r} of {path.name} has none; choose another column"
            raise TrainingDataError(msg)
    return np.stack([table.columns[name].astype(np.float64) for name in names], axis=1)


def _weights(path: Path, table: Table, name: str, known: NDArray[np.bool_], drawn: Drawn | None) -> NDArray[np.float64]:
    """Return weights relative to the largest, 0 where a row is not known, shape (n_rows,)."""
    weights = np.where(known, table.columns[name].astype(np.float64), 0.0)
    wrong = np.flatnonzero(np.logical_not(weights >= 0))
    if wrong.size:
        holds = "no value" if np.isnan(weights[wrong[0]]) else f"{weights[wrong[0]]:g}"
        msg = (
            f"a weight must be a number of at least 0, however {name!r} of {path.name} holds {holds} in "
            f"{_place(path, wrong[0], drawn)}; correct it, or drop rows like it"
        )
        raise TrainingDataError(msg)
    largest = weights.max(initial=0.0)
    return np.asarray(weights / largest if largest > 0 else weights, dtype=np.float64)


def _groups(values: Column) -> NDArray[np.int64]:
    """Return the number of each row's group; rows without one are a group together."""
    return np.asarray(np.unique(group_names(values), return_inverse=True)[1], dtype=np.int64)


def group_names(values: Column) -> NDArray[np.str_]:
    """Return the name of each row's group, "" where it is missing."""
    return np.array(["" if value is None or value != value else str(value) for value in values.tolist()])


def _times(path: Path, table: Table, name: str, known: NDArray[np.bool_], drawn: Drawn | None) -> NDArray[np.float64]:
    times = times_of(name, table.columns[name][known])
    missing = np.flatnonzero(known)[np.isnan(times)]
    if missing.size:
        msg = (
            f"a time must stand in every row that is learned from, to order them, however {name!r} of {path.name} has "
            f"none in {_place(path, missing[0], drawn)}; complete it or choose another column"
        )
        raise TrainingDataError(msg)
    return times


def times_of(name: str, values: Column) -> NDArray[np.float64]:
    """Return the moments or numbers that order rows, missing as NaN.

    Raises:
        TrainingDataError: When one is no date.
    """
    return values.astype(np.float64) if values.dtype == np.float64 else dates_of(name, values.astype(object))


def _place(path: Path, row: np.intp, drawn: Drawn | None) -> str:
    """Return where a row of the table stands in the file, for a message."""
    return place_of_row(path, int(row if drawn is None else drawn.numbers[row]))


def _n_missing(values: Column) -> int:
    return sum(value is None or value != value for value in values.tolist())


def _range_of(values: Column) -> str:
    if values.dtype != np.float64:
        return f"{len({value for value in values.tolist() if value is not None})} different texts"
    numbers = values.astype(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return f"{numbers.min():.6g} to {numbers.max():.6g}" if numbers.size else "nothing"
