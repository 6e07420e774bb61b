"""The second-order fit, and the LSTMs that it fits."""

import numpy as np
import pytest
import torch
from torch import nn

from training.errors import ConfigError
from training.fitting.second_order import SecondOrderConfig, fit_second_order
from training.fitting.sequences import Batch
from training.reproduce.number_words.networks import (
    HEADS,
    FilledUp,
    Head,
    LSTMShape,
    build_lstm,
    filled_up,
    mean_absolute_error,
)
from training.tasks.number_words import WORDS, in_words, tokens


def _line(seed: int = 0) -> tuple[nn.Linear, Batch]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    torch.manual_seed(seed)
    return nn.Linear(3, 1, dtype=torch.float64), Batch((x,), x @ torch.tensor([[2.0], [0.0], [-3.0]]).double() + 1)


def test_a_ridge_that_stays_gives_the_closed_form() -> None:
    network, rows = _line()
    config = SecondOrderConfig(max_steps=60, ridge=0.5, ridge_decay=1.0)
    fit = fit_second_order(network, rows, lambda: 0.0 if torch.isfinite(network.weight).all() else 1.0, config)
    assert fit.best_step == config.check_every  # nothing was better than the first check
    values = iter(range(1000, 0, -1))
    fit_second_order(network, rows, lambda: float(next(values)), config)
    x = torch.cat([rows.inputs[0], torch.ones(12, 1, dtype=torch.float64)], dim=1)
    expected = torch.linalg.solve(x.T @ x + 0.5 * torch.eye(4, dtype=torch.float64), x.T @ rows.targets)[:, 0]
    np.testing.assert_allclose([*network.weight[0].tolist(), network.bias.item()], expected.numpy(), rtol=1e-9)


def test_a_ridge_that_is_lowered_leaves_an_exact_fit() -> None:
    network, rows = _line()
    fit = fit_second_order(
        network,
        rows,
        lambda: float((network(rows.inputs[0]) - rows.targets).detach().abs().max()),
        SecondOrderConfig(max_steps=400, ridge_decay=0.9, ridge_floor=1e-14),
    )
    assert fit.validation_loss < 1e-9
    assert fit.ridge < 1e-9


def test_validation_chooses_the_step_that_is_kept() -> None:
    network, rows = _line()
    seen: list[float] = []

    def validate() -> float:
        seen.append(network.weight[0, 0].item())
        return abs(len(seen) - 3.0)

    fit = fit_second_order(network, rows, validate, SecondOrderConfig(max_steps=10, check_every=1, ridge=10.0))
    assert fit.best_step == 3
    assert network.weight[0, 0].item() == seen[2] != seen[-1]


def test_targets_must_be_one_a_row() -> None:
    network, rows = _line()
    with pytest.raises(ConfigError, match=r"\(n, 1\)"):
        fit_second_order(network, Batch(rows.inputs, rows.targets[:, 0]), lambda: 0.0, SecondOrderConfig(1))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("published", [True, False])
def test_filled_up_sentences_get_the_network_s_own_answers(head: Head, published: bool) -> None:
    network = build_lstm(
        LSTMShape(head, 5, 4, 1e3, published_nalu=published), len(WORDS), torch.Generator().manual_seed(1)
    )
    numbers = (0, 17, 90, 300, 372, 808)
    rows = filled_up(numbers, WORDS, torch.float64)
    with torch.no_grad():
        together = FilledUp(network)(*rows.inputs)[:, 0].tolist()
        apart = [network(torch.tensor([sentence])).item() for sentence in tokens([*map(in_words, numbers)], WORDS)]
    assert together == pytest.approx(apart, rel=1e-12)
    assert mean_absolute_error(network, rows) == pytest.approx(np.abs(np.subtract(apart, numbers)).mean())


def test_an_lstm_is_fitted_to_a_few_numbers() -> None:
    network = build_lstm(LSTMShape("NALU", 4, 4, 3e4, 1.0, False, 0.3), len(WORDS), torch.Generator().manual_seed(0))
    rows = filled_up(range(20), WORDS, torch.float64)
    before = mean_absolute_error(network, rows)
    fit = fit_second_order(
        FilledUp(network), rows, lambda: mean_absolute_error(network, rows), SecondOrderConfig(60, unit=1000.0)
    )
    assert fit.validation_loss == mean_absolute_error(network, rows) < 0.5 < before
