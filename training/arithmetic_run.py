"""A run on an arithmetic operation: draw rows, try units, judge far outside the range, publish."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.contract.manifest import ModelManifest, NumberColumn, OutputColumn, Provenance
from models.contract.repository import ModelRepository, check_name
from models.formula import formula_of
from models.networks import ArithmeticNetwork
from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU
from training import oracle
from training.config import ArithmeticConfig
from training.errors import ConfigError
from training.evaluation.metrics import Metrics, finite_or_none, regression_metrics, relative_error
from training.evaluation.plots import relative_error_plot
from training.fitting.first_order import FirstOrderConfig, Loss, Rows
from training.fitting.selection import Candidate, Progress, Selection, search
from training.parity import RawRows
from training.publish import FittedModel, library_versions, publish, report_json
from training.runs import config_report, save_run
from training.tasks.arithmetic import OPERATIONS, Operation

_EXACT_LOSS = 1e-26
"""Mean squared relative error that ends the search: 1e-13 a row, a few hundred units in the last place of float64."""

_PATIENCE = 300
"""Steps without a better validation loss that end a fit: a fit that converges improves on almost every step."""

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


def fit_arithmetic(
    config: ArithmeticConfig, progress: Progress
) -> tuple[FittedModel, dict[str, Any], dict[str, bytes]]:
    """Fit a network to an operation without publishing it.

    Returns:
        The fitted model, its report and its plots.

    Raises:
        ConfigError: When the operation is unknown or not defined in the range.
        FitError: When every fit diverged.
    """
    operation = _operation(config.operation)
    torch.set_num_threads(config.threads)
    generator = np.random.default_rng(config.seed)
    n_held_out = max(8, config.rows // 4)
    train, validation, test = (
        operation.sample(config.low, config.high, n, generator) for n in (config.rows, n_held_out, n_held_out)
    )
    targets = operation.compute(train)
    selection = search(
        _candidates(config, len(operation.inputs)),
        _rows(operation, train),
        _rows(operation, validation),
        _relative_loss(float(np.median(np.abs(targets)))),
        seed=config.seed,
        n_restarts=config.restarts,
        progress=progress,
        title=f"fit {operation.name}",
        good_enough=_EXACT_LOSS,
    )
    far = {
        factor: operation.sample(config.low * factor, config.high * factor, _N_FAR_ROWS, generator) for factor in _FAR
    }
    errors = {"inside": _error(selection.network, operation, test)}
    errors |= {f"{factor:g}x": _error(selection.network, operation, rows) for factor, rows in far.items()}
    metrics: dict[str, Metrics] = {
        "inside": _metrics(selection.network, operation, test, errors["inside"]),
        "outside": _metrics(selection.network, operation, far[_FAR[0]], errors[f"{_FAR[0]:g}x"]),
    }
    inside_rows, outside_rows = RawRows(test), RawRows(far[_FAR[0]])
    network = cast("ArithmeticNetwork", selection.network)  # every candidate builds one
    terms = network.terms(operation.inputs)
    model = FittedModel(
        name=config.name or operation.name,
        kind="arithmetic",
        description=(
            f"{operation.formula}, learned from {config.rows} rows with inputs from {config.low:g} to {config.high:g}."
        ),
        network=selection.network,
        inputs=tuple(
            NumberColumn(
                name=name, minimum=train[:, j].min(), maximum=train[:, j].max(), domain=operation.domains.get(name)
            )
            for j, name in enumerate(operation.inputs)
        ),
        outputs=(OutputColumn(name="y", minimum=targets.min(), maximum=targets.max()),),
        regions={"inside": inside_rows, "outside": outside_rows},
        metrics=metrics,
        formula=None if terms is None else formula_of(terms),
        provenance=Provenance(
            task=f"arithmetic {operation.name}", n_rows=config.rows, seed=config.seed, versions=library_versions()
        ),
    )
    report = _report(config, selection, network, errors)
    magnitudes = np.concatenate([np.abs(rows).max(axis=1) for rows in (test, *far.values())])
    plot = relative_error_plot(
        f"{operation.formula} by {selection.candidate}",
        max(abs(config.low), abs(config.high)),
        magnitudes,
        np.concatenate(list(errors.values())),
    )
    return model, report, {"error.png": plot}


def run_arithmetic(config: ArithmeticConfig, progress: Progress) -> ArithmeticResult:
    """Fit a network to an operation, publish it and keep the run's folder.

    Raises:
        ConfigError: When the operation is unknown or not defined in the range.
        FitError: When every fit diverged.
        ExportError: When the graph does not answer as the network does.
        PublicationError: When the repository cannot be written.
    """
    check_name(config.name or _operation(config.operation).name)
    repository = ModelRepository(config.repository)
    repository.check_writable()
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


def _rows(operation: Operation, inputs: Floats) -> Rows:
    return Rows((torch.as_tensor(inputs),), torch.as_tensor(operation.compute(inputs))[:, None])


def _relative_loss(typical: float) -> Loss:
    """Squared error over the target's magnitude, so that a quotient's few huge results do not drown the rest."""

    def loss(predictions: Tensor, targets: Tensor) -> Tensor:
        return torch.mean(((predictions - targets) / (targets.abs() + typical)) ** 2)

    return loss


def _candidates(config: ArithmeticConfig, d_inputs: int) -> list[Candidate]:
    smallest = float(np.finfo(np.float64).tiny)

    units: dict[str, Callable[[], list[ArithmeticUnit]]] = {
        "nac": lambda: [NAC(d_inputs, 1, dtype=torch.float64)],
        "nau": lambda: [NAU(d_inputs, 1, dtype=torch.float64)],
        "nmu": lambda: [NMU(d_inputs, 1, dtype=torch.float64)],
        "real_npu": lambda: [RealNPU(d_inputs, 1, epsilon=smallest, initialisation="nau", dtype=torch.float64)],
        "modified_real_npu": lambda: [
            RealNPU(d_inputs, 1, epsilon=smallest, clip_weights=True, initialisation="nau", dtype=torch.float64)
        ],
        "nau_nmu": lambda: [NAU(d_inputs, 2, dtype=torch.float64), NMU(2, 1, dtype=torch.float64)],
        "nalu": lambda: [NALU(d_inputs, 1, dtype=torch.float64)],
    }

    def build(kind: str, generator: torch.Generator) -> ArithmeticNetwork:
        made = units[kind]()
        for unit in made:
            unit.reset_parameters(generator)
        return ArithmeticNetwork(made)

    settings = FirstOrderConfig(
        max_epochs=config.max_epochs,
        learning_rate=3e-2,
        patience=_PATIENCE,
        polish_steps=200,
        target_loss=_EXACT_LOSS,
    )
    return [Candidate(kind, partial(build, kind), settings) for kind in config.units]


def _error(network: nn.Module, operation: Operation, inputs: Floats) -> Floats:
    return relative_error(operation.compute(inputs), _answer(network, inputs))


def _answer(network: nn.Module, inputs: Floats) -> Floats:
    return np.asarray(oracle.answer(network, inputs)[:, 0], dtype=np.float64)


def _metrics(network: nn.Module, operation: Operation, inputs: Floats, error: Floats) -> Metrics:
    targets = operation.compute(inputs)[:, None]
    metrics = regression_metrics(targets, _answer(network, inputs)[:, None], ("y",))
    worst = float(error.max())
    if np.isfinite(worst):
        metrics["y"]["max_relative_error"] = worst
    return metrics


def _report(
    config: ArithmeticConfig, selection: Selection, network: ArithmeticNetwork, errors: dict[str, Floats]
) -> dict[str, Any]:
    return {
        "task": f"arithmetic {config.operation}",
        "config": config_report(config),
        "chosen": selection.candidate,
        "validation_loss": selection.validation_loss,
        "weights": [weights.tolist() for weights in network.effective_weights()],
        "relative_error": {
            region: {"max": finite_or_none(error.max()), "median": finite_or_none(np.median(error))}
            for region, error in errors.items()
        },
        "trials": [trial.as_dict() for trial in selection.trials],
        "versions": library_versions(),
    }
