"""The loop for sequences: what it keeps, when it ends, and what it refuses."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from models.units import NAU
from training.errors import ConfigError
from training.fitting.sequences import (
    Batch,
    SequenceFit,
    SequenceFitConfig,
    batches_by_length,
    best_start,
    fit_sequences,
)

MSE = nn.functional.mse_loss


def sums(generator: torch.Generator) -> Iterator[Batch]:
    """Yield sequences of a length drawn afresh, and the sums of their two columns."""
    while True:
        length = int(torch.randint(1, 6, (1,), generator=generator))
        steps = torch.randn(16, length, 2, generator=generator, dtype=torch.float64)
        yield Batch((steps,), steps.sum(dim=1))


class Adder(nn.Module):
    """Sums a NAU over the steps."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.unit = NAU(2, 2, dtype=torch.float64)
        self.unit.reset_parameters(generator)

    def forward(self, steps: Tensor) -> Tensor:
        total: Tensor = self.unit(steps).sum(dim=1)
        return total

    def project_(self) -> None:
        self.unit.project_()


def validation(network: nn.Module) -> float:
    batch = next(sums(torch.Generator().manual_seed(99)))
    assert not network.training
    return float(MSE(network(*batch.inputs), batch.targets))


def fitted(config: SequenceFitConfig, seed: int = 0) -> tuple[Adder, SequenceFit]:
    generator = torch.Generator().manual_seed(seed)
    network = Adder(generator)
    return network, fit_sequences(network, sums(generator), lambda: validation(network), config, MSE)


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop"])
def test_lengths_may_differ_from_step_to_step(optimiser: str) -> None:
    config = SequenceFitConfig(max_steps=400, learning_rate=0.03, optimiser=optimiser, clip_norm=1.0, target_loss=-1.0)  # type: ignore[arg-type]
    network, fit = fitted(config)
    assert fit.validation_loss < 1e-4
    assert (fit.reason, fit.n_steps) == ("steps", 400)
    assert float(network.unit.W.detach().abs().max()) <= 1  # the projection took place
    assert [step for step, _ in fit.history] == [100, 200, 300, 400]
    again, _ = fitted(config)
    assert torch.equal(again.unit.W, network.unit.W)


def test_the_best_weights_checked_are_kept() -> None:
    losses = iter([3.0, 1.0, 2.0, 2.0])
    network = nn.Linear(1, 1)
    seen: list[Tensor] = []

    def validate() -> float:
        seen.append(network.weight.detach().clone())
        return next(losses)

    x = torch.ones(4, 1)
    config = SequenceFitConfig(max_steps=100, learning_rate=0.1, schedule="constant", check_every=1, patience=2)
    fit = fit_sequences(network, itertools.repeat(Batch((x,), 5 * x)), validate, config, MSE)
    assert (fit.reason, fit.n_steps, fit.best_step, fit.validation_loss) == ("patience", 4, 2, 1.0)
    assert torch.equal(network.weight, seen[1])


def test_a_loss_that_is_good_enough_ends_the_fit() -> None:
    told: list[tuple[int, float]] = []
    network = nn.Linear(1, 1)
    x = torch.ones(4, 1)
    config = SequenceFitConfig(max_steps=100, learning_rate=0.1, check_every=3, target_loss=0.5)
    fit = fit_sequences(
        network, itertools.repeat(Batch((x,), x)), lambda: 0.5, config, MSE, on_check=lambda *check: told.append(check)
    )
    assert (fit.reason, fit.n_steps, told) == ("target", 3, [(3, 0.5)])


def test_a_fit_that_diverges_keeps_the_weights_from_before() -> None:
    network = nn.Linear(1, 1)
    before = network.weight.detach().clone()
    x = torch.full((4, 1), float("nan"))
    config = SequenceFitConfig(max_steps=100, learning_rate=0.1)
    fit = fit_sequences(network, itertools.repeat(Batch((x,), x)), lambda: 1.0, config, MSE)
    assert (fit.reason, fit.validation_loss, fit.best_step) == ("diverged", float("inf"), 0)
    assert torch.equal(network.weight, before)


def test_a_penalty_grows_with_the_share_of_steps_done() -> None:
    shares: list[float] = []
    network = nn.Linear(1, 1)

    def penalty(share: float) -> Tensor:
        shares.append(share)
        return 1e3 * share * network.weight.square().sum()

    x = torch.ones(4, 1)
    config = SequenceFitConfig(max_steps=50, learning_rate=0.1, check_every=50)
    fit_sequences(network, itertools.repeat(Batch((x,), 5 * x)), lambda: 1.0, config, MSE, penalty=penalty)
    assert shares[0] == 1 / 50
    assert shares[-1] == 1
    assert abs(float(network.weight.detach())) < 0.5


def test_the_step_size_rises_while_it_warms_up_and_falls_along_a_half_cosine() -> None:
    """Adam's step is the step size itself where the gradient does not change."""
    network = nn.Linear(1, 1, bias=False)
    weights: list[float] = []

    def linear(predictions: Tensor, _targets: Tensor) -> Tensor:
        weights.append(float(network.weight.detach()))
        return predictions.sum()

    batch = Batch((torch.ones(1, 1),), torch.ones(1))
    config = SequenceFitConfig(max_steps=20, learning_rate=0.1, warm_up=0.2)
    fit_sequences(network, itertools.repeat(batch), lambda: 1.0, config, linear)
    steps = [before - after for before, after in itertools.pairwise(weights)]
    assert steps[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1], rel=1e-3)
    assert steps[12] == pytest.approx(0.1 * (1 + 1e-3) / 2, rel=1e-3)
    assert all(after < before for before, after in itertools.pairwise(steps[4:]))


def test_rmsprop_refuses_what_it_would_ignore() -> None:
    config = SequenceFitConfig(max_steps=1, learning_rate=0.1, optimiser="rmsprop", weight_decay=0.1)
    with pytest.raises(ConfigError, match=r"weight_decay=0\.1"):
        fitted(config)


def test_the_start_that_validates_best_is_kept_and_more_starts_change_none() -> None:
    drawn: list[float] = []

    def build(generator: torch.Generator) -> nn.Linear:
        drawn.append(float(torch.rand(1, generator=generator)))
        return nn.Linear(1, 1)

    def train(_network: nn.Linear, generator: torch.Generator) -> SequenceFit:
        return SequenceFit(float(torch.rand(1, generator=generator)), 1, 1, "steps", ())

    few = best_start(2, build, train, seed=3)
    many = best_start(5, build, train, seed=3)
    assert many.losses[:2] == few.losses
    assert many.fit.validation_loss == min(many.losses) == many.losses[many.start]
    assert len(set(drawn[2:])) == 5
    assert best_start(5, build, train, seed=3, target_loss=1.0).losses == few.losses[:1]
    with pytest.raises(ConfigError, match="n_starts=0"):
        best_start(0, build, train, seed=0)


def test_batches_hold_one_length_each_and_every_example_once_an_epoch() -> None:
    lengths = [1, 2, 2, 3, 2, 1, 2]
    batches = batches_by_length(lengths, 2, torch.Generator().manual_seed(0))
    epoch = list(itertools.islice(batches, 4))
    assert sorted(int(i) for _, positions in epoch for i in positions) == list(range(7))
    assert all(lengths[int(i)] == length for length, positions in epoch for i in positions)
    assert all(len(positions) <= 2 for _, positions in epoch)
    for bad in (([], 2), ([1], 0)):
        with pytest.raises(ConfigError, match="must be examples"):
            next(batches_by_length(*bad, torch.Generator()))
