"""A network for sequences of any length: an encoder per step, a recurrent cell, and a head on the last state."""

import torch
from torch import Tensor, nn

from models.contract.errors import NaluError


class SequenceError(NaluError, ValueError):
    """A sequence network that was built of parts that do not fit, or called with no sequence."""


class SequenceNetwork(nn.Module):
    r"""Reads a sequence step by step and answers from the state after the last one.

    .. math:: s_0 = s_{initial}, \qquad s_t = \mathrm{cell}(\mathrm{encoder}(x_t), s_{t-1}), \qquad
        y = \mathrm{head}(s_T)

    A cell keeps everything in one state tensor; where it has several parts (the h and c of an LSTM), they are packed
    side by side (`models.networks.gated_cells`). Encoder, cell and head must not mix the rows of a batch.

    Args:
        encoder: (n, *step_shape) → (n, d_step), applied to all steps of all sequences at once. Steps are int64 tokens
            (step_shape is empty), numbers or images.
        cell: Called with a step (batch, d_step) and a state (batch, d_state), gives the next state (batch, d_state).
        head: (batch, d_state) → (batch, d_outputs).
        initial: State before the first step, shape (d_state,), of a floating-point type; it is kept as a buffer and
            gives the network its type. The encoder may have another one, such as convolutions in float32 before sums in
            float64: what it gives is cast.

    Shape:
        - steps: (batch, length, *step_shape), int64, or floating point and then cast to the encoder's type; length is
          at least 1 and the same for all sequences of a batch
        - predictions: (batch, d_outputs)

    Raises:
        SequenceError: When `initial` is not a vector of floating-point numbers, or there is no step.

    Example:
        >>> class Sum(nn.Module):
        ...     def forward(self, step: Tensor, state: Tensor) -> Tensor:
        ...         return state + step
        >>> network = SequenceNetwork(nn.Identity(), Sum(), nn.Identity(), torch.zeros(2, dtype=torch.float64))
        >>> network(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[4.0, 6.0]]
    """

    initial: Tensor

    def __init__(self, encoder: nn.Module, cell: nn.Module, head: nn.Module, initial: Tensor) -> None:
        super().__init__()
        if initial.dim() != 1 or not initial.shape[0] or not initial.is_floating_point():
            msg = (
                "`initial` must be a vector of floating-point numbers, one per state, however: "
                f"shape {tuple(initial.shape)}, {initial.dtype}"
            )
            raise SequenceError(msg)
        self.encoder = encoder
        self.cell = cell
        self.head = head
        self.register_buffer("initial", initial.detach().clone())

    @property
    def d_state(self) -> int:
        """Width of the state."""
        return self.initial.shape[0]

    def forward(self, steps: Tensor) -> Tensor:
        """Answer from the state after the last step."""
        encoded = self.encode(steps)
        state = self.initial.expand(encoded.shape[0], -1)
        for step in encoded.unbind(1):
            state = self.cell(step, state)
        return self.head(state)  # type: ignore[no-any-return]

    def encode(self, steps: Tensor) -> Tensor:
        """Return the encoded steps, shape (batch, length, d_step)."""
        if steps.dim() < 2 or not steps.shape[1]:
            msg = f"a sequence must have at least one step, however the shape of `steps` is {tuple(steps.shape)}"
            raise SequenceError(msg)
        encoded = self.encode_steps(steps.flatten(0, 1))
        return encoded.reshape(*steps.shape[:2], *encoded.shape[1:])

    def encode_steps(self, steps: Tensor) -> Tensor:
        """Return encoded steps that need not belong together: (n, *step_shape) → (n, d_step), in the state's type."""
        if steps.is_floating_point():
            tensors = (*self.encoder.parameters(), *self.encoder.buffers())
            own = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), self.initial.dtype)
            steps = steps.to(own)
        encoded: Tensor = self.encoder(steps)
        return encoded.to(self.initial.dtype)

    def states(self, steps: Tensor) -> Tensor:
        """Return the state after every step, shape (batch, length, d_state)."""
        encoded = self.encode(steps)
        state = self.initial.expand(encoded.shape[0], -1)
        states = []
        for step in encoded.unbind(1):
            state = self.cell(step, state)
            states.append(state)
        return torch.stack(states, dim=1)


class AfterEveryStep(nn.Module):
    """A network's answers after every step, for a loss that looks at all of them; it shares the network's weights.

    Args:
        network: The network.

    Shape:
        - steps: as the network takes them
        - output: (batch, length, d_outputs)

    Example:
        >>> from models.networks import GRUCell
        >>> network = SequenceNetwork(nn.Identity(), GRUCell(3, 8), nn.Linear(8, 2), torch.zeros(8))
        >>> AfterEveryStep(network)(torch.ones(4, 5, 3)).shape
        torch.Size([4, 5, 2])
    """

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, steps: Tensor) -> Tensor:
        """Answer from the state after each step."""
        states = self.network.states(steps)
        answers: Tensor = self.network.head(states.flatten(0, 1))
        return answers.reshape(*states.shape[:2], -1)
