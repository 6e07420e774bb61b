"""Rows drawn of a table that is longer than what is fitted on, in one pass and in memory that does not grow with it.

The draw is uniform over the rows with every target. Beside it, and few, come the rows that carry what a model must know
of all rows: the smallest and largest value of every number and date, a missing value of every column that has one, and
the first row of every level.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.dates import read_moments
from models.contract.tables import Batch, Column, Judged, Table, iter_batches
from training.feature_columns import MAX_LEVELS, MAX_LEVELS_ASKED

_SPARE = 6.0
"""Standard deviations of the number of rows drawn, that are drawn more, and then left out: fewer than asked for come
once in a thousand million draws."""


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


def draw_rows(
    path: Path,
    kinds: Judged,
    present: Sequence[str],
    dates: Sequence[str],
    categories: Sequence[str],
    lenient: Sequence[str],
    max_rows: int,
    seed: int,
) -> Sample:
    """Draw rows of a table.

    Args:
        path: The file.
        kinds: What its columns hold.
        present: Columns of numbers that must have a value.
        dates: Columns of dates, among those of text.
        categories: Columns of levels however many they have, among those of text.
        lenient: Columns of numbers in which what is no number is missing.
        max_rows: How many to draw, beside those that carry ranges and levels.
        seed: Seed of the draw.

    Raises:
        TableError: When the file is no table.
    """
    rng = np.random.default_rng(seed)
    n_candidates = max(1, kinds.n_rows - max(kinds.n_missing[name] for name in present))
    share = (max_rows + _SPARE * np.sqrt(max_rows)) / n_candidates
    names = (*kinds.numbers, *kinds.texts)
    parts: list[dict[str, Column]] = []
    keys: list[NDArray[np.float64]] = []
    numbers: list[NDArray[np.int64]] = []
    pins = _Pins(kinds, tuple(dates), tuple(categories))
    for batch in iter_batches(path, numbers=kinds.numbers, texts=tuple(kinds.texts), lenient=lenient, whole=False):
        known = np.ones(len(batch.columns[names[0]]), dtype=np.bool_)
        for name in present:
            known &= ~np.isnan(batch.columns[name].astype(np.float64))
        key = rng.random(len(known))
        kept = np.flatnonzero(known & (key < share))
        parts.append({name: batch.columns[name][kept] for name in names})
        keys.append(key[kept])
        numbers.append(batch.first_row + kept)
        pins.see(batch, np.flatnonzero(known))
    drawn, key = np.concatenate(numbers), np.concatenate(keys)
    chosen = np.sort(np.argsort(key, kind="stable")[:max_rows])
    pinned_rows, there = pins.rows(), set(drawn[chosen].tolist())
    beside = [row for row in sorted(pinned_rows) if row not in there]
    order = np.argsort(np.concatenate([drawn[chosen], np.array(beside, dtype=np.int64)]), kind="stable")
    columns: dict[str, Column] = {}
    for name in names:
        values = np.concatenate([part[name] for part in parts])[chosen]
        extra = np.array([pinned_rows[row][name] for row in beside], dtype=values.dtype)
        columns[name] = np.concatenate([values, extra])[order]
    file_rows = np.concatenate([drawn[chosen], np.array(beside, dtype=np.int64)])[order]
    pinned = np.flatnonzero(np.isin(file_rows, list(pinned_rows)))
    in_order = tuple(name for name in kinds.n_missing if name in columns)
    told = {name: why for name, why in kinds.texts.items() if why is not None}
    table = Table(in_order, {name: columns[name] for name in in_order}, len(file_rows), kinds.notes, told)
    return Sample(table, Drawn(file_rows, pinned, kinds.n_rows, kinds.numbers))


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
