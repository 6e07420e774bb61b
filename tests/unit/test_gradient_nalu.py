"""A NALU by gradients alone, on few inputs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.units import NALU
from training.errors import ConfigError
from training.fitting.first_order import Rows
from training.fitting.gradient_nalu import NaluSettings, NaluTask, fit_nalus

SMALL = NaluSettings(n_steps=300, n_refining_steps=150, polish_steps=50, n_polish_rows=200)


def task(truth: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> NaluTask:
    def rows(n: int, of: int) -> Rows:
        x = torch.rand(n, 8, generator=torch.Generator().manual_seed(of), dtype=torch.float64)
        return Rows((x,), truth(x[:, :3].sum(1), x[:, 4:7].sum(1))[:, None])

    return NaluTask(rows(400, 10 * seed + 1), rows(100, 10 * seed + 2), seed)


@pytest.mark.parametrize(
    ("truth", "head"),
    [
        (lambda a, b: a - b, "sum"),
        (lambda a, b: a / b, "product"),
    ],
)
def test_a_nalu_goes_on_far_outside(truth: Callable[[Tensor, Tensor], Tensor], head: str) -> None:
    (fitted,) = fit_nalus([task(truth)], SMALL)
    assert fitted.head == head
    assert fitted.validation_loss < 1e-7
    x = 10 * torch.rand(50, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 1
    with torch.no_grad():
        answer = fitted.network(x)[:, 0]
    torch.testing.assert_close(answer, truth(x[:, :3].sum(1), x[:, 4:7].sum(1)), rtol=2e-3, atol=2e-3)
    assert all(isinstance(unit, NALU) for unit in fitted.network.units)


def test_tasks_fitted_together_are_fitted_each() -> None:
    fitted = fit_nalus([task(lambda a, b: a - b, seed) for seed in (0, 1)], replace(SMALL, n_steps=200))
    assert [one.validation_loss < 1e-7 for one in fitted] == [True, True]
    assert fitted[0].network.units[0] is not fitted[1].network.units[0]


def test_there_must_be_tasks() -> None:
    with pytest.raises(ConfigError, match="0 tasks"):
        fit_nalus([])
