"""A column of dates: text in a row, numbers in the graph, by one rule in training and in the service.

Read are `2026-03-01`, `2026-03-01T14:30` and `2026-03-01 14:30:15.5` (ISO 8601), the latter also with `Z` or an offset
such as `+02:00`, which is converted to UTC; and `1.3.2026` or `01.03.2026 14:30` (day, month, year). Fractions of a
second are dropped. `03/01/2026` is refused, for nobody can tell March from January in it.
"""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from models.contract.columns import NumberColumn
from models.contract.part import Finite, Part

DatePartName = Literal["elapsed_days", "year", "month", "weekday", "hour"]

PART_NAMES: tuple[DatePartName, ...] = ("elapsed_days", "year", "month", "weekday", "hour")
"""Numbers that a date becomes: days since the column's origin with their fraction, the year, the month from 1, the day
of the week from 0 for Monday, the hour with its fraction."""

DAY_S = 86_400

MAX_DATE_NAME = 180
"""Longest name of a column of dates: those of its numbers are longer, and have a limit of their own."""

_EPOCH = datetime(1970, 1, 1)
_THURSDAY = 3
"""Weekday of the epoch."""

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[T ](\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?)?", re.ASCII)


class DatePart(Part):
    """One of the numbers that a date becomes.

    Attributes:
        name: What it is, see `PART_NAMES`.
        minimum: Smallest value seen in training.
        maximum: Largest value seen in training.
    """

    name: DatePartName
    minimum: Finite
    maximum: Finite


class DateColumn(Part):
    """An input column of dates, as text.

    Attributes:
        name: Column name, as in the training table.
        origin: Moment from which `elapsed_days` counts, ISO 8601 without a zone.
        parts: Numbers that the graph takes for it, in the order of the `numeric` tensor.
        may_be_missing: Whether a missing value is answered (the graph imputes its numbers).
    """

    kind: Literal["date"] = "date"
    name: Annotated[str, Field(min_length=1, max_length=MAX_DATE_NAME)]
    origin: str
    parts: tuple[DatePart, ...] = Field(min_length=1, max_length=len(PART_NAMES))
    may_be_missing: bool = False

    @field_validator("origin")
    @classmethod
    def _readable(cls, origin: str) -> str:
        if moment_of(origin) is None:
            msg = f"an origin must be a date such as 2026-03-01T00:00:00, however: {origin[:40]!r}"
            raise ValueError(msg)
        return origin

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({part.name for part in self.parts}) != len(self.parts):
            msg = f"parts must be distinct, however column {self.name!r} repeats one"
            raise ValueError(msg)
        return self

    @property
    def numbers(self) -> tuple[NumberColumn, ...]:
        """The columns of the `numeric` tensor that stand for the date, such as "rolled: month"."""
        return tuple(
            NumberColumn(
                name=part_name(self.name, part.name),
                unit="d" if part.name == "elapsed_days" else "h" if part.name == "hour" else None,
                minimum=part.minimum,
                maximum=part.maximum,
                may_be_missing=self.may_be_missing,
            )
            for part in self.parts
        )

    @property
    def span(self) -> tuple[str, str] | None:
        """First and last date seen in training, or None where the graph does not take the days elapsed."""
        for part in self.parts:
            if part.name == "elapsed_days":
                return date_text(self.origin, part.minimum), date_text(self.origin, part.maximum)
        return None

    def values(self, moments: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers of dates, shape (n_rows, n_parts).

        Args:
            moments: From `read_moments`, shape (n_rows,), missing as NaN.
        """
        return date_numbers(moments, self.origin, [part.name for part in self.parts])


def part_name(column: str, part: DatePartName) -> str:
    """Return how one of a date's numbers is called."""
    return f"{column}: {part.replace('_', ' ')}"


def moment_of(text: str) -> float | None:
    """Return the seconds from 1970 to a date, whole, without leap seconds; None where the text is none.

    Example:
        >>> moment_of("1970-01-02 00:00:30.7"), moment_of("2.1.1970"), moment_of("1970-01-02T02:00+02:00")
        (86430.0, 86400.0, 86400.0)
        >>> moment_of("01/02/1970")
    """
    try:
        if _ISO.fullmatch(text):
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                moment = moment.astimezone(UTC).replace(tzinfo=None)
        else:
            found = _DAY_FIRST.fullmatch(text)
            if found is None:
                return None
            day, month, year, hour, minute, second = (int(group or 0) for group in found.groups())
            moment = datetime(year, month, day, hour, minute, second)
    except (ValueError, OverflowError):
        return None
    return float((moment - _EPOCH) // timedelta(seconds=1))


def read_moments(values: Iterable[str | None]) -> tuple[NDArray[np.float64], list[int]]:
    """Read dates.

    Args:
        values: Text as it stands; None and "" are missing values.

    Returns:
        Seconds from 1970, missing and unreadable values as NaN, shape (n_rows,); and the rows that are unreadable.
    """
    known: dict[str | None, float | None] = {None: math.nan, "": math.nan}
    moments, unreadable = [], []
    for row, value in enumerate(values):
        if value not in known:
            known[value] = moment_of(str(value))
        moment = known[value]
        if moment is None:
            unreadable.append(row)
            moment = math.nan
        moments.append(moment)
    return np.array(moments, dtype=np.float64), unreadable


def date_numbers(moments: NDArray[np.float64], origin: str, parts: Sequence[DatePartName]) -> NDArray[np.float64]:
    """Return the numbers that dates become, shape (n_rows, len(parts)); NaN where the date is missing.

    Args:
        moments: Seconds from 1970, missing as NaN, shape (n_rows,).
        origin: From which `elapsed_days` counts.
        parts: Which numbers.

    Raises:
        ValueError: When the origin is no date.

    Example:
        >>> moments, _ = read_moments(["2026-03-01T06:00", None])
        >>> date_numbers(moments, "2026-02-01", ["elapsed_days", "month", "weekday", "hour"]).tolist()
        [[28.25, 3.0, 6.0, 6.0], [nan, nan, nan, nan]]
    """
    start = moment_of(origin)
    if start is None:
        msg = f"an origin must be a date, however: {origin[:40]!r}"
        raise ValueError(msg)
    missing = np.isnan(moments)
    seconds = np.where(missing, 0.0, moments).astype(np.int64)
    days = seconds // DAY_S
    months = seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    numbers: dict[DatePartName, NDArray[np.float64]] = {
        "elapsed_days": (seconds - start) / DAY_S,
        "year": (months // 12 + 1970).astype(np.float64),
        "month": (months % 12 + 1).astype(np.float64),
        "weekday": ((days + _THURSDAY) % 7).astype(np.float64),
        "hour": (seconds - days * DAY_S) / 3600,
    }
    result = np.stack([numbers[part] for part in parts], axis=1)
    result[missing] = np.nan
    return result


def date_text(origin: str, elapsed_days: float) -> str:
    """Return the date that lies some days after an origin, ISO 8601, exact to the second.

    Example:
        >>> date_text("2026-02-01T00:00:00", 28.25)
        '2026-03-01T06:00:00'
    """
    start = moment_of(origin) or 0.0
    return (_EPOCH + timedelta(seconds=round(start + elapsed_days * DAY_S))).isoformat()
