"""Published recipes learn what they are known to learn, and choose by interpolation rows."""

import pytest
import torch

from training.bench import controls, single_module
from training.bench.cell import Cell
from training.bench.judging import draw, judge
from training.bench.published_recipes import RECIPES, check_units, train_published
from training.errors import ConfigError


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_nau_adds_and_does_not_multiply() -> None:
    solved = {}
    for operation in ("add", "multiply"):
        cell = single_module.cells((operation,), ("1:2",), (2,))[0]
        problem = draw(cell, 0)
        answer = train_published("nau", cell, problem, 0, 5000)
        trial = judge(cell, problem, 0, answer, first_order=True)
        assert not trial.found  # a recipe claims nothing
        solved[operation] = trial.solved, trial.solved_at is not None
    assert solved == {"add": (True, True), "multiply": (False, False)}


def test_the_same_seed_trains_the_same_network() -> None:
    cell = single_module.cells(("multiply",), ("1:2",), (2,))[0]
    problem = draw(cell, 0)
    first, again, other = (train_published("nac", cell, problem, seed, 1000).said for seed in (0, 0, 1))
    assert first == again != other


def test_schedules_are_the_published_ones() -> None:
    """Steps of 50,000 for the single module task, of 5 million for the dataset."""
    nmu, real_npu = RECIPES["nmu"], RECIPES["real_npu"]
    assert [nmu.penalty_single(step / 50_000) for step in (0, 27_500, 49_999)] == pytest.approx([0, 5, 10])
    assert [nmu.penalty_dataset(step / 5e6) for step in (1e6, 1.5e6, 2e6)] == pytest.approx([0, 5, 10])
    assert RECIPES["nau"].penalty_dataset(5e4 / 5e6) == pytest.approx(0.01)
    assert [real_npu.penalty_single(step / 50_000) for step in (0, 10_000, 49_999)] == pytest.approx([1e-9, 1e-8, 1e-7])


def test_a_control_or_an_unknown_unit_is_refused() -> None:
    cell = controls.cells(("1:2",))[0]
    with pytest.raises(ConfigError, match="something to learn"):
        train_published("nau", cell, draw(cell, 0), 0, 1000)
    with pytest.raises(ConfigError, match="one of nac, nalu"):
        check_units(("nau", "gnu"))


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_module_trains_with_a_hidden_layer(name: str) -> None:
    cell = Cell("dataset", "multiply", "1:2", 8, 1000, d_hidden=3)
    problem = draw(cell, 0)
    start, end = (
        judge(cell, problem, 0, train_published(name, cell, problem, 0, n), first_order=True).mse for n in (1, 300)
    )
    assert start is not None
    assert end is not None
    assert end < start
