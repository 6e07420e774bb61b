"""The benchmark's problems against plain arithmetic, and what its answers are judged to be."""

from dataclasses import replace

import numpy as np
import pytest

from training.bench import arithmetic_dataset, compositions, controls, noise, single_module
from training.bench.cell import Cell, Floats, Problem
from training.bench.judging import draw, judge
from training.bench.plan import Plan, planned_cells
from training.bench.results import summarise
from training.bench.solving import Answer, solve_exact, widened
from training.errors import ConfigError
from training.fitting.law import Law, Layer
from training.tasks.arithmetic import OPERATIONS


def test_a_seed_draws_which_inputs_are_relevant() -> None:
    cell = single_module.cells(("subtract",), ("1:2",), (10,))[0]
    pairs = set()
    for seed in range(10):
        problem = draw(cell, seed)
        gaps = problem.inputs[:, :, None] - problem.inputs[:, None, :]
        found = np.argwhere((gaps == problem.targets[:, None, None]).all(axis=0))
        assert len(found) == 1
        pairs.add(tuple(found[0].tolist()))
    assert len(pairs) > 5


def test_a_seed_is_the_same_problem_again_and_another_seed_is_not() -> None:
    cell = single_module.cells(("multiply",), ("1:2",), (2,))[0]
    assert (draw(cell, 3).inputs == draw(cell, 3).inputs).all()
    assert (draw(cell, 3).inputs != draw(cell, 4).inputs).all()


@pytest.mark.parametrize(
    ("cell", "shared"),
    [(arithmetic_dataset.cells(("add",), ("1:2",))[0], 12)]
    + [(cell, int(cell.overlap_ratio * 25)) for cell in arithmetic_dataset.ablations() if "overlap" in cell.ablation],
)
def test_subsets_overlap_as_published(cell: Cell, shared: int) -> None:
    first, second = arithmetic_dataset.subsets(cell, 7)
    one, other = set(range(*first.indices(100))), set(range(*second.indices(100)))
    assert (len(one), len(other), len(one & other)) == (25, 25, shared)


def test_dataset_targets_are_sums_over_runs() -> None:
    cell = arithmetic_dataset.cells(("subtract",), ("-2:2",))[0]
    problem = draw(cell, 0)
    weights = np.linalg.lstsq(problem.inputs, problem.targets)[0].round(9)
    assert sorted(weights.tolist()) == [-1.0] * 13 + [0.0] * 74 + [1.0] * 13
    assert np.ptp(np.flatnonzero(weights)) == 37  # 25 + 25 − 12 neighbours


def test_noise_is_as_large_as_said() -> None:
    for kind, spread in (("1 %", 0.01), ("10 %", 0.1)):
        cell = Cell("noise", "add", "1:2", 2, 4000, noise=kind)
        clean, noisy = problem_and_clean(cell)
        assert np.std(noisy / clean - 1) == pytest.approx(spread, rel=0.05)
    clean, noisy = problem_and_clean(Cell("noise", "add", "1:2", 2, 1000, noise="outliers"))
    assert np.count_nonzero(clean != noisy) == 10
    clean, noisy = problem_and_clean(Cell("noise", "add", "1:2", 2, 8, noise="8 rows"))
    assert (clean == noisy).all()


def problem_and_clean(cell: Cell) -> tuple[Floats, Floats]:
    problem = draw(cell, 0)
    assert problem.truth is not None
    return np.asarray(problem.truth(problem.inputs, np.float64), dtype=np.float64), problem.targets


def test_plans_hold_the_published_cells() -> None:
    assert len(planned_cells(Plan(("single",), n_inputs=(2,)))) == 6 * 11 + 6  # the root on six ranges
    assert len(planned_cells(Plan(("dataset",)))) == 5 * 4 + 3
    assert len(planned_cells(Plan(("ablations",)))) == 7 + 14 + 4 + 6 + 9
    assert {cell.operation for cell in planned_cells(Plan(("noise",)))} == set(OPERATIONS)
    cells = planned_cells(Plan())
    assert len({(cell.key, cell.ablation) for cell in cells}) == len(cells)
    assert len(planned_cells(Plan(quick=True))) < len(cells) / 3


@pytest.mark.parametrize(
    "plan", [Plan(("nothing",)), Plan(operations=("log",)), Plan(ranges=("3:4",)), Plan(n_inputs=(1,))]
)
def test_what_is_not_there_cannot_be_planned(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="however"):
        planned_cells(plan)


def test_nothing_left_to_run_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there must be a cell"):
        planned_cells(Plan(("single",), operations=("sqrt",), ranges=("-2:2",)))


@pytest.mark.parametrize(
    "cell",
    [
        single_module.cells(("divide",), ("0:0.0001",), (2,))[0],
        arithmetic_dataset.cells(("divide",), ("1:2",))[0],
        noise.cells(("multiply",), ("1:2",))[0],
        compositions.cells(("1:2",))[0],
    ],
    ids=lambda cell: cell.task,
)
def test_the_search_solves_a_cell_of_each_task(cell: Cell) -> None:
    problem = draw(cell, 0)
    trial = judge(cell, problem, 0, solve_exact(cell, problem, 0), first_order=False)
    assert trial.solved
    assert trial.found
    assert trial.error is not None
    assert trial.error < 1e-12
    assert trial.error_mirrored is not None
    assert trial.error_mirrored < 1e-12


def answer(factor: float, *, found: bool = True) -> Answer:
    return Answer(lambda x: factor * x[:, 0] * x[:, 1], found, "", 0.1)


def test_an_answer_as_far_off_as_the_criterion_allows() -> None:
    cell = single_module.cells(("multiply",), ("1:2",), (2,))[0]
    problem = draw(cell, 0)
    assert judge(cell, problem, 0, answer(1 + 1.9e-5), first_order=False).solved
    assert not judge(cell, problem, 0, answer(1 + 2.1e-5), first_order=False).solved
    assert not judge(cell, problem, 0, answer(1, found=False), first_order=False).solved
    assert not judge(cell, problem, 0, answer(float("nan")), first_order=False).solved


def test_an_exact_law_is_asked_for_where_there_is_noise() -> None:
    cell = noise.cells(("multiply",), ("1:2",))[0]
    problem = draw(cell, 0)
    assert judge(cell, problem, 0, answer(1), first_order=False).solved
    assert not judge(cell, problem, 0, answer(1 + 1e-6), first_order=False).solved


def test_a_root_has_no_mirrored_error() -> None:
    cell = single_module.cells(("sqrt",), ("1:2",), (2,))[0]
    problem = draw(cell, 0)
    assert judge(cell, problem, 0, solve_exact(cell, problem, 0), first_order=False).error_mirrored is None


def test_a_law_found_in_a_control_is_a_miss() -> None:
    cell = controls.cells(("1:2",))[0]
    problem = draw(cell, 0)
    assert problem.truth is None
    assert not judge(cell, problem, 0, answer(1), first_order=False).solved
    assert judge(cell, problem, 0, solve_exact(cell, problem, 0), first_order=False).solved


def test_false_laws_and_false_certificates_are_counted_apart() -> None:
    cell = controls.cells(("1:2",))[0]
    problem = draw(cell, 0)
    likely, proven = answer(1), replace(answer(1), certified=True)
    trials = [judge(cell, problem, 0, one, first_order=False) for one in (likely, proven, answer(1, found=False))]
    result = summarise(cell, "exact", trials)
    assert (result.n_found, result.n_certified, result.n_false_certificates) == (2, 1, 1)
    noise_free = single_module.cells(("multiply",), ("1:2",), (2,))[0]
    problem = draw(noise_free, 0)
    trial = judge(noise_free, problem, 0, solve_exact(noise_free, problem, 0), first_order=False)
    result = summarise(noise_free, "exact", [trial])
    assert (result.n_certified, result.n_false_certificates) == (1, 0)
    through_noise = noise.cells(("multiply",), ("1:2",))[0]
    found = solve_exact(through_noise, draw(through_noise, 0), 0)
    assert found.found
    assert not found.certified


def test_what_is_not_offered_is_not_found() -> None:
    cell = next(cell for cell in controls.cells(("1:2",)) if cell.operation == "a b + a, not offered")
    problem = draw(cell, 0)
    assert not solve_exact(cell, problem, 0).found
    offered = Cell("controls", cell.operation, "1:2", 2, 128)
    assert solve_exact(offered, problem, 0).found


def test_spare_hidden_units_take_no_part() -> None:
    sums = np.array([[1.0, 1, 0], [0, 1, -1]])
    law = Law("product of sums", (Layer("sum", sums), Layer("power", np.array([[1.0, 1.0]]))))
    wide = widened(law, 7)
    rows = np.random.default_rng(0).normal(size=(20, 3))
    assert wide.layers[0].weight.shape == (7, 3)
    assert (wide.evaluate(rows) == law.evaluate(rows)).all()
    assert widened(law, 2) is law


def test_labels_of_controls_follow_no_law() -> None:
    shuffled = next(cell for cell in controls.cells(("1:2",)) if cell.operation == "shuffled labels")
    problem: Problem = draw(shuffled, 0)
    products = problem.inputs[:, 0] * problem.inputs[:, 1]
    assert sorted(problem.targets.tolist()) == sorted(products.tolist())
    assert not np.allclose(problem.targets, products)
