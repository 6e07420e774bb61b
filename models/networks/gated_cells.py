"""Recurrent cells of the field's baselines, each with one packed state tensor, for `SequenceNetwork`.

The equations are written out in products, sums, sigmoid and tanh, which onnxruntime computes in float64 too; its own
LSTM and GRU operators are float32 only.
"""

from abc import ABC, abstractmethod
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.sequence import SequenceError


class _GatedCell(nn.Module, ABC):
    """A cell of linear maps of step and state, with parameters named and ordered as torch's own cells have them."""

    n_blocks: int
    """Blocks of d_hidden rows in the weights."""

    def __init__(
        self,
        d_step: int,
        d_hidden: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_step < 1 or d_hidden < 1:
            msg = f"widths must be positive, however: d_step={d_step}, d_hidden={d_hidden}"
            raise SequenceError(msg)
        self.d_step = d_step
        self.d_hidden = d_hidden
        rows = self.n_blocks * d_hidden
        for name, shape in (
            ("weight_ih", (rows, d_step)),
            ("weight_hh", (rows, d_hidden)),
            ("bias_ih", (rows,)),
            ("bias_hh", (rows,)),
        ):
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters(generator)

    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias_ih: nn.Parameter
    bias_hh: nn.Parameter

    @property
    def d_state(self) -> int:
        """Width of the packed state."""
        return self.d_hidden

    @abstractmethod
    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next state, shape (batch, d_state), from a step (batch, d_step) and a state (batch, d_state)."""

    def initial(self) -> Tensor:
        """Return the usual first state, zeros of shape (d_state,)."""
        return self.weight_hh.new_zeros(self.d_state)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew, in place, uniform within ±1/√d_hidden as torch does."""
        bound = self.d_hidden**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound, generator=generator)

    def load_layer(self, layer: nn.RNNBase) -> Self:
        """Take the weights of a torch layer that was trained in its place, and return self.

        A whole layer is the faster loop for training; this cell is what is served.

        Args:
            layer: nn.LSTM, nn.GRU or nn.RNN of one layer, one direction and the same widths, with biases.

        Raises:
            SequenceError: When it has another shape.
        """
        if layer.num_layers != 1 or layer.bidirectional or not layer.bias or layer.proj_size:
            msg = f"a cell takes a layer of one level and one direction with biases, however: {layer}"
            raise SequenceError(msg)
        given = {name: getattr(layer, f"{name}_l0") for name, _ in self.named_parameters()}
        for name, parameter in self.named_parameters():
            if given[name].shape != parameter.shape:
                msg = (
                    f"a layer must have the cell's widths, however {name} has shape {tuple(given[name].shape)} "
                    f"and not {tuple(parameter.shape)}"
                )
                raise SequenceError(msg)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(given[name])
        return self

    def extra_repr(self) -> str:
        """Return the widths for the module's printed form."""
        return f"d_step={self.d_step}, d_hidden={self.d_hidden}"


class LSTMCell(_GatedCell):
    r"""Long short-term memory; the state packs h and c, in this order.

    .. math::
        i, f, o = \sigma(W x + U h + b), \quad g = \tanh(W_g x + U_g h + b_g), \quad
        c' = f \odot c + i \odot g, \quad h' = o \odot \tanh(c')

    Source:
        Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), with the forget gate of Gers,
        Schmidhuber and Cummins (2000); weights in torch's order i, f, g, o.

    Args:
        d_step: Width of an encoded step, at least 1.
        d_hidden: Width of h and of c, at least 1.
        generator: Source of the random weights; torch's global one when None.
        device: Device of the parameters.
        dtype: Their floating-point type; torch's default type when None.

    Shape:
        - step: (batch, d_step)
        - state: (batch, 2 · d_hidden)

    Raises:
        SequenceError: When a width is not positive.

    Example:
        >>> cell = LSTMCell(3, 8, dtype=torch.float64)
        >>> cell(torch.ones(2, 3, dtype=torch.float64), cell.initial().expand(2, -1)).shape
        torch.Size([2, 16])
    """

    n_blocks = 4

    @property
    def d_state(self) -> int:
        """Width of the packed state: h and c."""
        return 2 * self.d_hidden

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next h and c."""
        h, c = torch.split(state, self.d_hidden, dim=1)
        gates = F.linear(step, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = torch.split(gates, self.d_hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=1)


class GRUCell(_GatedCell):
    r"""Gated recurrent unit; the state is h.

    .. math::
        r, z = \sigma(W x + U h + b), \quad n = \tanh(W_n x + b_n + r \odot (U_n h + b_{hn})), \quad
        h' = (1 - z) \odot n + z \odot h

    Source:
        Cho et al., arXiv:1406.1078, in the form of cuDNN and torch, in which r acts after U; weights in torch's order
        r, z, n.

    Args:
        d_step: Width of an encoded step, at least 1.
        d_hidden: Width of h, at least 1.
        generator: Source of the random weights; torch's global one when None.
        device: Device of the parameters.
        dtype: Their floating-point type; torch's default type when None.

    Shape:
        - step: (batch, d_step)
        - state: (batch, d_hidden)

    Raises:
        SequenceError: When a width is not positive.
    """

    n_blocks = 3

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next h."""
        of_step = F.linear(step, self.weight_ih, self.bias_ih)
        of_state = F.linear(state, self.weight_hh, self.bias_hh)
        r_step, z_step, n_step = torch.split(of_step, self.d_hidden, dim=1)
        r_state, z_state, n_state = torch.split(of_state, self.d_hidden, dim=1)
        z = torch.sigmoid(z_step + z_state)
        n = torch.tanh(n_step + torch.sigmoid(r_step + r_state) * n_state)
        return n + z * (state - n)


class RNNCell(_GatedCell):
    r"""A plain recurrent layer; the state is h.

    .. math:: h' = \phi(W x + U h + b)

    Source:
        Elman, "Finding Structure in Time", Cognitive Science 14 (1990); with ReLU, the baseline of arXiv:1808.00508.

    Args:
        d_step: Width of an encoded step, at least 1.
        d_hidden: Width of h, at least 1.
        activation: φ, "tanh" or "relu".
        generator: Source of the random weights; torch's global one when None.
        device: Device of the parameters.
        dtype: Their floating-point type; torch's default type when None.

    Shape:
        - step: (batch, d_step)
        - state: (batch, d_hidden)

    Raises:
        SequenceError: When a width is not positive.
    """

    n_blocks = 1

    def __init__(
        self,
        d_step: int,
        d_hidden: int,
        activation: Literal["tanh", "relu"] = "tanh",
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(d_step, d_hidden, generator=generator, device=device, dtype=dtype)
        self.activation = activation

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next h."""
        total = F.linear(step, self.weight_ih, self.bias_ih) + F.linear(state, self.weight_hh, self.bias_hh)
        return total.relu() if self.activation == "relu" else total.tanh()


class HiddenPart(nn.Module):
    """The first columns of a packed state, such as the h of an LSTM, for a head that reads no more.

    Args:
        d_hidden: Columns to keep.

    Shape:
        - state: (batch, d_state)
        - output: (batch, d_hidden)
    """

    def __init__(self, d_hidden: int) -> None:
        super().__init__()
        self.d_hidden = d_hidden

    def forward(self, state: Tensor) -> Tensor:
        """Return the first columns."""
        return state[:, : self.d_hidden]
