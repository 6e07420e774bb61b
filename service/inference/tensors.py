"""A model's inputs and outputs as named tensors, the way inference protocols speak of them.

Rows of numbers and categories are two tensors, `numeric` and `categorical`, with a model's columns in manifest order; a
model of sequences has one tensor, named as its column. Tables are taken column by column, too: one tensor for each
column, named as it is, which is the only way where a column is a date.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from numpy.typing import NDArray

from models.contract.manifest import (
    CATEGORICAL_TENSOR,
    NUMERIC_TENSOR,
    PREDICTIONS_TENSOR,
    DateColumn,
    ModelManifest,
    NumberColumn,
    StepsColumn,
    TextColumn,
)
from service.errors import InputShapeError, InvalidRequestError
from service.inference.batches import SequenceLimits
from service.inference.encoding import Encoded, Values, encode_columns
from service.inference.faults import Faults
from service.inference.predictor import Prediction

IN_RANGE_TENSOR: Final = "in_range"

ElementType = Literal["float32", "float64", "bool", "text"]

FREE: Final = -1
"""An axis of any length."""


@dataclass(frozen=True)
class TensorSignature:
    """What is known of a tensor before there is one.

    Attributes:
        name: Its name.
        element: Type of its elements.
        shape: Length of every axis, `FREE` where any is taken.
        columns: Names of the columns along the last axis, where it has some.
    """

    name: str
    element: ElementType
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()


def input_signatures(manifest: ModelManifest) -> list[TensorSignature]:
    """Return the tensors that a model takes."""
    dtype, sequence = manifest.graph.dtype, manifest.sequence
    if isinstance(sequence, TextColumn):
        return [TensorSignature(sequence.name, "text", (FREE, 1))]
    if isinstance(sequence, StepsColumn):
        names = tuple(column.name for column in sequence.columns)
        return [TensorSignature(sequence.name, dtype, (FREE, FREE, len(names)), names)]
    if sequence is not None:
        return [TensorSignature(sequence.name, "float32", (FREE, FREE, sequence.height, sequence.width))]
    if _has_dates(manifest):
        return [
            TensorSignature(column.name, dtype if isinstance(column, NumberColumn) else "text", (FREE, 1))
            for column in manifest.inputs
        ]
    numbers = tuple(column.name for column in manifest.numbers)
    categories = tuple(column.name for column in manifest.categories)
    signatures = [
        TensorSignature(NUMERIC_TENSOR, dtype, (FREE, len(numbers)), numbers),
        TensorSignature(CATEGORICAL_TENSOR, "text", (FREE, len(categories)), categories),
    ]
    return [signature for signature in signatures if signature.columns]


def output_signatures(manifest: ModelManifest) -> list[TensorSignature]:
    """Return the tensors that a model answers; a single output can be asked for by its name besides."""
    names = tuple(output.name for output in manifest.outputs)
    return [
        TensorSignature(PREDICTIONS_TENSOR, manifest.graph.dtype, (FREE, len(names)), names),
        TensorSignature(IN_RANGE_TENSOR, "bool", (FREE,)),
    ]


def encode_tensors(manifest: ModelManifest, tensors: Mapping[str, NDArray[Any]], limits: SequenceLimits) -> Encoded:
    """Encode named tensors.

    Args:
        manifest: The model's manifest.
        tensors: Name → array of numbers, or of text and None as objects; NaN and None are missing values. Either the
            tensors of `input_signatures`, or one of shape (n_rows,) or (n_rows, 1) for every column.
        limits: How much a model of sequences is asked for.

    Raises:
        InputShapeError: When a tensor is missing, unknown, or of another shape than the model takes.
        InvalidRequestError: When a tensor holds text where numbers belong, or the reverse, or a value is not one that
            its column takes.
    """
    signatures = input_signatures(manifest)
    sequence = manifest.sequence
    whole = {signature.name for signature in signatures if signature.columns}
    if sequence is None and tensors and not whole & tensors.keys():
        columns = {name: _column(name, array) for name, array in tensors.items()}
        return encode_columns(manifest, columns, limits)
    _check_tensors(signatures, tensors)
    if sequence is None:
        columns = {
            name: tensors[signature.name][:, j] for signature in signatures for j, name in enumerate(signature.columns)
        }
        return encode_columns(manifest, columns, limits)
    array = tensors[sequence.name]
    values = array.reshape(-1) if isinstance(sequence, TextColumn) else array
    return encode_columns(manifest, {sequence.name: values}, limits)


def answered_tensors(manifest: ModelManifest, prediction: Prediction, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return what was predicted as named tensors.

    Args:
        manifest: The model's manifest.
        prediction: What the model answered.
        names: Tensors asked for: `predictions`, `in_range` or outputs by name; none for the first two.

    Raises:
        InvalidRequestError: When there is no such tensor, or one is asked for twice.
    """
    values = prediction.values.astype(manifest.graph.dtype, copy=False)
    known: dict[str, NDArray[Any]] = {output.name: values[:, j] for j, output in enumerate(manifest.outputs)}
    known |= {PREDICTIONS_TENSOR: values, IN_RANGE_TENSOR: prediction.in_range}
    faults = Faults()
    for name in dict.fromkeys(names):
        if name not in known:
            faults.add(f"the model has no such output; it has: {', '.join(known)}", name)
    if len(set(names)) < len(names):
        faults.add("an output must be asked for once, however one is asked for several times")
    faults.refuse(InvalidRequestError)
    return {name: known[name] for name in names or (PREDICTIONS_TENSOR, IN_RANGE_TENSOR)}


def _has_dates(manifest: ModelManifest) -> bool:
    return any(isinstance(column, DateColumn) for column in manifest.inputs)


def _column(name: str, array: NDArray[Any]) -> Values:
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        return array.reshape(-1)
    faults = Faults()
    faults.add(f"a column must have the shape [n] or [n, 1], however: {list(array.shape)}", name)
    raise InputShapeError(faults.listed)


def _check_tensors(signatures: Sequence[TensorSignature], tensors: Mapping[str, NDArray[Any]]) -> None:
    shapes, kinds = Faults(), Faults()
    known = {signature.name for signature in signatures}
    for name in tensors.keys() - known:
        shapes.add(f"the model does not know this input; it takes: {', '.join(sorted(known))}", name)
    for signature in signatures:
        array = tensors.get(signature.name)
        if array is None:
            shapes.add("the input is missing", signature.name)
            continue
        if signature.element == "text" and array.ndim == 1 and signature.shape[1:] == (1,):
            continue
        if array.ndim != len(signature.shape) or any(
            wanted not in (FREE, found) for wanted, found in zip(signature.shape, array.shape, strict=True)
        ):
            message = f"the input must have the shape {list(signature.shape)}, however: {list(array.shape)}"
            shapes.add(message, signature.name)
        if (signature.element == "text") != (array.dtype == object):
            wanted = "text" if signature.element == "text" else "numbers"
            kinds.add(f"the input must hold {wanted}, however its type is another", signature.name)
    shapes.refuse(InputShapeError)
    kinds.refuse(InvalidRequestError)
