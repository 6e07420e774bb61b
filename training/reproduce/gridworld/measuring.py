"""What the agents do in the world, time asked for by time asked for, and what can be proved of an agent that counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.networks import SequenceNetwork
from training.reproduce.gridworld.fits import TRAINED
from training.reproduce.gridworld.networks import nac_of, policy
from training.reproduce.outcome import Kind
from training.tasks.gridworld import NEVER, STAY, Ints, Starts, all_starts, arrivals, distance, moves_closer

FARTHEST = 5 * TRAINED[1]
"""Five times the largest time of training."""

VERY_FAR = 1000
"""A time beyond the figure."""

PATIENCE = 12
"""Steps after the time asked for in which a late agent may arrive."""


@dataclass(frozen=True)
class Judged:
    """What agents of one kind did.

    Attributes:
        label: What they are called.
        kind: Whose they are.
        times: Times asked for.
        arrived: Time asked for → times of arrival, `NEVER` where there was none; one a seed.
    """

    label: str
    kind: Kind
    times: tuple[int, ...]
    arrived: tuple[dict[int, Ints], ...]

    def successes(self, time: int) -> list[float]:
        """Return the share of episodes that arrive exactly at a time, in %, one a seed."""
        return [_percent(one[time] == time) for one in self.arrived]

    def successes_between(self, least: int, most: int) -> list[float]:
        """Return the mean of the shares over the times tested from `least` to `most`, one a seed."""
        shares = [self.successes(time) for time in self.times if least <= time <= most]
        return [float(mean) for mean in np.mean(shares, axis=0)]

    def early(self, time: int) -> list[float]:
        """Return the share of episodes that arrive too early, in %, one a seed."""
        return [_percent((one[time] != NEVER) & (one[time] < time)) for one in self.arrived]

    def late(self, time: int) -> list[float]:
        """Return the share of episodes that arrive too late or not at all, in %, one a seed."""
        return [_percent((one[time] == NEVER) | (one[time] > time)) for one in self.arrived]

    def mean_arrivals(self, time: int) -> list[float]:
        """Return the mean time of arrival, one a seed; who does not arrive counts as arriving at the end."""
        return [float(np.where(one[time] == NEVER, time + PATIENCE, one[time]).mean()) for one in self.arrived]

    def reach(self, share: float) -> list[float]:
        """Return the largest time up to which every time tested has at least a share of successes in %, one a seed."""
        found = []
        for seed in range(len(self.arrived)):
            good = [self.successes(time)[seed] >= share for time in self.times]
            n_good = good.index(False) if False in good else len(good)
            found.append(float(self.times[n_good - 1] if n_good else 0))
        return found


def judge_agents(
    label: str,
    kind: Kind,
    networks: Sequence[SequenceNetwork],
    times: Sequence[int],
    *,
    every: int,
    always: bool = False,
) -> Judged:
    """Let agents act from every start, or every so many of them, at each time.

    Args:
        label: What they are called.
        kind: Whose they are.
        networks: One a seed.
        times: Times asked for, in order.
        every: Of the starts of each time, every how manieth.
        always: Whether the time is told in every step.
    """
    starts = [_some(all_starts(time), every, always=always) for time in times]
    together = Starts(
        np.concatenate([one.agents for one in starts]),
        np.concatenate([one.goals for one in starts]),
        np.concatenate([one.times for one in starts]),
        always=always,
    )
    arrived = []
    for network in networks:
        when = arrivals(policy(network), together, patience=PATIENCE)
        arrived.append({time: when[together.times == time] for time in times})
    return Judged(label, kind, tuple(times), tuple(arrived))


@dataclass(frozen=True)
class Guarantee:
    """What holds of an agent at every time, not only at those that were tried.

    An agent whose NAC counts down by one a step from the time asked for, in whole numbers, sees what it would see at
    the start of an episode with the time that remains, and its scores are affine in that time, with slopes that do not
    depend on where the goal lies. It arrives at every time if, wherever the goal lies, it walks towards it when the
    time that remains is its distance, and stays when one step more remains. For each way to walk is the only right one
    somewhere, and there its lead turns into that of staying within a step: the lead of staying grows with the time.

    Attributes:
        counts: Whether the NAC's weights are ±1 for the time asked for, ∓1 for the one of every step, 1 for its last
            output and 0 for all else.
        margin: Least lead of a right action over all wrong ones there, over all 80 offsets.
    """

    counts: bool
    margin: float

    @property
    def holds(self) -> bool:
        """Whether the agent arrives in time at every time, until float64 has no more whole numbers."""
        return self.counts and self.margin > 0


def guarantee(network: SequenceNetwork) -> Guarantee:
    """Return what holds of an agent of ours at every time."""
    asked, one, *distances, last = nac_of(network).effective_weight().detach().double()[0].tolist()
    counts = abs(asked) == 1 and one == -asked and last == 1 and not any(distances)
    offsets = np.array([(x, y) for x in range(-4, 5) for y in range(-4, 5) if (x, y) != (0, 0)])
    away = distance(offsets)

    def scores(remaining: Ints) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        steps = torch.as_tensor(np.column_stack([remaining, offsets]).astype(np.float64))
        with torch.no_grad():
            return np.asarray(network(steps[:, None]).double().numpy())

    walking, staying = scores(away), scores(away + 1)
    right = moves_closer(offsets)
    walk_lead = np.where(right, walking, -np.inf).max(axis=1) - np.where(right, -np.inf, walking).max(axis=1)
    stay_lead = staying[:, STAY] - np.delete(staying, STAY, axis=1).max(axis=1)
    return Guarantee(counts=counts, margin=float(min(walk_lead.min(), stay_lead.min())))


def _some(starts: Starts, every: int, *, always: bool) -> Starts:
    return replace(
        starts, agents=starts.agents[::every], goals=starts.goals[::every], times=starts.times[::every], always=always
    )


def _percent(hits: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    return 100 * float(hits.mean())
