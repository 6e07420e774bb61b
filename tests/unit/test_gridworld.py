"""The grid world against a world in plain Python, the agents, and what is said of them."""

import copy
import itertools
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from models.networks import AfterEveryStep, GRUCell, LSTMCell, SequenceNetwork
from models.units import LinearUnit
from training.errors import ConfigError
from training.reproduce.gridworld.fits import Lesson, Snapped, imitation_loss, lesson, snap
from training.reproduce.gridworld.measuring import FARTHEST, PATIENCE, Judged, guarantee, judge_agents
from training.reproduce.gridworld.networks import D_SEEN, NACIntoLSTM, Seen, counting, gated, nac_of, policy
from training.reproduce.gridworld.serving import formula_text
from training.tasks.gridworld import (
    ACTIONS,
    NEVER,
    Floats,
    Starts,
    all_starts,
    arrivals,
    demonstrate,
    draw_starts,
    moves_closer,
    right_actions,
)

MOVES = {"up": (0, 1), "down": (0, -1), "left": (-1, 0), "right": (1, 0), "stay": (0, 0)}


def walked(cell: tuple[int, int], action: int) -> tuple[int, int]:
    """Return the cell after an action, in plain Python."""
    x, y = (place + move for place, move in zip(cell, MOVES[ACTIONS[action]], strict=True))
    return (x, y) if 0 <= x < 5 and 0 <= y < 5 else cell


def acted(actions: list[int], agent: tuple[int, int], goal: tuple[int, int]) -> int | None:
    """Return when actions bring an agent to its goal, in plain Python."""
    for time, action in enumerate(actions, 1):
        agent = walked(agent, action)
        if agent == goal:
            return time
    return None


def cells(places: Any) -> list[tuple[int, int]]:
    return [(x, y) for x, y in places.tolist()]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("time", [1, 3, 8])
def test_every_start_within_reach_is_there_once(time: int) -> None:
    every = list(itertools.product(range(5), repeat=2))
    expected = {(a, g) for a in every for g in every if 0 < abs(a[0] - g[0]) + abs(a[1] - g[1]) <= time}
    starts = all_starts(time)
    found = list(zip(cells(starts.agents), cells(starts.goals), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert set(starts.times.tolist()) == {time}


def test_starts_are_drawn_at_every_time_within_reach() -> None:
    starts = draw_starts(2000, (5, 12), generator())
    away = np.abs(starts.goals - starts.agents).sum(axis=1)
    assert set(starts.times.tolist()) == set(range(5, 13))
    assert (away <= starts.times).all()
    assert set(away.tolist()) == set(range(1, 9))


@pytest.mark.parametrize("times", [(0, 3), (5, 4)])
def test_times_out_of_order_are_refused(times: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="positive and in order"):
        draw_starts(3, times, generator())


def test_the_demonstrator_arrives_in_time_by_its_actions_alone() -> None:
    starts = draw_starts(200, (5, 12), generator(1))
    shown = demonstrate(starts, generator(2), slips=0.0)
    for i, (agent, goal) in enumerate(zip(cells(starts.agents), cells(starts.goals), strict=True)):
        time = int(starts.times[i])
        actions = shown.actions[i, :time].tolist()
        assert acted(actions, agent, goal) == time
        assert shown.steps[i, 0].tolist() == [time, goal[0] - agent[0], goal[1] - agent[1]]
        assert (shown.steps[i, 1:, 0] == 0).all()
        assert (shown.actions[i, time:] == -1).all()
        assert (shown.steps[i, time:] == 0).all()


def test_a_demonstrator_who_slips_strays_and_still_arrives_in_time() -> None:
    starts = draw_starts(500, (5, 12), generator(1))
    shown = demonstrate(starts, generator(2), slips=0.5)
    n_strayed = 0
    for i, time in enumerate(starts.times.tolist()):
        offsets = shown.steps[i, :time, 1:].astype(int)
        told = right_actions(offsets, time - np.arange(time))
        assert shown.actions[i, :time].tolist() == told.tolist()
        away = np.abs(offsets).sum(axis=1)
        assert (away > 0).all()  # not there before the time
        assert (np.abs(np.diff(offsets, axis=0)).sum(axis=1) <= 1).all()
        assert away[-1] == 1  # the last step is the one onto the goal: no chance has anything else left
        n_strayed += bool((np.diff(away) > 0).any())
    assert n_strayed > 50


def expert(steps: Floats, memory: Any) -> tuple[Floats, Any]:
    """A policy that remembers the time that remains, by the demonstrator's rule."""
    remaining = steps[:, 0] if memory is None else memory - 1
    told = right_actions(steps[:, 1:].astype(np.int64), remaining.astype(np.int64))
    return np.eye(len(ACTIONS))[told], remaining


def together(*times: int) -> Starts:
    parts = [all_starts(time) for time in times]
    agents, goals, asked = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("agents", "goals", "times")
    )
    return Starts(agents, goals, asked)


def test_policies_arrive_when_they_should() -> None:
    starts = together(4, 8, 20)
    away = np.abs(starts.goals - starts.agents).sum(axis=1)

    def hasty(steps: Floats, _memory: Any) -> tuple[Floats, Any]:
        told = right_actions(steps[:, 1:].astype(np.int64), np.zeros(len(steps), np.int64))
        return np.eye(len(ACTIONS))[told], steps

    def lazy(steps: Floats, _memory: Any) -> tuple[Floats, Any]:
        return np.eye(len(ACTIONS))[np.full(len(steps), 4)], steps

    def late(steps: Floats, memory: Any) -> tuple[Floats, Any]:
        return expert(steps, steps[:, 0] + 4 if memory is None else memory)

    assert (arrivals(expert, starts, patience=3) == starts.times).all()
    assert (arrivals(hasty, starts, patience=3) == away).all()
    assert (arrivals(lazy, starts, patience=3) == NEVER).all()
    assert (arrivals(late, starts, patience=3) == starts.times + 3).all()
    assert (arrivals(late, starts, patience=2) == NEVER).all()


def test_the_time_may_be_told_in_every_step() -> None:
    starts = Starts(np.array([[0, 0]]), np.array([[1, 0]]), np.array([4]), always=True)
    assert demonstrate(starts, generator(), slips=0.0).steps[0, :, 0].tolist() == [4, 4, 4, 4]
    once = lesson(3, 20, 5)
    always = lesson(3, 20, 5, always=True)
    assert (always.train.actions == once.train.actions).all()
    assert (always.train.steps[..., 1:] == once.train.steps[..., 1:]).all()
    assert not (always.train.steps == once.train.steps).all()


def test_an_action_moves_closer_where_a_walk_in_python_does() -> None:
    offsets = np.array([(x, y) for x in range(-2, 3) for y in range(-2, 3)])
    for (x, y), closer in zip(offsets.tolist(), moves_closer(offsets).tolist(), strict=True):
        after = [abs(x - dx) + abs(y - dy) for dx, dy in MOVES.values()]
        assert closer == [one < abs(x) + abs(y) for one in after]


def test_an_agent_sees_four_distances_and_a_one() -> None:
    seen = Seen()(torch.tensor([[7.0, 3.0, -2.0], [0.0, -1.0, 4.0]]))
    assert seen.tolist() == [[7, 1, 3, 0, 0, 2], [0, 1, 0, 4, 1, 0]]


def networks() -> list[SequenceNetwork]:
    source = torch.Generator().manual_seed(0)
    cells = (LSTMCell(D_SEEN, 8, generator=source), GRUCell(D_SEEN, 8, generator=source))
    return [counting(source), *(gated(cell, source) for cell in (*cells, NACIntoLSTM(D_SEEN, 8, 2, source)))]


@pytest.mark.parametrize("position", range(4))
def test_a_policy_acts_on_what_its_network_answers(position: int) -> None:
    network = networks()[position]
    steps = demonstrate(draw_starts(6, (5, 8), generator()), generator(), slips=0.2).steps
    answers = AfterEveryStep(network)(torch.as_tensor(steps)).detach()
    act, memory = policy(network), None
    for t in range(steps.shape[1]):
        scores, memory = act(steps[:, t], memory)
        np.testing.assert_allclose(scores, answers[:, t].double().numpy(), rtol=1e-4, atol=1e-5)


def test_the_nac_beside_an_lstm_is_read_by_it_and_reads_it() -> None:
    cell = NACIntoLSTM(D_SEEN, 8, 2, torch.Generator().manual_seed(1))
    step, state = torch.rand(1, D_SEEN), torch.rand(1, cell.d_state)
    after = cell(step, state)
    reads_lstm, reads_nac = state.clone(), state.clone()
    reads_lstm[:, 0] += 1  # an output of the LSTM
    reads_nac[:, -1] += 1
    assert not torch.equal(cell(step, reads_lstm)[:, -2:], after[:, -2:])
    assert not torch.equal(cell(step, reads_nac)[:, :8], after[:, :8])


def test_steps_after_the_end_do_not_count() -> None:
    scores = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    actions = torch.tensor([[0, 4, -1, -1], [1, 2, 3, 4], [4, -1, -1, -1]])
    shown = nn.functional.one_hot(actions + 1, 6)[..., 1:].float()
    expected = nn.functional.cross_entropy(scores.reshape(-1, 5), actions.flatten(), ignore_index=-1)
    torch.testing.assert_close(imitation_loss(scores, shown), expected)


def nearly(*weights: float) -> SequenceNetwork:
    """Return an agent whose NAC has given weights, as far as a NAC can."""
    network = counting(torch.Generator().manual_seed(0))
    with torch.no_grad():
        nac_of(network).W_hat.copy_(torch.atanh(torch.tensor([weights])))
        nac_of(network).M_hat.fill_(40.0)
    return network


LESSON: Lesson = lesson(0, 500, 10)


@pytest.fixture(scope="module")
def counter() -> Snapped:
    return snap(nearly(-0.8, 0.7, 0.05, -0.1, 0.02, 0.08, 0.99), LESSON.train)


def test_a_snapped_counter_arrives_at_every_time(counter: Snapped) -> None:
    assert list(counter.weights) == [-1, 1, 0, 0, 0, 0, 1]
    assert 0.299 < counter.largest_move < 0.301
    assert counter.n_rows > 400
    assert counter.n_wrong == 0
    found = guarantee(counter.network)
    assert found.holds
    assert found.margin > 0
    for time in (5, 12, FARTHEST):
        assert (arrivals(policy(counter.network), all_starts(time), patience=1) == time).all()
    assert formula_text(counter.network).startswith("c = sum over the steps of (-asked + 1); up = ")


def test_an_agent_that_counts_nothing_is_told_wrong() -> None:
    snapped = snap(nearly(0.1, -0.7, 0.0, 0.0, 0.0, 0.0, 0.99), LESSON.train)
    assert snapped.n_wrong > 0
    assert not guarantee(snapped.network).counts
    assert not guarantee(snapped.network).holds


@pytest.mark.parametrize(("action", "feature", "change"), [("stay", 1, 1e3), ("stay", 1, -1e3), ("up", 0, -1e3)])
def test_nothing_is_promised_of_a_head_that_is_wrong_somewhere(
    counter: Snapped, action: str, feature: int, change: float
) -> None:
    network = copy.deepcopy(counter.network)
    with torch.no_grad():
        cast("LinearUnit", network.head).W[ACTIONS.index(action), feature] += change
    found = guarantee(network)
    assert found.counts
    assert not found.holds
    late = (arrivals(policy(network), all_starts(FARTHEST), patience=5) != FARTHEST).mean()
    assert late > 0


def test_what_agents_did_is_summed_up() -> None:
    judged = Judged(
        "agent",
        "ours",
        (5, 6, 20),
        (
            {5: np.array([5, 5]), 6: np.array([6, 5]), 20: np.array([NEVER, 22])},
            {5: np.array([5, 5]), 6: np.array([6, 6]), 20: np.array([20, 19])},
        ),
    )
    assert judged.successes(6) == [50, 100]
    assert judged.successes_between(5, 6) == [75, 100]
    assert judged.early(20) == [0, 50]
    assert judged.late(20) == [100, 0]
    assert judged.mean_arrivals(20) == [(20 + PATIENCE + 22) / 2, 19.5]
    assert judged.reach(95) == [5, 6]
    assert judged.reach(101) == [0, 0]
    assert judged.reach(50) == [6, 20]


def test_agents_are_judged_time_by_time(counter: Snapped) -> None:
    judged = judge_agents("agent", "ours", [counter.network], (3, 9), every=7)
    assert [len(judged.arrived[0][time]) for time in (3, 9)] == [len(range(0, n, 7)) for n in (len(all_starts(3)), 600)]
    assert judged.successes(3) == judged.successes(9) == [100]
