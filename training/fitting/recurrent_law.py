"""The search for an exact law of sequences: a linear recurrence without weights of its own, then a law of its state.

A step adds to the state what it holds, s_t = x_t + r s_{t−1} with r of a NAU's simple values: 0 (the last step), 1 (a
sum over time) or −1 (an alternating sum). For each the states after the last step are features, and the search for an
exact law (`training.fitting.exact`) finds which of them the result takes and how. The simplest structure is tried
first, with every recurrence; the first exact law becomes a network whose cell and head are units.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import nn

from models.networks import ArithmeticNetwork, SequenceNetwork, UnitCell
from models.units import NAU, ArithmeticUnit
from training.errors import ConfigError
from training.fitting.exact import ExactSettings, fit_exact
from training.fitting.law import Floats, Law
from training.fitting.outcome import Found, NotFound

RETENTIONS = (0.0, 1.0, -1.0)
"""What a step keeps of the state, the simplest first."""

_DEFAULT = ExactSettings(noise=False)


@dataclass(frozen=True)
class RecurrentLaw:
    """An exact law of sequences.

    Attributes:
        retention: r of s_t = x_t + r s_{t−1}.
        law: The law of the last state.
        found: The search that found it.
    """

    retention: float
    law: Law
    found: Found

    def network(self) -> SequenceNetwork:
        """Return the law as a network in float64, exact at any length.

        Where the law begins with a sum, each step is summed before it is added to the state, so that the state holds no
        more than the law needs.
        """
        first = self.law.layers[0]
        units = [cast("ArithmeticUnit", unit) for unit in self.law.network().units]
        summed_first = first.kind == "sum" and first.bias is None
        encoder: nn.Module = ArithmeticNetwork(units[:1]) if summed_first else nn.Identity()
        rest = units[1:] if summed_first else units
        d_state = first.weight.shape[0 if summed_first else 1]
        cell = NAU(2 * d_state, d_state, dtype=torch.float64)
        with torch.no_grad():
            cell.W.copy_(torch.cat([torch.eye(d_state), self.retention * torch.eye(d_state)], dim=1))
        head = ArithmeticNetwork(rest) if rest else nn.Identity()
        return SequenceNetwork(encoder, UnitCell(cell), head, torch.zeros(d_state, dtype=torch.float64))


def last_states(steps: Floats, retention: float) -> Floats:
    """Return the states after the last step.

    Args:
        steps: Shape (n, length, d).
        retention: r of s_t = x_t + r s_{t−1}.

    Returns:
        Shape (n, d).
    """
    state = np.zeros_like(steps[:, 0], dtype=np.longdouble)  # sums that cancel are rounded once, as a law expects
    for t in range(steps.shape[1]):
        state = steps[:, t] + retention * state
    return state.astype(np.float64)


def fit_recurrent(
    sequences: Sequence[Floats], targets: Floats, *, seed: int, settings: ExactSettings = _DEFAULT
) -> RecurrentLaw | NotFound:
    """Search for the exact law of sequences.

    Args:
        sequences: One array of shape (length, d) each, float64; lengths may differ.
        targets: Results, shape (n,).
        seed: Seed of the searches.
        settings: What they may try.

    Returns:
        The law, or what the last search found instead.

    Raises:
        ConfigError: When sequences are empty or of different widths, or there are too few.

    Example:
        >>> steps = np.random.default_rng(0).uniform(1, 2, (64, 5, 2))
        >>> found = fit_recurrent(list(steps), steps[:, :, 0].sum(axis=1) / steps[:, :, 1].sum(axis=1), seed=0)
        >>> found.retention, [layer.weight.tolist() for layer in found.law.layers]
        (1.0, [[[1.0, -1.0]]])
        >>> found.network()(torch.tensor([[[1.0, 2.0], [5.0, 1.0]]])).item()
        2.0
    """
    widths = {one.shape[1:] for one in sequences}
    if len(widths) != 1 or len(next(iter(widths))) != 1 or not all(len(one) for one in sequences):
        msg = f"sequences must have steps of one width, and at least one, however the steps' shapes are {widths}"
        raise ConfigError(msg)
    states = {
        retention: np.concatenate([last_states(one[None], retention) for one in sequences]) for retention in RETENTIONS
    }
    outcome: Found | NotFound | None = None
    for structure in settings.structures:
        for retention in RETENTIONS:
            one = replace(settings, structures=(structure,))
            outcome = fit_exact(states[retention], targets, seed=seed, settings=one)
            if isinstance(outcome, Found):
                return RecurrentLaw(retention, outcome.snapped, outcome)
    assert isinstance(outcome, NotFound)  # noqa: S101 # the loop has been through
    return outcome
