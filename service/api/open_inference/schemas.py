"""What the protocol's bodies look like, for the OpenAPI document and the small answers; `infer` has its own reader."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]

Parameters = dict[str, bool | int | float | str | list[str]]

Element = float | str | bool | None


class ProtocolError(BaseModel):
    """An error: the members of a problem, and what the protocol's clients look for."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(description="What is wrong.")
    type: str = Field(description="Name of the problem, stable, for programs.")
    title: str
    status: int
    detail: str
    request_id: str | None


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str] = Field(description="Extensions of the protocol that it speaks.")


class ServerLive(BaseModel):
    """Whether the process is alive."""

    live: bool


class ServerReady(BaseModel):
    """Whether every model is ready."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model is ready."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """A tensor that a model takes or answers; -1 in its shape is an axis of any length."""

    name: str
    datatype: Datatype
    shape: list[int]
    parameters: Parameters | None = Field(default=None, description="`columns`: names along the last axis.")


class ModelMetadata(BaseModel):
    """What a model takes and answers."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfig(BaseModel):
    """A tensor in Triton's words, without the axis of the batch."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(BaseModel):
    """A model in Triton's words."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]


class RepositoryEntry(BaseModel):
    """A version in the repository."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class Done(BaseModel):
    """Nothing to tell."""


class RepositoryRequestBody(BaseModel):
    """A request to load or unload a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    parameters: dict[str, Any] | None = Field(
        default=None, description="`unload_dependents` is ignored; any other is refused."
    )


class Duration(BaseModel):
    """How often something was done, and how long it took together."""

    count: int = 0
    ns: int = 0


class InferStatistics(BaseModel):
    """Requests and what they took; what is not measured is zero."""

    success: Duration
    fail: Duration
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration
    compute_output: Duration = Duration()


class ModelStatistics(BaseModel):
    """What was counted of a version, in all workers."""

    name: str
    version: str
    last_inference: int = Field(default=0, description="Not kept: zero.")
    inference_count: int = Field(description="Rows.")
    execution_count: int = Field(description="Runs of the model.")
    inference_stats: InferStatistics
    batch_stats: list[Any] = Field(default=[], description="Not kept: empty.")
    memory_usage: list[Any] = Field(default=[], description="Not kept: empty.")


class Statistics(BaseModel):
    """What was counted of models."""

    model_stats: list[ModelStatistics]


class InferInput(BaseModel):
    """A tensor given."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    datatype: Datatype
    shape: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=8)]
    data: list[Any] | None = Field(default=None, description="Elements in row-major order, flat or nested.")
    parameters: dict[str, Any] | None = Field(
        default=None, description="`binary_data_size`: bytes of this tensor behind the JSON, instead of `data`."
    )


class InferWish(BaseModel):
    """A tensor asked for."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data`: whether as bytes.")


class InferRequestBody(BaseModel):
    """A request for outputs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"inputs": [{"name": "numeric", "datatype": "FP64", "shape": [1, 2], "data": [3, 5]}]}]
        }
    )

    id: str | None = Field(default=None, description="Repeated in the answer.")
    inputs: Annotated[list[InferInput], Field(min_length=1)]
    outputs: list[InferWish] | None = Field(default=None, description="Outputs wanted; all, where none is named.")
    parameters: dict[str, Any] | None = Field(default=None, description="`binary_data_output`: outputs as bytes.")


class InferOutput(BaseModel):
    """A tensor answered."""

    name: str
    datatype: Datatype
    shape: list[int]
    data: list[Element] | None = None
    parameters: dict[str, int] | None = None


class InferAnswerBody(BaseModel):
    """Outputs."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]
