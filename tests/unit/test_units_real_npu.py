"""Real NPU against its formula."""

import cmath
import math
from typing import Any

import numpy as np
import pytest
import torch

from models.units import RealNPU, UnitError
from models.units.real_npu import FLOAT32_EPSILON


def _with(weights: list[list[float]], gate: list[float] | None = None, **options: Any) -> RealNPU:
    target = torch.tensor(weights, dtype=torch.float64)
    epsilon = options.pop("epsilon", 0.0)
    unit = RealNPU(target.shape[1], target.shape[0], epsilon=epsilon, dtype=torch.float64, **options)
    with torch.no_grad():
        unit.W.copy_(target)
        unit.g.copy_(torch.tensor(gate if gate is not None else [1.0] * target.shape[1], dtype=torch.float64))
    return unit


def _scalar_oracle(weights: list[float], gate: list[float], x: list[float], epsilon: float) -> float:
    """Real part of the complex power, so that the sign rule has a second source."""
    total = 0 + 0j
    for w, g, v in zip(weights, gate, x, strict=True):
        held = min(max(g, 0.0), 1.0)
        radius = held * (abs(v) + epsilon) + (1 - held)
        total += w * (math.log(radius) + 1j * math.pi * held * (v < 0))
    return cmath.exp(total).real


@pytest.mark.parametrize("epsilon", [FLOAT32_EPSILON, 0.1])
def test_formula_is_the_real_part_of_the_complex_power(epsilon: float) -> None:
    rng = np.random.default_rng(0)
    weights, gate = rng.normal(size=(3, 4)), rng.normal(0.5, 0.8, size=4)
    x = np.concatenate([rng.normal(scale=3, size=(50, 4)), np.zeros((1, 4)), np.full((1, 4), -1e6)])
    expected = [[_scalar_oracle(list(w), list(gate), list(row), epsilon) for w in weights] for row in x]
    y = _with(weights.tolist(), gate.tolist(), epsilon=epsilon)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize("a", [7.0, -7.0, 1e-30, -1e30])
@pytest.mark.parametrize("b", [2.0, -2.0, 1e-4, -1e15])
def test_perfect_weights_multiply_divide_and_raise_with_signs(a: float, b: float) -> None:
    unit = _with([[1, -1], [1, 1], [2, 0], [-1, 0], [0, 3]])
    y = unit(torch.tensor([a, b], dtype=torch.float64)).tolist()
    assert y == pytest.approx([a / b, a * b, a**2, 1 / a, b**3], rel=1e-12)


def test_roots_and_the_root_of_a_negative_number() -> None:
    unit = _with([[0.5]])
    y = unit(torch.tensor([[4.0], [-4.0]], dtype=torch.float64)).squeeze(-1).tolist()
    assert y[0] == pytest.approx(2, rel=1e-14)
    assert y[1] == pytest.approx(0, abs=1e-15)


def test_a_closed_gate_leaves_an_input_out() -> None:
    unit = _with([[1, 5.0]], [1, 0])
    y = unit(torch.tensor([[3.0, -8.0], [3.0, 1e30]], dtype=torch.float64)).squeeze(-1)
    assert y.tolist() == pytest.approx([3, 3], rel=1e-14)
    assert unit.effective_weight().tolist() == [[1, 0]]


def test_gate_is_held_between_zero_and_one() -> None:
    unit = _with([[1, 1, 1]], [-2.0, 0.25, 7.0])
    assert unit.gate().tolist() == [0.0, 0.25, 1.0]
    unit.project_()
    assert unit.g.tolist() == [0.0, 0.25, 1.0]


def test_epsilon_is_that_of_float32_by_default_and_bounds_small_divisors() -> None:
    unit = RealNPU(1, 1)
    assert unit.epsilon == np.finfo(np.float32).eps
    divided = _with([[-1.0]], epsilon=FLOAT32_EPSILON)(torch.tensor([0.0, 1e-4], dtype=torch.float64).unsqueeze(-1))
    expected = [2.0**23, 1 / (1e-4 + 2.0**-23)]
    assert divided.squeeze(-1).tolist() == pytest.approx(expected, rel=1e-12)


def test_without_epsilon_a_zero_divisor_gives_infinity() -> None:
    y = _with([[-1.0], [1.0]])(torch.zeros(1, dtype=torch.float64))
    assert y.tolist() == [math.inf, 0.0]


def test_weights_are_clipped_only_when_asked() -> None:
    free, clipped = _with([[-3.0, 0.5, 2.0]]), _with([[-3.0, 0.5, 2.0]], clip_weights=True)
    for unit in (free, clipped):
        weight = unit.effective_weight().tolist()
        unit.project_()
        assert unit.effective_weight().tolist() == weight
    assert free.W.tolist() == [[-3.0, 0.5, 2.0]]
    assert clipped.W.tolist() == [[-1.0, 0.5, 1.0]]


@pytest.mark.parametrize(
    ("weights", "gate", "l1", "discrete"),
    [
        ([[1, -1]], [1, 0], 3.0, 0.0),
        ([[0.0, 0.5]], [0.5, 0.5], 1.5, 0.75 + 0.5),
        ([[1, 1], [-0.5, 0.25]], [0.25, 1.0], 4.0, (0.5 + 0.75) / 4 + 0.125),
    ],
)
def test_regulariser_at_known_points(weights: list[list[float]], gate: list[float], l1: float, discrete: float) -> None:
    assert _with(weights, gate).regulariser().item() == pytest.approx(l1, rel=1e-14)
    assert _with(weights, gate, penalty="discrete").regulariser().item() == pytest.approx(discrete, abs=1e-15)


@pytest.mark.parametrize(
    ("initialisation", "d_in", "d_out", "bound"),
    [("glorot", 300, 200, math.sqrt(6 / 500)), ("glorot", 2, 1, math.sqrt(2)), ("nau", 2, 1, 0.5)],
)
def test_initialisation_is_uniform_within_its_range(initialisation: Any, d_in: int, d_out: int, bound: float) -> None:
    unit = RealNPU(d_in, d_out, initialisation=initialisation, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(500 if d_in == 2 else 5):
        unit.reset_parameters(generator)
        draws.append(unit.W.detach().clone())
        assert unit.g.tolist() == [0.5] * d_in
    weights = torch.stack(draws)
    assert weights.abs().max() <= bound
    assert weights.abs().max() > 0.98 * bound
    assert weights.var().item() == pytest.approx(bound**2 / 3, rel=0.05)


@pytest.mark.parametrize("epsilon", [-1e-9, math.inf, math.nan])
def test_epsilon_must_not_be_negative(epsilon: float) -> None:
    with pytest.raises(UnitError, match="`epsilon` must be a number that is not negative"):
        RealNPU(2, 1, epsilon=epsilon)


@pytest.mark.parametrize("option", ["penalty", "initialisation"])
def test_options_must_be_known(option: str) -> None:
    wrong: dict[str, Any] = {option: "other"}
    with pytest.raises(UnitError, match=f"`{option}` must be .*, however: {option}='other'"):
        RealNPU(2, 1, **wrong)
