"""Signed power unit: products of powers of inputs, the sign by the powers' parity."""

import math

import torch
from torch import Tensor, nn

from models.units.arithmetic_unit import ArithmeticUnit, UnitError


class SignedPower(ArithmeticUnit):
    r"""Signed power unit: multiplies powers of inputs, without ε and without a gate.

    .. math::

        y_k = s_k \exp\Big(\sum_i P_{ki} \log |x_i|\Big) = \prod_i \sigma(x_i, P_{ki})\, |x_i|^{P_{ki}}

    where σ(x, p) is 1 for x ≥ 0, and for x < 0 it is −1 where p is an odd integer, 1 where it is an even one, and not a
    number elsewhere: such a power of a negative number is not real.

    A power of 0 leaves its input out, also where that is 0, infinite or missing. An input of 0 gives 0 to a positive
    power and infinity to a negative one.

    Source:
        Heim et al., "Neural Power Units", arXiv:2006.01681, section 3, the real unit.

        NOTE[DIFF]: |x| in place of |x| + ε, so that 1 / 1e-4 is 10,000 and a product with 0 is 0. No gate: a power of 0
        already leaves an input out. The sign is the parity of the power instead of cos(πP), which gives a product of
        slightly wrong powers a slightly wrong magnitude, and gives (−4)^½ = 0. Powers are multiplied rather than
        logarithms added: both have the same value, and 3 · 5 is 15.0.

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        parity_tolerance: Distance from an integer, at least 0 and less than 1/2, within which a power has that
            integer's parity. 0 takes only integers; more lets a network whose powers were fitted but not snapped take
            negative inputs.
        device: Device of the parameters.
        dtype: Floating-point type of the parameters and of the inputs; torch's default type when None.

    Shape:
        - x: (..., in_features), in the unit's dtype
        - output: (..., out_features), in the unit's dtype

    Domain:
        Positive numbers for every power while no power over- or underflows; negative numbers for integer powers; 0 for
        powers that are not negative. Elsewhere the output is NaN or infinite.

    Raises:
        UnitError: When a width is not positive, the tolerance is out of range, the dtype is not a floating-point one,
            or an input has another width or dtype than the unit.

    Example:
        >>> import torch
        >>> unit = SignedPower(3, 1, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.P.copy_(torch.tensor([[1.0, -2.0, 0.0]]))
        >>> unit(torch.tensor([[-8.0, 4.0, 0.0]], dtype=torch.float64)).tolist()
        [[-0.5]]
    """

    _tolerance: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        parity_tolerance: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, device=device, dtype=dtype)
        if not 0 <= parity_tolerance < 0.5:
            msg = f"`parity_tolerance` must be at least 0 and less than 1/2, however: {parity_tolerance}"
            raise UnitError(msg)
        self.parity_tolerance = parity_tolerance
        self._register_constant("_tolerance", parity_tolerance)
        self.P = self._empty(out_features, in_features)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply powers of inputs."""
        self._check_input(x)
        power = self.P
        nearest = torch.round(power)
        half = nearest / 2
        odd = half != torch.round(half)
        whole = (power - nearest).abs() <= self._tolerance
        x = x.unsqueeze(-2)
        negative = (x < 0) & (power != 0)
        magnitude = torch.pow(x.abs(), power)
        signed = torch.where(negative & odd, -magnitude, magnitude)
        return torch.where(negative & ~whole, torch.nan, signed).prod(dim=-1)

    def effective_weight(self) -> Tensor:
        """Return the powers P, shape (out_features, in_features)."""
        return self.P

    def regulariser(self) -> Tensor:
        """Return 0: nothing draws the powers anywhere."""
        return self.P.new_zeros(())

    @torch.no_grad()
    def project_(self) -> None:
        """Do nothing: the powers have no bounds."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw P uniformly within ±min(1/2, √(6 / (in + out))), the NAU's range, in place."""
        bound = min(0.5, math.sqrt(6 / (self.in_features + self.out_features)))
        nn.init.uniform_(self.P, -bound, bound, generator=generator)

    def extra_repr(self) -> str:
        """Return widths and arguments for the module's printed form."""
        return f"{super().extra_repr()}, parity_tolerance={self.parity_tolerance}"
