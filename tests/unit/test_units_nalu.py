"""NALU against its formula."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.units import NALU, UnitError

Floats = NDArray[np.float64]


def _sigmoid(x: Floats) -> Floats:
    y: Floats = np.exp(-np.logaddexp(0, -x))
    return y


def _oracle(state: dict[str, Floats], x: Floats, epsilon: float) -> Floats:
    def weight(part: str) -> Floats:
        w: Floats = np.tanh(state[f"{part}.W_hat"]) * _sigmoid(state[f"{part}.M_hat"])
        return w

    w_add = weight("additive")
    w_mul = weight("multiplicative") if "multiplicative.W_hat" in state else w_add
    a = np.einsum("bi,oi->bo", x, w_add)
    m = np.prod((np.abs(x)[:, None, :] + epsilon) ** w_mul, axis=-1)
    g = _sigmoid(np.einsum("bi,oi->bo", x, state["G"])) if "G" in state else _sigmoid(state["g_hat"])
    y: Floats = g * a + (1 - g) * m
    return y


@pytest.mark.parametrize("separate_weights", [False, True])
@pytest.mark.parametrize("gate", ["input", "independent"])
@pytest.mark.parametrize("epsilon", [1e-7, 0.1])
def test_formula(separate_weights: bool, gate: Any, epsilon: float) -> None:
    rng = np.random.default_rng(4)
    unit = NALU(4, 3, epsilon=epsilon, separate_weights=separate_weights, gate=gate, dtype=torch.float64)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape)))
    state = {name: value.numpy() for name, value in unit.state_dict().items()}
    x = np.concatenate([rng.normal(size=(40, 4)), np.zeros((1, 4)), np.full((1, 4), 1e-30), np.full((1, 4), -1e3)])
    y = unit(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, _oracle(state, x, epsilon), rtol=1e-12, atol=1e-15)  # sum and product may cancel


def test_weights_are_tied_unless_separate() -> None:
    tied, separate = NALU(2, 3), NALU(2, 3, separate_weights=True)
    assert set(tied.state_dict()) == {"additive.W_hat", "additive.M_hat", "G"}
    assert torch.equal(tied.multiplicative_weight(), tied.effective_weight())
    assert set(separate.state_dict()) - set(tied.state_dict()) == {"multiplicative.W_hat", "multiplicative.M_hat"}
    assert not torch.equal(separate.multiplicative_weight(), separate.effective_weight())


def test_both_paths_train_a_tied_weight() -> None:
    unit = NALU(2, 1, gate="independent", dtype=torch.float64)
    assert unit.g_hat is not None
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    for closed in (-40.0, 40.0):
        with torch.no_grad():
            unit.g_hat.fill_(closed)
        unit.zero_grad()
        unit(x).sum().backward()
        assert unit.additive.W_hat.grad is not None
        assert (unit.additive.W_hat.grad != 0).all()


def test_gate_depends_on_the_input_as_published() -> None:
    unit = NALU(2, 1, dtype=torch.float64)
    assert unit.G is not None
    with torch.no_grad():
        unit.G.copy_(torch.tensor([[1.0, -1.0]]))
    gates = unit.gate(torch.tensor([[5.0, 5.0], [4.0, 1.0], [1.0, 4.0]], dtype=torch.float64))
    assert gates.squeeze(-1).tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(3))], rel=1e-14)


def test_independent_gate_starts_at_a_half_for_every_input() -> None:
    unit = NALU(2, 3, gate="independent")
    assert unit.G is None
    assert unit.gate(torch.ones(7, 2)).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(("gate", "weights", "expected"), [(40.0, 20.0, 8.0), (-40.0, 20.0, 15.0)])
def test_perfect_weights_add_or_multiply(gate: float, weights: float, expected: float) -> None:
    unit = NALU(2, 1, epsilon=1e-15, gate="independent", dtype=torch.float64)
    with torch.no_grad():
        unit.additive.W_hat.fill_(weights)
        unit.additive.M_hat.fill_(40.0)
        assert unit.g_hat is not None
        unit.g_hat.fill_(gate)
    assert unit(torch.tensor([3.0, 5.0], dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-13)


def test_the_product_path_knows_no_signs_and_no_zero() -> None:
    """As published; the Real NPU and the NMU are for signs."""
    unit = NALU(2, 1, epsilon=1e-6, gate="independent", dtype=torch.float64)
    with torch.no_grad():
        unit.additive.W_hat.fill_(20.0)
        unit.additive.M_hat.fill_(40.0)
        assert unit.g_hat is not None
        unit.g_hat.fill_(-800.0)
    y = unit(torch.tensor([[-3.0, 5.0], [0.0, 5.0]], dtype=torch.float64)).squeeze(-1)
    assert y.tolist() == pytest.approx([15.0, 5e-6], rel=1e-5)


def test_initialisation_is_glorot_uniform() -> None:
    unit = NALU(300, 200, separate_weights=True, dtype=torch.float64)
    unit.reset_parameters(torch.Generator().manual_seed(0))
    bound = math.sqrt(6 / 500)
    for name, parameter in unit.named_parameters():
        assert parameter.abs().max() <= bound, name
        assert parameter.var().item() == pytest.approx(2 / 500, rel=0.03), name


def test_no_regulariser_and_no_projection() -> None:
    unit = NALU(2, 1)
    before = unit.effective_weight()
    unit.project_()
    assert unit.regulariser().item() == 0
    assert torch.equal(unit.effective_weight(), before)


@pytest.mark.parametrize("epsilon", [0.0, -1e-7, math.inf, math.nan])
def test_epsilon_must_be_positive(epsilon: float) -> None:
    with pytest.raises(UnitError, match="`epsilon` must be a positive number"):
        NALU(2, 1, epsilon=epsilon)


def test_gate_must_be_known() -> None:
    wrong: Any = "none"
    with pytest.raises(UnitError, match="`gate` must be 'input' or 'independent', however: gate='none'"):
        NALU(2, 1, gate=wrong)
