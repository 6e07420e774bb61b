"""A training table with its text levels as codes, in the forms that networks, baselines and graphs take."""

import csv
import io
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract.columns import Unseen
from models.contract.dates import date_text
from training.datasets import TrainingTable
from training.evaluation.leaderboard import TableRows
from training.fitting.first_order import Rows
from training.parity import RawRows
from training.splits import Split
from training.tabular import rows as tabular

Codes = NDArray[np.int64]

RARE_ROWS = 5
"""Levels of fewer training rows count as "other", where that is asked for: the trees' order of levels takes the mean of
as many rows for granted before it believes a level's own."""


@dataclass(frozen=True)
class CodedTable:
    """A table with its text levels as codes.

    Attributes:
        table: The table.
        levels: Levels of each category column; a level's code is its position.
        codes: Shape (n_rows, d_categorical), int64; −1 for a level that is not among `levels`.
    """

    table: TrainingTable
    levels: tuple[tuple[str, ...], ...]
    codes: Codes

    @classmethod
    def of(cls, table: TrainingTable, train: NDArray[np.int64], unseen: Unseen = "refuse") -> "CodedTable":
        """Code the levels that the training rows have; any other level is −1.

        Args:
            table: The table.
            train: Training rows.
            unseen: Where "other", levels of fewer than `RARE_ROWS` training rows are −1 too: from them the model learns
                what to answer for a level never seen. The most frequent level is kept in any case.
        """
        levels = []
        for j in range(table.categorical.shape[1]):
            column = table.categorical[:, j]
            counts = Counter(str(value) for value in column[train])
            del counts[""]
            least = min(RARE_ROWS, max(counts.values(), default=1)) if unseen == "other" else 1
            seen = sorted(level for level, count in counts.items() if count >= least)
            levels.append(tuple(seen))
        return cls.with_levels(table, tuple(levels))

    @classmethod
    def with_levels(cls, table: TrainingTable, levels: tuple[tuple[str, ...], ...]) -> "CodedTable":
        """Code levels that are known; any other level is −1."""
        columns = []
        categories = [feature for feature in table.features if feature.kind == "category"]
        for feature, seen, column in zip(categories, levels, table.categorical.T, strict=True):
            place = {level: code for code, level in enumerate(seen)}
            if feature.may_be_missing:
                place[""] = len(seen)
            columns.append([place.get(str(value), -1) for value in column])
        codes = np.array(columns, dtype=np.int64).T if columns else np.zeros((table.n_rows, 0), dtype=np.int64)
        return cls(table, levels, codes)

    @property
    def n_codes(self) -> tuple[int, ...]:
        """Codes of each category column."""
        maybe = [feature.may_be_missing for feature in self.table.features if feature.kind == "category"]
        return tuple(len(levels) + missing for levels, missing in zip(self.levels, maybe, strict=True))

    def rows(self, index: NDArray[np.int64]) -> TableRows:
        """Return rows as the baselines take them."""
        weights = None if self.table.weights is None else self.table.weights[index]
        return TableRows(self.table.numeric[index], self.codes[index], self.table.targets[index], weights)

    def tabular(self, index: NDArray[np.int64]) -> tabular.Rows:
        """Return rows as the tabular models take them."""
        weights = None if self.table.weights is None else self.table.weights[index]
        groups = None if self.table.groups is None else self.table.groups[index]
        return tabular.Rows(self.table.numeric[index], self.codes[index], weights, groups)

    def tensors(self, index: NDArray[np.int64]) -> Rows:
        """Return rows as the networks take them; weights, where there are any, are the last column of the targets."""
        numeric = torch.as_tensor(self.table.numeric[index]) if self.table.numeric.shape[1] else None
        codes = torch.as_tensor(self.codes[index]) if self.codes.shape[1] else None
        targets = self.table.targets[index]
        if self.table.weights is not None:
            targets = np.column_stack([targets, self.table.weights[index]])
        return Rows((numeric, codes), torch.as_tensor(targets))

    def raw(self, index: NDArray[np.int64]) -> RawRows:
        """Return rows as the graph takes them."""
        categorical = self.codes.shape[1] > 0
        return RawRows(
            self.table.numeric[index] if self.table.numeric.shape[1] else None,
            self.table.categorical[index] if categorical else None,
            self.codes[index] if categorical else None,
        )


def with_every_level(table: TrainingTable, split: Split, unseen: Unseen = "refuse") -> Split:
    """Move rows with a level that no training row has, or with the only values of a column, into the training part.

    Where levels never seen are answered as "other", they stay, and judge that answer.
    """
    train = set(split.train.tolist())
    held_out = [*split.validation.tolist(), *split.test.tolist()]
    unknown = table.missing
    for j in np.flatnonzero(unknown[split.train].all(axis=0)).tolist():
        train.update(row for row in held_out if not unknown[row, j])
    for j in range(table.categorical.shape[1] if unseen == "refuse" else 0):
        column = table.categorical[:, j]
        seen = {column[i] for i in train}
        for i in held_out:
            if column[i] not in seen:
                seen.add(column[i])
                train.add(i)
    moved = train - set(split.train.tolist())
    if not moved:
        return split

    def rest(part: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([i for i in part if i not in moved], dtype=np.int64)

    return Split(
        np.concatenate([split.train, np.array(sorted(moved), dtype=np.int64)]), rest(split.validation), rest(split.test)
    )


def rows_as_csv(table: TrainingTable, index: NDArray[np.int64]) -> bytes:
    """Return rows as CSV with a header: the model's columns, then targets, missing values empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    columns = dict.fromkeys(feature.date.column if feature.date else feature.name for feature in table.features)
    writer.writerow([*columns, *table.target_names])
    for i in index:
        numbers, levels = iter(table.numeric[i]), iter(table.categorical[i])
        cells: list[object] = []
        for feature in table.features:
            if feature.kind == "category":
                cells.append(next(levels))
                continue
            value = float(next(numbers))
            if feature.date is None:
                cells.append("" if np.isnan(value) else repr(value))
            elif feature.date.part == "elapsed_days":
                cells.append("" if np.isnan(value) else date_text(feature.date.origin, value))
        writer.writerow([*cells, *(repr(float(y)) for y in table.targets[i])])
    return stream.getvalue().encode()
