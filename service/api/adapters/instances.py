"""Rows as platforms write them in JSON: instances, one by one, or inputs, by name; and their predictions.

Source: TensorFlow Serving's REST API, "row format" and "column format", which KServe's first protocol and MLflow's
scoring server take over.
"""

import base64
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

from models.contract.manifest import ImagesColumn, ModelManifest, NumberColumn, StepsColumn, TextColumn
from service.errors import Fault, InputShapeError, InvalidRequestError
from service.inference.batches import SequenceLimits
from service.inference.encoding import Encoded, encode_columns, encode_records, encode_split
from service.inference.predictor import Prediction
from service.inference.tensors import input_signatures

_NO_TEXT: Final = (StepsColumn, ImagesColumn)

_TEXT_DEPTH: Final = 3
"""Lists and objects around a text: instances, one of them, and a tensor of that. What lies deeper is no text of a row,
and is refused where rows are read; a body may nest deeper than functions may call each other."""


def encode_instances(manifest: ModelManifest, instances: object, limits: SequenceLimits) -> Encoded:
    """Encode rows given one by one.

    Args:
        manifest: The model's manifest.
        instances: A list. Each is an object by the names of columns or tensors, a list of values in the order of the
            model's columns, or a value, where the model has one column.
        limits: How much a model of sequences is asked for.

    Raises:
        InvalidRequestError: When they are no list, or of several forms.
        InputShapeError: When they are not rows of the model.
    """
    instances = _decoded(manifest, instances)
    if not isinstance(instances, list):
        raise _invalid("instances must be a list, however they are not")
    if any(isinstance(one, dict) for one in instances):
        if not all(isinstance(one, dict) for one in instances):
            raise _invalid("instances must all be objects or none, however some are")
        return encode_records(manifest, [_row_of_tensors(manifest, one) for one in instances], limits)
    names = [column.name for column in manifest.inputs]
    if manifest.sequence is not None:
        unwrap = isinstance(manifest.sequence, TextColumn)
        values = [one[0] if unwrap and isinstance(one, list) and len(one) == 1 else one for one in instances]
        return encode_columns(manifest, {names[0]: values}, limits)
    rows = [one if isinstance(one, list) else [one] for one in instances]
    return encode_split(manifest, names, rows, limits)


def encode_inputs(manifest: ModelManifest, inputs: object, limits: SequenceLimits) -> Encoded:
    """Encode rows given by name.

    Args:
        manifest: The model's manifest.
        inputs: Name of a column → its values, name of a tensor → its rows, or a list of rows as instances are.
        limits: How much a model of sequences is asked for.

    Raises:
        InvalidRequestError: When they are neither.
        InputShapeError: When they are not rows of the model.
    """
    if not isinstance(inputs, dict):
        return encode_instances(manifest, inputs, limits)
    inputs = {name: _decoded(manifest, values) for name, values in inputs.items()}
    if not all(isinstance(values, list) for values in inputs.values()):
        raise _invalid("inputs must be lists of values, however one is not")
    columns: dict[str, Any] = {}
    whole = _tensors(manifest)
    for name, values in inputs.items():
        if name in whole:
            columns |= _columns_of(name, whole[name], values)
        else:
            columns[name] = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in values]
    if manifest.sequence is not None and not isinstance(manifest.sequence, TextColumn):
        columns = dict(inputs)
    return encode_columns(manifest, columns, limits)


def n_rows_of(content: object) -> int:
    """Return how many rows instances or inputs claim to be."""
    if isinstance(content, dict):
        return max((len(values) for values in content.values() if isinstance(values, list)), default=0)
    return len(content) if isinstance(content, list) else 0


def check_rows(n_rows: int, max_rows: int) -> None:
    """Refuse too many rows.

    Raises:
        InputShapeError: When there are more than `max_rows`.
    """
    if n_rows > max_rows:
        msg = f"a request must have at most {max_rows} rows, however it has {n_rows}; send them in several requests"
        raise InputShapeError([Fault(msg)])


def row_predictions(names: Sequence[str], prediction: Prediction) -> list[Any]:
    """Return predictions row by row: a number where the model has one output, else an object."""
    rows = prediction.values.tolist()
    return [row[0] for row in rows] if len(names) == 1 else named_rows(names, prediction)


def named_rows(names: Sequence[str], prediction: Prediction) -> list[Any]:
    """Return predictions as objects by output."""
    return [dict(zip(names, row, strict=True)) for row in prediction.values.tolist()]


def column_predictions(names: Sequence[str], prediction: Prediction) -> Any:
    """Return predictions output by output: a list where the model has one, else an object of lists."""
    columns = prediction.values.T.tolist()
    return columns[0] if len(names) == 1 else dict(zip(names, columns, strict=True))


def _tensors(manifest: ModelManifest) -> dict[str, tuple[str, ...]]:
    """Return the tensors that are columns side by side."""
    if manifest.sequence is not None:
        return {}
    known = {column.name for column in manifest.inputs}
    return {one.name: one.columns for one in input_signatures(manifest) if one.columns and one.name not in known}


def _columns_of(name: str, columns: Sequence[str], rows: Sequence[object]) -> dict[str, Sequence[object]]:
    wrong = next((i for i, row in enumerate(rows) if not isinstance(row, list) or len(row) != len(columns)), None)
    if wrong is not None:
        msg = f"a row must be a list of {len(columns)} values, however it is not"
        raise InputShapeError([Fault(msg, name, wrong)])
    listed = [row if isinstance(row, list) else [] for row in rows]
    return {column: [row[j] for row in listed] for j, column in enumerate(columns)}


def _row_of_tensors(manifest: ModelManifest, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object by columns, where it is one by tensors."""
    whole = _tensors(manifest)
    if not row or not row.keys() <= whole.keys():
        return row
    values = [[row[name]] if not isinstance(row[name], list) else row[name] for name in row]
    names = list(chain.from_iterable(whole[name] for name in row))
    flat = list(chain.from_iterable(values))
    if len(flat) != len(names):
        raise InputShapeError([Fault(f"a row must have {len(names)} values, however it has {len(flat)}")])
    return dict(zip(names, flat, strict=True))


def _decoded(manifest: ModelManifest, content: Any) -> Any:
    """Return instances or inputs with text that is in base64 as text; a model without text has none."""
    if all(isinstance(column, NumberColumn) for column in manifest.inputs) or isinstance(manifest.sequence, _NO_TEXT):
        return content
    return _unpacked(content, _TEXT_DEPTH)


def _unpacked(content: object, depth: int) -> object:
    """Return content with the text unpacked that lies in at most `depth` lists and objects; the rest as it is."""
    if isinstance(content, list) and depth:
        return [_unpacked(one, depth - 1) for one in content]
    if not isinstance(content, dict):
        return content
    if content.keys() != {"b64"}:
        return {name: _unpacked(value, depth - 1) for name, value in content.items()} if depth else content
    try:
        return base64.b64decode(content["b64"], validate=True).decode()
    except (TypeError, ValueError) as error:
        raise _invalid("text in base64 must be UTF-8 once it is decoded, however it is not") from error


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError([Fault(message)])
