"""Tensors in the protocol's messages: typed contents, or bytes beside them.

Source: Open Inference Protocol, `open_inference_grpc.proto`: `InferTensorContents` and the raw contents, which are
little-endian and row-major, an element of BYTES preceded by its length.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from models.contract.manifest import ModelManifest
from service.api.open_inference.bodies import checked_name
from service.api.open_inference.datatypes import (
    BYTES,
    OF_ARRAY,
    checked_datatype,
    checked_shape,
    from_binary,
    from_json,
    text_of,
    to_binary,
)
from service.api.open_inference.plane import refuse_classification, refuse_what_is_kept
from service.api.open_inference.schemas import ModelConfig, ModelMetadata, Statistics
from service.api.rpc import open_inference_pb2 as pb
from service.errors import Fault, InputShapeError, InvalidRequestError

_CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Datatype → where its elements are. FP16 has no such place."""

_SHARED_MEMORY: Final = "shared_memory_region"


class InferMessage(NamedTuple):
    """What a request to infer asks.

    Attributes:
        tensors: Name → array; text and missing values as objects.
        outputs: Names of the outputs asked for; none for all.
    """

    tensors: dict[str, NDArray[Any]]
    outputs: list[str]


def read_infer(request: pb.ModelInferRequest) -> InferMessage:
    """Read a request.

    Raises:
        InvalidRequestError: When it does not follow the protocol.
        InputShapeError: When a tensor's data is not of its shape.
    """
    refuse_what_is_kept(_parameters(request.parameters))
    if not request.inputs:
        raise _invalid("a request must have inputs, however it has none")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        msg = f"raw contents must be given for all {len(request.inputs)} inputs or for none, however for {len(raw)}"
        raise InputShapeError([Fault(msg)])
    tensors: dict[str, NDArray[Any]] = {}
    for i, item in enumerate(request.inputs):
        name = checked_name(item.name)
        if name in tensors:
            raise _invalid("an input must be given once, however it is given twice", name)
        tensors[name] = _tensor(name, item, raw[i] if raw else None)
    outputs = []
    for wanted in request.outputs:
        outputs.append(checked_name(wanted.name))
        _refuse_elsewhere(wanted.name, wanted.parameters)
        refuse_classification(wanted.name, _parameters(wanted.parameters))
    return InferMessage(tensors, outputs)


def write_infer(
    manifest: ModelManifest, request: pb.ModelInferRequest, outputs: Mapping[str, NDArray[Any]]
) -> pb.ModelInferResponse:
    """Return an answer, in the form of its request: raw contents for raw contents.

    Args:
        manifest: Of the model that answered.
        request: What it was asked.
        outputs: Name → array, in the order of the answer.
    """
    answer = pb.ModelInferResponse(model_name=manifest.name, model_version=str(manifest.version), id=request.id)
    for name, array in outputs.items():
        datatype = OF_ARRAY[array.dtype.str[1:]]
        described = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if request.raw_input_contents:
            answer.raw_output_contents.append(to_binary(datatype, array))
        else:
            getattr(described.contents, _CONTENTS[datatype]).extend(array.reshape(-1).tolist())
    return answer


def metadata_message(told: ModelMetadata) -> pb.ModelMetadataResponse:
    """Return what a model takes and answers as a message, which has no place for the names of columns."""
    tensors = [
        [
            pb.ModelMetadataResponse.TensorMetadata(name=one.name, datatype=one.datatype, shape=one.shape)
            for one in described
        ]
        for described in (told.inputs, told.outputs)
    ]
    return pb.ModelMetadataResponse(
        name=told.name, versions=told.versions, platform=told.platform, inputs=tensors[0], outputs=tensors[1]
    )


def config_message(told: ModelConfig) -> pb.ModelConfigResponse:
    """Return a model's configuration as a message."""
    config = pb.ModelConfig(
        name=told.name,
        platform=told.platform,
        backend=told.backend,
        max_batch_size=told.max_batch_size,
        input=[pb.ModelInput(name=one.name, data_type=one.data_type, dims=one.dims) for one in told.input],
        output=[pb.ModelOutput(name=one.name, data_type=one.data_type, dims=one.dims) for one in told.output],
    )
    return pb.ModelConfigResponse(config=config)


def statistics_message(told: Statistics) -> pb.ModelStatisticsResponse:
    """Return what was counted as a message."""
    return pb.ModelStatisticsResponse(
        model_stats=[
            pb.ModelStatistics(
                name=one.name,
                version=one.version,
                last_inference=one.last_inference,
                inference_count=one.inference_count,
                execution_count=one.execution_count,
                inference_stats=pb.InferStatistics(
                    **{
                        part: pb.StatisticDuration(count=duration.count, ns=duration.ns)
                        for part, duration in one.inference_stats
                    }
                ),
            )
            for one in told.model_stats
        ]
    )


def _tensor(name: str, item: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> NDArray[Any]:
    datatype, shape = checked_datatype(name, item.datatype), checked_shape(name, list(item.shape))
    _refuse_elsewhere(name, item.parameters)
    given = [field.name for field, _values in item.contents.ListFields()]
    if raw is not None:
        if given:
            raise _invalid(f"an input must have raw contents or typed ones, however it has {given[0]} besides", name)
        return from_binary(name, datatype, shape, memoryview(raw))
    place = _CONTENTS.get(datatype)
    if place is None:
        raise _invalid(f"{datatype} has no typed contents; give its bytes in raw_input_contents", name)
    if wrong := [field for field in given if field != place]:
        raise _invalid(f"the elements of {datatype} must be in {place}, however: {wrong[0]}", name)
    elements = list(getattr(item.contents, place))
    return from_json(name, datatype, shape, [text_of(name, one) for one in elements] if datatype == BYTES else elements)


def _parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, object]:
    """Return parameters as values; one without a value is left out."""
    told = {name: (value.WhichOneof("parameter_choice"), value) for name, value in given.items()}
    return {name: getattr(value, choice) for name, (choice, value) in told.items() if choice is not None}


def _refuse_elsewhere(name: str, parameters: Mapping[str, pb.InferParameter]) -> None:
    if _SHARED_MEMORY in parameters:
        raise _invalid("a tensor must be in the message, however it is said to be in shared memory", name)


def _invalid(message: str, name: str | None = None) -> InvalidRequestError:
    return InvalidRequestError([Fault(message, name)])
