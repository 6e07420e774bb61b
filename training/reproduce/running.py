"""Runs an experiment: its outcome with time and machine, and its models published."""

import time
from datetime import UTC, datetime

import torch

from models.contract.manifest import ModelManifest
from models.contract.repository import ModelRepository
from training.bench.results import machine
from training.reproduce.experiment import Experiment, Progress
from training.reproduce.outcome import Record, Size


def run_experiment(
    experiment: Experiment,
    size: Size,
    seeds: int | None,
    progress: Progress,
    *,
    command: str,
    repository: ModelRepository | None = None,
) -> tuple[Record, list[ModelManifest]]:
    """Run an experiment on one thread and publish its models where a repository is given.

    Args:
        experiment: The experiment.
        size: "quick" or "full".
        seeds: Number of seeds; the experiment's own where None.
        progress: Told how far it is.
        command: Command line to keep with the result.
        repository: Where to publish; None for nowhere.

    Raises:
        ExportError: When a model's graph cannot be made or does not answer as torch does.
        PublicationError: When the repository cannot be written.
    """
    torch.set_num_threads(1)
    if repository is not None:
        repository.check_writable()
    started, processor = time.perf_counter(), time.process_time()
    result = experiment.run(size, seeds or experiment.default_seeds(size), progress)
    record = Record(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        seconds=round(time.perf_counter() - started, 1),
        cpu_seconds=round(time.process_time() - processor, 1),
        machine=machine(),
        outcome=result.outcome,
    )
    return record, [publish(repository) for publish in result.models] if repository is not None else []
