"""Real NPU: products of powers of inputs, signs included."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.units.arithmetic_unit import ArithmeticUnit, UnitError

FLOAT32_EPSILON = 2.0**-23
"""ε of the papers' code, the machine epsilon of float32."""


class RealNPU(ArithmeticUnit):
    r"""Real neural power unit: products of powers of inputs, division and roots included.

    .. math::

        y &= \exp(W \log r) \odot \cos(W k) \\
        r &= \hat g \odot (|x| + \epsilon) + 1 - \hat g, \qquad k_i = \pi \hat g_i \text{ where } x_i < 0,
        \text{ else } 0 \\
        \hat g &= \min(\max(g, 0), 1)

    A gate of 0 leaves an input out, a gate of 1 takes it to the power of its weight.

    Source:
        Heim et al., "Neural Power Units", arXiv:2006.01681, section 3, and its code: W Glorot-uniform, g 1/2, the L1
        norm of all parameters as regulariser, ε the machine epsilon of float32.

        NOTE[DIFF]: the text prints k = 1 for x > 0; the code, and this unit, use x < 0, where the complex logarithm
        has its angle π.

        The modified unit of Mistry et al., "Learning Division with Neural Arithmetic Logic Modules", arXiv:2110.05177,
        is `RealNPU(…, clip_weights=True, penalty="discrete", initialisation="nau")`: W is held in [−1, 1] and drawn
        like a NAU's, and the regulariser is the mean of |1 − |W|| plus the mean of min(ĝ, 1 − ĝ).

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        epsilon: Number added to |x|, not negative; y is off by about ε / |x|. In float64 lower it: with the default
            1 / 1e-4 is off by a thousandth. With 0 an input of 0 has no logarithm: y is 0, infinity or NaN.
        clip_weights: Whether W is held in [−1, 1].
        penalty: "l1" for the L1 norm of W and g, "discrete" for the distance of |W| from 1 and of g from 0 and 1.
        initialisation: "glorot" or "nau", the range that W is drawn from.
        device: Device of the parameters.
        dtype: Floating-point type of the parameters and of the inputs; torch's default type when None.

    Shape:
        - x: (..., in_features), in the unit's dtype
        - output: (..., out_features), in the unit's dtype

    Domain:
        Every finite number gives a number while the powers do not overflow. The power of a negative number is the real
        part of the complex one: (−4)^½ gives 2 cos(π/2) = 0. NaN reaches every output.

    Raises:
        UnitError: When a width is not positive, ε is negative, an option has another name, the dtype is not a
            floating-point one, or an input has another width or dtype than the unit.

    Example:
        >>> import torch
        >>> unit = RealNPU(2, 1, epsilon=0.0, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.W.copy_(torch.tensor([[1.0, -1.0]])), unit.g.fill_(1.0)
        >>> unit(torch.tensor([[-7.0, 2.0]], dtype=torch.float64)).round(decimals=12).tolist()
        [[-3.5]]
    """

    _epsilon: Tensor
    _pi: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        epsilon: float = FLOAT32_EPSILON,
        clip_weights: bool = False,
        penalty: Literal["l1", "discrete"] = "l1",
        initialisation: Literal["glorot", "nau"] = "glorot",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, device=device, dtype=dtype)
        if not 0 <= epsilon < math.inf:
            msg = f"`epsilon` must be a number that is not negative, however: epsilon={epsilon}"
            raise UnitError(msg)
        if penalty not in ("l1", "discrete"):
            msg = f"`penalty` must be 'l1' or 'discrete', however: penalty={penalty!r}"
            raise UnitError(msg)
        if initialisation not in ("glorot", "nau"):
            msg = f"`initialisation` must be 'glorot' or 'nau', however: initialisation={initialisation!r}"
            raise UnitError(msg)
        self.epsilon = epsilon
        self.clip_weights = clip_weights
        self.penalty = penalty
        self.initialisation = initialisation
        self._register_constant("_epsilon", epsilon)
        self._register_constant("_pi", math.pi)
        self.W = self._empty(out_features, in_features)
        self.g = self._empty(in_features)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply powers of inputs."""
        self._check_input(x)
        gate = self.gate()
        weight = self._exponents()
        r = gate * (x.abs() + self._epsilon) + (1 - gate)
        k = gate * self._pi * (x < 0).to(x.dtype)
        return torch.exp(F.linear(torch.log(r), weight)) * torch.cos(F.linear(k, weight))

    def gate(self) -> Tensor:
        """Return ĝ, shape (in_features,): 1 where an input takes part, 0 where it is left out."""
        return self.g.clamp(0, 1)

    def effective_weight(self) -> Tensor:
        """Return the exponents W ⊙ ĝ, shape (out_features, in_features).

        An input takes part as a pure power only where its gate is 0 or 1; between them the exponents are nominal.
        """
        return self._exponents() * self.gate()

    def regulariser(self) -> Tensor:
        """Return the L1 norm of the parameters, or the distance of |W| from 1 and of ĝ from 0 and 1."""
        if self.penalty == "l1":
            return self.W.abs().sum() + self.g.abs().sum()
        gate = self.gate()
        return (1 - self._exponents().abs()).abs().mean() + torch.minimum(gate, 1 - gate).mean()

    @torch.no_grad()
    def project_(self) -> None:
        """Hold g in [0, 1], and W in [−1, 1] if it is clipped, in place; call it after every step of an optimiser."""
        self.g.clamp_(0, 1)
        if self.clip_weights:
            self.W.clamp_(-1, 1)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw W anew and put every gate at 1/2, in place."""
        bound = math.sqrt(6 / (self.in_features + self.out_features))
        if self.initialisation == "nau":
            bound = min(0.5, bound)
        nn.init.uniform_(self.W, -bound, bound, generator=generator)
        nn.init.constant_(self.g, 0.5)

    def extra_repr(self) -> str:
        """Return widths and arguments for the module's printed form."""
        return (
            f"{super().extra_repr()}, epsilon={self.epsilon}, clip_weights={self.clip_weights}, "
            f"penalty={self.penalty!r}, initialisation={self.initialisation!r}"
        )

    def _exponents(self) -> Tensor:
        return self.W.clamp(-1, 1) if self.clip_weights else self.W
