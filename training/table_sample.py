"""Rows drawn of a table that is longer than what is fitted on, in one pass and in memory that does not grow with it.

The draw is uniform over the rows that count: those with every target and, where there are weights, one other than 0.
Beside it, and few, come the rows that carry what a model must know of all rows that count: the smallest and largest
value of every number and date, a missing value of every column that has one, and the first row of every level.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.dates import read_moments
from models.contract.tables import Batch, Column, Judged, Table, iter_batches
from training.columns import Columns
from training.feature_columns import MAX_LEVELS, MAX_LEVELS_ASKED

_SPARE = 0.25
"""Rows held beside those to draw, as a share of them: the rows held are written anew only when there are more."""


@dataclass(frozen=True)
class Drawn:
    """Which rows of a file a table holds.

    Attributes:
        numbers: Number of each row in the file, from 0, ascending, shape (n_rows,).
        pinned: Places in the table of rows that carry ranges, levels and missing values.
        n_rows: Rows of the file.
        number_columns: Columns of the file that are read as numbers.
    """

    numbers: NDArray[np.int64]
    pinned: NDArray[np.int64]
    n_rows: int
    number_columns: tuple[str, ...]

    def take(self, known: NDArray[np.bool_]) -> "Drawn":
        """Return the rows where a mask of shape (n_rows,) is set."""
        place = np.cumsum(known) - 1
        return replace(self, numbers=self.numbers[known], pinned=place[self.pinned[known[self.pinned]]])


@dataclass(frozen=True)
class Sample:
    """Rows drawn."""

    table: Table
    drawn: Drawn


def draw_rows(path: Path, kinds: Judged, columns: Columns, max_rows: int, seed: int) -> Sample:
    """Draw rows of a table.

    Args:
        path: The file.
        kinds: What its columns hold.
        columns: What its user said of them; targets and weights are numbers. A missing or negative weight, or a
            missing time, is carried like any smallest or missing value.
        max_rows: How many to draw, beside those that carry ranges and levels.
        seed: Seed of the draw.

    Raises:
        TableError: When the file is no table.
    """
    rng = np.random.default_rng(seed)
    names = (*kinds.numbers, *kinds.texts)
    smallest = _SmallestKeys(max_rows)
    dates = [name for name in (*columns.dates, columns.time) if name is not None and name not in columns.categories]
    pins = _Pins(kinds, tuple(dates), columns.categories)
    for batch in iter_batches(
        path, numbers=kinds.numbers, texts=tuple(kinds.texts), lenient=columns.numbers, whole=False
    ):
        counts = np.ones(len(batch.columns[names[0]]), dtype=np.bool_)
        for name in columns.targets:
            counts &= ~np.isnan(batch.columns[name].astype(np.float64))
        if columns.weight is not None:
            counts &= batch.columns[columns.weight].astype(np.float64) != 0
        keys, counted = rng.random(len(counts)), np.flatnonzero(counts)
        smallest.see(batch, counted, keys[counted])
        pins.see(batch, counted)
    drawn, values = smallest.rows()
    pinned_rows, there = pins.rows(), set(drawn.tolist())
    beside = [row for row in sorted(pinned_rows) if row not in there]
    numbers = np.concatenate([drawn, np.array(beside, dtype=np.int64)])
    order = np.argsort(numbers, kind="stable")
    rows: dict[str, Column] = {}
    for name in kinds.n_missing:
        extra = np.array([pinned_rows[row][name] for row in beside], dtype=values[name].dtype)
        rows[name] = np.concatenate([values[name], extra])[order]
    pinned = np.flatnonzero(np.isin(numbers[order], list(pinned_rows)))
    told = {name: why for name, why in kinds.texts.items() if why is not None}
    table = Table(tuple(rows), rows, len(order), kinds.notes, told)
    return Sample(table, Drawn(numbers[order], pinned, kinds.n_rows, kinds.numbers))


@dataclass
class _SmallestKeys:
    """The rows with the smallest keys of those seen: a uniform draw, as keys are random, of however many rows."""

    n_rows: int
    _parts: list[tuple[NDArray[np.float64], NDArray[np.int64], dict[str, Column]]] = field(default_factory=list)
    _n_held: int = 0
    _below: float = np.inf

    def see(self, batch: Batch, places: NDArray[np.intp], keys: NDArray[np.float64]) -> None:
        """Look at rows of a batch by their places in it, each with its key."""
        held = keys < self._below
        kept = places[held]
        columns = {name: values[kept] for name, values in batch.columns.items()}
        self._parts.append((keys[held], batch.first_row + kept, columns))
        self._n_held += kept.size
        if self._n_held > (1 + _SPARE) * self.n_rows:
            self._leave_out_largest()

    def rows(self) -> tuple[NDArray[np.int64], dict[str, Column]]:
        """Return the rows' numbers in the file, ascending, and their columns."""
        self._leave_out_largest()
        _, numbers, columns = self._parts[0]
        return numbers, columns

    def _leave_out_largest(self) -> None:
        keys, numbers = (np.concatenate([part[i] for part in self._parts]) for i in (0, 1))
        kept = np.sort(np.argsort(keys, kind="stable")[: self.n_rows])
        columns = {name: np.concatenate([part[2][name] for part in self._parts])[kept] for name in self._parts[0][2]}
        self._parts = [(keys[kept], numbers[kept], columns)]
        self._n_held, self._below = kept.size, float(keys[kept].max(initial=0.0))


@dataclass
class _Pins:
    """Rows that carry ranges, levels and missing values."""

    kinds: Judged
    dates: tuple[str, ...]
    categories: tuple[str, ...]
    _held: dict[tuple[str, str], tuple[float, int, dict[str, Any]]] = field(default_factory=dict)
    _n_levels: dict[str, int] = field(default_factory=dict)
    _wide: set[str] = field(default_factory=set)

    def see(self, batch: Batch, known: NDArray[np.intp]) -> None:
        """Look at those rows of a batch that may be drawn."""
        if not known.size:
            return
        for name in self.kinds.numbers:
            self._see_numbers(batch, name, known, batch.columns[name][known].astype(np.float64))
        for name in self.kinds.texts:
            values = batch.columns[name][known]
            if name in self.dates:
                self._see_numbers(batch, name, known, read_moments(values.tolist())[0])
            elif name not in self._wide:
                self._see_levels(batch, name, known, values.astype(object))

    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the rows by their number in the file."""
        return {row: values for _, row, values in self._held.values()}

    def _see_numbers(self, batch: Batch, name: str, known: NDArray[np.intp], values: NDArray[np.float64]) -> None:
        missing = np.flatnonzero(np.isnan(values))
        if missing.size and (name, "") not in self._held:
            self._hold(batch, name, "", 0.0, int(known[missing[0]]))
        if missing.size == len(values):
            return
        for what, signed in (("<", values), (">", -values)):
            place = int(np.nanargmin(signed))
            before = self._held.get((name, what))
            if before is None or signed[place] < before[0]:
                self._hold(batch, name, what, float(signed[place]), int(known[place]))

    def _see_levels(self, batch: Batch, name: str, known: NDArray[np.intp], values: NDArray[np.object_]) -> None:
        for level in set(values.tolist()):
            key = "" if level is None else f"={level}"
            if (name, key) in self._held:
                continue
            place = values.tolist().index(level)
            self._hold(batch, name, key, 0.0, int(known[place]))
            self._n_levels[name] = self._n_levels.get(name, 0) + 1
        if self._n_levels.get(name, 0) > (MAX_LEVELS_ASKED if name in self.categories else MAX_LEVELS):
            self._wide.add(name)  # left out for its many levels: none of them is carried
            self._held = {key: held for key, held in self._held.items() if key[0] != name}

    def _hold(self, batch: Batch, name: str, what: str, value: float, place: int) -> None:
        row = {column: values[place] for column, values in batch.columns.items()}
        self._held[name, what] = (value, batch.first_row + place, row)
