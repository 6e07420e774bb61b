import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.networks import ArithmeticNetwork
from models.units import NAU, NMU
from tests.quiet import Quiet
from training.errors import FitError
from training.fitting.first_order import FirstOrderConfig, Rows, fit, judge
from training.fitting.selection import Candidate, search


def squared(predictions: Tensor, targets: Tensor) -> Tensor:
    return torch.mean((predictions - targets) ** 2)


def rows(function: Callable[[Tensor], Tensor], n: int = 64, seed: int = 0) -> Rows:
    x = torch.rand((n, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4 - 2
    return Rows((x,), function(x)[:, None])


def nau(generator: torch.Generator) -> ArithmeticNetwork:
    unit = NAU(2, 1, dtype=torch.float64)
    unit.reset_parameters(generator)
    return ArithmeticNetwork([unit])


def nmu(generator: torch.Generator) -> ArithmeticNetwork:
    unit = NMU(2, 1, dtype=torch.float64)
    unit.reset_parameters(generator)
    return ArithmeticNetwork([unit])


CONFIG = FirstOrderConfig(max_epochs=300, learning_rate=0.05, polish_steps=50, target_loss=1e-26)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_sum_is_learned_exactly_with_weights_at_their_bounds() -> None:
    network = nau(generator())
    reached = fit(
        network,
        rows(lambda x: x[:, 0] - x[:, 1]),
        rows(lambda x: x[:, 0] - x[:, 1], seed=1),
        CONFIG,
        squared,
        generator(),
    )
    assert reached.validation_loss <= 1e-26
    assert reached.reason == "target"
    assert network.effective_weights()[0].tolist() == [[1.0, -1.0]]


def test_the_best_weights_are_kept_not_the_last() -> None:
    train, validation = rows(lambda x: x[:, 0]), rows(lambda x: -x[:, 0], seed=1)  # training hurts validation
    network = nau(generator())
    before = judge(network, validation, squared)
    seen: list[float] = []
    reached = fit(
        network,
        train,
        validation,
        FirstOrderConfig(max_epochs=50, learning_rate=0.1, patience=50),
        squared,
        generator(),
        lambda _epoch, _train, judged: seen.append(judged),
    )
    assert seen[-1] > seen[0] > before
    assert reached.validation_loss == seen[0]
    assert judge(network, validation, squared) == seen[0]


def test_patience_ends_a_fit_that_no_longer_improves() -> None:
    reached = fit(
        nau(generator()),
        rows(lambda x: x[:, 0]),
        rows(lambda x: -x[:, 0], seed=1),
        FirstOrderConfig(max_epochs=500, learning_rate=0.1, patience=7),
        squared,
        generator(),
    )
    assert reached.reason == "patience"
    assert reached.n_epochs == 8


def test_batches_cover_every_row_once_an_epoch() -> None:
    class Recorder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
            self.seen: list[float] = []

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.seen += x[:, 0].tolist()
            return x[:, :1] * self.weight

        def regulariser(self) -> Tensor:
            return self.weight**2

        def project_(self) -> None:
            pass

    data = rows(lambda x: x[:, 0], n=10)
    network = Recorder()
    fit(network, data, data, FirstOrderConfig(max_epochs=1, learning_rate=0.1, batch_size=3), squared, generator())
    assert data.inputs[0] is not None
    assert sorted(network.seen) == sorted(data.inputs[0][:, 0].tolist())
    assert network.seen != data.inputs[0][:, 0].tolist()  # in another order


def test_the_same_seed_gives_the_same_weights() -> None:
    data = rows(lambda x: x[:, 0] * x[:, 1])

    def once() -> list[list[float]]:
        network = nmu(generator(3))
        fit(
            network,
            data,
            data,
            FirstOrderConfig(max_epochs=20, learning_rate=0.01, batch_size=16),
            squared,
            generator(3),
        )
        weights: list[list[float]] = network.effective_weights()[0].tolist()
        return weights

    assert once() == once()


def test_a_fit_that_diverges_says_so_and_keeps_finite_weights() -> None:
    data = rows(lambda x: x[:, 0] / 0.0)
    network = nau(generator())
    reached = fit(network, data, data, CONFIG, squared, generator())
    assert reached.reason == "diverged"
    assert math.isinf(reached.validation_loss)
    assert torch.isfinite(network.effective_weights()[0]).all()


def test_a_network_without_a_projection_is_refused() -> None:
    data = rows(lambda x: x[:, 0])
    with pytest.raises(TypeError, match="regulariser"):
        fit(nn.Linear(2, 1, dtype=torch.float64), data, data, CONFIG, squared, generator())


def test_the_search_takes_the_candidate_that_validates_best_and_reports_every_fit() -> None:
    data, held_out = rows(lambda x: x[:, 0] * x[:, 1]), rows(lambda x: x[:, 0] * x[:, 1], seed=1)
    chosen = search(
        [Candidate("nau", nau, CONFIG), Candidate("nmu", nmu, CONFIG)],
        data,
        held_out,
        squared,
        seed=0,
        n_restarts=3,
        progress=Quiet(),
        title="product",
        good_enough=1e-20,
    )
    assert chosen.candidate == "nmu"
    assert chosen.validation_loss <= 1e-20
    assert [trial.candidate for trial in chosen.trials] == ["nau", "nmu"]  # good enough ends the search
    assert chosen.trials[0].validation_loss > 0.1


def test_a_simpler_candidate_stays_where_a_later_one_is_no_better() -> None:
    data = rows(lambda x: x[:, 0] + x[:, 1])
    chosen = search(
        [Candidate("first", nau, CONFIG), Candidate("second", nau, CONFIG)],
        data,
        data,
        squared,
        seed=0,
        n_restarts=1,
        progress=Quiet(),
        title="sum",
        good_enough=-1.0,  # no loss is: both are tried
    )
    assert chosen.candidate == "first"
    assert len(chosen.trials) == 2


def test_a_search_in_which_every_fit_diverges_is_an_error() -> None:
    data = rows(lambda x: x[:, 0] / 0.0)
    with pytest.raises(FitError, match="all 2 diverged"):
        search([Candidate("nau", nau, CONFIG)], data, data, squared, seed=0, n_restarts=2, progress=Quiet(), title="x")
