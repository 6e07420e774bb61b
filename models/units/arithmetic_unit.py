"""What every arithmetic unit offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self, TypedDict

import torch
from torch import Tensor, nn

from models.contract.errors import NaluError


class UnitError(NaluError, ValueError):
    """A unit that was built or called with something it cannot work with."""


class Factory(TypedDict):
    """Where and in which precision a unit keeps its tensors."""

    device: torch.device | str | None
    dtype: torch.dtype | None


class ArithmeticUnit(nn.Module, ABC):
    """One arithmetic module: a layer whose effective weights read as arithmetic.

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        device: Device of the parameters.
        dtype: Floating-point type of the parameters and of the inputs; torch's default type when None.

    Shape:
        - x: (..., in_features), in the unit's dtype, any number of leading dimensions
        - output: (..., out_features), in the unit's dtype

    Raises:
        UnitError: When a width is not positive, the dtype is not a floating-point one, or an input has another width
            or dtype than the unit.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, width in (("in_features", in_features), ("out_features", out_features)):
            if width < 1:
                msg = f"`{name}` must be positive, however: {name}={width}"
                raise UnitError(msg)
        if dtype is not None and not dtype.is_floating_point:
            msg = f"`dtype` must be a floating-point type, however: {dtype}; use torch.float64 or torch.float32"
            raise UnitError(msg)
        self.in_features = in_features
        self.out_features = out_features
        self._factory: Factory = {"device": device, "dtype": dtype}
        self._constants: dict[str, float] = {}

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit to the last dimension of `x`."""

    @abstractmethod
    def effective_weight(self) -> Tensor:
        """Return the weights that act on the inputs, shape (out_features, in_features), with their gradient."""

    @abstractmethod
    def regulariser(self) -> Tensor:
        """Return the paper's sparsity term, a scalar to be scaled and added to a loss; 0 where the paper has none."""

    @abstractmethod
    def project_(self) -> None:
        """Hold the parameters inside the paper's bounds, in place; call it after every step of an optimiser."""

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew, in place, from `generator` (on their device) or from torch's global one."""

    def extra_repr(self) -> str:
        """Return the widths for the module's printed form."""
        return f"in_features={self.in_features}, out_features={self.out_features}"

    def _empty(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(shape, **self._factory))

    def _register_constant(self, name: str, value: float) -> None:
        """Keep a number that is no integer as a buffer outside the state dict.

        torch 2.13's ONNX exporter rounds Python float literals to float32 even in float64 graphs.
        """
        self._constants[name] = value
        self.register_buffer(name, torch.tensor(value, **self._factory), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the unit; constants are written anew, so that float32 → float64 leaves none rounded."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call] # torch has no types here
        for name, value in self._constants.items():
            self.get_buffer(name).fill_(value)
        return self

    def _check_input(self, x: Tensor) -> None:
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            msg = (
                f"the last dimension of an input must be in_features={self.in_features}, "
                f"however its shape is {tuple(x.shape)}"
            )
            raise UnitError(msg)
        dtype = next(self.parameters()).dtype
        if x.dtype != dtype:
            msg = f"an input must have the unit's dtype {dtype}, however it has {x.dtype}; cast the input or the unit"
            raise UnitError(msg)
