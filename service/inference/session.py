"""A published model, ready to answer: its manifest and one runtime session made from the bytes that were hashed."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.manifest import (
    CATEGORICAL_TENSOR,
    NUMERIC_TENSOR,
    PREDICTIONS_TENSOR,
    Dtype,
    ImagesColumn,
    ModelManifest,
    SequenceColumn,
    StepsColumn,
    TextColumn,
)
from models.contract.repository import PublishedModel
from models.contract.trust import DIFFICULTY_TENSOR, DISTANCE_TENSOR, TERMS_TENSOR, TRUNK_TENSOR
from service.errors import InferenceError, ModelLoadError, ProviderError
from service.inference.answer_json import AnswerWriter
from service.inference.encoding import Encoded
from service.inference.graph_scan import scan_graph
from service.inference.joint_range import JointLimits
from service.inference.providers import (
    ANY_CUDA,
    CudaOptions,
    Provider,
    Wanted,
    preferences,
    resolve_provider,
    session_provider,
)
from service.inference.runtime import RuntimeSession, Tensor
from service.inference.sequence_encoding import TENSORS
from service.model_meter import ModelMeter


class ModelSession:
    """One version of a model, loaded; made by `load_session`.

    Args:
        manifest: Its manifest.
        runtime: The session that runs its graph.
        companion: The session that runs its companion, or None where it has none.

    Attributes:
        manifest: Its manifest.
        provider: The execution provider that it really runs on.
        output_names: Names of its outputs, in order.
        answers: Writes its answers.
        domains: Position among the number columns, name and domain of those that have one.
        joint: Which rows are like the training rows in all columns together, or None where ranges say it alone.
        meter: Counts its predictions, where somebody wants to know.
    """

    def __init__(
        self, manifest: ModelManifest, runtime: RuntimeSession, companion: RuntimeSession | None = None
    ) -> None:
        self.manifest = manifest
        self.provider: Provider = session_provider(runtime)
        self.output_names = [output.name for output in manifest.outputs]
        self.answers = AnswerWriter(manifest)
        self.domains = [
            (j, column.name, column.domain) for j, column in enumerate(manifest.numbers) if column.domain is not None
        ]
        self.joint = None if manifest.joint_range is None else JointLimits(manifest.joint_range)
        self.meter: ModelMeter | None = None
        self._runtime = runtime
        self._companion = companion
        self._takes_numbers = bool(manifest.numbers)
        self._takes_categories = bool(manifest.categories)
        self._takes_sequences = manifest.sequence is not None

    def run(self, encoded: Encoded, deadline_s: float | None = None) -> NDArray[np.floating[Any]]:
        """Run the graph.

        Args:
            encoded: The rows.
            deadline_s: Time after which the run is stopped, or None for no limit.

        Shape:
            - answer: (n_rows, d_outputs), in the graph's dtype

        Raises:
            InferenceError: When the run fails, is stopped, or answers in another shape.
        """
        if self._takes_sequences:
            return self._run_batches(encoded, deadline_s)
        return self._run(self._feeds(encoded), encoded.n_rows, deadline_s)

    def run_marked(
        self, encoded: Encoded, deadline_s: float | None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Run the graph of a model with a joint range.

        Shape:
            - answers: predictions (n_rows, d_outputs) and distances (n_rows, 1), in the graph's dtype

        Raises:
            InferenceError: When the run fails, is stopped, or answers in another shape.
        """
        outputs = [PREDICTIONS_TENSOR, DISTANCE_TENSOR]
        predictions, distance = self._runtime.run_several(outputs, self._feeds(encoded), deadline_s)
        _check_answer(predictions, (encoded.n_rows, len(self.output_names)))
        _check_answer(distance, (encoded.n_rows, 1))
        return predictions, distance

    def run_companion(
        self, encoded: Encoded, outputs: Sequence[str], deadline_s: float | None = None
    ) -> list[NDArray[np.float64]]:
        """Run the companion.

        Args:
            encoded: The rows.
            outputs: Names of outputs, as in `models.contract.trust`.
            deadline_s: Time after which the run is stopped, or None for no limit.

        Raises:
            InferenceError: When there is none, the run fails or is stopped, or it answers in another shape.
        """
        if self._companion is None:
            msg = f"a model must have a companion to be asked for {', '.join(outputs)}, however it has none"
            raise InferenceError(msg)
        answers = self._companion.run_several(outputs, self._feeds(encoded), deadline_s)
        widths = _companion_widths(self.manifest)
        for name, answer in zip(outputs, answers, strict=True):
            _check_answer(answer, (encoded.n_rows, widths[name]))
        return answers

    def _feeds(self, encoded: Encoded) -> dict[str, NDArray[Any]]:
        feeds: dict[str, NDArray[Any]] = {}
        if self._takes_numbers:
            feeds[NUMERIC_TENSOR] = encoded.numeric
        if self._takes_categories:
            feeds[CATEGORICAL_TENSOR] = encoded.categorical
        return feeds

    def _run_batches(self, encoded: Encoded, deadline_s: float | None) -> NDArray[np.floating[Any]]:
        answers = np.empty((encoded.n_rows, len(self.output_names)), dtype=self.manifest.graph.dtype)
        started = time.monotonic()
        for batch in encoded.sequences:
            left_s = None if deadline_s is None else max(0.0, deadline_s - (time.monotonic() - started))
            answers[batch.rows] = self._run(batch.feeds, len(batch.rows), left_s)
        return answers

    def _run(self, feeds: dict[str, NDArray[Any]], n_rows: int, deadline_s: float | None) -> NDArray[np.floating[Any]]:
        answer = self._runtime.run(PREDICTIONS_TENSOR, feeds, deadline_s)
        _check_answer(answer, (n_rows, len(self.output_names)))
        return answer


def _check_answer(answer: NDArray[Any], shape: tuple[int, int]) -> None:
    if answer.shape != shape:
        msg = f"the graph must answer in shape {shape}, however: {answer.shape}; publish the model again"
        raise InferenceError(msg)


def load_session(
    published: PublishedModel, provider: Wanted = "auto", n_threads: int = 1, cuda: CudaOptions = ANY_CUDA
) -> ModelSession:
    """Make a published model ready to answer.

    Args:
        published: The manifest and the bytes of the graph, as `ModelRepository.load` verified them.
        provider: Execution provider wanted.
        n_threads: Threads of one run.
        cuda: Where on CUDA.

    Raises:
        UnsafeModelError: When the graph holds what no published model needs.
        ModelLoadError: When the runtime refuses the graph, or its inputs and outputs are not the manifest's.
        ProviderError: When the provider is not available.
    """
    manifest = published.manifest
    chosen = resolve_provider(provider, cuda)

    def load(onnx: bytes, outputs: list[Tensor]) -> RuntimeSession:
        scan_graph(onnx, loops=manifest.sequence is not None)
        runtime = RuntimeSession(onnx, providers=preferences(chosen, cuda), n_threads=n_threads)
        if (used := session_provider(runtime)) != chosen:
            msg = (
                f"the model must run on {chosen!r}, however the runtime fell back to {used!r}; check the GPU's "
                "libraries"
            )
            raise ProviderError(msg)
        _check_tensors("input", _expected_inputs(manifest), runtime.inputs)
        _check_tensors("output", outputs, runtime.outputs)
        return runtime

    runtime = load(published.onnx, _expected_outputs(manifest))
    if published.companion is None:
        return ModelSession(manifest, runtime)
    widths = _companion_widths(manifest)
    expected = [Tensor(name, "float64", (None, width)) for name, width in widths.items()]
    return ModelSession(manifest, runtime, load(published.companion, expected))


def _expected_inputs(manifest: ModelManifest) -> list[Tensor]:
    if manifest.sequence is not None:
        return [_sequence_tensor(manifest.sequence, manifest.graph.dtype)]
    expected = []
    if manifest.numbers:
        expected.append(Tensor(NUMERIC_TENSOR, manifest.graph.dtype, (None, len(manifest.numbers))))
    if manifest.categories:
        expected.append(Tensor(CATEGORICAL_TENSOR, "string", (None, len(manifest.categories))))
    return expected


def _sequence_tensor(column: SequenceColumn, dtype: Dtype) -> Tensor:
    name = TENSORS[column.kind]
    match column:
        case TextColumn():
            return Tensor(name, "int64", (None, None))
        case StepsColumn():
            return Tensor(name, dtype, (None, None, len(column.columns)))
        case ImagesColumn():
            return Tensor(name, "float32", (None, None, column.height, column.width))


def _expected_outputs(manifest: ModelManifest) -> list[Tensor]:
    expected = [Tensor(PREDICTIONS_TENSOR, manifest.graph.dtype, (None, len(manifest.outputs)))]
    if manifest.joint_range is not None:
        expected.append(Tensor(DISTANCE_TENSOR, manifest.graph.dtype, (None, 1)))
    return expected


def _companion_widths(manifest: ModelManifest) -> dict[str, int]:
    """Return the columns of each output of the companion."""
    n_outputs = len(manifest.outputs)
    n_terms = sum(1 + len(one.names) for one in manifest.terms or ())
    return {DIFFICULTY_TENSOR: n_outputs, TRUNK_TENSOR: n_outputs, TERMS_TENSOR: n_terms}


def _check_tensors(what: str, expected: list[Tensor], found: tuple[Tensor, ...]) -> None:
    """Compare names, types, ranks and widths; a width that the graph leaves free is checked by the first run."""
    by_name = {tensor.name: tensor for tensor in found}
    wrong = by_name.keys() != {tensor.name for tensor in expected} or any(
        (there := by_name[tensor.name]).dtype != tensor.dtype
        or len(there.shape) != len(tensor.shape)
        or any(axis not in (None, wanted) for axis, wanted in zip(there.shape, tensor.shape, strict=True))
        for tensor in expected
    )
    if wrong:
        msg = (
            f"the graph's {what}s must be those of its manifest, {_described(expected)}, however: {_described(found)}; "
            "publish the model again"
        )
        raise ModelLoadError(msg)


def _described(tensors: list[Tensor] | tuple[Tensor, ...]) -> str:
    shown = [
        f"{ascii(tensor.name)[1:-1][:60]} {tensor.dtype}"
        f"[{', '.join('any' if axis is None else str(axis) for axis in tensor.shape)}]"
        for tensor in tensors[:5]
    ]
    return "; ".join(shown) or "none"
