"""Recurrent arithmetic: each step multiplies and adds a state."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.units.arithmetic_unit import ArithmeticUnit, UnitError


class RecurrentArithmetic(ArithmeticUnit):
    r"""Recurrent arithmetic unit: a state that each step multiplies and adds to.

    .. math:: s' = s + \sum_j x_j \, (A_j s + b_j)

    The input chooses what happens to the state: with numbers x it is a running sum whose steps may scale the state;
    with x one-hot, one word a step, word j turns s into (1 + A_j) s + b_j. A parameter of 0 does nothing. On words the
    unit is an affine weighted automaton, so that its laws can be found exactly (`training.fitting.word_laws`).

    Source:
        The project's own. It differs from the recurrent NALU of Trask et al. (arXiv:1808.00508, section 4.2), in which
        a NALU reads input and state side by side, in that input and state are multiplied, without gate and without
        logarithms: products with the state are exact, and so are states below zero.
        For one-hot inputs it is the linear second-order recurrence of Giles et al., Neural Computation 4 (1992),
        without their sigmoid.

    Args:
        in_features: Number of inputs, such as words, at least 1.
        out_features: Number of registers of the state, at least 1.
        device: Device of the parameters.
        dtype: Floating-point type of the parameters and of the inputs; torch's default type when None.

    Shape:
        - x: (..., in_features), in the unit's dtype
        - state: (..., out_features), in the unit's dtype; zero where it is not given
        - output: (..., out_features), in the unit's dtype

    Domain:
        Every finite number. Over a sequence the state can grow as the product of all factors; NaN and infinity reach
        every register.

    Raises:
        UnitError: When a width is not positive, the dtype is not a floating-point one, or an input or a state has
            another width or dtype than the unit.

    Example:
        >>> import torch
        >>> unit = RecurrentArithmetic(2, 1, dtype=torch.float64)  # the words "three" and "hundred"
        >>> with torch.no_grad():
        ...     _ = unit.A.copy_(torch.tensor([[[0.0]], [[99.0]]])), unit.B.copy_(torch.tensor([[3.0, 0.0]]))
        >>> three, hundred = torch.eye(2, dtype=torch.float64)
        >>> unit(hundred, unit(three)).tolist()
        [300.0]
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
        self.A = self._empty(in_features, out_features, out_features)
        self.B = self._empty(out_features, in_features)
        self.reset_parameters()

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Return the next state."""
        self._check_input(x)
        added = F.linear(x, self.B)
        if state is None:
            return added
        if state.shape[-1:] != (self.out_features,) or state.dtype != x.dtype:
            msg = (
                f"the last dimension of a state must be out_features={self.out_features} and its dtype {x.dtype}, "
                f"however: shape {tuple(state.shape)}, {state.dtype}"
            )
            raise UnitError(msg)
        k = self.out_features
        change = (x @ self.A.reshape(self.in_features, k * k)).reshape(*x.shape[:-1], k, k)
        moved: Tensor = (change * state.unsqueeze(-2)).sum(-1)
        return state + moved + added

    def effective_weight(self) -> Tensor:
        """Return B, what inputs add, shape (out_features, in_features)."""
        return self.B

    def factors(self) -> Tensor:
        """Return 1 + A, what each input alone makes of the state, shape (in_features, out_features, out_features)."""
        return self.A + torch.eye(self.out_features, device=self.A.device, dtype=self.A.dtype)

    def regulariser(self) -> Tensor:
        """Return 0: laws are made sparse by how they are searched."""
        return self.B.new_zeros(())

    @torch.no_grad()
    def project_(self) -> None:
        """Do nothing: the parameters have no bounds."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw B Glorot-uniformly and A from the same range over the number of registers, in place."""
        nn.init.xavier_uniform_(self.B, generator=generator)
        bound = (6 / (self.in_features + self.out_features)) ** 0.5 / self.out_features
        nn.init.uniform_(self.A, -bound, bound, generator=generator)
