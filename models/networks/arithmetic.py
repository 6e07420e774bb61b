"""A stack of arithmetic units on raw numbers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from models.units import ArithmeticUnit


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
