"""From a table's columns to features: what each column is taken for, what is left out, and why."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.contract.dates import (
    MAX_DATE_NAME,
    PART_NAMES,
    DatePartName,
    date_numbers,
    date_text,
    part_name,
    read_moments,
)
from models.contract.tables import Text
from training.errors import TrainingDataError

MAX_LEVELS = 100
"""Most levels of a text column that is taken without being asked for: each becomes an input of its own."""

MAX_LEVELS_ASKED = 10_000
_MAX_LEVEL_LENGTH = 500
"""Limits of the manifest."""

_LEVELS_SHOWN = 4

_LARGEST = 1e150
"""Squares of larger numbers overflow, and those of differences below its inverse underflow."""

_GROUPED = re.compile(r"[+-]?\d{1,3}(?:([,.'\s])\d{3})(?:\1\d{3})*(?:[,.]\d+)?")
"""A number whose digits stand in threes."""

Role = Literal["target", "number", "category", "date", "weight", "group", "time", "left out"]


@dataclass(frozen=True)
class DateOf:
    """Which number of which date a feature is.

    Attributes:
        column: The table's column.
        part: The number.
        origin: Moment from which the column's days are counted.
    """

    column: str
    part: DatePartName
    origin: str


@dataclass(frozen=True)
class Feature:
    """An input of the model.

    Attributes:
        name: The table's column, or "column: part" for a number that a date becomes.
        kind: Whether it holds numbers or levels.
        may_be_missing: Whether the table has missing values in it.
        levels: Levels, sorted; empty for numbers.
        date: Where it comes from, for one of a date's numbers; these follow each other, the days elapsed first.
    """

    name: str
    kind: Literal["number", "category"]
    may_be_missing: bool
    levels: tuple[str, ...] = ()
    date: DateOf | None = None


@dataclass(frozen=True)
class ColumnUse:
    """What a column of the table is taken for.

    Attributes:
        name: The column.
        role: What for.
        n_missing: Missing values.
        holds: Its range or its levels, in words.
        why: Why it is left out, or what else a reader must know; "" for nothing.
    """

    name: str
    role: Role
    n_missing: int
    holds: str
    why: str = ""

    @property
    def note(self) -> str | None:
        """A sentence on what was decided, or None where nothing was."""
        if self.role == "left out" and self.why:
            return f"column {self.name!r} was left out: {self.why}"
        return f"column {self.name!r} {self.why}" if self.why else None


@dataclass
class FeatureColumns:
    """Collects features, and says of every column what it is taken for.

    Attributes:
        features: Features, in the order added.
        numeric: Values of the number features.
        categorical: Values of the category features, missing as "".
        uses: What every column is taken for.
    """

    features: list[Feature] = field(default_factory=list)
    numeric: list[NDArray[np.float64]] = field(default_factory=list)
    categorical: list[NDArray[np.object_]] = field(default_factory=list)
    uses: list[ColumnUse] = field(default_factory=list)
    _seen: dict[bytes, str] = field(default_factory=dict)

    def add_number(self, name: str, values: NDArray[np.float64]) -> None:
        """Add a column of numbers, missing as NaN; left out where it is empty, constant or another one's equal."""
        missing = np.isnan(values)
        present = values[~missing]
        n_missing = int(missing.sum())
        if not present.size:
            self._leave_out(name, n_missing, "nothing", "it has no value")
            return
        holds = f"{present.min():.6g} to {present.max():.6g}"
        if present.min() == present.max():
            self._leave_out(name, n_missing, holds, f"it is {present[0]:g} wherever it has a value")
            return
        told = beyond_squares(present)
        if told:
            self._leave_out(name, n_missing, holds, f"it {told}")
            return
        twin = self._twin(name, (values + 0.0).tobytes())  # −0.0 becomes 0.0
        if twin is not None:
            self._leave_out(name, n_missing, holds, f"it equals column {twin!r} in every row")
            return
        counts = len(values) > 2 and bool((np.diff(values) == 1).all())
        self.uses.append(
            ColumnUse(
                name,
                "number",
                n_missing,
                holds,
                "counts the rows; drop it unless their order means something" if counts else "",
            )
        )
        self.features.append(Feature(name, "number", n_missing > 0))
        self.numeric.append(values)

    def add_category(self, name: str, values: NDArray[np.object_], why: Text | None) -> None:
        """Add a column of text, missing as None; left out where it teaches nothing, or has too many levels.

        Args:
            name: The column.
            values: What it holds, shape (n_rows,).
            why: Why it is text; None where it was asked for as a category.

        Raises:
            TrainingDataError: When it was asked for and has more levels, or longer ones, than a category can have.
        """
        present = [str(value) for value in values if value is not None]
        n_missing = len(values) - len(present)
        levels = tuple(sorted(set(present)))
        longest = max(map(len, levels), default=0)
        holds = _shown_levels(levels)
        if not levels:
            self._leave_out(name, n_missing, "nothing", "it has no value")
        elif len(levels) == 1:
            self._leave_out(name, n_missing, holds, f"it is {levels[0][:40]!r} wherever it has a value")
        elif len(levels) > MAX_LEVELS_ASKED or longest > _MAX_LEVEL_LENGTH:
            rule = f"a category has at most {MAX_LEVELS_ASKED} levels of at most {_MAX_LEVEL_LENGTH} characters"
            observed = f"{len(levels)}, the longest of {longest}"
            if why is None:
                msg = f"{rule}, however column {name!r} has {observed}; drop it"
                raise TrainingDataError(msg)
            self._leave_out(name, n_missing, f"{len(levels)} levels", f"{rule}, and it has {observed} characters")
        elif why is not None and (len(levels) == len(values) or len(levels) > MAX_LEVELS):
            told = f"it is text of {len(levels)} levels in {len(values)} rows; --category {name!r} keeps it"
            others = [way for way in (way_to_numbers(name, why), _dates(name, present)) if way]
            self._leave_out(name, n_missing, holds, ", ".join([told, *others]))
        else:
            filled = np.array(["" if value is None else value for value in values], dtype=object)
            twin = self._twin(name, "\0".join(map(str, filled)).encode())
            if twin is not None:
                self._leave_out(name, n_missing, holds, f"it equals column {twin!r} in every row")
                return
            self.uses.append(ColumnUse(name, "category", n_missing, holds))
            self.features.append(Feature(name, "category", n_missing > 0, levels))
            self.categorical.append(filled)

    def add_date(self, name: str, values: NDArray[np.object_]) -> None:
        """Add the numbers of a column of dates, text with missing as None; those that do not vary are left out.

        Raises:
            TrainingDataError: When a value is no date, or the column's name is too long.
        """
        if len(name) > MAX_DATE_NAME:
            msg = f"a date's name must have at most {MAX_DATE_NAME} characters, however: {name!r}; rename the column"
            raise TrainingDataError(msg)
        moments = dates_of(name, values)
        missing = np.isnan(moments)
        n_missing = int(missing.sum())
        if missing.all():
            self._leave_out(name, n_missing, "nothing", "it has no value")
            return
        origin = _text_of(float(np.nanmin(moments)))
        holds = f"{origin} to {_text_of(float(np.nanmax(moments)))}"
        numbers = date_numbers(moments, origin, PART_NAMES)
        taken = [j for j in range(len(PART_NAMES)) if np.nanmin(numbers[:, j]) < np.nanmax(numbers[:, j])]
        if not taken:
            self._leave_out(name, n_missing, holds, f"it is {origin} wherever it has a value")
            return
        parts = ", ".join(PART_NAMES[j].replace("_", " ") for j in taken)
        self.uses.append(ColumnUse(name, "date", n_missing, f"{holds}, taken as {parts}"))
        for j in taken:
            part = PART_NAMES[j]
            self.features.append(
                Feature(part_name(name, part), "number", n_missing > 0, date=DateOf(name, part, origin))
            )
            self.numeric.append(numbers[:, j])

    def pass_over(self, name: str, role: Role, n_missing: int, holds: str) -> None:
        """Say of a column that it is taken for something else than a feature."""
        self.uses.append(ColumnUse(name, role, n_missing, holds))

    def _leave_out(self, name: str, n_missing: int, holds: str, why: str) -> None:
        self.uses.append(ColumnUse(name, "left out", n_missing, holds, why))

    def _twin(self, name: str, content: bytes) -> str | None:
        """Return the earlier column with the same values, or remember this one."""
        twin = self._seen.setdefault(content, name)
        return None if twin == name else twin


def dates_of(name: str, values: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return the moments of a column of dates, seconds from 1970, missing as NaN.

    Raises:
        TrainingDataError: When a value is no date.
    """
    moments, unreadable = read_moments(values.tolist())
    if unreadable:
        msg = (
            f"a date must look like 2026-03-01, 2026-03-01T14:30 or 01.03.2026, however column {name!r} holds "
            f"{str(values[unreadable[0]])[:40]!r} and {len(unreadable) - 1} more that do not; convert them"
        )
        raise TrainingDataError(msg)
    return moments


def _text_of(moment: float) -> str:
    return date_text("1970-01-01", moment / 86_400)


def _shown_levels(levels: Sequence[str]) -> str:
    shown = ", ".join(repr(level[:20]) for level in levels[:_LEVELS_SHOWN])
    more = f" and {len(levels) - _LEVELS_SHOWN} more" if len(levels) > _LEVELS_SHOWN else ""
    return f"{len(levels)} levels: {shown}{more}" if levels else "nothing"


def beyond_squares(values: NDArray[np.float64]) -> str:
    """Return why numbers that vary are of a magnitude that cannot be computed with, in words; "" where they can."""
    largest = float(np.abs(values).max())
    if largest > _LARGEST:
        return f"reaches {largest:.3g}, and squares beyond {_LARGEST:g} overflow; take a larger unit"
    spread = float(np.ptp(values))
    if spread < 1 / _LARGEST:
        return f"varies by {spread:.3g}, and squares below {1 / _LARGEST:g} underflow; take a smaller unit"
    return ""


def way_to_numbers(name: str, why: Text) -> str:
    """Return how a column of text becomes one of numbers, in words; "" where it hardly holds any."""
    if _GROUPED.fullmatch(why.first.strip()):
        return f"numbers such as {why.first[:40]!r} must be written without thousands separators"
    return f"--number {name!r} counts {why.first[:40]!r} and the like as missing" if why.mostly_numbers else ""


def _dates(name: str, values: Sequence[str]) -> str:
    return "" if read_moments(values)[1] else f"--date {name!r} takes its dates as numbers"
