"""A run on a user's table: look for the exact law of one column, certify and publish it, or say that there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from models.contract.manifest import Dtype, ModelManifest, NumberColumn, OutputColumn, Provenance
from models.formula import name_text
from training.config import ExactConfig, LawConfig
from training.datasets import MIN_ROWS, load_training_table
from training.errors import TrainingDataError
from training.evaluation.metrics import regression_metrics
from training.fitting.exact import ExactSettings, fit_exact
from training.fitting.factored_law import FACTORED
from training.fitting.law import Floats
from training.fitting.outcome import Found, NotFound
from training.fitting.selection import Progress
from training.fitting.structures import STRUCTURES
from training.law_model import LawModel, law_model, law_report
from training.parity import GraphRunner, RawRows
from training.publish import FittedModel, library_versions, publish, report_json
from training.runs import config_report, name_after, save_run

_FAR = 10.0
"""Multiple of the rows at which parity is checked outside their range."""


@dataclass(frozen=True)
class LawResult:
    """What a run gave.

    Attributes:
        manifest: The published model.
        folder: The run's folder.
        report: Its report.
    """

    manifest: ModelManifest
    folder: Path
    report: dict[str, Any]


@dataclass(frozen=True)
class _Rows:
    names: tuple[str, ...]
    inputs: Floats
    targets: Floats
    source: str
    sha256: str
    notes: list[str]


def run_law(config: LawConfig, progress: Progress) -> LawResult:
    """Look for the exact law of a table's column and publish it.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When it has no number columns to look in, or too few complete rows.
        ConfigError: When a structure is unknown.
        NotFoundError: When nothing exact was found and `allow_inexact` is not set.
        UnprovenError: When a law was found whose graph does not hold what it promises.
        PublicationError: When the repository cannot be written.
    """
    name = name_after(config.name, config.data)
    repository = config.open_repository()
    torch.set_num_threads(config.threads)
    rows = _read(config)
    settings = exact_settings(config)
    progress.start(f"find the law of {config.target}", len(settings.structures))
    outcome = fit_exact(rows.inputs, rows.targets, seed=config.seed, settings=settings, names=rows.names)
    progress.finish(search_summary(outcome))
    law = law_model(
        outcome,
        rows.names,
        rows.inputs,
        dtype=config.dtype,
        seed=config.seed,
        allow_inexact=config.allow_inexact,
        remedy=_remedy(settings),
        only_used=True,
    )
    model = _fitted(config, name, rows, outcome, law)
    report = {
        "task": model.provenance.task,
        "config": config_report(config),
        "data_sha256": rows.sha256,
        "formula": None if law.formula is None else law.formula.text,
        "remark": law.remark,
        "notes": rows.notes,
        **law_report(outcome, rows.names),
        "certificate": None if law.certificate is None else law.certificate.model_dump(mode="json"),
        "versions": library_versions(),
    }
    manifest = publish(repository, model.created_at(datetime.now(UTC)), config.dtype, report, {})
    folder = save_run(config.runs, name, config, {"report.json": report_json(report)})
    return LawResult(manifest, folder, report)


def exact_settings(config: ExactConfig) -> ExactSettings:
    """Return the search's settings that a config gives."""
    structures = config.structures
    if config.factored:
        structures = tuple(dict.fromkeys((*(structures or STRUCTURES), FACTORED)))
    given: dict[str, Any] = {
        "structures": structures,
        "max_terms": config.max_terms,
        "n_restarts": config.restarts,
        "noise": config.noise,
    }
    return ExactSettings(**{key: value for key, value in given.items() if value is not None})


def search_summary(outcome: Found | NotFound) -> str:
    """Return what a search chose, in a few words."""
    n_tried = len(outcome.report.candidates)
    fits = f"{n_tried} fit{'s' if n_tried != 1 else ''}"
    if isinstance(outcome, Found):
        return f"{outcome.snapped.structure} after {fits}"
    return f"{outcome.ordinary.structure} (no exact law) after {fits}"


def _read(config: LawConfig) -> _Rows:
    table = load_training_table(config.data, [config.target], drop=config.drop, numbers=config.numbers)
    notes = list(table.notes)
    notes += [f"column {name!r} holds text and takes no part" for name in table.category_names]
    if not table.number_names:
        msg = f"a law needs a column of numbers to start from, however {table.source} has none beside {config.target!r}"
        raise TrainingDataError(msg)
    complete = np.flatnonzero(np.isfinite(table.numeric).all(axis=1))
    if len(complete) < table.n_rows:
        notes.append(f"{table.n_rows - len(complete)} of {table.n_rows} rows take no part: a number is missing")
    if len(complete) < MIN_ROWS:
        msg = (
            f"a law needs at least {MIN_ROWS} rows without a missing number, however {table.source} has "
            f"{len(complete)}; drop the columns that miss most with --drop"
        )
        raise TrainingDataError(msg)
    return _Rows(
        table.number_names,
        table.numeric[complete],
        table.targets[complete, 0],
        table.source,
        table.sha256,
        notes,
    )


def _fitted(config: LawConfig, name: str, rows: _Rows, outcome: Found | NotFound, law: LawModel) -> FittedModel:
    return fitted_law(
        name,
        law,
        rows.inputs[:, law.positions],
        rows.targets,
        target=config.target,
        dtype=config.dtype,
        description=_description(config, rows, outcome, law),
        units=config.units,
        provenance=Provenance(
            task=f"law of {config.target} in {rows.source}",
            n_rows=len(rows.inputs),
            data_sha256=rows.sha256,
            seed=config.seed,
            versions=library_versions(),
            note=config.note,
        ),
    )


def fitted_law(
    name: str,
    law: LawModel,
    inputs: Floats,
    targets: Floats,
    *,
    target: str,
    dtype: Dtype,
    description: str,
    provenance: Provenance,
    units: Mapping[str, str] = MappingProxyType({}),
) -> FittedModel:
    """Return a law as a model to publish.

    Args:
        name: Name to publish under.
        law: The law.
        inputs: Rows of the inputs that it keeps, shape (n, inputs kept).
        targets: Results of the rows, shape (n,).
        target: Name of the output.
        dtype: Floating-point type of the graph.
        description: One sentence for people.
        provenance: Where it comes from.
        units: Column → unit of measurement.
    """
    predictions = GraphRunner(law.graph(dtype), dtype)(RawRows(inputs)).astype(np.float64)
    return FittedModel(
        name=name,
        kind="arithmetic",
        description=description,
        network=law.law.network(),
        lowered=law.lowered,
        inputs=tuple(
            NumberColumn(
                name=column,
                unit=units.get(column),
                minimum=inputs[:, j].min(),
                maximum=inputs[:, j].max(),
                domain=law.domain.inputs.get(column),
            )
            for j, column in enumerate(law.names)
        ),
        outputs=(OutputColumn(name=target, unit=units.get(target), minimum=targets.min(), maximum=targets.max()),),
        regions={"inside": RawRows(inputs), "outside": RawRows(_FAR * inputs)},
        metrics={"inside": regression_metrics(targets[:, None], predictions, (target,))},
        formula=law.formula,
        certificate=law.certificate,
        provenance=provenance,
    )


def _remedy(settings: ExactSettings) -> str:
    factored = "" if FACTORED in settings.structures else "look for numbers of any size with --factored, "
    return f"{factored}give more rows, look through noise with `nalu train table`"


def _description(config: LawConfig, rows: _Rows, outcome: Found | NotFound, law: LawModel) -> str:
    where = f"{len(rows.inputs)} rows of {rows.source}"
    if law.formula is None or not isinstance(outcome, Found):
        return f"An approximation of {name_text(config.target)}, not an exact law: {law.remark} ({where})."
    noise = f", through noise of {outcome.noise:.2g}" if outcome.noise else ""
    outliers = f", {outcome.outlier_share:.2%} of them not explained" if outcome.outlier_share else ""
    text = law.formula.text if len(law.formula.text) <= 200 else "a law"
    return f"{name_text(config.target)} = {text}, found in {where}{noise}{outliers}."
