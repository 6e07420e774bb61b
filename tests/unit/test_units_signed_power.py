"""Products of powers with the sign by parity."""

import math

import pytest
import torch

from models.units import LinearUnit, SignedPower, UnitError


def unit(*powers: list[float], tolerance: float = 0.0) -> SignedPower:
    made = SignedPower(len(powers[0]), len(powers), parity_tolerance=tolerance, dtype=torch.float64)
    with torch.no_grad():
        made.P.copy_(torch.tensor(powers, dtype=torch.float64))
    return made


def answer(made: SignedPower, *row: float) -> float:
    return float(made(torch.tensor(row, dtype=torch.float64)).item())


@pytest.mark.parametrize(
    ("powers", "row", "expected"),
    [
        ([1, 1], (3, 5), 15.0),
        ([1, 1], (-3, 5), -15.0),
        ([1, 1], (-3, -5), 15.0),
        ([1, -1], (-7, 2), -3.5),
        ([2, 0], (-3, 9), 9.0),
        ([-2, 3], (-2, -2), -2.0),
        ([0.5, 1], (9, -2), -6.0),
        ([-3, 0], (-2, 0), -0.125),
    ],
)
def test_signs_follow_parity(powers: list[float], row: tuple[float, ...], expected: float) -> None:
    assert answer(unit(powers), *row) == expected


def test_power_of_zero_takes_no_part() -> None:
    for left_out in (0.0, math.inf, math.nan, -4.0):
        assert answer(unit([1, 0]), 2, left_out) == 2


def test_zero_input() -> None:
    assert answer(unit([1, 1]), 0, -5) == 0
    assert answer(unit([0.5]), 0) == 0
    assert math.isinf(answer(unit([-1]), 0))
    assert math.isnan(answer(unit([1, -1]), 0, 0))


def test_root_of_a_negative_number_is_not_real() -> None:
    assert math.isnan(answer(unit([0.5]), -4))
    assert math.isnan(answer(unit([1.01]), -4))


def test_tolerance_gives_fitted_powers_their_integers_parity() -> None:
    assert answer(unit([1.01], tolerance=0.25), -4) == -(4**1.01)
    assert answer(unit([1.99], tolerance=0.25), -4) == 4**1.99
    assert math.isnan(answer(unit([0.5], tolerance=0.25), -4))


def test_tiny_and_huge_numbers_lose_no_digits() -> None:
    assert answer(unit([-1]), 1e-300) == 1 / 1e-300
    assert answer(unit([1, -1]), 1e200, 1e-100) == pytest.approx(1e300, rel=1e-15)


def test_several_outputs() -> None:
    got = unit([1, 1], [1, -1])(torch.tensor([[6.0, -3.0], [1.0, 2.0]], dtype=torch.float64))
    assert got.tolist() == [[-18.0, -2.0], [2.0, 0.5]]


@pytest.mark.parametrize("tolerance", [-0.1, 0.5, math.nan])
def test_tolerance_out_of_range_is_refused(tolerance: float) -> None:
    with pytest.raises(UnitError, match="parity_tolerance"):
        SignedPower(1, 1, parity_tolerance=tolerance)


def test_gradient_is_the_numerical_one_away_from_zero() -> None:
    made = unit([1.5, -0.5])
    x = torch.tensor([[0.7, 1.3], [2.1, 0.4]], dtype=torch.float64, requires_grad=True)
    powers = made.P.detach().clone().requires_grad_()

    def call(x: torch.Tensor, powers: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(made, {"P": powers}, (x,))
        return result

    assert torch.autograd.gradcheck(call, (x, powers))


def test_linear_unit_adds_with_any_weight_and_constant() -> None:
    made = LinearUnit(2, 1, bias=True, dtype=torch.float64)
    with torch.no_grad():
        made.W.copy_(torch.tensor([[2.5, -3.0]]))
        made.b.fill_(0.25) if made.b is not None else None
    assert made(torch.tensor([2.0, 1.0], dtype=torch.float64)).item() == 2.25
    made.project_()
    assert made.effective_weight().tolist() == [[2.5, -3.0]]
    assert LinearUnit(2, 1).b is None
