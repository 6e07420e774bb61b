"""NMU: products of inputs."""

import torch
from torch import Tensor, nn

from models.units.arithmetic_unit import ArithmeticUnit


class NMU(ArithmeticUnit):
    r"""Neural multiplication unit: multiplies chosen inputs.

    .. math:: y_j = \prod_i (W_{ji} x_i + 1 - W_{ji}), \qquad W = \min(\max(W, 0), 1)

    with the regulariser

    .. math:: R = \frac{1}{d_{out} d_{in}} \sum_{ij} \min(W_{ij}, 1 - W_{ij})

    that is 0 where every weight is 0 or 1. A weight of 1 takes an input as a factor, 0 leaves it out; there is no
    logarithm, so that signs and zeros are exact.

    Source:
        Madsen and Johansen, "Neural Arithmetic Units", arXiv:2001.05016, section 2 (definition of the NMU, its
        regulariser and the clamp after each step); initialisation as in its code, uniform between 1/4 and 3/4.

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        device: Device of the parameters.
        dtype: Floating-point type of the parameters and of the inputs; torch's default type when None.

    Shape:
        - x: (..., in_features), in the unit's dtype
        - output: (..., out_features), in the unit's dtype

    Domain:
        Every finite number whose product does not overflow; NaN and infinity reach every output. No division.

    Raises:
        UnitError: When a width is not positive, the dtype is not a floating-point one, or an input has another width
            or dtype than the unit.

    Example:
        >>> import torch
        >>> unit = NMU(3, 1, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.W.copy_(torch.tensor([[1.0, 1.0, 0.0]]))
        >>> unit(torch.tensor([-3.0, 5.0, 100.0], dtype=torch.float64)).tolist()
        [-15.0]
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
        """Multiply chosen inputs."""
        self._check_input(x)
        weight = self.effective_weight()
        # W x + (1 − W), not (W x + 1) − W, which would round small factors away
        return (weight * x.unsqueeze(-2) + (1 - weight)).prod(dim=-1)

    def effective_weight(self) -> Tensor:
        """Return W held between 0 and 1, shape (out_features, in_features)."""
        return self.W.clamp(0, 1)

    def regulariser(self) -> Tensor:
        """Return the mean distance of W from 0 and 1, between 0 and 1/2."""
        weight = self.effective_weight()
        return torch.minimum(weight, 1 - weight).mean()

    @torch.no_grad()
    def project_(self) -> None:
        """Hold W between 0 and 1, in place; call it after every step of an optimiser."""
        self.W.clamp_(0, 1)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw W uniformly between 1/4 and 3/4, in place."""
        nn.init.uniform_(self.W, 0.25, 0.75, generator=generator)
