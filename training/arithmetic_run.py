"""A run on an arithmetic operation: draw rows, find what computes them, judge far outside the range, publish."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.contract.manifest import Certificate, Domain, Formula, ModelManifest, NumberColumn, OutputColumn, Provenance
from models.contract.names import check_name
from models.formula import formula_of
from models.networks import ArithmeticNetwork
from training.arithmetic_first_order import search_units
from training.config import ArithmeticConfig
from training.errors import ConfigError
from training.evaluation.metrics import Metrics, finite_or_none, regression_metrics, relative_error
from training.evaluation.plots import relative_error_plot
from training.export import Signature, export_network
from training.fitting.exact import fit_exact
from training.fitting.selection import Progress
from training.law_model import law_model, law_report
from training.law_run import exact_settings, search_summary
from training.parity import GraphRunner, RawRows
from training.publish import FittedModel, library_versions, publish, report_json
from training.runs import config_report, save_run
from training.tasks.arithmetic import OPERATIONS, Operation

_FAR = (10.0, 1e3, 1e6)
"""Multiples of the training range at which the result is judged; they choose nothing."""

_N_FAR_ROWS = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ArithmeticResult:
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
class _Solution:
    """What a solver found.

    Attributes:
        name: What it is called in plot and report.
        network: The network.
        graph: Its ONNX file.
        lowered: Whether that is of native operators.
        formula: What it computes, or None.
        certificate: Proof that it is exact, or None.
        domains: Input name → values with an answer.
        remark: Why it is not exact, or None.
        report: What the solver did.
    """

    name: str
    network: nn.Module
    graph: bytes
    lowered: bool
    formula: Formula | None
    certificate: Certificate | None
    domains: Mapping[str, Domain]
    remark: str | None
    report: dict[str, Any]


def fit_arithmetic(
    config: ArithmeticConfig, progress: Progress
) -> tuple[FittedModel, dict[str, Any], dict[str, bytes]]:
    """Learn an operation without publishing it.

    Returns:
        The fitted model, its report and its plots.

    Raises:
        ConfigError: When the operation is unknown or not defined in the range.
        NotFoundError: When no exact law was found and `allow_inexact` is not set.
        FitError: When every first-order fit diverged.
    """
    operation = _operation(config.operation)
    torch.set_num_threads(config.threads)
    generator = np.random.default_rng(config.seed)
    n_held_out = max(8, config.rows // 4)
    train, validation, test = (
        operation.sample(config.low, config.high, n, generator) for n in (config.rows, n_held_out, n_held_out)
    )
    targets = operation.compute(train)
    if config.solver == "exact":
        solution = _exact(config, operation, train, progress)
    else:
        solution = _first_order(config, operation, train, validation, progress)
    far = {
        factor: operation.sample(config.low * factor, config.high * factor, _N_FAR_ROWS, generator) for factor in _FAR
    }
    run = GraphRunner(solution.graph, config.dtype)
    regions = {"inside": test} | {f"{factor:g}x": rows for factor, rows in far.items()}
    answers = {region: np.asarray(run(RawRows(rows))[:, 0], dtype=np.float64) for region, rows in regions.items()}
    errors = {region: relative_error(operation.compute(rows), answers[region]) for region, rows in regions.items()}
    nearest = f"{_FAR[0]:g}x"
    model = FittedModel(
        name=config.name or operation.name,
        kind="arithmetic",
        description=_description(config, operation, solution),
        network=solution.network,
        lowered=solution.lowered,
        inputs=tuple(
            NumberColumn(
                name=name, minimum=train[:, j].min(), maximum=train[:, j].max(), domain=solution.domains.get(name)
            )
            for j, name in enumerate(operation.inputs)
        ),
        outputs=(OutputColumn(name="y", minimum=targets.min(), maximum=targets.max()),),
        regions={"inside": RawRows(test), "outside": RawRows(far[_FAR[0]])},
        metrics={
            "inside": _metrics(operation.compute(test), answers["inside"], errors["inside"]),
            "outside": _metrics(operation.compute(far[_FAR[0]]), answers[nearest], errors[nearest]),
        },
        formula=solution.formula,
        certificate=solution.certificate,
        provenance=Provenance(
            task=f"arithmetic {operation.name}", n_rows=config.rows, seed=config.seed, versions=library_versions()
        ),
    )
    report = {
        "task": f"arithmetic {config.operation}",
        "config": config_report(config),
        "formula": None if solution.formula is None else solution.formula.text,
        "remark": solution.remark,
        "relative_error": {
            region: {"max": finite_or_none(error.max()), "median": finite_or_none(np.median(error))}
            for region, error in errors.items()
        },
        **solution.report,
        "certificate": None if solution.certificate is None else solution.certificate.model_dump(mode="json"),
        "versions": library_versions(),
    }
    magnitudes = np.concatenate([np.abs(rows).max(axis=1) for rows in regions.values()])
    plot = relative_error_plot(
        f"{operation.formula} by {solution.name}",
        max(abs(config.low), abs(config.high)),
        magnitudes,
        np.concatenate(list(errors.values())),
    )
    return model, report, {"error.png": plot}


def run_arithmetic(config: ArithmeticConfig, progress: Progress) -> ArithmeticResult:
    """Learn an operation, publish it and keep the run's folder.

    Raises:
        ConfigError: When the operation is unknown or not defined in the range.
        NotFoundError: When no exact law was found and `allow_inexact` is not set.
        FitError: When every first-order fit diverged.
        ExportError: When the graph does not answer as the network does.
        PublicationError: When the repository cannot be written.
    """
    check_name(config.name or _operation(config.operation).name)
    repository = config.open_repository()
    model, report, plots = fit_arithmetic(config, progress)
    model = model.created_at(datetime.now(UTC))
    manifest = publish(repository, model, config.dtype, report, plots)
    folder = save_run(config.runs, model.name, config, {"report.json": report_json(report), **plots})
    return ArithmeticResult(manifest, folder, report)


def _operation(name: str) -> Operation:
    try:
        return OPERATIONS[name]
    except KeyError:
        msg = f"the operation must be one of {', '.join(OPERATIONS)}, however: {name}"
        raise ConfigError(msg) from None


def _exact(config: ArithmeticConfig, operation: Operation, train: Floats, progress: Progress) -> _Solution:
    settings = exact_settings(config)
    progress.start(f"fit {operation.name}", len(settings.structures))
    outcome = fit_exact(train, operation.compute(train), seed=config.seed, settings=settings, names=operation.inputs)
    progress.finish(search_summary(outcome))
    law = law_model(
        outcome,
        operation.inputs,
        train,
        dtype=config.dtype,
        seed=config.seed,
        allow_inexact=config.allow_inexact,
    )
    report = law_report(outcome, operation.inputs)
    return _Solution(
        report["chosen"],
        law.law.network(),
        law.graph(config.dtype),
        law.lowered,
        law.formula,
        law.certificate,
        law.domain.inputs,
        law.remark,
        report,
    )


def _first_order(
    config: ArithmeticConfig, operation: Operation, train: Floats, validation: Floats, progress: Progress
) -> _Solution:
    selection = search_units(config, operation, train, validation, progress)
    network = cast("ArithmeticNetwork", selection.network)  # every candidate builds one
    terms = network.terms(operation.inputs)
    return _Solution(
        selection.candidate,
        network,
        export_network(network, Signature(len(operation.inputs)), config.dtype),
        False,
        None if terms is None else formula_of(terms),
        None,
        operation.domains,
        "first-order steps prove nothing",
        {
            "chosen": selection.candidate,
            "validation_loss": selection.validation_loss,
            "weights": [weights.tolist() for weights in network.effective_weights()],
            "trials": [trial.as_dict() for trial in selection.trials],
        },
    )


def _description(config: ArithmeticConfig, operation: Operation, solution: _Solution) -> str:
    rows = f"{config.rows} rows with inputs from {config.low:g} to {config.high:g}"
    if config.solver == "exact" and solution.certificate is None:
        return f"An approximation of {operation.formula}, not an exact law: {solution.remark} ({rows})."
    text = operation.formula if solution.formula is None else solution.formula.text
    return f"{text}, learned from {rows}."


def _metrics(targets: Floats, answers: Floats, error: Floats) -> Metrics:
    metrics = regression_metrics(targets[:, None], answers[:, None], ("y",))
    worst = float(error.max())
    if np.isfinite(worst):
        metrics["y"]["max_relative_error"] = worst
    return metrics
