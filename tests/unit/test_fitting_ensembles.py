"""Many networks fitted at once take the steps that each would take alone."""

import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from training.errors import ConfigError
from training.fitting.ensembles import answers, fit_ensemble
from training.fitting.sequences import Batch, SequenceFitConfig, fit_sequences

MSE = nn.functional.mse_loss
N = 3


def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)) for _ in range(N)]


def rows(seed: int) -> Batch:
    x = torch.randn(N, 16, 2, generator=torch.Generator().manual_seed(seed))
    return Batch((x,), x.prod(dim=2, keepdim=True) * 30)


def penalty(network: nn.Module, share: float) -> Tensor:
    return share * torch.stack([weight.square().sum() for weight in network.parameters()]).sum()


@pytest.mark.parametrize("clip", [None, 0.5])
def test_every_network_takes_the_steps_that_it_would_take_alone(clip: float | None) -> None:
    config = SequenceFitConfig(max_steps=20, learning_rate=0.05, check_every=5, clip_norm=clip)
    together, validation = networks(), rows(100)
    fit = fit_ensemble(together, rows, validation, config, MSE, penalty=penalty)
    for i, alone in enumerate(networks()):
        batches = (Batch((rows(step).inputs[0][i],), rows(step).targets[i]) for step in itertools.count(1))

        def validate(network: nn.Module = alone, i: int = i) -> float:
            return float(MSE(network(validation.inputs[0][i]), validation.targets[i]))

        single = fit_sequences(alone, batches, validate, config, MSE, penalty=partial(penalty, alone))
        assert fit.validation_losses[i] == pytest.approx(single.validation_loss, rel=1e-4)
        for one, other in zip(together[i].parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    x = torch.ones(5, 2)
    with torch.no_grad():
        torch.testing.assert_close(answers(together, x)[1], together[1](x))


def test_a_network_that_diverges_harms_no_other() -> None:
    config = SequenceFitConfig(max_steps=4, learning_rate=0.05, check_every=2)
    broken, sound = networks(), networks()

    def draw(step: int) -> Batch:
        batch = rows(step)
        batch.inputs[0][0] = float("nan")
        return batch

    fit = fit_ensemble(broken, draw, rows(100), config, MSE)
    other = fit_ensemble(sound, rows, rows(100), config, MSE)
    assert fit.validation_losses[0] == float("inf")
    assert fit.validation_losses[1:] == pytest.approx(other.validation_losses[1:])
    assert bool(torch.isfinite(answers(broken, torch.ones(1, 2))).all())  # the weights from before


def test_a_fit_ends_when_all_networks_are_good_enough_or_none_improves() -> None:
    told: list[int] = []
    config = SequenceFitConfig(max_steps=50, learning_rate=0.01, check_every=5, target_loss=1e9)
    fit = fit_ensemble(networks(), rows, rows(100), config, MSE, on_check=lambda step, _loss: told.append(step))
    assert (fit.n_steps, told) == (5, [5])
    still = SequenceFitConfig(max_steps=50, learning_rate=0.0, check_every=5, patience=2, schedule="constant")
    assert fit_ensemble(networks(), rows, rows(100), still, MSE).n_steps == 15


def test_rows_must_be_there_for_every_network() -> None:
    config = SequenceFitConfig(max_steps=1, learning_rate=0.1)
    for some in ([], networks()[:2]):
        with pytest.raises(ConfigError, match=f"{len(some)} networks, 3 rows"):
            fit_ensemble(some, rows, rows(0), config, MSE)
