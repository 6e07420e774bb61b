"""What every unit has in common."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from models.contract.errors import NaluError
from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU, UnitError

Make = Callable[..., ArithmeticUnit]

VARIANTS: dict[str, tuple[type[ArithmeticUnit], dict[str, Any]]] = {
    "NAC": (NAC, {}),
    "NALU": (NALU, {"epsilon": 0.1}),
    "NALU, separate weights, independent gate": (NALU, {"separate_weights": True, "gate": "independent"}),
    "NAU": (NAU, {}),
    "NMU": (NMU, {}),
    "Real NPU": (RealNPU, {"epsilon": 0.1}),
    "Real NPU, modified": (RealNPU, {"clip_weights": True, "penalty": "discrete", "initialisation": "nau"}),
}


@pytest.fixture(params=VARIANTS)
def make(request: pytest.FixtureRequest) -> Make:
    kind, options = VARIANTS[request.param]

    def build(in_features: int = 3, out_features: int = 2, **more: Any) -> ArithmeticUnit:
        torch.manual_seed(1)
        return kind(in_features, out_features, **options, **more)

    return build


def _inputs(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=dtype)


@pytest.mark.parametrize("leading", [(), (1,), (5,), (2, 4), (0,)])
def test_any_leading_dimensions(make: Make, leading: tuple[int, ...]) -> None:
    unit = make(dtype=torch.float64)
    x = _inputs(*leading, 3)
    y = unit(x)
    assert y.shape == (*leading, 2)
    assert y.dtype == torch.float64
    rows = torch.stack([unit(row) for row in x.reshape(-1, 3)]) if x.numel() else torch.empty(0, 2)
    torch.testing.assert_close(y.reshape(-1, 2), rows, rtol=1e-13, atol=1e-13, check_dtype=False)


def test_effective_weight_is_out_by_in_and_carries_gradients(make: Make) -> None:
    weight = make().effective_weight()
    assert weight.shape == (2, 3)
    assert weight.requires_grad


def test_gradients_are_the_numerical_ones(make: Make) -> None:
    unit = make(dtype=torch.float64)
    names = [name for name, _ in unit.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in unit.parameters()]
    x = torch.tensor([[0.7, -1.3, 2.1], [-0.4, 1.9, 0.6]], dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, *values: Tensor) -> Tensor:
        result: Tensor = functional_call(unit, dict(zip(names, values, strict=True)), (x,))
        return result

    assert torch.autograd.gradcheck(call, (x, *values))


def test_training_step_moves_every_parameter(make: Make) -> None:
    unit = make(dtype=torch.float64)
    before = copy.deepcopy(unit.state_dict())
    optimiser = torch.optim.SGD(unit.parameters(), lr=1e-3)
    (unit(_inputs(8, 3)).square().mean() + unit.regulariser()).backward()
    optimiser.step()
    unit.project_()
    for name, value in unit.state_dict().items():
        assert not torch.equal(value, before[name]), name


def test_projection_is_in_place_idempotent_and_leaves_no_graph(make: Make) -> None:
    unit = make()
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.add_(3.0)
    held = dict(unit.named_parameters())
    unit.project_()
    once = copy.deepcopy(unit.state_dict())
    unit.project_()
    for name, parameter in unit.named_parameters():
        assert parameter is held[name]
        assert parameter.requires_grad
        assert parameter.is_leaf
        assert torch.equal(parameter, once[name])


def test_regulariser_is_a_finite_scalar(make: Make) -> None:
    value = make(dtype=torch.float64).regulariser()
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.isfinite()
    assert value >= 0


def test_state_dict_holds_parameters_only_and_restores_the_unit(make: Make) -> None:
    unit, other = make(dtype=torch.float64), make(dtype=torch.float64)
    other.reset_parameters(torch.Generator().manual_seed(99))
    assert set(unit.state_dict()) == {name for name, _ in unit.named_parameters()}
    x = _inputs(4, 3)
    assert not torch.equal(unit(x), other(x))
    other.load_state_dict(unit.state_dict())
    assert torch.equal(unit(x), other(x))


def test_equal_seeds_give_equal_units(make: Make) -> None:
    one, two = make(), make()
    for (name, value), (_, other) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert torch.equal(value, other), name


def test_a_generator_decides_alone(make: Make) -> None:
    one, two = make(), make()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one.reset_parameters(torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    two.reset_parameters(torch.Generator().manual_seed(3))
    for (name, value), (_, other) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert torch.equal(value, other), name


def test_reset_draws_anew(make: Make) -> None:
    unit = make()
    before = unit.effective_weight().clone()
    unit.reset_parameters()
    assert not torch.equal(unit.effective_weight(), before)


def test_a_widened_unit_is_the_one_built_wide(make: Make) -> None:
    """Constants must not keep the rounding of the narrower type (0.1 and π in float32)."""
    widened = make(dtype=torch.float32).double()
    wide = make(dtype=torch.float64)
    wide.load_state_dict(widened.state_dict())
    x = _inputs(6, 3)
    assert torch.equal(widened(x), wide(x))


def test_a_unit_filled_after_the_meta_device_is_whole(make: Make) -> None:
    unit = make(dtype=torch.float64, device="meta").to_empty(device="cpu")
    other = make(dtype=torch.float64)
    unit.load_state_dict(other.state_dict())
    x = _inputs(6, 3)
    assert torch.equal(unit(x), other(x))


def test_nan_reaches_the_outputs_of_its_row_only(make: Make) -> None:
    unit = make(dtype=torch.float64)
    x = _inputs(3, 3)
    clean = unit(x)
    x[1, 2] = torch.nan
    y = unit(x)
    assert y[1].isnan().all()
    torch.testing.assert_close(y[[0, 2]], clean[[0, 2]], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("scale", [0.0, 1e-30, -1e-30, 1e30, -1e30])
def test_extreme_inputs_give_numbers(make: Make, scale: float) -> None:
    assert make(dtype=torch.float64)(torch.full((1, 3), scale, dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize(("in_features", "out_features", "name"), [(0, 1, "in_features"), (1, -2, "out_features")])
def test_widths_must_be_positive(make: Make, in_features: int, out_features: int, name: str) -> None:
    with pytest.raises(UnitError, match=f"`{name}` must be positive, however: {name}="):
        make(in_features, out_features)


def test_dtype_must_be_a_floating_point_one(make: Make) -> None:
    with pytest.raises(UnitError, match=r"floating-point type, however: torch\.int64"):
        make(dtype=torch.int64)


@pytest.mark.parametrize("shape", [(4, 2), (4, 1), (3, 4), ()])
def test_inputs_must_have_the_units_width(make: Make, shape: tuple[int, ...]) -> None:
    """A width of 1 would be broadcast silently by the product of the NMU."""
    with pytest.raises(UnitError, match="last dimension of an input must be in_features=3"):
        make(dtype=torch.float64)(torch.ones(shape, dtype=torch.float64))


def test_inputs_must_have_the_units_dtype(make: Make) -> None:
    with pytest.raises(UnitError, match=r"dtype torch\.float64, however it has torch\.float32"):
        make(dtype=torch.float64)(torch.ones(3, dtype=torch.float32))


def test_errors_are_told_to_users_and_caught_as_value_errors() -> None:
    assert issubclass(UnitError, NaluError)
    assert issubclass(UnitError, ValueError)


def test_printed_form_names_the_widths(make: Make) -> None:
    assert "in_features=3, out_features=2" in repr(make())


def test_float32_is_the_float64_answer_rounded(make: Make) -> None:
    narrow = make(dtype=torch.float32)
    wide = make(dtype=torch.float64)
    wide.load_state_dict(narrow.state_dict())
    x = _inputs(50, 3)
    torch.testing.assert_close(narrow(x.float()).double(), wide(x.float().double()), rtol=2e-5, atol=2e-6)
