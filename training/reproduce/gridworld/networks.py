"""The agents: what they see, what they remember, and how they score their actions."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.networks import GRUCell, HiddenPart, LSTMCell, SequenceNetwork, UnitCell
from models.units import NAC, LinearUnit
from training.tasks.gridworld import ACTIONS, Act, Floats

D_HIDDEN = 32
"""Hidden units of the gated cells."""

D_NAC = 4
"""Outputs of the NAC beside an LSTM."""

_N_ACTIONS = len(ACTIONS)
D_SEEN = 6
"""Numbers seen in a step."""


class Seen(nn.Module):
    """What an agent sees in a step: the time asked for, a one, and how far the goal lies right, up, left and down.

    The one is what a NAC, which has no constant, can count. The four distances are not negative.

    Shape:
        - steps: (n, 3): time asked for, how far right and how far up the goal lies
        - output: (n, 6)
    """

    def forward(self, steps: Tensor) -> Tensor:
        """Return what is seen."""
        offsets = steps[:, 1:]
        return torch.cat([steps[:, :1], torch.ones_like(steps[:, :1]), offsets.relu(), (-offsets).relu()], dim=1)


class BesideTheStep(nn.Module):
    """A cell whose state shows, beside its own, what was seen last: all but the time asked for.

    Args:
        cell: (batch, 6), (batch, d_own) → (batch, d_own).
        d_own: Width of its state.

    Shape:
        - step: (batch, 6)
        - state: (batch, d_own + 5)
    """

    def __init__(self, cell: nn.Module, d_own: int) -> None:
        super().__init__()
        self.cell = cell
        self.d_own = d_own

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next state."""
        return torch.cat([self.cell(step, state[:, : self.d_own]), step[:, 1:]], dim=1)


class NACIntoLSTM(nn.Module):
    """An LSTM that reads, beside the step, a NAC of the step, of the NAC's last output and of the LSTM's.

    The state packs the LSTM's h and c and the NAC's output, in this order.

    Args:
        d_step: Width of a step.
        d_hidden: Width of h and of c.
        d_nac: Outputs of the NAC.
        generator: Source of the weights.
    """

    def __init__(self, d_step: int, d_hidden: int, d_nac: int, generator: torch.Generator) -> None:
        super().__init__()
        self.lstm = LSTMCell(d_step + d_nac, d_hidden, generator=generator)
        self.nac = NAC(d_step + d_nac + d_hidden, d_nac)
        self.nac.reset_parameters(generator)

    @property
    def d_state(self) -> int:
        """Width of the packed state."""
        return self.lstm.d_state + self.nac.out_features

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        """Return the next state."""
        gated, counted = torch.split(state, [self.lstm.d_state, self.nac.out_features], dim=1)
        counted = self.nac(torch.cat([step, counted, gated[:, : self.lstm.d_hidden]], dim=1))
        return torch.cat([self.lstm(torch.cat([step, counted], dim=1), gated), counted], dim=1)


def counting(generator: torch.Generator) -> SequenceNetwork:
    """Return our agent: one NAC that adds up what it sees, and a linear head on that and on where the goal lies."""
    nac, head = NAC(D_SEEN + 1, 1), LinearUnit(D_SEEN, _N_ACTIONS)
    nac.reset_parameters(generator)
    head.reset_parameters(generator)
    return SequenceNetwork(Seen(), BesideTheStep(UnitCell(nac), 1), head, torch.zeros(D_SEEN))


def nac_of(network: SequenceNetwork) -> NAC:
    """Return the NAC of an agent of ours."""
    cell = cast("UnitCell", cast("BesideTheStep", network.cell).cell)
    return cast("NAC", cell.unit)


def gated(cell: LSTMCell | GRUCell | NACIntoLSTM, generator: torch.Generator) -> SequenceNetwork:
    """Return a published kind of agent: a gated cell and a linear layer on its output h."""
    d_hidden = cell.lstm.d_hidden if isinstance(cell, NACIntoLSTM) else cell.d_hidden
    head = LinearUnit(d_hidden, _N_ACTIONS, bias=True)
    head.reset_parameters(generator)
    return SequenceNetwork(Seen(), cell, nn.Sequential(HiddenPart(d_hidden), head), torch.zeros(cell.d_state))


def policy(network: SequenceNetwork) -> Act:
    """Return an agent as the world takes it: one step at a time."""

    @torch.no_grad()
    def act(steps: Floats, memory: Any) -> tuple[Floats, Any]:
        state = network.initial.expand(len(steps), -1) if memory is None else memory
        state = network.cell(network.encode_steps(torch.as_tensor(steps)), state)
        return np.asarray(network.head(state).double().numpy()), state

    return act
