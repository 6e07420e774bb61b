"""Tasks over digits: their results, the likelihood of a result, the levels, and the rules that judge."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.networks.unit_cell import UnitCell
from models.units import NAU, NMU
from training.digit_images import DigitImages
from training.reproduce.digits.fitting import MIN_SHARE, Passes, find_levels, fit_ours
from training.reproduce.digits.judging import (
    Errors,
    JudgedSequences,
    draw_test,
    judge,
    thresholds,
    upper_bound,
)
from training.reproduce.digits.likelihood import ResultLikelihood
from training.reproduce.digits.networks import (
    Accumulator,
    LevelEncoder,
    PowerCell,
    PulledCell,
    accumulating,
    reader_for,
)
from training.reproduce.digits.recipes import RECIPES, fit_recipe
from training.reproduce.digits.references import by_hand, fit_classifier
from training.reproduce.digits.task import Operation, Shown, TaskImages, task_images, tasks

COUNT, SUM, PRODUCT = tasks(long=True)


def made_up(n_train: int = 240, n_test: int = 40) -> DigitImages:
    """Return digits that are easy to read: digit d is a bright pixel at place d."""
    rng = np.random.default_rng(0)

    def draw(
        n: int,
    ) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
        labels = rng.integers(0, 10, n)
        images = np.zeros((n, 8, 8), dtype=np.uint8)
        images[np.arange(n), 2 + labels // 5, 1 + labels % 5] = 255
        return images, labels

    train, test = draw(n_train), draw(n_test)
    return DigitImages("made up", *train, *test)


def one_by_one(task: TaskImages, index: Tensor) -> list[list[float]]:
    """Return the results of sequences with Python's own arithmetic."""
    digits = [task.train.task.digits[position] for position in task.train.classes.tolist()]
    found = []
    for sequence in index.tolist():
        shown = [digits[position] for position in sequence]
        name = task.train.task.name
        if name == "count":
            found.append([float(shown.count(digit)) for digit in range(10)])
        else:
            found.append([float(sum(shown) if name == "sum" else math.prod(shown))])
    return found


@pytest.mark.parametrize("task", [COUNT, SUM, PRODUCT], ids=lambda task: task.name)
def test_results_are_those_of_the_digits_shown(task: object) -> None:
    assert isinstance(task, type(COUNT))
    images = task_images(task, made_up())
    index = images.train.draw(20, 7, torch.Generator().manual_seed(0))

    assert images.train.results(index).tolist() == one_by_one(images, index)
    prefixes = images.train.prefixes(index)
    assert torch.equal(prefixes[:, -1], images.train.results(index))
    assert prefixes[:, 2].tolist() == one_by_one(images, index[:, :3])


def test_products_leave_out_zero_and_the_last_images_validate() -> None:
    digits = made_up()
    images = task_images(PRODUCT, digits)

    assert len(images.train.images) == int((digits.train_labels[:-20] > 0).sum())
    assert len(images.validation.images) == int((digits.train_labels[-20:] > 0).sum())
    assert images.train.values().min() == 1
    assert images.train.images.max() == 1


def test_every_pass_has_each_image_once_in_sequences_drawn_afresh() -> None:
    shown = task_images(SUM, made_up()).train
    shown = Shown(SUM, torch.arange(220.0).reshape(-1, 1, 1), shown.classes)
    batches = shown.batches(45, torch.Generator().manual_seed(0))
    per_pass = shown.n_batches(45)
    first, second = ([next(batches).inputs[0].flatten() for _ in range(per_pass)] for _ in range(2))

    assert [len(part) for part in first] == [40] * 5 + [20]
    assert torch.cat(first).sort().values.tolist() == list(range(220))
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("prefixes", [False, True])
def test_batches_come_with_the_results_of_their_images(prefixes: bool) -> None:
    images = task_images(SUM, made_up())
    batch = next(images.train.batches(30, torch.Generator().manual_seed(0), prefixes=prefixes))
    bright = batch.inputs[0].flatten(2).argmax(-1)
    digits = (bright // 8 - 2) * 5 + bright % 8 - 1

    expected = digits.cumsum(1)[..., None] if prefixes else digits.sum(1, keepdim=True)
    assert torch.equal(batch.targets, expected.double())


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_the_likelihood_is_that_of_all_assignments(operation: Operation) -> None:
    levels = torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, 1.0], [6.0, 2.0]])
    probabilities = torch.softmax(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), -1)
    results = torch.tensor([[6.0, 0.0], [12.0, 2.0]])
    likelihood = ResultLikelihood(levels, operation, 3)

    expected = 0.0
    doubted = (1 - 1e-4) * probabilities.double() + 1e-4 / 4
    for row, result in zip(doubted, results, strict=True):
        for number in range(2):
            reached = 0.0
            for chosen in itertools.product(range(4), repeat=3):
                parts = [float(levels[one, number]) for one in chosen]
                joined = sum(parts) if operation == "add" else math.prod(parts)
                if joined == result[number]:
                    reached += math.prod(float(row[position, one]) for position, one in enumerate(chosen))
            expected -= math.log(reached)

    assert float(likelihood(probabilities, results)) == pytest.approx(expected / 2, rel=1e-12)


def test_a_result_out_of_reach_is_next_to_impossible_and_gives_no_gradient() -> None:
    probabilities = torch.full((1, 2, 2), 0.5, requires_grad=True)
    value = ResultLikelihood(torch.tensor([[0.0], [1.0]]), "add", 2)(probabilities, torch.tensor([[7.0]]))
    value.backward()

    assert value.item() == pytest.approx(-math.log(1e-300))
    assert probabilities.grad is not None
    assert not probabilities.grad.any()


def test_levels_are_the_whole_numbers_that_enough_values_are_near_to() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([0.0, 1.0, 4.0], size=1_000) + rng.normal(0, 0.1, 1_000)
    values[:5] = [77.0, -3.0, np.inf, np.nan, 55.0]

    assert find_levels(torch.as_tensor(values)[:, None]).tolist() == [[0.0], [1.0], [4.0]]
    assert MIN_SHARE == 0.01


def test_values_that_are_near_to_nothing_in_common_have_one_level() -> None:
    assert find_levels(torch.arange(1_000.0)[:, None] * 7).shape == (1, 1)


def test_an_accumulator_is_a_nau_or_an_nmu_of_weights_one() -> None:
    step, state = torch.randn(5, 1), torch.randn(5, 1)
    for operation, unit in (("add", NAU(2, 1)), ("multiply", NMU(2, 1))):
        with torch.no_grad():
            unit.W.fill_(1.0)
        solved = Accumulator("add" if operation == "add" else "multiply")(step, state)
        assert torch.allclose(UnitCell(unit)(step, state), solved)


def test_a_power_cell_multiplies_where_its_weights_are_one() -> None:
    unit = NAU(2, 1)
    with torch.no_grad():
        unit.W.fill_(1.0)
    assert PowerCell(unit)(torch.tensor([[-3.0]]), torch.tensor([[4.0]])).item() == pytest.approx(12, rel=1e-5)


def test_the_pull_to_the_identity_is_that_of_its_formula() -> None:
    unit = NMU(2, 1)
    with torch.no_grad():
        unit.W.copy_(torch.tensor([[0.25, 1.0]]))
    cell = PulledCell(unit, 1.0).train()
    cell(torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [1.0]]))
    cell(torch.tensor([[6.0], [8.0]]), torch.tensor([[1.0], [1.0]]))

    assert cell.pull_to_identity().item() == pytest.approx((0.75 * (1 - 5) ** 2 + 0) / 2)
    cell.eval()(torch.tensor([[9.0]]), torch.tensor([[1.0]]))
    cell.train()(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
    assert cell.pull_to_identity().item() == 0


def test_a_level_encoder_gives_the_mean_or_the_likeliest() -> None:
    images = torch.rand(6, 8, 8)
    levels = torch.tensor([[2.0], [5.0], [9.0]], dtype=torch.float64)
    encoder = LevelEncoder(reader_for(images), levels, hard=False)
    probabilities = encoder.probabilities(images)

    assert torch.allclose(probabilities.sum(-1), torch.ones(6))
    assert torch.allclose(encoder(images), probabilities.double() @ levels)
    encoder.hard = True
    assert torch.equal(encoder(images), levels[probabilities.argmax(-1)])
    assert encoder(images).dtype == torch.float64


class Known(nn.Module):
    """Reads made-up images without a mistake, and adds a bias to every value."""

    def __init__(self, values: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.values, self.bias = values, bias

    def forward(self, images: Tensor) -> Tensor:
        bright = images.flatten(1).argmax(-1)
        return self.values[(bright // 8 - 2) * 5 + bright % 8 - 1] + self.bias


def judged(bias: float) -> dict[int, Errors]:
    images = task_images(SUM, made_up())
    network = accumulating(Known(SUM.values(), bias), "add", 1, torch.float64)
    return judge(network, draw_test(images.test, 2_000, 50, 5))


def test_errors_are_measured_against_the_digits_at_every_length() -> None:
    assert all(one == Errors(0.0, 0.0, 1.0) for one in judged(0.0).values())
    wrong = judged(0.1)
    assert set(wrong) == {1, 10, 100, 500, 1000}
    assert wrong[10].absolute == pytest.approx(1.0)
    assert wrong[10].squared == pytest.approx(1.0)
    assert (wrong[1].right, wrong[10].right) == (1.0, 0.0)


def test_test_sequences_have_every_image_at_length_one_and_bounds_elsewhere() -> None:
    sequences: JudgedSequences = draw_test(task_images(SUM, made_up()).test, 2_000, 50, 5)

    assert {length: tuple(index.shape) for length, index in sequences.index.items()} == {
        1: (40, 1),
        10: (50, 10),
        100: (20, 100),
        500: (5, 500),
        1000: (5, 1000),
    }


def test_the_bound_of_few_seeds_is_twice_the_worst() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert upper_bound(values[:4]) == 8.0
    assert upper_bound(values) == pytest.approx(3 + 3.747 * np.std(values, ddof=1) / 5**0.5, rel=1e-4)


def test_a_baseline_that_did_not_learn_does_not_raise_the_threshold() -> None:
    baselines = [{length: Errors(1.0, squared, 0.0) for length in SUM.lengths} for squared in (1.0, 1.1, 900.0)]

    assert thresholds(SUM, baselines, [2.0, 2.1, math.inf]) == dict.fromkeys(SUM.lengths, 2.2)
    assert thresholds(SUM, baselines, [2.0, 2.1, 2.2]) == dict.fromkeys(SUM.lengths, 1_800.0)


FEW = Passes(values=3, levels=5, n_images=60, learning_rate=1e-2)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.task} {recipe.label}")
def test_every_recipe_trains_and_is_judged(recipe: object) -> None:
    assert isinstance(recipe, type(RECIPES[0]))
    task = {"count": COUNT, "sum": SUM, "product": PRODUCT}[recipe.task]
    images = task_images(task, made_up())
    before = fit_recipe(recipe, images, 0, Passes(0, 0, 60, 1e-9)).validation_loss
    fit = fit_recipe(recipe, images, 0, FEW)

    assert math.isfinite(fit.validation_loss)
    if recipe.label != "LSTM":  # it starts from the mean result, and learns nothing better in so few steps
        assert fit.validation_loss < before
    assert len(judge(fit.network, draw_test(images.test, 100, 2, 1))) == len(task.lengths)


def test_images_are_learned_from_the_results_of_sequences() -> None:
    """Easy images: ours must read nearly all of them, and sums of a hundred must come out right."""
    task = tasks(long=False)[1]
    images = task_images(task, made_up(n_train=1_200, n_test=200))
    fit = fit_ours(images, 0, Passes(values=12, levels=6, n_images=50, learning_rate=1e-2))
    errors = judge(fit.chosen, draw_test(images.test, 5_000, 50, 20))

    assert fit.accepts_snapping
    assert fit.levels.flatten().tolist() == list(range(10))
    assert errors[1].right >= 0.99
    assert errors[100].right >= 0.9


def test_the_labelled_classifier_serves_every_task_by_hand() -> None:
    digits = made_up(n_train=1_200, n_test=200)
    classifier = fit_classifier(
        task_images(COUNT, digits), 0, Passes(values=2, levels=2, n_images=50, learning_rate=1e-2)
    )
    for task in (COUNT, SUM, PRODUCT):
        errors = judge(by_hand(classifier, task), draw_test(task_images(task, digits).test, 1_000, 50, 5))
        assert errors[1].right == 1.0
        assert errors[10].absolute == 0.0
