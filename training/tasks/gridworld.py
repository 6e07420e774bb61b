"""A small world in which an agent must step onto its goal exactly at the time asked for.

The agent sees the time asked for in the first step only, and in every step where the goal lies from it. It acts once a
step: up, down, left, right or stay; a step over the edge leaves it where it is. An episode succeeds where the agent is
on the goal for the first time after as many steps as were asked for.

Source:
    Trask et al., arXiv:1808.00508, section 4.5 (tracking time in a grid world of 5 × 5, times 5 to 12 in training).
    NOTE[DIFF]: the paper's agent sees an image of the world and learns from rewards; here it sees where the goal lies
    and learns from a demonstrator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SIDE = 5
"""Cells in a row, and rows."""

ACTIONS = ("up", "down", "left", "right", "stay")
_MOVES = np.array([[0, 1], [0, -1], [-1, 0], [1, 0], [0, 0]])
_UP, _DOWN, _LEFT, _RIGHT, STAY = range(len(ACTIONS))

D_STEP = 3
"""Numbers of a step: the time asked for, 0 after the first step; how far right and how far up the goal lies."""

NEVER = -1
"""Time of arrival of an agent that did not arrive."""

Act = Callable[[Floats, Any], tuple[Floats, Any]]
"""A policy: steps (n, 3) and what it remembers (None before the first step) → scores (n, 5) and what it remembers, an
object that can be indexed by episodes."""


@dataclass(frozen=True)
class Starts:
    """Where episodes start and when the agent must arrive.

    Attributes:
        agents: Cells of the agents, column and row from 0, shape (n, 2).
        goals: Cells of the goals, shape (n, 2); never the agent's.
        times: Times asked for, in steps, shape (n,).
        always: Whether the time is told in every step, rather than in the first one only.
    """

    agents: Ints
    goals: Ints
    times: Ints
    always: bool = False

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.times)


@dataclass(frozen=True)
class Demonstrations:
    """What an agent sees in each step of some episodes, and what it should do.

    Attributes:
        steps: Shape (n, longest time, 3); zeros after the end.
        actions: Positions in `ACTIONS`, shape (n, longest time); −1 after the end.
        times: Steps of each episode, the time asked for, shape (n,).
    """

    steps: Floats
    actions: Ints
    times: Ints


def all_starts(time: int) -> Starts:
    """Return every start from which the goal can be reached by a time.

    Example:
        >>> len(all_starts(8)), len(all_starts(1))
        (600, 80)
    """
    cells = np.stack(np.divmod(np.arange(SIDE**2), SIDE), axis=1)
    agents, goals = np.repeat(cells, len(cells), axis=0), np.tile(cells, (len(cells), 1))
    away = distance(goals - agents)
    kept = (away > 0) & (away <= time)
    return Starts(agents[kept], goals[kept], np.full(kept.sum(), time))


def draw_starts(n: int, times: tuple[int, int], generator: np.random.Generator) -> Starts:
    """Draw starts from which the goal can be reached in time; every time is as likely, and every such start of it.

    Args:
        n: Episodes.
        times: Least and largest time asked for.
        generator: Source of chance.

    Raises:
        ConfigError: When there is no such time.
    """
    least, most = times
    if not 1 <= least <= most:
        msg = f"times must be positive and in order, however: {times}"
        raise ConfigError(msg)
    asked = generator.integers(least, most, n, endpoint=True)
    agents, goals = np.zeros((n, 2), np.int64), np.zeros((n, 2), np.int64)
    for time in range(least, most + 1):
        chosen, starts = asked == time, all_starts(time)
        picked = generator.integers(len(starts), size=chosen.sum())
        agents[chosen], goals[chosen] = starts.agents[picked], starts.goals[picked]
    return Starts(agents, goals, asked)


def distance(offsets: Ints) -> Ints:
    """Return the least number of steps to a goal that lies so far right and up, offsets of shape (..., 2)."""
    return np.asarray(np.abs(offsets).sum(axis=-1))


def right_actions(offsets: Ints, remaining: Ints) -> Ints:
    """Return what the demonstrator does: it stays for as long as there is time, then walks, along the row first.

    Args:
        offsets: How far right and up the goal lies, shape (n, 2).
        remaining: Steps until the agent must have arrived, this one included, shape (n,).
    """
    right, up = offsets[:, 0], offsets[:, 1]
    walk = np.select([right > 0, right < 0, up > 0], [_RIGHT, _LEFT, _UP], _DOWN)
    return np.where(remaining > distance(offsets), STAY, walk)


def moves_closer(offsets: Ints) -> NDArray[np.bool_]:
    """Return which actions bring an agent nearer to a goal that lies so far right and up: (n, 2) → (n, 5)."""
    after = distance(offsets[:, None] - _MOVES)
    return np.asarray(after < distance(offsets)[:, None])


def demonstrate(starts: Starts, generator: np.random.Generator, *, slips: float) -> Demonstrations:
    """Return what the demonstrator does in every step of some episodes, all of which succeed.

    Args:
        starts: The episodes.
        generator: Source of chance.
        slips: Share of the steps in which the agent does anything that still lets it arrive in time, instead of what it
            is told to do, so that an agent learns what to do where it would not have gone by itself (as in DART,
            arXiv:1703.09327).
    """
    agents, n, longest = starts.agents.copy(), len(starts), int(starts.times.max())
    steps, actions = np.zeros((n, longest, D_STEP)), np.full((n, longest), -1)
    for t in range(longest):
        on = starts.times > t
        remaining, offsets = starts.times - t, starts.goals - agents
        told = right_actions(offsets, remaining)
        steps[on, t] = _seen(starts, t, offsets)[on]
        actions[on, t] = told[on]
        drawn = generator.integers(len(ACTIONS), size=n)
        away = distance(starts.goals - _moved(agents, drawn))
        slipping = (generator.random(n) < slips) & (away < remaining) & ((away > 0) | (remaining == 1))
        agents = np.where(on[:, None], _moved(agents, np.where(slipping, drawn, told)), agents)
    return Demonstrations(steps, actions, starts.times)


def arrivals(act: Act, starts: Starts, *, patience: int) -> Ints:
    """Let a policy act in the world, its highest score at a time, and return when the agents arrive.

    Args:
        act: The policy.
        starts: The episodes.
        patience: Steps after the time asked for in which an agent may still arrive.

    Returns:
        The steps until an agent is on its goal for the first time, or `NEVER`, shape (n,).
    """
    arrived = np.full(len(starts), NEVER)
    on, agents, memory = np.arange(len(starts)), starts.agents.copy(), None
    for t in range(int(starts.times.max()) + patience):
        steps = _seen(starts, t, starts.goals - agents)[on]
        scores, memory = act(steps, memory)
        agents[on] = _moved(agents[on], scores.argmax(axis=1))
        there = (agents[on] == starts.goals[on]).all(axis=1)
        arrived[on[there]] = t + 1
        stays_on = ~there & (t + 1 < starts.times[on] + patience)
        if not stays_on.any():
            break
        on, memory = on[stays_on], memory[stays_on]
    return arrived


def _seen(starts: Starts, t: int, offsets: Ints) -> Floats:
    asked = starts.times if t == 0 or starts.always else np.zeros_like(starts.times)
    return np.column_stack([asked, offsets]).astype(np.float64)


def _moved(agents: Ints, actions: Ints) -> Ints:
    return np.asarray(np.clip(agents + _MOVES[actions], 0, SIDE - 1))
