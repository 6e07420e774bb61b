"""The experiment: counts, sums and products over images of digits."""

import json
from functools import partial

from training.named_data import DATA_DIR_VARIABLE
from training.publish_sequence import png_of
from training.reproduce.digits.measuring import Measured, TaskErrors, measure
from training.reproduce.digits.publishing import model_name, publish_task
from training.reproduce.digits.tables import all_claims, all_panels, all_tables
from training.reproduce.experiment import Progress, Result
from training.reproduce.outcome import Outcome, Served, Size

_SEEDS: dict[Size, int] = {"quick": 2, "full": 10}


class DigitsExperiment:
    """Arithmetic over images of digits, learned from the results of whole sequences."""

    name = "digits"
    title = "counts, sums and products of handwritten digits"

    def default_seeds(self, size: Size) -> int:
        """Return the seeds run where no number is asked for."""
        return _SEEDS[size]

    def run(self, size: Size, seeds: int, progress: Progress) -> Result:
        """Run it."""
        return result_of(measure(size, seeds, progress))


DIGITS = DigitsExperiment()


def result_of(found: Measured) -> Result:
    """Return what was measured as an outcome, and the models to serve."""
    return Result(
        outcome=Outcome(
            name=DigitsExperiment.name,
            title=DigitsExperiment.title,
            about=_about(found),
            size=found.size,
            seeds=found.seeds,
            setup=_setup(found),
            tables=all_tables(found),
            claims=all_claims(found),
            panels=all_panels(found),
            served=tuple(Served(model=model_name(one.task), request=_request(one)) for one in found.tasks),
        ),
        models=tuple(partial(publish_task, found=found, one=one) for one in found.tasks),
    )


def _about(found: Measured) -> tuple[str, ...]:
    plan = found.plan
    accuracy = 100 * sum(found.accuracy) / len(found.accuracy)
    return (
        "A network sees a sequence of images of digits and gives how often each digit appears, their sum, or their "
        "product; it is told the result of a sequence and never a digit.",
        f"The images are {found.source}, {found.n_train:,} of them to learn from; sequences are drawn afresh in every "
        f"pass, with {found.tasks[0].task.train_length} images (2 for products, which leave out 0), and tested with "
        "other images at other lengths.",
        "The bound is what the same architecture reaches when it is trained on the label of every image and the "
        f"arithmetic is done by hand: it reads {accuracy:.2f} % of the test images rightly.",
        "Our fit first learns numbers by the squared error of the results, as the recipes do, with the arithmetic "
        "fixed; then it takes the whole numbers that many images are near to as levels and goes on by the likelihood "
        "of the results over what the images may stand for; then an image stands for its likeliest level, so that a "
        "sequence of any length is exactly right for as long as its images are read rightly.",
        "The levels and the snapping are this project's own step and no part of the published recipes, and have rows "
        f"of their own; validation on held-out sequences of the training length takes the snapped network in "
        f"{_snapped(found)} seeds.",
        f"All rows have the same image reader and {plan.passes.total} passes over the images.",
    )


def _snapped(found: Measured) -> str:
    return ", ".join(f"{one.n_snapped} of {found.seeds} ({one.task.name})" for one in found.tasks)


def _setup(found: Measured) -> tuple[str, ...]:
    plan = found.plan
    setup = [
        "The image reader is smaller than the papers' (16 and 32 channels with a stride, 64 features, instead of 20 "
        "and 50 channels with pooling, 500 features), and all of its rows share it.",
        f"{plan.passes.total} passes over the images instead of up to 1,000 epochs, with about "
        f"{plan.passes.n_images} images a batch and a step size of {plan.passes.learning_rate:g} that falls along a "
        "half cosine, instead of 64 sequences and 0.001; regularisers keep their factors and their place in the run.",
        f"Published recipes have {found.recipe_seeds} seeds, all other rows {found.seeds}.",
        "The LSTM has 32 hidden units and a linear layer behind them; in the code of arXiv:2001.05016 an LSTM has "
        "one, whose output cannot leave −1 to 1.",
        "Recipes of arXiv:1808.00508 (counts) learn from the last result; those of arXiv:2001.05016 (sums, products) "
        "and the baseline of its success rule learn from the result after every image, as its code does, so that the "
        "first image of each sequence comes with its label.",
        "Test sequences are drawn with replacement from the test images, the same for all rows and seeds; in the code "
        "of arXiv:2001.05016 they are cut from one permutation, ten at length 1,000.",
        "The success rule takes Student's t with the degrees of freedom of the seeds that solved the baseline (the "
        "code always takes eight).",
        "The operation is given to all rows: the accumulator of ours adds for counts and sums and multiplies for "
        "products; products are learned as sums of logarithms.",
    ]
    if found.source != "MNIST":
        setup.insert(
            0,
            f"The images are {found.source} instead of MNIST: the full size takes MNIST where the folder that "
            f"{DATA_DIR_VARIABLE} names holds it.",
        )
    return tuple(setup)


def _request(one: TaskErrors) -> str:
    test = one.images.test
    return json.dumps(
        {"model": model_name(one.task), "rows": [{"images": [png_of(image.numpy()) for image in test.images[:2]]}]}
    )
