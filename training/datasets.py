"""A user's table as something to learn from: features, targets, and what was left out and why."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.contract.table_sources import EXTENSIONS
from models.contract.tables import Table, column_names, file_sha256, read_table
from training.errors import TrainingDataError

MIN_ROWS = 20
"""Fewest rows to learn from: a test and a validation part of 15 % are then three rows each, below which an error says
nothing about the next row."""

MAX_LEVELS = 100
"""Most levels of a text column that is taken without being asked for: each becomes an input of its own."""

_MAX_LEVELS_ASKED = 10_000
_MAX_LEVEL_LENGTH = 500
_MAX_NAME_LENGTH = 200
"""Limits of the manifest."""

DATA_DIR_VARIABLE = "NALU_DATA_DIR"


@dataclass(frozen=True)
class Feature:
    """An input column.

    Attributes:
        name: Its name in the table.
        kind: Whether it holds numbers or levels.
        may_be_missing: Whether the table has missing values in it.
        levels: Levels, sorted; empty for numbers.
    """

    name: str
    kind: Literal["number", "category"]
    may_be_missing: bool
    levels: tuple[str, ...] = ()


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
    """

    source: str
    features: tuple[Feature, ...]
    numeric: NDArray[np.float64]
    categorical: NDArray[np.object_]
    target_names: tuple[str, ...]
    targets: NDArray[np.float64]
    sha256: str
    notes: tuple[str, ...] = ()

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


def load_training_table(
    path: Path,
    targets: Sequence[str],
    *,
    drop: Sequence[str] = (),
    categories: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> TrainingTable:
    """Read a table to learn from.

    A column of numbers becomes a number feature, any other a category. Left out, with a note: columns without a value,
    columns with one value, and text columns with as many levels as rows or more than `MAX_LEVELS`. Rows with a missing
    target are left out, with a note.

    Args:
        path: CSV, Parquet or Arrow file.
        targets: Columns to predict.
        drop: Columns to leave out.
        categories: Columns to take as categories, whatever they hold and however many levels they have.
        numbers: Columns to take as numbers; what is no number becomes missing, with a note.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When a named column is not there or is named for two purposes, a target is textual, constant
            or without a value, there are fewer than `MIN_ROWS` rows with targets, or no feature is left.
    """
    _check_columns(path, targets, drop, categories, numbers)
    table = read_table(path, skip=drop, as_text=categories, as_numbers=numbers)
    notes = list(table.notes)
    values = _targets(path, table, targets)
    known: NDArray[np.bool_] = np.logical_not(np.isnan(values).any(axis=1))
    n_known = int(known.sum())
    if n_known < MIN_ROWS:
        msg = (
            f"a table must have at least {MIN_ROWS} rows with every target (fewer leave nothing to judge a model by), "
            f"however {path.name} has {n_known}; add rows"
        )
        raise TrainingDataError(msg)
    if n_known < len(known):
        notes.append(f"{len(known) - n_known} of {len(known)} rows were left out: a target is missing")
    values = values[known]
    for name, column in zip(targets, values.T, strict=True):
        if column.min() == column.max():
            msg = f"a target must vary, however {name!r} is {column[0]:g} in every row; there is nothing to learn"
            raise TrainingDataError(msg)
    chosen = _Features(notes)
    for name in table.names:
        if name in targets:
            continue
        if table.is_number(name):
            chosen.add_number(name, table.columns[name][known].astype(np.float64))
        else:
            chosen.add_category(name, table.columns[name][known].astype(object), asked=name in categories)
    if not chosen.features:
        msg = f"a table must have a column to predict from, however none of {path.name} is left: {'; '.join(notes)}"
        raise TrainingDataError(msg)
    return TrainingTable(
        source=path.name,
        features=tuple(chosen.features),
        numeric=np.stack(chosen.numeric, axis=1) if chosen.numeric else np.empty((n_known, 0)),
        categorical=np.stack(chosen.categorical, axis=1)
        if chosen.categorical
        else np.empty((n_known, 0), dtype=object),
        target_names=tuple(targets),
        targets=values,
        sha256=file_sha256(path),
        notes=tuple(notes),
    )


def data_dir() -> Path:
    """Return the folder of named data sets, from `NALU_DATA_DIR`.

    Raises:
        TrainingDataError: When the variable is not set or names no folder.
    """
    named_folder = os.environ.get(DATA_DIR_VARIABLE)
    if not named_folder:
        msg = f"a named data set must lie in the folder that {DATA_DIR_VARIABLE} names, however it is not set; set it"
        raise TrainingDataError(msg)
    folder = Path(named_folder)
    if not folder.is_dir():
        msg = f"{DATA_DIR_VARIABLE} must name a folder, however {folder} is none; correct it"
        raise TrainingDataError(msg)
    return folder


def named(name: str) -> Path:
    """Return the file of a named data set, such as "steel_fatigue_nims437".

    Raises:
        TrainingDataError: When there is no such file under `data_dir()`.
    """
    folder = data_dir()
    files = {entry.name: entry for entry in sorted(folder.iterdir()) if entry.name.endswith(EXTENSIONS)}
    for extension in EXTENSIONS:
        if name + extension in files:
            return files[name + extension]
    there = sorted({entry.partition(".")[0] for entry in files})
    msg = f"a named data set must lie in {folder}, however {name[:80]!r} does not{_hint(name, there)}"
    raise TrainingDataError(msg)


@dataclass
class _Features:
    """Collects features, and notes what it leaves out."""

    notes: list[str]
    features: list[Feature] = field(default_factory=list)
    numeric: list[NDArray[np.float64]] = field(default_factory=list)
    categorical: list[NDArray[np.object_]] = field(default_factory=list)

    def add_number(self, name: str, values: NDArray[np.float64]) -> None:
        missing = np.isnan(values)
        present = values[~missing]
        if not present.size:
            self.notes.append(f"column {name!r} was left out: it has no value")
        elif present.min() == present.max():
            self.notes.append(f"column {name!r} was left out: it is {present[0]:g} wherever it has a value")
        else:
            if len(values) > 2 and bool((np.diff(values) == 1).all()):
                self.notes.append(f"column {name!r} counts the rows; drop it unless their order means something")
            self.features.append(Feature(name, "number", bool(missing.any())))
            self.numeric.append(values)

    def add_category(self, name: str, values: NDArray[np.object_], *, asked: bool) -> None:
        present = [str(value) for value in values if value is not None]
        levels = tuple(sorted(set(present)))
        longest = max(map(len, levels), default=0)
        if not levels:
            self.notes.append(f"column {name!r} was left out: it has no value")
        elif len(levels) == 1:
            self.notes.append(f"column {name!r} was left out: it is {levels[0][:40]!r} wherever it has a value")
        elif len(levels) > _MAX_LEVELS_ASKED or longest > _MAX_LEVEL_LENGTH:
            rule = f"a category has at most {_MAX_LEVELS_ASKED} levels of at most {_MAX_LEVEL_LENGTH} characters"
            observed = f"column {name!r} has {len(levels)}, the longest of {longest}"
            if asked:
                msg = f"{rule}, however {observed}; drop it"
                raise TrainingDataError(msg)
            self.notes.append(f"text {observed} characters; it was left out, for {rule}")
        elif not asked and (len(levels) == len(values) or len(levels) > MAX_LEVELS):
            self.notes.append(
                f"text column {name!r} was left out: it has {len(levels)} levels in {len(values)} rows; "
                f"--category {name!r} keeps it{_mostly_numbers(name, present)}"
            )
        else:
            self.features.append(Feature(name, "category", len(present) < len(values), levels))
            self.categorical.append(np.array(["" if value is None else value for value in values], dtype=object))


def _check_columns(
    path: Path, targets: Sequence[str], drop: Sequence[str], categories: Sequence[str], numbers: Sequence[str]
) -> None:
    if not targets:
        msg = f"a run must have a target, however none is named; name one of: {_shown(column_names(path))}"
        raise TrainingDataError(msg)
    there = column_names(path)
    too_long = [name for name in there if len(name) > _MAX_NAME_LENGTH and name not in drop]
    if too_long:
        msg = f"a column name must have at most {_MAX_NAME_LENGTH} characters, however: {_shown(too_long)}; rename it"
        raise TrainingDataError(msg)
    for purpose, names in (
        ("target", targets),
        ("column to drop", drop),
        ("category", categories),
        ("number column", numbers),
    ):
        for name in names:
            if name not in there:
                msg = f"a {purpose} must be a column of {path.name}, however {name[:80]!r} is none{_hint(name, there)}"
                raise TrainingDataError(msg)
    chosen, read_as = [*targets, *drop, *categories], [*drop, *categories, *numbers]
    twice = sorted({name for names in (chosen, read_as) for name in names if names.count(name) > 1})
    if twice:
        msg = f"a column must have one purpose, however these are named twice: {_shown(twice)}; name each once"
        raise TrainingDataError(msg)


def _targets(path: Path, table: Table, names: Sequence[str]) -> NDArray[np.float64]:
    for name in names:
        column = table.columns[name]
        if not table.is_number(name):
            example = next(str(value) for value in column if not _is_number(value))
            msg = (
                f"a target must hold numbers, however {name!r} of {path.name} holds text such as {example[:40]!r}; "
                f"correct the table, or count what is no number as missing with --number {name!r}"
            )
            raise TrainingDataError(msg)
        if np.isnan(column.astype(np.float64)).all():
            msg = f"a target must have values, however {name!r} of {path.name} has none; choose another column"
            raise TrainingDataError(msg)
    return np.stack([table.columns[name].astype(np.float64) for name in names], axis=1)


def _is_number(value: object) -> bool:
    if value is None:
        return True
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _mostly_numbers(name: str, values: Sequence[str]) -> str:
    wrong = [value for value in values if not _is_number(value)]
    if len(wrong) > len(values) // 2:
        return ""
    example = f" such as {wrong[0][:40]!r}" if wrong else ""
    return f", --number {name!r} counts the {len(wrong)} values that are no numbers{example} as missing"


def _hint(name: str, there: Sequence[str]) -> str:
    by_folded = {known.casefold(): known for known in there}
    close = [by_folded[match] for match in get_close_matches(name.casefold(), list(by_folded), n=3, cutoff=0.6)]
    return f"; did you mean {_shown(close)}?" if close else f"; there are {_shown(there)}"


def _shown(names: Sequence[str]) -> str:
    more = len(names) - 20
    return ", ".join(repr(name[:80]) for name in names[:20]) + (f" and {more} more" if more > 0 else "")
