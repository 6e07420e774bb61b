"""What an experiment found, as documents that JSON carries. Importing this module loads no torch.

An experiment gives an `Outcome`; with the time and the machine it becomes a `Record`, which is kept as JSON. Terminal,
figure and page are all made from records, so that none of them can say anything else.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.errors import ConfigError

NAMES = ("identity", "static", "recurrent", "number-words", "digits", "programs", "gridworld")
"""The experiments in the paper's order, which is that of the page."""

FORMAT: Final = 1

_NUMBERS = re.compile(r"\[\s+(-?[0-9.e+-]+,?\s+)+\]")
"""A list of numbers as `json` writes it: one a line."""

Size = Literal["quick", "full"]
Kind = Literal["published", "reproduction", "ours"]
Scale = Literal["linear", "log", "symlog"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cell(_Document):
    """One value of a table.

    Attributes:
        mean: Mean over the seeds; None where there is no number.
        spread: Standard deviation over the seeds; None for a single number.
        worst: The worst seed.
        text: What is told instead of a number, or what must be known of it.
    """

    mean: float | None = None
    spread: float | None = None
    worst: float | None = None
    text: str | None = None


NOT_PUBLISHED = Cell(text="not published")
"""Where a source gives no number."""


def published(value: float | str | None) -> Cell:
    """Return a cell of a number or a text such as "> 999" that a source gives; None where it gives none."""
    if value is None:
        return NOT_PUBLISHED
    return Cell(text=value) if isinstance(value, str) else Cell(mean=value)


def measured(values: Sequence[float], *, better: Literal["lower", "higher"] = "lower") -> Cell:
    """Return a cell of one value a seed.

    A value that is not finite leaves no mean: it is counted instead, and nothing is averaged over the seeds that
    happened to go well.

    Args:
        values: One number a seed, at least one.
        better: Which end is the good one; the other is the worst seed.

    Example:
        >>> measured([1.0, 3.0])
        Cell(mean=2.0, spread=1.0, worst=3.0, text=None)
    """
    numbers = np.asarray(values, dtype=np.float64)
    n_bad = int((~np.isfinite(numbers)).sum())
    if n_bad:
        return Cell(text=f"not finite in {n_bad} of {len(numbers)} seeds")
    worst = numbers.max() if better == "lower" else numbers.min()
    spread = _rounded(float(numbers.std())) if len(numbers) > 1 else None
    return Cell(mean=_rounded(float(numbers.mean())), spread=spread, worst=_rounded(float(worst)))


class Row(_Document):
    """One row of a table.

    Attributes:
        kind: Whether its numbers are published, from the paper's recipe run here, or from our own fit.
        label: Model, and what must be known of how it was made.
        cells: One a column.
    """

    kind: Kind
    label: str
    cells: tuple[Cell, ...]


class Table(_Document):
    """Rows of numbers.

    Attributes:
        title: What the numbers are, with their unit.
        columns: Names of the columns of numbers.
        rows: The rows; every one has a cell for each column.
        notes: Sources of published numbers, and what must be known to read the table.
        decimals: Decimals to show; None for three significant digits.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    decimals: int | None = None

    @model_validator(mode="after")
    def _is_rectangular(self) -> "Table":
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                msg = f"a row must have {len(self.columns)} cells, however {row.label!r} has {len(row.cells)}"
                raise ValueError(msg)
        return self


class Claim(_Document):
    """What an experiment was to reach.

    Attributes:
        what: The quantity, over which seeds.
        bound: What it must be.
        measured: What it is.
        met: Whether it holds.
        note: Where it does not hold: what was tried, and what bounds it.
    """

    what: str
    bound: str
    measured: str
    met: bool
    note: str = ""


def at_most(what: str, bound: float, value: float, note: str = "") -> Claim:
    """Return the claim that a number is not above a bound; NaN never is."""
    return Claim(what=what, bound=f"≤ {bound:.4g}", measured=f"{value:.3g}", met=bool(value <= bound), note=note)


def at_least(what: str, bound: float, value: float, note: str = "") -> Claim:
    """Return the claim that a number is not below a bound; NaN always is."""
    return Claim(what=what, bound=f"≥ {bound:.4g}", measured=f"{value:.3g}", met=bool(value >= bound), note=note)


class Curve(_Document):
    """One line, row of points or row of bars of a figure.

    Attributes:
        label: Its name in the legend; curves of the same name in several panels have the same colour.
        x: Abscissae; for bars and named ticks the positions 0, 1, 2, …
        y: Ordinates.
        low: Lower ends of a band, such as the best seed.
        high: Upper ends of a band.
        style: How it is drawn.
        kind: Whether its numbers are published, from the paper's recipe, or ours; published ones are dashed.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    style: Literal["line", "points", "bars"] = "line"
    kind: Kind = "reproduction"

    @model_validator(mode="after")
    def _is_as_long_everywhere(self) -> "Curve":
        lengths = {len(part) for part in (self.x, self.y, self.low, self.high) if part is not None}
        if len(lengths) != 1 or (self.low is None) != (self.high is None):
            msg = f"a curve must have as many x as y, and both ends of its band, however {self.label!r}: {lengths}"
            raise ValueError(msg)
        return self


def seeds_curve(
    label: str, x: Sequence[float], values: Sequence[Sequence[float]], *, kind: Kind = "reproduction"
) -> Curve:
    """Return the median over seeds with a band from the best to the worst.

    Args:
        label: Name in the legend.
        x: Abscissae.
        values: Shape (seeds, len(x)); what is not finite is drawn at the largest number that float32 holds.
        kind: Whose numbers they are.
    """
    limit = float(np.finfo(np.float32).max)
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=limit, posinf=limit, neginf=-limit)
    return Curve(
        label=label,
        x=tuple(float(one) for one in x),
        y=_all_rounded(np.median(numbers, axis=0)),
        low=_all_rounded(numbers.min(axis=0)),
        high=_all_rounded(numbers.max(axis=0)),
        kind=kind,
    )


class Panel(_Document):
    """One pair of axes of a figure.

    Attributes:
        title: Title.
        x_label: Name and unit of the abscissa.
        y_label: Name and unit of the ordinate.
        curves: What is drawn.
        x_scale: Scale of the abscissa.
        y_scale: Scale of the ordinate.
        trained: Part of the abscissa seen in training, shaded.
        ticks: Names of the positions 0, 1, 2, … of the abscissa, such as tokens or operations.
        y_floor: Smallest ordinate of a logarithmic axis; what is below, zeros included, is drawn there.
        y_ceiling: Largest ordinate shown.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    trained: tuple[float, float] | None = None
    ticks: tuple[str, ...] | None = None
    y_floor: float | None = Field(default=None)
    y_ceiling: float | None = None

    @model_validator(mode="after")
    def _has_room_for_zeros(self) -> "Panel":
        if self.y_scale == "log" and not (self.y_floor is not None and self.y_floor > 0):
            msg = f"a logarithmic axis must have a positive y_floor to draw zeros at, however: {self.y_floor}"
            raise ValueError(msg)
        return self


class Served(_Document):
    """A model that the service answers.

    Attributes:
        model: Its name.
        request: Body of a request as JSON.
    """

    model: str
    request: str


class Outcome(_Document):
    """What an experiment found.

    Attributes:
        name: One of `NAMES`.
        title: Its title.
        about: What is learned and how it is judged, in whole sentences.
        size: "quick" or "full".
        seeds: Seeds of every number that has a spread.
        setup: Where it differs from the paper's setup, a sentence each.
        tables: Tables, published numbers beside ours.
        claims: What it was to reach.
        panels: The figure.
        served: Models that it publishes.
    """

    name: str
    title: str
    about: tuple[str, ...]
    size: Size
    seeds: int = Field(ge=1)
    setup: tuple[str, ...]
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]
    panels: tuple[Panel, ...]
    served: tuple[Served, ...] = ()

    @model_validator(mode="after")
    def _is_known(self) -> "Outcome":
        if self.name not in NAMES:
            msg = f"an experiment must be one of {', '.join(NAMES)}, however: {self.name!r}"
            raise ValueError(msg)
        return self


class Record(_Document):
    """An outcome, when and where it was found.

    Attributes:
        format: Version of this document.
        created: Time in UTC.
        command: The command line.
        seconds: Seconds by the clock.
        cpu_seconds: Seconds of processor time, of all threads and child processes.
        machine: Processor, cores, system and releases.
        outcome: What was found.
    """

    format: Literal[1] = FORMAT
    created: str
    command: str
    seconds: float
    cpu_seconds: float
    machine: dict[str, Any]
    outcome: Outcome


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, lists of numbers on one line; all of it is there at once, or nothing."""
    content = {"format": FORMAT, **record.model_dump(mode="json", exclude_defaults=True)}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(_NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")
    aside.replace(path)


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        ConfigError: When the file is not one.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        msg = f"a result must be readable, however {path}: {error}"
        raise ConfigError(msg) from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "its JSON"
        msg = f"a result must be a JSON file of `nalu reproduce`, however {where} of {path}: {fault['msg']}"
        raise ConfigError(msg) from error


def _rounded(value: float) -> float:
    """Return a number with six significant digits: more would only make the files of results unreadable."""
    return float(f"{value:.6g}") if math.isfinite(value) else value


def _all_rounded(values: Any) -> tuple[float, ...]:
    return tuple(_rounded(float(value)) for value in values)
