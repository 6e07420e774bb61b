"""Rows of a table as the tabular model takes them, and what each column is on a raw and on a logarithmic scale."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Index = NDArray[np.int64]

Scale = Literal["raw", "log"]

FLOOR_OF_SMALLEST = 0.1
"""Before the logarithm a positive column is held above this share of its smallest value, a decade of room downwards; in
a law the share stands in for what has no logarithm or reciprocal."""

_FEW_ZEROS = 0.01
"""A column with fewer zeros than this counts as positive: they stand for "not measured" more often than for nothing
(nine of 53,940 diamonds have no height)."""

_CORE = (0.01, 0.99)
_RANGES_BEYOND = 3.0
"""A column is held within this many times its central range (between these quantiles) beyond it, so that one slip of
a decimal point neither bends the fit nor runs away with an answer."""


@dataclass(frozen=True)
class Rows:
    """Input columns.

    Attributes:
        numeric: Shape (n_rows, d_numeric), missing values as NaN.
        codes: Shape (n_rows, d_categorical), int64; −1 for a level never seen.
        weights: How much each row counts, positive, shape (n_rows,); None for the same.
        groups: Number of the group of each row, shape (n_rows,), int64: rows that are held out together; None where
            every row stands for itself.
    """

    numeric: Floats
    codes: Codes
    weights: Floats | None = None
    groups: Index | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numeric)

    def take(self, index: Index) -> "Rows":
        """Return the rows at `index`."""
        return Rows(
            self.numeric[index],
            self.codes[index],
            None if self.weights is None else self.weights[index],
            None if self.groups is None else self.groups[index],
        )

    def parts(self, n_parts: int, seed: int) -> Index:
        """Return the part of each row, drawn at random, from 0, shape (n_rows,); a group is in one part.

        Where there are fewer groups than parts, rows are drawn alone.
        """
        rng = np.random.default_rng(seed)
        if self.groups is not None:
            _, number, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
            if len(sizes) >= n_parts:
                return balanced_parts(sizes, n_parts, rng)[number]
        return rng.permutation(len(self)) % n_parts


def balanced_parts(sizes: Index, n_parts: int, rng: np.random.Generator) -> Index:
    """Return the part of each group, shape (n_groups,): in random order, each into the part with the fewest rows.

    Args:
        sizes: Rows of each group, shape (n_groups,).
        n_parts: Parts.
        rng: Draws the order.
    """
    part = np.zeros(len(sizes), dtype=np.int64)
    filled = np.zeros(n_parts)
    for group in rng.permutation(len(sizes)):
        part[group] = int(np.argmin(filled))
        filled[part[group]] += sizes[group]
    return part


def ranges_seen(numeric: Floats) -> tuple[Floats, Floats]:
    """Return the smallest and the largest value of each column, zero for a column without any."""
    known: NDArray[np.bool_] = ~np.isnan(numeric)
    lower = np.where(known, numeric, np.inf).min(axis=0, initial=np.inf)
    upper = np.where(known, numeric, -np.inf).max(axis=0, initial=-np.inf)
    none = ~(upper >= lower)
    return np.where(none, 0.0, lower), np.where(none, 0.0, upper)


def mean_of(values: Floats, weights: Floats | None) -> Floats:
    """Return the mean over rows of columns, or of one column, weighted where there are weights."""
    return np.asarray(values.mean(axis=0) if weights is None else np.average(values, axis=0, weights=weights))


@dataclass(frozen=True)
class Columns:
    """How raw columns become the trunk's: imputed, on a scale, standardised; then indicators.

    On the logarithmic scale a positive column becomes log x and a column with zeros log(1 + x / s), s the median of its
    positive values; a column with negative values stays as it is. An indicator is 1 where a value is missing, or where
    a category has a level.

    Attributes:
        scale: "raw" or "log".
        fill: Stands in for a missing value: the median, shape (d_numeric,).
        shift: Added before the logarithm, shape (d_numeric,): 0 for a positive column, s for one with zeros, NaN for a
            column that stays raw.
        floor: Stands in before the logarithm for what is not above `least`, shape (d_numeric,).
        least: The floor itself, 0 for a law, shape (d_numeric,).
        lower: Columns are held above this after the scale, shape (d_numeric,).
        upper: And below this.
        mean: Subtracted after the scale, shape (d_numeric,).
        spread: Divided by, positive, shape (d_numeric,).
        missing: Columns whose missing values have an indicator.
        n_codes: Codes of each category column; each has an indicator.
    """

    scale: Scale
    fill: Floats
    shift: Floats
    floor: Floats
    least: Floats
    lower: Floats
    upper: Floats
    mean: Floats
    spread: Floats
    missing: tuple[int, ...]
    n_codes: tuple[int, ...]

    @classmethod
    def fit(cls, rows: Rows, n_codes: tuple[int, ...], scale: Scale) -> Self:
        """Learn the quantities from training rows; a column without any value is taken as zero throughout."""
        unknown = np.isnan(rows.numeric)
        numeric = np.where(unknown.all(axis=0), 0.0, rows.numeric)
        d_numeric = numeric.shape[1]
        fill = np.nanmedian(numeric, axis=0) if d_numeric else np.zeros(0)
        filled = np.where(np.isnan(numeric), fill, numeric)
        shift, floor = np.full(d_numeric, np.nan), np.zeros(d_numeric)
        for j in range(d_numeric) if scale == "log" else ():
            shift[j], floor[j] = _logarithm(filled[:, j])
        missing = tuple(int(j) for j in np.flatnonzero(unknown.any(axis=0)))
        free, zeros, ones = np.full(d_numeric, np.inf), np.zeros(d_numeric), np.ones(d_numeric)
        scaled = cls(scale, fill, shift, floor, floor, -free, free, zeros, ones, missing, n_codes).numbers(rows.numeric)
        low, high = np.quantile(scaled, _CORE, axis=0) if len(scaled) else (zeros, ones)
        flat = ~(high > low)
        low, high = (
            np.where(flat, scaled.min(axis=0, initial=0.0), low),
            np.where(flat, scaled.max(axis=0, initial=0.0), high),
        )
        lower, upper = low - _RANGES_BEYOND * (high - low), high + _RANGES_BEYOND * (high - low)
        held = np.clip(scaled, lower, upper)
        spread = held.std(axis=0)
        return cls(
            scale,
            fill,
            shift,
            floor,
            floor,
            lower,
            upper,
            held.mean(axis=0) if len(held) else zeros,
            np.where(spread > 0, spread, 1.0),
            missing,
            n_codes,
        )

    def widened(self, n_ranges: float) -> Self:
        """Return the same columns, held only this many more central ranges beyond, and above 0 at no floor."""
        more = n_ranges * (self.upper - self.lower) / (1 + 2 * _RANGES_BEYOND)
        return replace(self, least=np.zeros_like(self.floor), lower=self.lower - more, upper=self.upper + more)

    @property
    def d_numeric(self) -> int:
        """Number columns."""
        return len(self.fill)

    @property
    def width(self) -> int:
        """Number columns and indicators."""
        return self.d_numeric + len(self.missing) + sum(self.n_codes)

    def numbers(self, numeric: Floats) -> Floats:
        """Return the number columns, shape (n_rows, d_numeric)."""
        filled = np.where(np.isnan(numeric), self.fill, numeric)
        with np.errstate(invalid="ignore"):
            logs = np.log(np.where(filled > self.least, filled, self.floor) + self.shift)
        scaled = np.where(np.isnan(self.shift), filled, logs)
        return np.asarray((np.clip(scaled, self.lower, self.upper) - self.mean) / self.spread)

    def __call__(self, rows: Rows) -> Floats:
        """Return number columns, then indicators of missing values, then of levels, shape (n_rows, width)."""
        parts = [self.numbers(rows.numeric), np.isnan(rows.numeric[:, list(self.missing)]).astype(np.float64)]
        parts += [(rows.codes[:, j : j + 1] == np.arange(n)).astype(np.float64) for j, n in enumerate(self.n_codes)]
        return np.concatenate(parts, axis=1)


def _logarithm(values: Floats) -> tuple[float, float]:
    """Return what is added to a column before its logarithm, NaN where it has none, and the floor."""
    positive = values[values > 0]
    if (values < 0).any() or not positive.size:
        return np.nan, 0.0
    if np.mean(values == 0) < _FEW_ZEROS:
        return 0.0, FLOOR_OF_SMALLEST * float(positive.min())
    return float(np.median(positive)), 0.0
