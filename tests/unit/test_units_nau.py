"""NAU against its formula."""

import math

import numpy as np
import pytest
import torch

from models.units import NAU


def _with(weights: list[list[float]]) -> NAU:
    target = torch.tensor(weights, dtype=torch.float64)
    unit = NAU(target.shape[1], target.shape[0], dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(target)
    return unit


def test_formula_with_weights_inside_and_outside_the_bounds() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(scale=2, size=(3, 6))
    x = rng.normal(size=(30, 6))
    expected = [[sum(min(max(w, -1.0), 1.0) * v for w, v in zip(row, xs, strict=True)) for row in weights] for xs in x]
    y = _with(weights.tolist())(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_adds_and_subtracts_exactly(scale: float) -> None:
    unit = _with([[1, 1, 0], [1, -1, 0], [0, 0, 0]])
    a, b = 7 * scale, -3 * scale
    assert unit(torch.tensor([a, b, 1e30], dtype=torch.float64)).tolist() == [a + b, a - b, 0.0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([[0, 1, -1]], 0.0),
        ([[0.5, -0.5]], 0.5),
        ([[0.25, -0.25]], 0.25),
        ([[0.75, 1.0]], 0.125),
        ([[0.9, 0.0], [0.0, -0.2]], 0.075),
        ([[7.0, -7.0]], 0.0),
    ],
)
def test_regulariser_at_known_points(weights: list[list[float]], expected: float) -> None:
    assert _with(weights).regulariser().item() == pytest.approx(expected, abs=1e-15)


def test_regulariser_pushes_to_the_nearest_of_minus_one_zero_and_one() -> None:
    unit = _with([[0.3, 0.7, -0.3, -0.7]])
    unit.regulariser().backward()  # type: ignore[no-untyped-call]
    assert unit.W.grad is not None
    assert unit.W.grad.sign().tolist() == [[1, -1, -1, 1]]


def test_projection_clamps() -> None:
    unit = _with([[-3.0, -1.0, 0.25, 1.0, 1.5]])
    unit.project_()
    assert unit.W.tolist() == [[-1.0, -1.0, 0.25, 1.0, 1.0]]


def test_a_weight_on_its_bound_still_learns() -> None:
    unit = _with([[1.0, -1.0]])
    unit(torch.tensor([2.0, 3.0], dtype=torch.float64)).sum().backward()
    assert unit.W.grad is not None
    assert unit.W.grad.tolist() == [[2.0, 3.0]]


@pytest.mark.parametrize(
    ("d_in", "d_out", "bound"), [(300, 200, math.sqrt(6 / 500)), (200, 2, math.sqrt(6 / 202)), (10, 10, 0.5)]
)
def test_initialisation_is_uniform_within_its_range(d_in: int, d_out: int, bound: float) -> None:
    unit = NAU(d_in, d_out, dtype=torch.float64)
    draws = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        unit.reset_parameters(generator)
        draws.append(unit.W.detach().clone())
    weights = torch.stack(draws)
    assert weights.abs().max() <= bound
    assert weights.abs().max() > 0.98 * bound
    assert abs(weights.mean()) < 0.05 * bound
    assert weights.var().item() == pytest.approx(bound**2 / 3, rel=0.05)
