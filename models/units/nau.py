"""NAU: sums and differences of inputs, with weights held in bounds."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.units.arithmetic_unit import ArithmeticUnit


class NAU(ArithmeticUnit):
    r"""Neural addition unit: adds and subtracts inputs.

    .. math:: y = W x, \qquad W = \min(\max(W, -1), 1)

    with the regulariser

    .. math:: R = \frac{1}{d_{out} d_{in}} \sum_{ij} \min(|W_{ij}|, 1 - |W_{ij}|)

    that is 0 where every weight is −1, 0 or 1. The paper raises its factor from 0 during training, so that weights come
    near the solution before they are made sparse.

    Source:
        Madsen and Johansen, "Neural Arithmetic Units", arXiv:2001.05016, section 2 (definition of the NAU, its
        regulariser and the clamp after each step); initialisation as in its code, uniform within
        ±min(1/2, √(6 / (in + out))), Glorot's range held inside the bounds.

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        device: Device of the parameters.
        dtype: Floating-point type of the parameters and of the inputs; torch's default type when None.

    Shape:
        - x: (..., in_features), in the unit's dtype
        - output: (..., out_features), in the unit's dtype

    Domain:
        Every finite number; NaN and infinity reach every output.

    Raises:
        UnitError: When a width is not positive, the dtype is not a floating-point one, or an input has another width
            or dtype than the unit.

    Example:
        >>> import torch
        >>> unit = NAU(3, 1, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.W.copy_(torch.tensor([[1.0, -1.0, 0.0]]))
        >>> unit(torch.tensor([7.0, 2.0, 100.0], dtype=torch.float64)).tolist()
        [5.0]
        >>> unit.regulariser().item()
        0.0
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, device=device, dtype=dtype)
        self.W = self._empty(out_features, in_features)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Add and subtract inputs."""
        self._check_input(x)
        return F.linear(x, self.effective_weight())

    def effective_weight(self) -> Tensor:
        """Return W held between −1 and 1, shape (out_features, in_features)."""
        return self.W.clamp(-1, 1)

    def regulariser(self) -> Tensor:
        """Return the mean distance of |W| from 0 and 1, between 0 and 1/2."""
        magnitude = self.effective_weight().abs()
        return torch.minimum(magnitude, 1 - magnitude).mean()

    @torch.no_grad()
    def project_(self) -> None:
        """Hold W between −1 and 1, in place; call it after every step of an optimiser."""
        self.W.clamp_(-1, 1)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw W uniformly within ±min(1/2, √(6 / (in + out))), in place."""
        bound = min(0.5, math.sqrt(6 / (self.in_features + self.out_features)))
        nn.init.uniform_(self.W, -bound, bound, generator=generator)
