"""The models to serve: images in, counts, a sum or a product out."""

from datetime import UTC, datetime

from models.contract.manifest import ImagesColumn, ModelManifest, OutputColumn, Provenance
from models.contract.repository import ModelRepository
from training.publish import library_versions
from training.publish_sequence import FittedSequence, publish_sequence
from training.reproduce.digits.judging import Errors
from training.reproduce.digits.measuring import OURS, Measured, TaskErrors
from training.reproduce.digits.task import DigitTask

_N_EXAMPLES = 3

_N_DRAWN = 10_000
"""Training sequences that the range of the results is taken from."""


def model_name(task: DigitTask) -> str:
    """Return the name that a task's model is published under."""
    return f"digit-{task.name}"


def output_names(task: DigitTask) -> tuple[str, ...]:
    """Return the names of a model's outputs."""
    return tuple(f"n_{digit}" for digit in task.digits) if task.one_hot else (task.name,)


def publish_task(repository: ModelRepository, *, found: Measured, one: TaskErrors) -> ModelManifest:
    """Publish the network of a task that validation on training sequences likes best among the seeds.

    Raises:
        ExportError: When the graph cannot be made or does not answer as torch does.
        PublicationError: When the repository cannot be written.
    """
    model = fitted_task(found, one)
    report: dict[str, object] = {
        "task": model.provenance.task,
        "images": found.source,
        "seeds": found.seeds,
        "metrics": model.metrics,
        "versions": library_versions(),
    }
    return publish_sequence(repository, model, report, {}, created=datetime.now(UTC))


def fitted_task(found: Measured, one: TaskErrors) -> FittedSequence:
    """Return the network of a task with all that its manifest says."""
    assert one.best is not None  # noqa: S101 # there is a seed
    fitted, seed = one.best
    network = fitted.chosen
    task, train = one.task, one.images.train
    height, width = train.images.shape[1:]
    index = train.draw(_N_DRAWN, task.train_length, task.generator(0, "examples"))
    results = train.results(index)
    errors = one.rows[OURS[2] if fitted.accepts_snapping else OURS[1]][seed]
    inside = task.train_length
    outside = max(task.lengths)
    return FittedSequence(
        name=model_name(task),
        description=f"{task.title[0].upper()}{task.title[1:]} in a sequence of images ({found.source}), learned from "
        f"the results of sequences of {inside} images.",
        network=network,
        input=ImagesColumn(name="images", minimum_length=inside, maximum_length=inside, height=height, width=width),
        outputs=tuple(
            OutputColumn(name=name, minimum=float(column.min()), maximum=float(column.max()))
            for name, column in zip(output_names(task), results.unbind(1), strict=True)
        ),
        examples=[train.images[one].numpy() for one in index[:_N_EXAMPLES]],
        metrics={
            f"length {length}": dict.fromkeys(output_names(task), _metrics(errors[length]))
            for length in (inside, outside)
        },
        provenance=Provenance(
            task=f"digits {task.name}, {found.source}",
            n_rows=len(train.images),
            seed=seed,
            versions=library_versions(),
            note=f"Its {len(fitted.levels)} levels and the snapping to them are steps of this project's own fit.",
        ),
    )


def _metrics(errors: Errors) -> dict[str, float]:
    return {"mae": errors.absolute, "rmse": errors.squared**0.5}
