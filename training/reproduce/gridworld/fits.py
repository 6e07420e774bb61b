"""How the agents learn: from what a demonstrator does, all kinds by the same loop; ours is then snapped."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from models.networks import AfterEveryStep, SequenceNetwork
from models.units import LinearUnit
from training.fitting.ensembles import fit_ensemble
from training.fitting.first_order import FirstOrderConfig, Rows, fit, judge
from training.fitting.sequences import Batch, SequenceFitConfig
from training.reproduce.experiment import Progress, told_by_checks
from training.reproduce.gridworld.networks import nac_of
from training.tasks.gridworld import ACTIONS, Demonstrations, demonstrate, draw_starts

TRAINED = (5, 12)
"""Times asked for in training, those of the paper."""

SLIPS = 0.2
"""Share of the demonstrator's steps that are left to chance."""

BATCH = 64
"""Demonstrations in a step of the loop."""

_SATURATED_W, _SATURATED_M = 20.0, 40.0
"""Where tanh and the logistic function are 1 in float64."""

_HEAD_CONFIG = FirstOrderConfig(max_epochs=20, learning_rate=0.1, polish_steps=100)
"""The head's loss is convex, and L-BFGS lowers it until float64 ends it."""


@dataclass(frozen=True)
class Lesson:
    """What an agent of one seed learns from.

    Attributes:
        seed: The seed.
        train: Demonstrations to learn from.
        validation: Other demonstrations for the same times, which choose the check that is kept.
    """

    seed: int
    train: Demonstrations
    validation: Demonstrations


def lesson(seed: int, n_train: int, n_validation: int, *, always: bool = False) -> Lesson:
    """Draw the demonstrations of a seed; they are the same where the time is told in every step."""
    generator = np.random.default_rng([seed, 1808_00508])
    train, validation = (
        demonstrate(replace(draw_starts(n, TRAINED, generator), always=always), generator, slips=SLIPS)
        for n in (n_train, n_validation)
    )
    return Lesson(seed, train, validation)


def imitation_loss(scores: Tensor, shown: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the demonstrator's actions.

    Args:
        scores: Shape (..., 5).
        shown: One at the action taken, shape (..., 5); zeros alone in steps after an episode's end do not count.
    """
    return -(shown * scores.log_softmax(-1)).sum() / shown.sum()


def imitate(
    label: str,
    build: Callable[[torch.Generator], SequenceNetwork],
    lessons: Sequence[Lesson],
    config: SequenceFitConfig,
    progress: Progress,
) -> list[SequenceNetwork]:
    """Train one agent a seed in float32; of the checks, that with the least loss in validation is kept.

    Args:
        label: What the agents are called.
        build: Makes one.
        lessons: One a seed.
        config: Settings of the loop.
        progress: Told of every check; the whole is one step.
    """
    networks = [build(torch.Generator().manual_seed(one.seed)) for one in lessons]
    steps, shown = _of_all([one.train for one in lessons])
    validation_steps, validation_shown = _of_all([one.validation for one in lessons])
    generator = torch.Generator().manual_seed(len(lessons))
    own = torch.arange(len(lessons))[:, None]

    def draw(_step: int) -> Batch:
        index = torch.randint(0, steps.shape[1], (len(lessons), BATCH), generator=generator)
        return Batch((steps[own, index],), shown[own, index])

    fit_ensemble(
        [AfterEveryStep(network) for network in networks],
        draw,
        Batch((validation_steps,), validation_shown),
        config,
        imitation_loss,
        on_check=told_by_checks(progress, label, config.max_steps, config.check_every),
    )
    return networks


@dataclass(frozen=True)
class Snapped:
    """An agent whose NAC counts exactly.

    Attributes:
        network: The agent in float64.
        weights: The NAC's weights, each −1, 0 or 1.
        largest_move: How far the weight that moved most was from there.
        n_rows: Different rows that the head was fitted to.
        n_wrong: Rows of training in which the agent would not do as the demonstrator.
    """

    network: SequenceNetwork
    weights: tuple[float, ...]
    largest_move: float
    n_rows: int
    n_wrong: int


def snap(network: SequenceNetwork, train: Demonstrations) -> Snapped:
    """Put the NAC's weights on −1, 0 and 1, and fit the head again to what the NAC then counts.

    Only the demonstrations that the agent learned from are looked at. The head's loss is convex, so that there is no
    choice of start.
    """
    exact = copy.deepcopy(network).double()
    nac = nac_of(exact)
    before = nac.effective_weight().detach()
    rounded = before.round() + 0.0  # no −0
    with torch.no_grad():
        nac.W_hat.copy_(_SATURATED_W * rounded)
        nac.M_hat.fill_(_SATURATED_M)
    rows = _head_rows(exact, train)
    head = cast("LinearUnit", exact.head)
    fit(head, rows, rows, _HEAD_CONFIG, imitation_loss, torch.Generator().manual_seed(0))
    wrong = judge(head, rows, lambda scores, shown: (scores.argmax(-1) != shown.argmax(-1)).sum())
    return Snapped(
        exact,
        tuple(rounded[0].tolist()),
        float((before - rounded).abs().max()),
        len(rows),
        int(wrong),
    )


@torch.no_grad()
def _head_rows(network: SequenceNetwork, train: Demonstrations) -> Rows:
    """Return what the head sees in the steps of training, each different row once, and what the demonstrator does."""
    states = network.states(torch.as_tensor(train.steps)).numpy()
    on = train.actions >= 0
    rows = np.unique(np.column_stack([states[on], train.actions[on]]), axis=0)
    shown = nn.functional.one_hot(torch.as_tensor(rows[:, -1]).long(), len(ACTIONS)).double()
    return Rows((torch.as_tensor(rows[:, :-1]),), shown)


def _of_all(parts: Sequence[Demonstrations]) -> tuple[Tensor, Tensor]:
    """Return steps (seeds, n, longest, 3) and actions as ones among zeros (seeds, n, longest, 5) in float32."""
    steps = torch.stack([torch.as_tensor(part.steps, dtype=torch.float32) for part in parts])
    actions = torch.stack([torch.as_tensor(part.actions) for part in parts])
    shown = nn.functional.one_hot(actions + 1, len(ACTIONS) + 1)[..., 1:]
    return steps, shown.to(steps.dtype)
