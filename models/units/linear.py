"""The plain linear unit: a weighted sum of inputs."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.units.arithmetic_unit import ArithmeticUnit


class LinearUnit(ArithmeticUnit):
    r"""Linear unit: a weighted sum of inputs whose weights have no bounds.

    .. math:: y = W x + b

    A NAU holds its weights in [−1, 1]; a coefficient such as 2, and a constant, need this unit.

    Source:
        The ordinary linear layer; initialisation is the NAU's (arXiv:2001.05016), so that the two start alike, b = 0.

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        bias: Whether there is a constant b.
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
        >>> unit = LinearUnit(2, 1, bias=True, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.W.copy_(torch.tensor([[2.0, -0.5]])), unit.b.fill_(1.0)
        >>> unit(torch.tensor([7.0, 2.0], dtype=torch.float64)).tolist()
        [14.0]
    """

    b: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, device=device, dtype=dtype)
        self.W = self._empty(out_features, in_features)
        if bias:
            self.b = self._empty(out_features)
        else:
            self.register_parameter("b", None)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Add weighted inputs."""
        self._check_input(x)
        return F.linear(x, self.W, self.b)

    def effective_weight(self) -> Tensor:
        """Return W, shape (out_features, in_features)."""
        return self.W

    def regulariser(self) -> Tensor:
        """Return 0: nothing draws the weights anywhere."""
        return self.W.new_zeros(())

    @torch.no_grad()
    def project_(self) -> None:
        """Do nothing: the weights have no bounds."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw W uniformly within ±min(1/2, √(6 / (in + out))) and put b at 0, in place."""
        bound = min(0.5, math.sqrt(6 / (self.in_features + self.out_features)))
        nn.init.uniform_(self.W, -bound, bound, generator=generator)
        if self.b is not None:
            nn.init.zeros_(self.b)

    def extra_repr(self) -> str:
        """Return widths and arguments for the module's printed form."""
        return f"{super().extra_repr()}, bias={self.b is not None}"
