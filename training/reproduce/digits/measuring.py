"""All fits of the experiment, and their errors at every length."""

from dataclasses import dataclass, field
from functools import partial

from training.digit_images import DigitImages, find_mnist, small_digits
from training.reproduce.digits.fitting import OurFit, Passes, fit_ours
from training.reproduce.digits.judging import Errors, JudgedSequences, draw_test, judge, thresholds, upper_bound
from training.reproduce.digits.recipes import RECIPES, SOLVED, Recipe, fit_recipe
from training.reproduce.digits.references import by_hand, fit_classifier
from training.reproduce.digits.task import DigitTask, TaskImages, task_images, tasks
from training.reproduce.experiment import Progress
from training.reproduce.outcome import Size

AT_EVERY_LENGTH = dict[int, Errors]

OURS = ("ours, values as read", "ours, mean over levels", "ours, snapped to levels")
"""Rows of our fit, step by step."""

BY_HAND = "classifier trained on labels, arithmetic by hand"
"""The bound: what the same architecture reaches when it is told every digit."""


@dataclass(frozen=True)
class Plan:
    """A size of the experiment.

    Attributes:
        passes: How long to train.
        recipe_seeds: Seeds of the published recipes at most.
        n_test_images: Images of all test sequences of a length, about.
        n_most: Test sequences of a length at most.
        n_least: Test sequences of a length at least.
    """

    passes: Passes
    recipe_seeds: int
    n_test_images: int
    n_most: int
    n_least: int


PLANS: dict[Size, Plan] = {
    "quick": Plan(
        Passes(values=14, levels=16, n_images=100, learning_rate=6e-3),
        recipe_seeds=1,
        n_test_images=20_000,
        n_most=1_000,
        n_least=200,
    ),
    "full": Plan(
        Passes(values=3, levels=8, n_images=500, learning_rate=3e-3),
        recipe_seeds=5,
        n_test_images=200_000,
        n_most=10_000,
        n_least=300,
    ),
}
"""Settings that were tried on the first seed."""


@dataclass
class TaskErrors:
    """What was measured of a task.

    Attributes:
        task: The task.
        rows: Row → errors at every length, one a seed.
        sources: Row of a published recipe → its paper.
        thresholds: Squared error below which the success rule says that a network succeeds; empty for counts.
        n_levels: Levels found, one number a seed.
        n_snapped: Seeds in which validation takes the snapped network.
        best: Our fit with the least error on held-out training sequences, and its seed.
        images: The images of the task.
    """

    task: DigitTask
    images: TaskImages
    rows: dict[str, list[AT_EVERY_LENGTH]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    thresholds: dict[int, float] = field(default_factory=dict)
    n_levels: list[int] = field(default_factory=list)
    n_snapped: int = 0
    best: tuple[OurFit, int] | None = None

    def add(self, row: str, errors: AT_EVERY_LENGTH) -> None:
        """Take the errors of a seed."""
        self.rows.setdefault(row, []).append(errors)

    def offer(self, fitted: OurFit, seed: int) -> None:
        """Take what is told of our fit, and keep it where validation likes it best."""
        self.n_levels.append(len(fitted.levels))
        self.n_snapped += fitted.accepts_snapping
        if self.best is None or fitted.validation_error < self.best[0].validation_error:
            self.best = (fitted, seed)

    def succeeded(self, row: str, length: int, *, strictly: bool = False) -> list[bool]:
        """Return which seeds succeed at a length by the rule of Madsen and Johansen.

        Args:
            row: The row.
            length: The length.
            strictly: Whether the threshold comes from the labelled classifier instead of networks that learn from
                results.
        """
        threshold = (
            upper_bound([errors[length].squared for errors in self.rows[BY_HAND]])
            if strictly
            else self.thresholds[length]
        )
        return [errors[length].squared < threshold for errors in self.rows[row]]


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        size: Size of the experiment.
        seeds: Seeds of our fits and of the references.
        plan: The size's settings.
        source: Which images.
        n_train: Images that train.
        accuracy: Share of all test images that the labelled classifier reads rightly, one a seed.
        tasks: Errors, task by task.
    """

    size: Size
    seeds: int
    plan: Plan
    source: str
    n_train: int
    accuracy: list[float]
    tasks: list[TaskErrors]

    @property
    def recipe_seeds(self) -> int:
        """Seeds of the published recipes."""
        return min(self.seeds, self.plan.recipe_seeds)


def digit_images(size: Size) -> DigitImages:
    """Return the images of a size: MNIST for the full one where it lies on disk, else the small digits."""
    return (find_mnist() if size == "full" else None) or small_digits()


def measure(size: Size, seeds: int, progress: Progress) -> Measured:
    """Make all fits and judge them."""
    found = begin(size, seeds)
    progress.start("digits", n_passes(found))
    for seed in range(seeds):
        measure_ours(found, seed, progress)
    for one in found.tasks:
        measure_recipes(found, one, progress)
    return found


def begin(size: Size, seeds: int) -> Measured:
    """Return what nothing was measured of yet."""
    digits, plan = digit_images(size), PLANS[size]
    one_by_one: list[TaskErrors] = []
    for task in tasks(long=size == "full"):
        alike = [one.images for one in one_by_one if one.task.digits == task.digits]
        images = alike[0].of(task) if alike else task_images(task, digits)
        one_by_one.append(TaskErrors(task, images))
    n_train = len(one_by_one[0].images.train.images)
    return Measured(size, seeds, plan, digits.source, n_train, [], one_by_one)


def n_passes(found: Measured) -> int:
    """Return the number of passes over the images in all."""
    n_fits = found.seeds * (1 + len(found.tasks) + len(SOLVED)) + found.recipe_seeds * len(_recipes(found))
    return n_fits * found.plan.passes.total


def measure_ours(found: Measured, seed: int, progress: Progress) -> None:
    """Make our fits of a seed, and the classifier that is told every digit."""
    passes = found.plan.passes
    classifier = fit_classifier(found.tasks[0].images, seed, passes)
    progress.advance(f"seed {seed}: labelled classifier", passes.total)
    for one in found.tasks:
        sequences = _test_sequences(found, one)
        one.add(BY_HAND, judge(by_hand(classifier, one.task), sequences))
        fitted = fit_ours(one.images, seed, passes, partial(_advance, progress, seed))
        one.offer(fitted, seed)
        for row, network in zip(OURS, (fitted.values, fitted.soft, fitted.snapped), strict=True):
            one.add(row, judge(network, sequences))
    found.accuracy.append(found.tasks[0].rows[BY_HAND][-1][1].right)


def measure_recipes(found: Measured, one: TaskErrors, progress: Progress) -> None:
    """Make the baseline of a task's success rule and its published recipes, all seeds of them."""
    sequences, passes = _test_sequences(found, one), found.plan.passes
    for solved in SOLVED:
        if solved.task == one.task.name:
            losses = _fit_and_judge(solved, one, sequences, found.seeds, passes, progress)
            one.thresholds = thresholds(one.task, one.rows[solved.label], losses)
    for recipe in _recipes(found):
        if recipe.task == one.task.name:
            one.sources[recipe.label] = recipe.source
            _fit_and_judge(recipe, one, sequences, found.recipe_seeds, passes, progress)


def _advance(progress: Progress, seed: int, what: str) -> None:
    progress.advance(f"seed {seed}: {what}")


def _recipes(found: Measured) -> list[Recipe]:
    return [recipe for recipe in RECIPES if recipe.quick or found.size == "full"]


def _test_sequences(found: Measured, one: TaskErrors) -> JudgedSequences:
    plan = found.plan
    return draw_test(one.images.test, plan.n_test_images, plan.n_most, plan.n_least)


def _fit_and_judge(
    recipe: Recipe, one: TaskErrors, sequences: JudgedSequences, seeds: int, passes: Passes, progress: Progress
) -> list[float]:
    """Return the squared errors on held-out training sequences, one a seed."""
    losses = []
    for seed in range(seeds):
        fit = fit_recipe(recipe, one.images, seed, passes)
        losses.append(fit.validation_loss)
        one.add(recipe.label, judge(fit.network, sequences))
        progress.advance(f"seed {seed}: {one.task.name} {recipe.label}", passes.total)
    return losses
