"""How members of an ensemble are trained: right gradients, the same on any number of threads, the best step kept."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from training.tabular.network_settings import NetworkSettings
from training.tabular.network_training import Members, Workspace, train_members
from training.tabular.networks import Network
from training.tabular.rows import Floats

SETTINGS = NetworkSettings(n_members=3, d_hidden=96, n_steps=50)
FREE = np.full(3, -np.inf), np.full(3, np.inf)


def lesson(n_rows: int = 1000) -> tuple[Floats, Floats, Floats]:
    block = np.random.default_rng(0).normal(size=(n_rows, 3))
    return block, np.sin(2 * block[:, 0]) + block[:, 1], np.ones(n_rows)


def test_the_written_gradient_is_that_of_torch() -> None:
    rng = np.random.default_rng(1)
    widths = [3, 5, 5, 1]
    members = Members([rng.normal(size=(2, a, b)).astype(np.float32) for a, b in pairwise(widths)])
    x, y = rng.normal(size=(2, 7, 3)).astype(np.float32), rng.normal(size=(2, 7)).astype(np.float32)
    members.values += (0.1 * rng.normal(size=len(members.values))).astype(np.float32)
    shares = rng.uniform(0.5, 2, (2, 7)).astype(np.float32)
    members.backward(x, y, shares, Workspace((2, 7, 5), 2, backward=True))
    weights, biases, linear = (
        [torch.tensor(one, requires_grad=True) for one in group] if isinstance(group, list) else group
        for group in members.as_arrays(members.values)
    )
    straight = torch.tensor(linear, requires_grad=True)
    inputs = torch.tensor(x, dtype=torch.float64)
    hidden = inputs
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = hidden @ weight + bias
        hidden = torch.nn.functional.silu(hidden) if i < len(weights) - 1 else hidden
    answer = (hidden + inputs @ straight)[..., 0]
    loss = (torch.tensor(shares) * (answer - torch.tensor(y)) ** 2).mean(dim=1).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    written = members.as_arrays(members.gradient)
    for mine, theirs in zip([*written[0], *written[1], written[2]], [*weights, *biases, straight], strict=True):
        assert theirs.grad is not None
        np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        members.errors(x, y, shares, Workspace((2, 7, 5), 2, backward=False)).sum(), loss.item(), 1e-5
    )


@pytest.mark.parametrize("n_members", [1, 3])
def test_members_are_the_same_on_any_number_of_threads(n_members: int) -> None:
    """Of noise, so that the best step is early, and depends on the rows that each member is judged by."""
    block, _, shares = lesson()
    wanted = np.random.default_rng(1).normal(size=len(block))
    settings = replace(SETTINGS, n_members=n_members, n_steps=300, step=1e-2)
    part = np.arange(len(wanted)) % max(n_members, 2)
    alone, beside = (train_members(block, wanted, shares, part, settings, 0, n_threads) for n_threads in (1, 2))
    for one, other in zip([*alone[0], *alone[1], alone[2]], [*beside[0], *beside[1], beside[2]], strict=True):
        np.testing.assert_array_equal(one, other)


def test_members_keep_the_step_at_which_they_did_best_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is learned by heart: the longer, the worse for rows left out."""
    block, _, shares = lesson(300)
    noise, part = np.random.default_rng(1).normal(size=300), np.arange(300) % 3
    settings = replace(SETTINGS, n_steps=600, step=1e-2)

    def left_out() -> float:
        weights, biases, linear = train_members(block, noise, shares, part, settings, 0, 1)
        errors = []
        for i in range(3):
            own = slice(i, i + 1)
            member = Network(tuple(w[own] for w in weights), tuple(b[own] for b in biases), linear[i, :, 0], *FREE)
            errors.append(np.mean((member(block[part == i]) - noise[part == i]) ** 2))
        return float(np.mean(errors))

    best = left_out()
    monkeypatch.setattr("training.tabular.network_training._N_CHECKS", 1)  # the last step alone
    assert best < 0.7 * left_out()


def test_weights_that_diverged_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Members, "errors", lambda *_: np.full(3, np.nan, np.float32))
    block, wanted, shares = lesson()
    _, biases, linear = train_members(block, wanted, shares, np.arange(len(wanted)) % 3, SETTINGS, 0, 1)
    for drawn_as_zero in (*biases, linear):
        np.testing.assert_array_equal(drawn_as_zero, 0)
