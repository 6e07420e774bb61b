"""NAC against its formula."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.units import NAC

Floats = NDArray[np.float64]


def _oracle(w_hat: Floats, m_hat: Floats, x: Floats) -> Floats:
    y = np.zeros((x.shape[0], w_hat.shape[0]))
    for j in range(w_hat.shape[0]):
        for i in range(w_hat.shape[1]):
            y[:, j] += math.tanh(w_hat[j, i]) / (1 + math.exp(-m_hat[j, i])) * x[:, i]
    return y


def _perfect(weights: list[list[float]]) -> NAC:
    """Weights of −1, 0 and 1: tanh(20) and σ(40) are 1 in float64."""
    target = torch.tensor(weights, dtype=torch.float64)
    unit = NAC(target.shape[1], target.shape[0], dtype=torch.float64)
    with torch.no_grad():
        unit.W_hat.copy_(20 * target)
        unit.M_hat.fill_(40.0)
    return unit


@pytest.mark.parametrize(("d_in", "d_out"), [(1, 1), (2, 1), (5, 3), (100, 2)])
def test_formula(d_in: int, d_out: int) -> None:
    rng = np.random.default_rng(d_in)
    unit = NAC(d_in, d_out, dtype=torch.float64)
    w_hat, m_hat = rng.normal(size=(2, d_out, d_in))
    with torch.no_grad():
        unit.W_hat.copy_(torch.from_numpy(w_hat))
        unit.M_hat.copy_(torch.from_numpy(m_hat))
    x = rng.uniform(1, 2, size=(20, d_in)) * 10 ** rng.uniform(-3, 3, size=(20, 1))
    np.testing.assert_allclose(
        unit(torch.from_numpy(x)).detach().numpy(), _oracle(w_hat, m_hat, x), rtol=1e-12, atol=1e-12
    )


def test_weights_are_computed_in_every_pass() -> None:
    """W computed once, in the constructor, is the well-known fault of public NACs: a plain linear layer."""
    unit = NAC(2, 1, dtype=torch.float64)
    x = torch.tensor([[3.0, 5.0]], dtype=torch.float64)
    before = unit(x)
    before.sum().backward()
    for parameter in (unit.W_hat, unit.M_hat):
        assert parameter.grad is not None
        assert (parameter.grad != 0).all()
        with torch.no_grad():
            parameter.add_(0.5)
        after = unit(x)
        assert not torch.equal(after, before)
        before = after


def test_nothing_but_the_two_matrices_is_learned() -> None:
    assert [name for name, _ in NAC(2, 3).named_parameters()] == ["W_hat", "M_hat"]


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e9, 1e30])
def test_adds_and_subtracts_exactly(scale: float) -> None:
    unit = _perfect([[1, 1, 0], [1, -1, 0], [0, 0, 0]])
    assert unit.effective_weight().tolist() == [[1, 1, 0], [1, -1, 0], [0, 0, 0]]
    a, b = 7 * scale, -3 * scale
    assert unit(torch.tensor([a, b, 1e30], dtype=torch.float64)).tolist() == [a + b, a - b, 0.0]


def test_weights_stay_between_minus_one_and_one() -> None:
    unit = NAC(50, 50, dtype=torch.float64)
    with torch.no_grad():
        unit.W_hat.normal_(std=100)
        unit.M_hat.normal_(std=100)
    assert unit.effective_weight().abs().max() <= 1


def test_initialisation_is_glorot_uniform() -> None:
    unit = NAC(300, 200, dtype=torch.float64)
    unit.reset_parameters(torch.Generator().manual_seed(0))
    bound = math.sqrt(6 / 500)
    for parameter in (unit.W_hat, unit.M_hat):
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.99 * bound
        assert abs(parameter.mean()) < 0.02 * bound
        assert parameter.var().item() == pytest.approx(2 / 500, rel=0.03)


def test_no_regulariser_and_no_projection() -> None:
    unit = NAC(2, 1)
    before = unit.W_hat.clone()
    unit.project_()
    assert unit.regulariser().item() == 0
    assert torch.equal(unit.W_hat, before)
