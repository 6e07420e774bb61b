"""Imputation, scaling and category encoding as one torch module, so that they are exported with the network."""

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_CLAMP_QUANTILES = (0.005, 0.995)
"""The residual's inputs are clamped here rather than at the extremes, so that one gross outlier in a column does not
stretch the range in which the residual may speak."""

_FLOOR_OF_SMALLEST = 0.1
"""Values below this share of the smallest training value are raised to it before the logarithm: a decade of room for
extrapolation downwards, and no log of zero."""


class Features(NamedTuple):
    """What a row becomes before the network.

    Attributes:
        linear: Standardised numbers, indicators of missing values and one-hot categories, shape (batch, d_linear).
        clamped: The same with numbers held inside the range seen in training, shape (batch, d_linear).
        positive: Positive numbers over their geometric mean, for the logarithm, shape (batch, d_positive).
    """

    linear: Tensor
    clamped: Tensor
    positive: Tensor


class TablePreprocessing(nn.Module):
    """Imputes, scales and encodes raw table columns.

    Every quantity is learned from training rows by `fit` and kept as a buffer, so that the exported graph takes raw
    units. Missing numbers become the training median; where a column had missing values in training an indicator is
    added. A category code outside 0 … n−1 (a level never seen) gives an all-zero block.

    Args:
        fill: Median of each number column, shape (d_numeric,).
        mean: Mean of each number column, shape (d_numeric,).
        scale: Positive scale of each number column, shape (d_numeric,).
        lower: Lower end of the range of each number column, shape (d_numeric,).
        upper: Upper end of it, shape (d_numeric,).
        missing_columns: Indices of number columns with an indicator.
        positive_columns: Indices of number columns that were positive throughout training.
        geometric_mean: Geometric mean of the positive columns, shape (d_positive,).
        floor: Smallest value passed to the logarithm, shape (d_positive,).
        n_levels: Number of codes of each category column, the code for "missing" included.

    Shape:
        - numeric: (batch, d_numeric), missing values as NaN, or None where there are no number columns
        - codes: (batch, d_categorical), int64, or None where there are no category columns
    """

    fill: Tensor
    mean: Tensor
    scale: Tensor
    lower: Tensor
    upper: Tensor
    geometric_mean: Tensor
    floor: Tensor

    def __init__(
        self,
        *,
        fill: NDArray[np.float64],
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
        missing_columns: tuple[int, ...],
        positive_columns: tuple[int, ...],
        geometric_mean: NDArray[np.float64],
        floor: NDArray[np.float64],
        n_levels: tuple[int, ...],
    ) -> None:
        super().__init__()
        for name, values in (
            ("fill", fill),
            ("mean", mean),
            ("scale", scale),
            ("lower", lower),
            ("upper", upper),
            ("geometric_mean", geometric_mean),
            ("floor", floor),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float64))
        self.missing_columns = missing_columns
        self.positive_columns = positive_columns
        self.n_levels = n_levels

    @classmethod
    def fit(cls, numeric: NDArray[np.float64], n_levels: tuple[int, ...]) -> Self:
        """Learn the quantities from training rows.

        Args:
            numeric: Number columns, shape (n_rows, d_numeric), missing values as NaN; a column without any value is
                taken as zero throughout.
            n_levels: Number of codes of each category column.
        """
        d_numeric = numeric.shape[1]
        missing = np.isnan(numeric)
        numeric = np.where(missing.all(axis=0), 0.0, numeric)
        fill = np.nanmedian(numeric, axis=0) if d_numeric else np.zeros(0)
        filled = np.where(missing, fill, numeric)
        lower, upper = np.quantile(filled, _CLAMP_QUANTILES, axis=0) if d_numeric else (np.zeros(0), np.zeros(0))
        held = np.clip(filled, lower, upper)
        scale = held.std(axis=0)
        flat = ~(scale > 0)  # constant but for rare values: the plain deviation, or 1 where that is zero too
        scale[flat] = filled.std(axis=0)[flat]
        lower = np.where(flat, filled.min(axis=0, initial=np.inf), lower)
        upper = np.where(flat, filled.max(axis=0, initial=-np.inf), upper)
        scale[~(scale > 0)] = 1.0
        positive = [j for j in range(d_numeric) if filled[:, j].min() > 0]
        logs = np.log(filled[:, positive])
        return cls(
            fill=fill,
            mean=held.mean(axis=0),
            scale=scale,
            lower=lower,
            upper=upper,
            missing_columns=tuple(int(j) for j in np.flatnonzero(missing.any(axis=0))),
            positive_columns=tuple(positive),
            geometric_mean=np.exp(logs.mean(axis=0)),
            floor=_FLOOR_OF_SMALLEST * filled[:, positive].min(axis=0, initial=np.inf),
            n_levels=n_levels,
        )

    @property
    def d_linear(self) -> int:
        """Width of `Features.linear` and `Features.clamped`."""
        return self.fill.shape[0] + len(self.missing_columns) + sum(self.n_levels)

    @property
    def d_positive(self) -> int:
        """Width of `Features.positive`."""
        return len(self.positive_columns)

    def forward(self, numeric: Tensor | None, codes: Tensor | None) -> Features:
        """Turn raw columns into features."""
        shared: list[Tensor] = []
        if numeric is None:
            if codes is None:
                msg = "a row must have at least one column, however both numeric and codes are None"
                raise ValueError(msg)
            empty = self.fill.new_zeros((codes.shape[0], 0))
            return self._assemble(empty, empty, empty, self._encode(codes))
        missing = torch.isnan(numeric)
        filled = torch.where(missing, self.fill, numeric)
        if self.missing_columns:
            shared.append(missing[:, list(self.missing_columns)].to(numeric.dtype))
        if codes is not None:
            shared.extend(self._encode(codes))
        positive = filled[:, list(self.positive_columns)]
        return self._assemble(
            (filled - self.mean) / self.scale,
            (torch.minimum(torch.maximum(filled, self.lower), self.upper) - self.mean) / self.scale,
            torch.maximum(positive, self.floor) / self.geometric_mean,
            shared,
        )

    def _encode(self, codes: Tensor) -> list[Tensor]:
        return [
            (codes[:, j : j + 1] == torch.arange(n, device=codes.device)).to(self.fill.dtype)
            for j, n in enumerate(self.n_levels)
        ]

    @staticmethod
    def _assemble(linear: Tensor, clamped: Tensor, positive: Tensor, shared: list[Tensor]) -> Features:
        return Features(torch.cat([linear, *shared], dim=1), torch.cat([clamped, *shared], dim=1), positive)
