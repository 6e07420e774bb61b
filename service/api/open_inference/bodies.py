"""Requests and answers of `infer`: JSON, with tensors in it or as bytes behind it.

Source: Open Inference Protocol, "Inference Request JSON Object", and Triton's binary tensor data extension.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from numpy.typing import NDArray

from models.contract.manifest import ModelManifest
from service.api.json_body import parse_json
from service.api.open_inference.datatypes import (
    OF_ARRAY,
    checked_datatype,
    checked_shape,
    from_binary,
    from_json,
    to_binary,
)
from service.api.open_inference.plane import refuse_classification, refuse_what_is_kept
from service.errors import Fault, InputShapeError, InvalidRequestError, UnreadableBodyError, quote

JSON_LENGTH_HEADER: Final = "Inference-Header-Content-Length"
"""Length of the JSON at the beginning of a body with binary tensors."""

_BINARY_SIZE: Final = "binary_data_size"
_MAX_NAME = 200


@dataclass(frozen=True)
class WantedOutput:
    """An output asked for.

    Attributes:
        name: Its name.
        binary: Whether as bytes behind the JSON; None where the request says it for all.
    """

    name: str
    binary: bool | None


@dataclass(frozen=True)
class InferRequest:
    """What a request to `infer` asks.

    Attributes:
        id: To be repeated in the answer; None where none was given.
        tensors: Name → array; text and missing values as objects.
        outputs: Outputs asked for; none for all.
        binary: Whether outputs are wanted as bytes unless they say otherwise.
    """

    id: str | None
    tensors: dict[str, NDArray[Any]]
    outputs: tuple[WantedOutput, ...]
    binary: bool

    def is_binary(self, name: str) -> bool:
        """Return whether an output is wanted as bytes."""
        told = next((output.binary for output in self.outputs if output.name == name), None)
        return self.binary if told is None else told


def read_infer(body: bytes, json_length: str | None) -> InferRequest:
    """Read a request.

    Args:
        body: JSON, and the bytes of binary tensors behind it.
        json_length: What the header says of the length of the JSON; None where all of the body is.

    Raises:
        UnreadableBodyError: When the JSON cannot be read, or is not as long as the header says.
        InvalidRequestError: When it does not follow the protocol.
        InputShapeError: When a tensor's data is not of its shape.
    """
    length = _json_length(json_length, len(body))
    content = _object(parse_json(body[:length], nan_is_missing=True), "a request")
    parameters = _parameters(content)
    refuse_what_is_kept(parameters)
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise _invalid("a request must have a list of inputs, however it has none")
    rest, tensors = memoryview(body)[length:], dict[str, NDArray[Any]]()
    for item in inputs:
        tensor = _object(item, "an input")
        name = checked_name(tensor.get("name"))
        if name in tensors:
            raise _invalid("an input must be given once, however it is given twice", name)
        tensors[name], rest = _read_tensor(name, tensor, rest)
    if len(rest):
        raise _invalid(f"the inputs must use all the binary data, however {len(rest)} bytes are left")
    return InferRequest(
        _checked_id(content.get("id")), tensors, _outputs(content), _flag(parameters, "binary_data_output") or False
    )


def write_infer(
    manifest: ModelManifest, request: InferRequest, outputs: Mapping[str, NDArray[Any]]
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON where bytes follow.

    Args:
        manifest: Of the model that answered.
        request: What it was asked.
        outputs: Name → array, in the order of the answer.
    """
    described, blobs = [], []
    for name, array in outputs.items():
        output: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": OF_ARRAY[array.dtype.str[1:]]}
        if request.is_binary(name):
            blobs.append(to_binary(output["datatype"], array))
            output["parameters"] = {_BINARY_SIZE: len(blobs[-1])}
        else:
            output["data"] = array.reshape(-1).tolist()
        described.append(output)
    content: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if request.id is not None:
        content["id"] = request.id
    content["outputs"] = described
    head = orjson.dumps(content)
    return (b"".join((head, *blobs)), len(head)) if blobs else (head, None)


def read_parameters(content: object) -> dict[str, Any]:
    """Return the parameters of a request that has nothing else.

    Raises:
        InvalidRequestError: When it is no object, or they are none.
    """
    return _parameters(_object(content, "a request"))


def _json_length(told: str | None, n_bytes: int) -> int:
    if told is None:
        return n_bytes
    if not told.isascii() or not told.isdigit() or len(told) > 12 or int(told) > n_bytes:
        msg = f"{JSON_LENGTH_HEADER} must be a length within the body of {n_bytes} bytes, however: {quote(told)}"
        raise UnreadableBodyError(msg)
    return int(told)


def _read_tensor(name: str, tensor: Mapping[str, Any], rest: memoryview) -> tuple[NDArray[Any], memoryview]:
    datatype, shape = checked_datatype(name, tensor.get("datatype")), checked_shape(name, tensor.get("shape"))
    size = _parameters(tensor).get(_BINARY_SIZE)
    data = tensor.get("data")
    if size is None:
        if not isinstance(data, list):
            raise _invalid("an input must have a list of data, or binary data behind the JSON, however neither", name)
        return from_json(name, datatype, shape, data), rest
    if data is not None:
        raise _invalid("an input must have data in JSON or in binary, however it has both", name)
    if type(size) is not int or not 0 <= size <= len(rest):
        msg = f"{_BINARY_SIZE} must be a number of the bytes behind the JSON, of which {len(rest)} are left"
        raise InputShapeError([Fault(f"{msg}, however it is not", name)])
    return from_binary(name, datatype, shape, rest[:size]), rest[size:]


def _checked_id(given: object) -> str | None:
    """Return the id of a request, of which the answer can be written: JSON can escape what UTF-8 has no bytes for."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise _invalid("an id must be text, however it is not")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise _invalid("an id must be text in Unicode, however it holds half of a surrogate pair") from error
    return given


def _outputs(content: Mapping[str, Any]) -> tuple[WantedOutput, ...]:
    outputs = content.get("outputs")
    if outputs is None:
        return ()
    if not isinstance(outputs, list):
        raise _invalid("outputs must be a list, however they are not")
    wanted = []
    for item in outputs:
        output = _object(item, "an output")
        name, parameters = checked_name(output.get("name")), _parameters(output)
        refuse_classification(name, parameters)
        wanted.append(WantedOutput(name, _flag(parameters, "binary_data")))
    return tuple(wanted)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"{what} must be an object, however it is not")
    return value


def _parameters(content: Mapping[str, Any]) -> dict[str, Any]:
    given = content.get("parameters")
    return {} if given is None else _object(given, "parameters")


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise _invalid(f"{name} must be true or false, however it is neither")
    return value


def checked_name(name: object) -> str:
    """Return the name of a tensor.

    Raises:
        InvalidRequestError: When it is no text, empty or too long.
    """
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise _invalid(f"a name must be text of 1 to {_MAX_NAME} characters, however one is not")
    return name


def _invalid(message: str, name: str | None = None) -> InvalidRequestError:
    return InvalidRequestError([Fault(message, name)])
