"""Laws that the units obey for any weights and inputs."""

import math
from fractions import Fraction

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU

D_IN = 3

moderate = st.floats(-1e3, 1e3)
away_from_zero = st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
vectors = st.lists(moderate, min_size=D_IN, max_size=D_IN).map(lambda v: torch.tensor(v, dtype=torch.float64))
nonzero_vectors = st.lists(away_from_zero, min_size=D_IN, max_size=D_IN).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)
seeds = st.integers(0, 2**31)
untimed = settings(deadline=None)


def _drawn(unit: ArithmeticUnit, seed: int, scale: float = 1.0) -> ArithmeticUnit:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.normal_(std=scale, generator=generator)
    return unit


def _close(one: Tensor, two: Tensor, size: Tensor | float) -> bool:
    """Compare relative to the size of the terms: a sum may cancel."""
    return bool(((one - two).abs() <= 1e-11 * (torch.as_tensor(size) + two.abs()) + 1e-300).all())


@untimed
@given(seeds, vectors, vectors, moderate)
def test_nac_and_nau_are_linear(seed: int, x: Tensor, z: Tensor, factor: float) -> None:
    for unit in (NAC(D_IN, 2, dtype=torch.float64), NAU(D_IN, 2, dtype=torch.float64)):
        _drawn(unit, seed)
        size = (abs(factor) * x.abs() + z.abs()).sum()
        assert _close(unit(factor * x + z), factor * unit(x) + unit(z), size)


@untimed
@given(seeds, nonzero_vectors, st.permutations(range(D_IN)))
def test_order_of_inputs_does_not_matter(seed: int, x: Tensor, order: list[int]) -> None:
    for unit in (
        NAC(D_IN, 2, dtype=torch.float64),
        NALU(D_IN, 2, dtype=torch.float64),
        NAU(D_IN, 2, dtype=torch.float64),
        NMU(D_IN, 2, dtype=torch.float64),
        RealNPU(D_IN, 2, dtype=torch.float64),
    ):
        _drawn(unit, seed, 0.5)
        y = unit(x)
        with torch.no_grad():
            for parameter in unit.parameters():
                parameter.copy_(parameter[..., order])
        # a cosine near its zero loses digits relative to the product it scales
        size = x.abs().sum() + torch.exp((unit.effective_weight().abs() * x[order].abs().log().abs()).sum(-1))
        assert _close(unit(x[order]), y, size)


@untimed
@given(st.lists(st.booleans(), min_size=D_IN, max_size=D_IN), vectors)
def test_nmu_multiplies_the_chosen_inputs(chosen: list[bool], x: Tensor) -> None:
    unit = NMU(D_IN, 1, dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(torch.tensor([chosen]))
    exact = math.prod((Fraction(v) for v, take in zip(x.tolist(), chosen, strict=True) if take), start=Fraction(1))
    assert math.isclose(unit(x).item(), float(exact), rel_tol=1e-15, abs_tol=1e-300)


@untimed
@given(st.lists(st.integers(-3, 3), min_size=D_IN, max_size=D_IN), nonzero_vectors)
def test_real_npu_raises_to_integer_powers_with_signs(powers: list[int], x: Tensor) -> None:
    unit = RealNPU(D_IN, 1, epsilon=0.0, dtype=torch.float64)
    with torch.no_grad():
        unit.W.copy_(torch.tensor([powers]))
        unit.g.fill_(1.0)
    exact = math.prod((Fraction(v) ** p for v, p in zip(x.tolist(), powers, strict=True)), start=Fraction(1))
    assert math.isclose(unit(x).item(), float(exact), rel_tol=1e-11)


@untimed
@given(seeds, nonzero_vectors, st.floats(1e-3, 1e3))
def test_real_npu_scales_by_the_power_of_the_scale(seed: int, x: Tensor, scale: float) -> None:
    unit = RealNPU(D_IN, 2, epsilon=0.0, dtype=torch.float64)
    _drawn(unit, seed)
    with torch.no_grad():
        unit.g.fill_(1.0)
    exponents = unit.effective_weight()
    size = torch.exp(exponents @ (scale * x).abs().log())
    assert _close(unit(scale * x), scale ** exponents.sum(-1) * unit(x), size)


@untimed
@given(seeds, nonzero_vectors)
def test_nalu_lies_between_its_sum_and_its_product(seed: int, x: Tensor) -> None:
    unit = NALU(D_IN, 2, separate_weights=True, dtype=torch.float64)
    _drawn(unit, seed)
    a = unit.additive(x)
    m = torch.prod((x.abs() + unit.epsilon) ** unit.multiplicative_weight(), dim=-1)
    y, slack = unit(x), 1e-11 * (a.abs() + m)
    assert (y >= torch.minimum(a, m) - slack).all()
    assert (y <= torch.maximum(a, m) + slack).all()


@untimed
@given(seeds, st.floats(1e-3, 1e3))
def test_weights_and_gates_keep_their_bounds_whatever_the_parameters(seed: int, scale: float) -> None:
    bounds: list[tuple[ArithmeticUnit, float, float]] = [
        (NAC(D_IN, 4), -1, 1),
        (NALU(D_IN, 4), -1, 1),
        (NAU(D_IN, 4), -1, 1),
        (NMU(D_IN, 4), 0, 1),
        (RealNPU(D_IN, 4, clip_weights=True), -1, 1),
    ]
    for unit, low, high in bounds:
        weight = _drawn(unit, seed, scale).effective_weight()
        assert low <= weight.min()
        assert weight.max() <= high
        unit.project_()
        assert torch.equal(unit.effective_weight(), weight)
        assert unit.regulariser() >= 0
