"""The recurrent arithmetic unit against its formula."""

import numpy as np
import pytest
import torch

from models.units import RecurrentArithmetic, UnitError


def _drawn(seed: int = 0) -> tuple[RecurrentArithmetic, np.random.Generator]:
    rng = np.random.default_rng(seed)
    unit = RecurrentArithmetic(3, 2, dtype=torch.float64)
    with torch.no_grad():
        unit.A.copy_(torch.from_numpy(rng.normal(size=(3, 2, 2))))
        unit.B.copy_(torch.from_numpy(rng.normal(size=(2, 3))))
    return unit, rng


def test_formula() -> None:
    unit, rng = _drawn()
    a, b = unit.A.detach().numpy(), unit.B.detach().numpy()
    x, state = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 2))
    expected = state.copy()
    for j in range(3):
        expected += x[..., j, None] * (np.einsum("rc,...c->...r", a[j], state) + b[:, j])
    answer = unit(torch.from_numpy(x), torch.from_numpy(state)).detach().numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-13)
    zero = torch.zeros(4, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(unit(torch.from_numpy(x)), unit(torch.from_numpy(x), zero))


def test_a_word_turns_the_state_by_its_factors_and_adds() -> None:
    unit, _ = _drawn()
    state = torch.tensor([2.0, -3.0], dtype=torch.float64)
    for word, one_hot in enumerate(torch.eye(3, dtype=torch.float64)):
        expected = unit.factors()[word] @ state + unit.B[:, word]
        torch.testing.assert_close(unit(one_hot, state), expected)
    assert torch.equal(unit.effective_weight(), unit.B)


def test_whole_numbers_stay_whole() -> None:
    unit = RecurrentArithmetic(2, 1, dtype=torch.float64)
    with torch.no_grad():
        unit.A.copy_(torch.tensor([[[999.0]], [[0.0]]]))
        unit.B.copy_(torch.tensor([[0.0, 7.0]]))
    thousand, seven = torch.eye(2, dtype=torch.float64)
    assert unit(thousand, unit(thousand, unit(thousand, unit(thousand, unit(seven))))).item() == 7e12


def test_it_learns_by_gradients_too() -> None:
    unit = RecurrentArithmetic(1, 1, dtype=torch.float64)
    unit.reset_parameters(torch.Generator().manual_seed(0))
    state = torch.randn(32, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    optimiser = torch.optim.Adam(unit.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        loss = (unit(torch.ones_like(state), state) - (3 * state - 2)).square().mean() + unit.regulariser()
        loss.backward()
        optimiser.step()
        unit.project_()
    assert loss.item() < 1e-6
    assert unit.factors().item() == pytest.approx(3, abs=1e-2)


def test_a_state_of_another_width_or_type_is_refused() -> None:
    unit, _ = _drawn()
    x = torch.ones(1, 3, dtype=torch.float64)
    for state in (torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 2)):
        with pytest.raises(UnitError, match="out_features=2"):
            unit(x, state)
    with pytest.raises(UnitError, match="in_features=3"):
        unit(x[:, :2])
