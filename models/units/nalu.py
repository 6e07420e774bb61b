"""NALU: a gate between a sum and a product of powers."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.units.arithmetic_unit import ArithmeticUnit, UnitError
from models.units.nac import NAC


class NALU(ArithmeticUnit):
    r"""Neural arithmetic logic unit: a gate between a NAC on the inputs and a NAC on their logarithms.

    .. math::

        y &= g \odot a + (1 - g) \odot m \\
        a &= W x, \qquad m = \exp(W \log(|x| + \epsilon)), \qquad g = \sigma(G x)

    Source:
        Trask et al., "Neural Arithmetic Logic Units", arXiv:1808.00508, equation 2 (equation 1 for W); the value of ε
        is the one of the benchmark by Mistry et al. (arXiv:2101.09530, its code). G is drawn Glorot-uniformly as there.

        NOTE[DIFF]: `separate_weights=True` gives m a W of its own and `gate="independent"` makes g = σ(ĝ) a learned
        constant, starting at 1/2. iNALU (Schlör et al., arXiv:2003.07629) and the best public reproductions of the
        paper's table do both. As published, one W must serve sum and product, and the choice between them changes with
        the size of the inputs, so that the unit leaves its operation outside the range seen in training.

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        epsilon: Positive number added to |x| before the logarithm; the product path is off by about ε / |x|.
        separate_weights: Whether the product path has weights of its own.
        gate: "input" for σ(G x) as published, "independent" for a learned constant per output.
        device: Device of the parameters.
        dtype: Floating-point type of the parameters and of the inputs; torch's default type when None.

    Shape:
        - x: (..., in_features), in the unit's dtype
        - output: (..., out_features), in the unit's dtype

    Domain:
        Every finite number gives a number while |x| to the power of W does not overflow; the product path knows no
        signs (−2 · 3 comes out as 6) and takes 0 for ε. NaN and infinity reach every output.

    Raises:
        UnitError: When a width or ε is not positive, the gate has another name, the dtype is not a floating-point
            one, or an input has another width or dtype than the unit.

    Example:
        >>> import torch
        >>> unit = NALU(2, 1, gate="independent", dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.additive.W_hat.fill_(20.0), unit.additive.M_hat.fill_(40.0), unit.g_hat.fill_(-40.0)
        >>> unit(torch.tensor([[3.0, 5.0]], dtype=torch.float64)).round(decimals=5).tolist()
        [[15.0]]
    """

    _epsilon: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        epsilon: float = 1e-7,
        separate_weights: bool = False,
        gate: Literal["input", "independent"] = "input",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, device=device, dtype=dtype)
        if not 0 < epsilon < math.inf:
            msg = f"`epsilon` must be a positive number, however: epsilon={epsilon}"
            raise UnitError(msg)
        if gate not in ("input", "independent"):
            msg = f"`gate` must be 'input' or 'independent', however: gate={gate!r}"
            raise UnitError(msg)
        self.epsilon = epsilon
        self._register_constant("_epsilon", epsilon)
        self.additive = NAC(in_features, out_features, device=device, dtype=dtype)
        self.multiplicative = NAC(in_features, out_features, device=device, dtype=dtype) if separate_weights else None
        self.G = self._empty(out_features, in_features) if gate == "input" else None
        self.g_hat = self._empty(out_features) if gate == "independent" else None
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Mix the sum and the product of powers by the gate."""
        self._check_input(x)
        a = F.linear(x, self.effective_weight())
        m = torch.exp(F.linear(torch.log(torch.abs(x) + self._epsilon), self.multiplicative_weight()))
        g = self.gate(x)
        return g * a + (1 - g) * m

    def gate(self, x: Tensor) -> Tensor:
        """Return g: 1 where an output is a sum, 0 where it is a product; shape (..., out_features).

        An independent gate is the same for every input, shape (out_features,).
        """
        if self.G is not None:
            return torch.sigmoid(F.linear(x, self.G))
        assert self.g_hat is not None  # noqa: S101 # one of the two gates is always there
        return torch.sigmoid(self.g_hat)

    def effective_weight(self) -> Tensor:
        """Return the W of the sum, shape (out_features, in_features), each entry between −1 and 1."""
        return self.additive.effective_weight()

    def multiplicative_weight(self) -> Tensor:
        """Return the W of the product, shape (out_features, in_features); that of the sum unless they are separate."""
        return (self.multiplicative or self.additive).effective_weight()

    def regulariser(self) -> Tensor:
        """Return 0: the paper has none."""
        return self.additive.regulariser()

    def project_(self) -> None:
        """Do nothing: W and g cannot leave their bounds."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights and G Glorot-uniformly, in place; an independent gate starts at 1/2."""
        self.additive.reset_parameters(generator)
        if self.multiplicative is not None:
            self.multiplicative.reset_parameters(generator)
        if self.G is not None:
            nn.init.xavier_uniform_(self.G, generator=generator)
        if self.g_hat is not None:
            nn.init.zeros_(self.g_hat)

    def extra_repr(self) -> str:
        """Return widths and arguments for the module's printed form."""
        return (
            f"{super().extra_repr()}, epsilon={self.epsilon}, gate={'input' if self.g_hat is None else 'independent'!r}"
        )
