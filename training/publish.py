"""A fitted model → a published one: export, parity, manifest, one step into the repository."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Literal, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from models.contract.dates import date_text
from models.contract.manifest import (
    TRUST_FORMAT_VERSION,
    CategoryColumn,
    Certificate,
    Column,
    DateColumn,
    Dtype,
    Formula,
    Graph,
    ModelManifest,
    OutputColumn,
    Provenance,
    Sample,
    row_format_version,
    tensor_numbers,
)
from models.contract.names import check_name
from models.contract.repository import ModelRepository
from models.contract.trust import Importance
from models.networks import ArithmeticNetwork
from training.evaluation.metrics import Metrics
from training.export import CategoryCodes, Signature, export_network
from training.lowering import lower_network
from training.parity import RTOL, GraphRunner, RawRows, check_parity, compare
from training.publish_trust import TrustParts, as_received, build_companion, trust_parts
from training.tabular.lowering import lower_table_model
from training.tabular.model import TabularModel
from training.tabular.trust import Trust

TABLE_RTOL: dict[Dtype, float] = {"float64": 1e-9, "float32": 1e-5}
"""Largest difference accepted between a tabular model and its graph, which computes in float64 whatever it takes: on
10,000 rows with gaps and unseen levels 1e-13 was measured in float64 and 6e-8, the answer's rounding, in float32."""

_N_SAMPLE_ROWS = 3
"""Rows that the service answers before a model is ready: enough to notice a wrong file, nothing to wait for."""


@dataclass(frozen=True)
class FittedModel:
    """A fitted model and all that its manifest says.

    Attributes:
        name: Name to publish under.
        kind: "arithmetic" or "tabular".
        description: One sentence for people.
        network: The network or the tabular model, fitted.
        inputs: Input columns.
        outputs: Output columns.
        regions: Raw rows by region for parity; the first rows of "inside" become the sample.
        metrics: Errors measured, by region.
        provenance: Where it comes from.
        formula: What it computes, or None.
        lowered: Whether the network is a snapped law, whose graph is of native operators.
        certificate: Proof that the graph computes the law exactly, or None.
        trust: What a tabular model says beside its answers, or None.
        importance: How much each column matters, the most first.
        leaderboard: Errors by region, then model, then output.
    """

    name: str
    kind: Literal["arithmetic", "tabular"]
    description: str
    network: nn.Module | TabularModel
    inputs: tuple[Column, ...]
    outputs: tuple[OutputColumn, ...]
    regions: Mapping[str, RawRows]
    metrics: dict[str, Metrics]
    provenance: Provenance
    formula: Formula | None = None
    lowered: bool = False
    certificate: Certificate | None = None
    trust: Trust | None = None
    importance: tuple[Importance, ...] = ()
    leaderboard: Mapping[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)

    @property
    def signature(self) -> Signature:
        """What the network takes."""
        return Signature(
            d_numeric=len(tensor_numbers(self.inputs)),
            categories=tuple(
                CategoryCodes(column.categories, column.may_be_missing)
                for column in self.inputs
                if isinstance(column, CategoryColumn)
            ),
        )

    def created_at(self, moment: datetime) -> "FittedModel":
        """Return the model with its time of publication; a starter model has none, to be re-made byte for byte."""
        provenance = self.provenance.model_copy(update={"created": moment.isoformat(timespec="seconds")})
        return replace(self, provenance=provenance)


def build(model: FittedModel, dtype: Dtype) -> tuple[ModelManifest, bytes, bytes | None]:
    """Export a fitted model, check parity and write its manifest.

    Args:
        model: The fitted model.
        dtype: Floating-point type of the graph.

    Returns:
        The manifest (version 1, replaced at publication), the ONNX file, and that of the companion where there is one.

    Raises:
        ExportError: When the graph cannot be made or does not answer as the network does.
        InvalidNameError: When the name cannot name a model.
    """
    check_name(model.name)
    scale = magnitudes(model.outputs)
    graph, parity = _exported(model, dtype, scale)
    rows = model.regions["inside"].take(np.arange(min(_N_SAMPLE_ROWS, len(model.regions["inside"]))))
    companion, parts = None, TrustParts()
    if model.trust is not None and isinstance(model.network, TabularModel):
        companion, terms = build_companion(
            model.network, model.trust, model.inputs, model.signature, dtype, model.regions
        )
        parts = trust_parts(model.trust, terms, describe_graph(companion, dtype))
    told = model.trust is not None or model.importance or model.leaderboard
    manifest = ModelManifest(
        format_version=TRUST_FORMAT_VERSION if told else row_format_version(model.inputs),
        name=model.name,
        version=1,
        kind=model.kind,
        description=model.description,
        inputs=model.inputs,
        outputs=model.outputs,
        graph=describe_graph(graph, dtype),
        formula=model.formula,
        certificate=model.certificate,
        joint_range=parts.joint_range,
        companion=parts.companion,
        intervals=parts.intervals,
        terms=parts.terms,
        importance=model.importance,
        leaderboard=dict(model.leaderboard),
        metrics=model.metrics,
        parity=parity,
        provenance=model.provenance,
        sample=Sample(
            rows=as_records(model.inputs, rows),
            predictions=tuple(tuple(float(y) for y in row) for row in GraphRunner(graph, dtype)(rows)),
            rtol=RTOL[dtype],
            atol=tuple(float(s) for s in RTOL[dtype] * scale),
        ),
    )
    return manifest, graph, companion


def _exported(model: FittedModel, dtype: Dtype, scale: NDArray[np.float64]) -> tuple[bytes, dict[str, float]]:
    """Return the graph, and how far it is from what was fitted."""
    network = model.network
    if isinstance(network, TabularModel):
        landmarks = None if model.trust is None else model.trust.landmarks
        graph = lower_table_model(network, model.signature, dtype, landmarks)
        reference = partial(_pipeline, network, dtype)
        return graph, compare(graph, {"numpy": reference}, dtype, model.regions, scale, TABLE_RTOL[dtype])
    if model.lowered:
        graph = lower_network(cast("ArithmeticNetwork", network), dtype)
    else:
        graph = export_network(network, model.signature, dtype)
    return graph, check_parity(graph, network, model.signature, dtype, dict(model.regions), scale)


def _pipeline(model: TabularModel, dtype: Dtype, rows: RawRows) -> NDArray[np.floating]:
    """Return what a tabular model answers for rows as a graph of the type receives them."""
    return model.predict(as_received(rows, dtype))


def magnitudes(outputs: Sequence[OutputColumn]) -> NDArray[np.float64]:
    """Return the magnitude of each output in training, shape (d_outputs,); differences far below it do not count."""
    return np.array([max(abs(column.minimum), abs(column.maximum), 1e-12) for column in outputs])


def describe_graph(graph: bytes, dtype: Dtype) -> Graph:
    """Return what the manifest says of an ONNX file."""
    proto = onnx.load_model_from_string(graph)
    return Graph(
        sha256=hashlib.sha256(graph).hexdigest(),
        n_bytes=len(graph),
        dtype=dtype,
        opset=next(entry.version for entry in proto.opset_import if entry.domain == ""),
        ir_version=proto.ir_version,
    )


def no_card(_manifest: ModelManifest) -> Mapping[str, bytes]:
    """Return no file: the card of a model that has none."""
    return {}


def publish(
    repository: ModelRepository,
    model: FittedModel,
    dtype: Dtype,
    report: dict[str, object],
    plots: Mapping[str, bytes],
    card: Callable[[ModelManifest], Mapping[str, bytes]] = no_card,
) -> ModelManifest:
    """Publish a fitted model with its report and plots; all of it appears at once, or nothing does.

    Args:
        repository: Where to.
        model: The model.
        dtype: Floating-point type of its graph.
        report: Becomes `report.json`.
        plots: More files by name.
        card: Returns the files of the model card, given the manifest without its version.

    Raises:
        ExportError: When the graph cannot be made or does not answer as the network does.
        PublicationError: When the repository cannot be written.
    """
    manifest, graph, companion = build(model, dtype)
    files = {"report.json": report_json(report), **plots, **card(manifest)}
    return repository.publish(manifest, graph, files, companion)


def report_json(report: dict[str, object]) -> bytes:
    """Return a report as UTF-8 JSON; a value that JSON cannot carry is a fault of ours and raises ValueError."""
    return (json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def library_versions() -> dict[str, str]:
    """Return the releases of what takes part in a run."""
    names = ("nalu-serving", "torch", "onnx", "onnxruntime", "numpy", "lightgbm")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def as_records(inputs: tuple[Column, ...], rows: RawRows) -> tuple[dict[str, float | str | None], ...]:
    """Return raw rows as records, missing values as None; a date must have the days elapsed among its numbers."""
    numeric = iter(np.empty((0, len(rows))) if rows.numeric is None else rows.numeric.T)
    text = iter(np.empty((0, len(rows)), dtype=object) if rows.text is None else rows.text.T)
    columns: dict[str, Sequence[object]] = {}
    for column in inputs:
        if isinstance(column, DateColumn):
            parts = {part.name: next(numeric) for part in column.parts}
            columns[column.name] = [
                "" if np.isnan(days) else date_text(column.origin, float(days)) for days in parts["elapsed_days"]
            ]
        else:
            columns[column.name] = list(next(text if isinstance(column, CategoryColumn) else numeric))
    return tuple({name: _plain(values[i]) for name, values in columns.items()} for i in range(len(rows)))


def _plain(value: object) -> float | str | None:
    if isinstance(value, str):
        return value or None
    number = float(value)  # type: ignore[arg-type]
    return None if np.isnan(number) else number
