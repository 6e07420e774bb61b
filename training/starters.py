"""The starter models kept in git: seven operations, a small model of the synthetic forging data, and numbers in words.

They are published without a time, so that the same release on the same machine makes them again byte for byte.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from models.contract.manifest import ModelManifest
from models.contract.repository import ModelRepository
from training.arithmetic_run import fit_arithmetic
from training.config import ArithmeticConfig, TableConfig
from training.fitting.selection import Progress
from training.publish import FittedModel, publish
from training.reproduce.number_words.serving import UNIT_MODEL, publish_unit
from training.table_run import fit_table
from training.tasks.arithmetic import OPERATIONS
from training.tasks.forging import FORGING_TARGETS, FORGING_UNITS, SYNTHETIC_NOTE, make_forging

FORGING = "forging"

TEXT_MODEL = UNIT_MODEL
"""The starter model that takes texts: `training.reproduce.number_words` finds and publishes it."""

_FORGING_ROWS = 4000
"""Enough for the trunk's few hundred weights, and fitted in seconds, so that a test can make it again."""


def starter_names() -> tuple[str, ...]:
    """Return the names of the starter models that take rows."""
    return (*OPERATIONS, FORGING)


def fit_starter(
    name: str, progress: Progress, *, measure_outside: bool = True
) -> tuple[FittedModel, dict[str, object]]:
    """Fit one starter model that takes rows.

    Args:
        name: One of `starter_names()`.
        progress: Told how the fits go on.
        measure_outside: Whether to measure the forging model's error outside its range, which takes a second fit.

    Returns:
        The fitted model and its report.
    """
    if name != FORGING:
        model, report, _ = fit_arithmetic(ArithmeticConfig(operation=name), progress)
        del report["seconds"]  # what differs from run to run
        return model, report
    with TemporaryDirectory() as folder:
        data = Path(folder) / f"{FORGING}.csv"
        make_forging(data, _FORGING_ROWS, seed=0)
        config = TableConfig(
            data=Path(data.name),
            targets=FORGING_TARGETS,
            units=dict(FORGING_UNITS),
            note=SYNTHETIC_NOTE,
            family="network",
            restarts=1,
            max_epochs=100,
            residual=8,
            power_terms=2,
            outside=measure_outside,
        )
        model, report = fit_table(config.model_copy(update={"data": data}), progress)
    return model, report | {"config": config.model_dump(mode="json")}


def make_starters(repository: ModelRepository, progress: Progress) -> list[ModelManifest]:
    """Fit and publish every starter model, each as the next version of its name.

    Raises:
        PublicationError: When the repository cannot be written.
    """
    repository.check_writable()
    manifests = []
    for name in starter_names():
        model, report = fit_starter(name, progress)
        manifests.append(publish(repository, model, "float64", report, {}))
    manifests.append(publish_unit(repository))
    return manifests
