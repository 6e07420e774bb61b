"""A fitted network for sequences → a published model: export, parity, manifest, one step into the repository."""

import base64
import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract.manifest import (
    SEQUENCE_FORMAT_VERSION,
    Formula,
    ImagesColumn,
    ModelManifest,
    OutputColumn,
    Provenance,
    Sample,
    SequenceColumn,
    TextColumn,
    Value,
)
from models.contract.names import check_name
from models.contract.repository import ModelRepository
from models.networks import SequenceNetwork
from training.errors import ExportError
from training.evaluation.metrics import Metrics
from training.parity import RTOL as ROWS_RTOL
from training.parity import load_graph
from training.publish import describe_graph, magnitudes, report_json
from training.sequence_export import check_parts, dtype_of, export_sequence, input_dtype, step_shape, tensor_of
from training.sequence_parity import RTOL, check_sequence_parity

N_SAMPLE_ROWS = 3
"""Examples that the service answers before a model is ready, and that its manifest shows."""

Example = str | NDArray[np.generic]
"""A text, or an array of shape (length, d_numbers) in raw units or (length, height, width) from 0 to 1."""


@dataclass(frozen=True)
class FittedSequence:
    """A network for sequences and all that its manifest says.

    Attributes:
        name: Name to publish under.
        description: One sentence for people.
        network: The network, fitted; its type is that of the graph.
        input: The column of sequences that it takes.
        outputs: Output columns.
        examples: Sequences seen in training, at least one; all are compared, the first three are shown.
        metrics: Errors measured, by region.
        provenance: Where it comes from.
        formula: What it computes, or None.
    """

    name: str
    description: str
    network: SequenceNetwork
    input: SequenceColumn
    outputs: tuple[OutputColumn, ...]
    examples: Sequence[Example]
    metrics: dict[str, Metrics]
    provenance: Provenance
    formula: Formula | None = None


def publish_sequence(
    repository: ModelRepository,
    model: FittedSequence,
    report: dict[str, object],
    plots: Mapping[str, bytes],
    *,
    created: datetime | None = None,
) -> ModelManifest:
    """Publish a fitted network for sequences with its report and plots; all of it appears at once, or nothing does.

    Args:
        repository: Where to.
        model: The model.
        report: What is told of the run, as JSON values.
        plots: More files by name.
        created: Time of publication, in UTC; None for a model that is to be re-made byte for byte.

    Raises:
        ExportError: When the graph cannot be made or does not answer as the network does.
        PublicationError: When the repository cannot be written.
    """
    manifest, graph = build_sequence(model)
    if created is not None:
        moment = {"created": created.isoformat(timespec="seconds")}
        manifest = manifest.model_copy(update={"provenance": manifest.provenance.model_copy(update=moment)})
    return repository.publish(manifest, graph, {"report.json": report_json(report), **plots})


def build_sequence(model: FittedSequence) -> tuple[ModelManifest, bytes]:
    """Export a fitted network for sequences, check parity and write its manifest.

    Returns:
        The manifest (version 1, replaced at publication) and the ONNX file.

    Raises:
        ExportError: When the graph cannot be made or does not answer as the network does, or the examples are not
            sequences of the model.
        InvalidNameError: When the name cannot name a model.
    """
    check_name(model.name)
    dtype = dtype_of(model.network)
    arrays = encode_examples(model.input, model.network, model.examples)
    if len(model.outputs) != (d_outputs := check_parts(model.network, model.input)):
        msg = f"there must be one output column per output, however: {len(model.outputs)} columns for {d_outputs}"
        raise ExportError(msg)
    _check_finite(model.network, arrays)
    scale = magnitudes(model.outputs)
    graph = export_sequence(model.network, model.input)
    parity = check_sequence_parity(graph, model.network, model.input, arrays, scale)
    shown, run = arrays[:N_SAMPLE_ROWS], load_graph(graph, dtype)
    if isinstance(model.input, ImagesColumn):
        shown = [_bytes_of(images).astype(np.float32) / np.float32(255) for images in shown]
    answers = [run.run({tensor_of(model.input): array[None]})[0] for array in shown]
    single = any(tensor.dtype == torch.float32 for tensor in model.network.state_dict().values())
    tolerance = ROWS_RTOL["float32"] if single else RTOL  # another machine may round float32 otherwise
    manifest = ModelManifest(
        format_version=SEQUENCE_FORMAT_VERSION,
        name=model.name,
        version=1,
        kind="sequence",
        description=model.description,
        inputs=(model.input,),
        outputs=model.outputs,
        graph=describe_graph(graph, dtype),
        formula=model.formula,
        metrics=model.metrics,
        parity=parity,
        provenance=model.provenance,
        sample=Sample(
            rows=tuple(
                {model.input.name: _as_value(model.input, example)} for example in model.examples[:N_SAMPLE_ROWS]
            ),
            predictions=tuple(tuple(float(y) for y in answer) for answer in answers),
            rtol=tolerance,
            atol=tuple(float(s) for s in tolerance * scale),
        ),
    )
    return manifest, graph


def _check_finite(network: SequenceNetwork, arrays: Sequence[NDArray[np.generic]]) -> None:
    network = copy.deepcopy(network).eval()
    for position, array in enumerate(arrays):
        with torch.no_grad():
            answer = network(torch.as_tensor(array[None]))
        if not bool(torch.isfinite(answer).all()):
            msg = f"a model must answer its examples with finite numbers, however it does not for example {position}"
            raise ExportError(msg)


def encode_examples(
    column: SequenceColumn, network: SequenceNetwork, examples: Sequence[Example]
) -> list[NDArray[np.generic]]:
    """Return sequences as the graph takes them, each of shape (length, *step_shape).

    Raises:
        ExportError: When there is none, or one is empty, of another shape, not finite, or has an unknown token.
    """
    if not examples:
        msg = "a model must come with examples of its sequences, however there is none"
        raise ExportError(msg)
    dtype = np.dtype(str(input_dtype(column, network)).removeprefix("torch."))
    arrays = []
    for position, example in enumerate(examples):
        if isinstance(column, TextColumn) and isinstance(example, str):
            tokens = column.tokens(example)
            if unknown := [token for token in tokens if token not in column.vocabulary]:
                msg = f"a token must be in the vocabulary, however one of example {position} is not: {unknown[0]!a}"
                raise ExportError(msg)
            array = np.array([column.vocabulary.index(token) for token in tokens], dtype=dtype)
        elif isinstance(example, str) or isinstance(column, TextColumn):
            msg = f"an example must be a text where the model takes texts, and only there, however: {position}"
            raise ExportError(msg)
        else:
            array = np.ascontiguousarray(example, dtype=dtype)
        if array.shape[1:] != step_shape(column) or not array.shape or not len(array) or not np.isfinite(array).all():
            msg = (
                f"an example must hold at least one finite step of shape {step_shape(column)}, however example "
                f"{position} has shape {array.shape}"
            )
            raise ExportError(msg)
        arrays.append(array)
    return arrays


def png_of(image: NDArray[np.generic]) -> str:
    """Return a grey image as the service takes it: a PNG in base64.

    Args:
        image: Shape (height, width), from 0 (black) to 1 (white).
    """
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(_bytes_of(image)).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def _bytes_of(images: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.rint(np.clip(images.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def _as_value(column: SequenceColumn, example: Example) -> Value:
    if isinstance(example, str):
        return example
    if isinstance(column, ImagesColumn):
        return tuple(png_of(image) for image in example)
    return tuple(tuple(float(value) for value in step) for step in example)
