"""NMU against its formula."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from models.units import NMU


def _with(weights: list[list[float]]) -> NMU:
    target = torch.tensor(weights, dtype=torch.float64)
    unit = NMU(target.shape[1], target.shape[0], dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(target)
    return unit


def test_formula_with_weights_inside_and_outside_the_bounds() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(0.5, 0.6, size=(3, 5))
    x = rng.normal(scale=3, size=(30, 5))
    held = [[Fraction(min(max(w, 0.0), 1.0)) for w in row] for row in weights]
    expected = [
        [float(math.prod(w * Fraction(v) + 1 - w for w, v in zip(row, xs, strict=True))) for row in held] for xs in x
    ]
    y = _with(weights.tolist())(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [(3.0, 5.0), (-3.0, 5.0), (-3.0, -5.0), (0.0, 5.0), (0.0, -5.0), (0.1, 0.3), (1e-30, 1e30), (1e20, 1e20)],
)
def test_multiplies_exactly(a: float, b: float) -> None:
    unit = _with([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert unit(torch.tensor([a, b, 1e30], dtype=torch.float64)).tolist() == [a * b, b, 1.0]


def test_gradient_passes_zero_factors() -> None:
    unit = _with([[1, 1, 1]])
    x = torch.tensor([0.0, 3.0, 5.0], dtype=torch.float64, requires_grad=True)
    unit(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [15.0, 0.0, 0.0]
    assert unit.W.grad is not None
    assert unit.W.grad.tolist() == [[-15.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([[0, 1]], 0.0), ([[0.5, 0.5]], 0.5), ([[0.25, 1.0]], 0.125), ([[0.9, 0.0], [0.0, 0.2]], 0.075), ([[4.0]], 0.0)],
)
def test_regulariser_at_known_points(weights: list[list[float]], expected: float) -> None:
    assert _with(weights).regulariser().item() == pytest.approx(expected, abs=1e-15)


def test_projection_clamps() -> None:
    unit = _with([[-3.0, 0.0, 0.25, 1.0, 1.5]])
    unit.project_()
    assert unit.W.tolist() == [[0.0, 0.0, 0.25, 1.0, 1.0]]


def test_initialisation_is_uniform_around_a_half() -> None:
    unit = NMU(100, 100, dtype=torch.float64)
    unit.reset_parameters(torch.Generator().manual_seed(0))
    assert unit.W.min() >= 0.25
    assert unit.W.max() <= 0.75
    assert unit.W.mean().item() == pytest.approx(0.5, abs=0.01)
    assert unit.W.var().item() == pytest.approx(0.5**2 / 12, rel=0.05)
