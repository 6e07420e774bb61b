"""NAC: sums and differences of inputs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.units.arithmetic_unit import ArithmeticUnit


class NAC(ArithmeticUnit):
    r"""Neural accumulator: adds and subtracts inputs.

    .. math:: y = W x, \qquad W = \tanh(\hat W) \odot \sigma(\hat M)

    The weights are drawn to −1, 0 and 1, where tanh and σ are flat. W is computed in every forward pass: computed once
    in the constructor it would be an unconstrained linear layer.

    Source:
        Trask et al., "Neural Arithmetic Logic Units", arXiv:1808.00508, equation 1.

        NOTE[DIFF]: the paper states no initialisation; both matrices are drawn Glorot-uniformly. Madsen and Johansen
        (arXiv:2001.05016, appendix on moments) solve for the range that gives W Glorot's variance 2 / (in + out), but
        W's variance stays below 1/2, so that there is no such range for small units (2 inputs, 1 output).

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
        >>> unit = NAC(2, 1, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.W_hat.copy_(torch.tensor([[20.0, -20.0]]))
        ...     _ = unit.M_hat.fill_(40.0)
        >>> unit.effective_weight().tolist()
        [[1.0, -1.0]]
        >>> unit(torch.tensor([[7.0, 2.0]], dtype=torch.float64)).tolist()
        [[5.0]]
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
        self.W_hat = self._empty(out_features, in_features)
        self.M_hat = self._empty(out_features, in_features)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Add and subtract inputs."""
        self._check_input(x)
        return F.linear(x, self.effective_weight())

    def effective_weight(self) -> Tensor:
        """Return W, shape (out_features, in_features), each entry between −1 and 1."""
        return torch.tanh(self.W_hat) * torch.sigmoid(self.M_hat)

    def regulariser(self) -> Tensor:
        """Return 0: the paper has none."""
        return self.W_hat.new_zeros(())

    def project_(self) -> None:
        """Do nothing: W cannot leave its bounds."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw both matrices Glorot-uniformly, in place."""
        nn.init.xavier_uniform_(self.W_hat, generator=generator)
        nn.init.xavier_uniform_(self.M_hat, generator=generator)
