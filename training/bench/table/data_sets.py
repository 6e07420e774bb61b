"""Data sets of a folder, described by its META.json: file, targets, driving column, groups, time, columns to drop."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.contract.tables import read_table
from training.coded_table import CodedTable
from training.datasets import TrainingTable, load_training_table
from training.errors import ConfigError
from training.evaluation.leaderboard import TableRows

DESCRIPTIONS = "META.json"


@dataclass(frozen=True)
class BenchTask:
    """One target of one data set.

    Attributes:
        data_set: Name of the set.
        target: Column to predict.
        file: Its table.
        drop: Columns to leave out, among them the other targets.
        driver: Column whose upper tail is outside, or None.
        groups: Column whose values stay together, or None.
        time: Column to order the rows by, or None.
    """

    data_set: str
    target: str
    file: Path
    drop: tuple[str, ...]
    driver: str | None
    groups: str | None
    time: str | None

    @property
    def name(self) -> str:
        """Name in reports."""
        return f"{self.data_set}: {self.target}"


@dataclass(frozen=True)
class BenchTable:
    """A task's rows.

    Attributes:
        task: The task.
        table: Features and targets.
        driver: Values of the driving column, or None where it is no number column.
        groups: Group of each row, or None.
        order: Row numbers in time, or None.
    """

    task: BenchTask
    table: TrainingTable
    driver: NDArray[np.float64] | None
    groups: NDArray[np.object_] | None
    order: NDArray[np.int64] | None

    def rows(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[TableRows, TableRows, tuple[int, ...]]:
        """Return rows to fit on and to judge by, and the codes of each category column; unseen levels are −1."""
        coded = CodedTable.of(self.table, train)
        return coded.rows(train), coded.rows(test), coded.n_codes


def tasks_of(folder: Path, names: Sequence[str] = ()) -> list[BenchTask]:
    """Return the tasks of a folder: one for each target of each table that has a driving column.

    Args:
        folder: Holds `META.json` and the files that it names.
        names: Sets to take; none for all.

    Raises:
        ConfigError: When the descriptions cannot be read, or a set is not among them.
    """
    path = folder / DESCRIPTIONS
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        tables = {name: one for name, one in described.items() if "driver" in one}
        result = [
            BenchTask(
                name,
                target,
                folder / one["file"],
                tuple(sorted({*one.get("drop", ()), *one["targets"]} - {target})),
                one["driver"],
                one.get("groups"),
                one.get("time"),
            )
            for name, one in tables.items()
            for target in one["targets"]
            if not names or name in names
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"a folder of data sets must describe them in {DESCRIPTIONS}, however {path}: {error!r}"
        raise ConfigError(msg) from error
    unknown = sorted(set(names) - set(tables))
    if unknown:
        msg = f"a data set must be described in {path}, however: {', '.join(unknown)}; there are {', '.join(tables)}"
        raise ConfigError(msg)
    return result


def load_task(task: BenchTask) -> BenchTable:
    """Read a task's rows.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When nothing can be learned from it.
    """
    table = load_training_table(task.file, [task.target], drop=task.drop)
    whole = read_table(task.file).columns
    known = ~np.isnan(whole[task.target].astype(np.float64))
    names = table.number_names
    driver = table.numeric[:, names.index(task.driver)] if task.driver in names else None
    groups = None if task.groups is None else whole[task.groups][known].astype(object)
    order = None if task.time is None else _in_time(whole[task.time][known])
    return BenchTable(task, table, driver, groups, order)


def _in_time(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Order by number or by ISO date; dates of another form are taken to be in the file's order."""
    if values.dtype.kind == "f":
        return np.argsort(values, kind="stable")
    text = values.astype(str)
    if all(value[:4].isdigit() and value[4:5] == "-" for value in text):
        return np.argsort(text, kind="stable")
    return np.arange(len(text))
