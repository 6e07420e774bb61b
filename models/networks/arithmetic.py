"""A stack of arithmetic units on raw numbers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from models.contract.formula import Term
from models.terms import Column, input_columns, product_column, sum_column
from models.units import NAU, NMU, ArithmeticUnit, LinearUnit, RealNPU, SignedPower

_EXACT = 1e-9
"""Largest distance of a gate from 0 or 1 at which a product may be written without it."""


class ArithmeticNetwork(nn.Module):
    """Arithmetic units applied one after the other, with nothing between them.

    There is no scaling: a product of scaled numbers is not the scaled product, and the units' exact weights
    (−1, 0, 1) mean what they say only on raw numbers.

    Args:
        units: At least one unit; the widths of neighbours must agree.

    Shape:
        - numeric: (batch, d_numeric)
        - predictions: (batch, d_outputs)

    Raises:
        ValueError: When there is no unit or the widths of neighbours differ.
    """

    def __init__(self, units: Sequence[ArithmeticUnit]) -> None:
        super().__init__()
        if not units:
            msg = "a network must have at least one unit, however: 0 units"
            raise ValueError(msg)
        for before, after in pairwise(units):
            if before.out_features != after.in_features:
                msg = (
                    "a unit must take what the one before it gives, however: "
                    f"out_features={before.out_features} before in_features={after.in_features}"
                )
                raise ValueError(msg)
        self.units = nn.ModuleList(units)

    def forward(self, numeric: Tensor) -> Tensor:
        """Apply the units in order."""
        for unit in self.units:
            numeric = unit(numeric)
        return numeric

    def regulariser(self) -> Tensor:
        """Return the sum of the units' own regularisers, a scalar."""
        return torch.stack([cast("ArithmeticUnit", unit).regulariser() for unit in self.units]).sum()

    def project_(self) -> None:
        """Hold every unit's weights inside its constraints, in place."""
        for unit in self.units:
            cast("ArithmeticUnit", unit).project_()

    @torch.no_grad()
    def effective_weights(self) -> list[Tensor]:
        """Return each unit's effective weights, (out_features, in_features)."""
        return [cast("ArithmeticUnit", unit).effective_weight() for unit in self.units]

    @torch.no_grad()
    def terms(self, names: Sequence[str]) -> tuple[Term, ...] | None:
        """Return what the network's first output computes, or None where a unit is no sum or product of powers.

        Args:
            names: Names of the inputs.
        """
        columns = input_columns(names)
        for unit in self.units:
            after = _columns(unit, columns)
            if after is None:
                return None
            columns = after
        return columns[0]


def _columns(unit: nn.Module, columns: list[Column]) -> list[Column] | None:
    if isinstance(unit, NAU | LinearUnit):
        rows = unit.effective_weight().tolist()
        bias = getattr(unit, "b", None)
        constants = [0.0] * len(rows) if bias is None else bias.tolist()
        return [sum_column(row, columns, constant=c) for row, c in zip(rows, constants, strict=True)]
    if isinstance(unit, RealNPU | NMU):
        gates = unit.gate() if isinstance(unit, RealNPU) else unit.effective_weight()
        if bool((torch.minimum(gates, 1 - gates).abs() > _EXACT).any()):
            return None
    if isinstance(unit, RealNPU | NMU | SignedPower):
        return [product_column(row, columns) for row in unit.effective_weight().tolist()]
    return None
