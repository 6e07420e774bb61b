"""A recurrent cell that is one arithmetic unit, for `SequenceNetwork`."""

import torch
from torch import Tensor, nn

from models.units import ArithmeticUnit


class UnitCell(nn.Module):
    r"""An arithmetic unit that reads step and state side by side and gives the next state.

    .. math:: s_t = \mathrm{unit}([x_t, s_{t-1}])

    Source:
        Trask et al., arXiv:1808.00508, section 4.1: the recurrent NAC and NALU. A NAU whose weights are [1, 1] is an
        accumulator, exact at any length.

    Args:
        unit: Takes d_step + d_state numbers and gives d_state.

    Shape:
        - step: (batch, d_step)
        - state: (batch, d_state)

    Example:
        >>> from models.units import NAU
        >>> unit = NAU(2, 1, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.W.fill_(1.0)
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> UnitCell(unit)(3 * one, 4 * one).tolist()
        [[7.0]]
    """

    def __init__(self, unit: ArithmeticUnit) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next state."""
        return self.unit(torch.cat([step, state], dim=-1))  # type: ignore[no-any-return]

    def regulariser(self) -> Tensor:
        """Return the unit's regulariser, a scalar."""
        return self.unit.regulariser()

    def project_(self) -> None:
        """Hold the unit's weights inside their constraints, in place."""
        self.unit.project_()
