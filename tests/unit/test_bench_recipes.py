"""Published recipes learn what they are known to learn, and choose by interpolation rows."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from training.bench import controls, single_module
from training.bench.cell import Cell
from training.bench.judging import draw, judge
from training.bench.published_recipes import RECIPES, check_units
from training.bench.published_training import Pupil, n_together, train_published
from training.bench.running import EXACT_METHOD, jobs_of, run_job
from training.errors import ConfigError


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def pupil(cell: Cell, seed: int = 0) -> Pupil:
    return Pupil(cell, draw(cell, seed), seed)


def single(operations: Sequence[str], d_inputs: int = 2) -> list[Cell]:
    return single_module.cells(tuple(operations), ("1:2",), (d_inputs,))


def test_a_nau_adds_and_does_not_multiply() -> None:
    pupils = [pupil(cell) for cell in single(("add", "multiply"))]
    trials = [
        judge(one.cell, one.problem, 0, answer, first_order=True)
        for one, answer in zip(pupils, train_published("nau", pupils, 5000), strict=True)
    ]
    assert [(trial.solved, trial.solved_at is not None) for trial in trials] == [(True, True), (False, False)]
    assert not any(trial.found for trial in trials)  # a recipe claims nothing


def test_the_same_seed_trains_the_same_network() -> None:
    (cell,) = single(("multiply",))
    first, again, other = (train_published("nac", [pupil(cell, seed)], 1000)[0].said for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("name", list(RECIPES))
def test_training_together_changes_nothing(name: str) -> None:
    """A network among others sees its own rows, penalty and projection only."""
    cells = single(("subtract", "multiply", "reciprocal"), 3)
    pupils = [pupil(cell, seed) for cell in cells for seed in (3, 4)]
    together = train_published(name, pupils, 150)
    rows = np.random.default_rng(0).uniform(1, 2, (50, 3))
    for one, answer in zip(pupils, together, strict=True):
        (alone,) = train_published(name, [one], 150)
        assert answer.predict(rows) == pytest.approx(alone.predict(rows), rel=1e-4)
    results = np.array([answer.predict(rows) for answer in together])
    assert len(np.unique(results.round(3), axis=0)) == len(pupils)


def test_jobs_hold_every_seed_of_every_cell_once() -> None:
    cells = [*single(("add", "divide")), *single(("add",), 100), *controls.cells(("1:2",))]
    jobs = jobs_of(cells, [EXACT_METHOD, "nmu"], 100, 1000)
    for method, expected in ((EXACT_METHOD, cells), ("nmu", cells[:3])):
        trials = [trial for job in jobs if job.method == method for trial in job.trials]
        assert sorted(trials, key=str) == sorted(((cell, seed) for cell in expected for seed in range(100)), key=str)
    for job in jobs:
        if job.method == "nmu":
            assert len({cell.d_inputs for cell, _ in job.trials}) == 1
            assert len(job.trials) <= n_together(job.trials[0][0])
    assert run_job(jobs[0])[0].seed == 0


def test_schedules_are_the_published_ones() -> None:
    """Steps of 50,000 for the single module task, of 5 million for the dataset."""
    nmu, real_npu = RECIPES["nmu"], RECIPES["real_npu"]
    (cell,), dataset = single(("add",)), Cell("dataset", "add", "1:2", 8, 1000)
    assert [nmu.penalty(cell, step / 50_000) for step in (0, 27_500, 49_999)] == pytest.approx([0, 5, 10])
    assert [nmu.penalty(dataset, step / 5e6) for step in (1e6, 1.5e6, 2e6)] == pytest.approx([0, 5, 10])
    assert RECIPES["nau"].penalty(dataset, 5e4 / 5e6) == pytest.approx(0.01)
    assert [real_npu.penalty(cell, step / 50_000) for step in (0, 10_000, 49_999)] == pytest.approx([1e-9, 1e-8, 1e-7])


def test_a_control_other_shapes_or_an_unknown_unit_are_refused() -> None:
    with pytest.raises(ConfigError, match="something to learn"):
        train_published("nau", [pupil(controls.cells(("1:2",))[0])], 1000)
    with pytest.raises(ConfigError, match="one shape"):
        train_published("nau", [pupil(single(("add",), d)[0]) for d in (2, 3)], 1000)
    with pytest.raises(ConfigError, match="one of nac, nalu"):
        check_units(("nau", "gnu"))


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_module_trains_with_a_hidden_layer(name: str) -> None:
    one = pupil(Cell("dataset", "multiply", "1:2", 8, 1000, d_hidden=3))
    start, end = (
        judge(one.cell, one.problem, 0, train_published(name, [one], n)[0], first_order=True).mse for n in (1, 300)
    )
    assert start is not None
    assert end is not None
    assert end < start
