"""What the protocol answers, whatever carries it: the routes over HTTP and the calls over gRPC stand on this.

Source: Open Inference Protocol, `specification/protocol/inference_rest.md` and `open_inference_grpc.proto`, and for the
repository index and the configuration Triton's extensions of it.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, Literal

from numpy.typing import NDArray

from service.administration import Administration
from service.api.open_inference.datatypes import BYTES, OF_ELEMENT
from service.api.open_inference.schemas import (
    ModelConfig,
    ModelMetadata,
    Parameters,
    RepositoryEntry,
    ServerMetadata,
    TensorConfig,
    TensorMetadata,
)
from service.draining import Draining
from service.errors import Fault, InputShapeError, InvalidRequestError, quote
from service.inference.batches import SequenceLimits
from service.inference.predictor import predict
from service.inference.registry import Registry
from service.inference.session import ModelSession
from service.inference.tensors import (
    TensorSignature,
    answered_tensors,
    encode_tensors,
    input_signatures,
    output_signatures,
)
from service.inference.versions import Versions
from service.settings import Settings

PLATFORM: Final = "onnxruntime_onnx"

EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")

_LONGEST_VERSION: Final = 20
"""Digits of a version; a number of thousands of digits would not be read."""

_DEPENDENTS: Final = "unload_dependents"
"""Clients always say it; no model depends on another here."""

_STATEFUL: Final = ("sequence_id", "sequence_start", "sequence_end")


def is_ready(registry: Registry, draining: Draining) -> bool:
    """Return whether the active version of every model can answer and no stop has begun."""
    return not draining.begun and not registry.faults()


def server_metadata() -> ServerMetadata:
    """Return name, version and extensions of the server."""
    return ServerMetadata(name="nalu-serving", version=version("nalu-serving"), extensions=list(EXTENSIONS))


def asked_session(registry: Registry, name: str, told: str | None) -> ModelSession:
    """Return the model that a request names; a version that is no number is one that is not there.

    Args:
        registry: The models.
        name: Name of the model.
        told: What is said of its version; None or nothing for the active one.

    Raises:
        ModelNotFoundError: When it is not published.
        ModelNotReadyError: When it could not be loaded.
    """
    if not told:
        return registry.get(name)
    is_number = told.isascii() and told.isdigit() and len(told) < _LONGEST_VERSION
    return registry.get(name, int(told) if is_number else told)


def model_metadata(registry: Registry, session: ModelSession) -> ModelMetadata:
    """Return the tensors that a model takes and answers."""
    manifest = session.manifest
    return ModelMetadata(
        name=manifest.name,
        versions=[str(number) for number in sorted(registry.versions(manifest.name).loaded)],
        platform=PLATFORM,
        inputs=[_described(signature) for signature in input_signatures(manifest)],
        outputs=[_described(signature) for signature in output_signatures(manifest)],
    )


def model_config(session: ModelSession, max_rows: int) -> ModelConfig:
    """Return a model's configuration as Triton's clients ask for it; its shapes leave the batch out."""
    manifest = session.manifest
    return ModelConfig(
        name=manifest.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=max_rows,
        input=[_configured(signature) for signature in input_signatures(manifest)],
        output=[_configured(signature) for signature in output_signatures(manifest)],
    )


def repository_entries(registry: Registry) -> list[RepositoryEntry]:
    """Return every version with its state, and of one that could not be loaded the reason."""
    listed: list[RepositoryEntry] = []
    names = {*registry.names, *((registry.loading[0],) if registry.loading else ())}
    for name in sorted(names):
        versions = registry.models.get(name, Versions())
        loading = {registry.loading[1]} if registry.loading and registry.loading[0] == name else set[int]()
        for number in sorted({*versions.published, *loading}):
            state: Literal["READY", "LOADING", "UNAVAILABLE"] = "READY" if number in versions.loaded else "UNAVAILABLE"
            reason = "" if state == "READY" else f"it {versions.reason(number)}"
            if number in loading and state != "READY":
                state, reason = "LOADING", ""
            listed.append(RepositoryEntry(name=name, version=str(number), state=state, reason=reason))
    return listed


async def load(administration: Administration, name: str, parameters: Mapping[str, Any]) -> None:
    """Serve a model that was unloaded, and try again what could not be loaded.

    Raises:
        InvalidRequestError: When it is to be loaded in another way than it was published, such as from a file sent.
        ModelNotFoundError: When there is no such model.
        ActivationError: When none of its versions can be loaded.
        RepositoryFailedError: When the repository cannot be written.
    """
    if parameters:
        msg = f"a model is loaded as it was published, however parameters were given: {quote(min(parameters))}"
        raise InvalidRequestError([Fault(f"{msg}; leave them out")])
    await administration.load(name)


async def unload(administration: Administration, name: str, parameters: Mapping[str, Any]) -> None:
    """Serve no version of a model until it is loaded again.

    Raises:
        InvalidRequestError: When there are parameters that mean something else.
        ModelNotFoundError: When there is no such model.
        RepositoryFailedError: When the repository cannot be written.
    """
    if others := sorted(parameters.keys() - {_DEPENDENTS}):
        msg = f"a model is unloaded with no parameter but {_DEPENDENTS}, however with: {quote(others[0])}"
        raise InvalidRequestError([Fault(msg)])
    await administration.unload(name)


def refuse_what_is_kept(parameters: Mapping[str, Any]) -> None:
    """Refuse the parameters of a request to a model that remembers earlier ones.

    Raises:
        InvalidRequestError: When there are any.
    """
    if stateful := [name for name in _STATEFUL if parameters.get(name)]:
        msg = f"models keep nothing between requests, however the request has {stateful[0]}; leave it out"
        raise InvalidRequestError([Fault(msg)])


def refuse_classification(output: str, parameters: Mapping[str, Any]) -> None:
    """Refuse the wish for the most likely of several classes.

    Raises:
        InvalidRequestError: When an output's parameters have it.
    """
    if parameters.get("classification"):
        msg = "the models answer numbers, however a classification was asked for"
        raise InvalidRequestError([Fault(msg, output)])


def sequence_limits(settings: Settings) -> SequenceLimits:
    """Return how much a model of sequences may be asked for."""
    return SequenceLimits(settings.max_length, settings.max_steps, settings.max_pixels)


def infer(
    session: ModelSession,
    tensors: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    settings: Settings,
    deadline_s: float | None,
) -> dict[str, NDArray[Any]]:
    """Answer tensors.

    Args:
        session: The model.
        tensors: Name → array; text and missing values as objects.
        outputs: Names of the outputs asked for; none for all.
        settings: How much may be asked for.
        deadline_s: Time after which the run is stopped, or None for no limit.

    Returns:
        Name → array, in the order of the answer.

    Raises:
        FaultyInputError: When they are not tensors that the model can answer.
        InferenceError: When the run fails.
    """
    for name, array in tensors.items():
        if len(array) > settings.max_rows:
            msg = f"a request must have at most {settings.max_rows} rows, however: {len(array)}"
            raise InputShapeError([Fault(f"{msg}; send them in several requests", name)])
    encoded = encode_tensors(session.manifest, tensors, sequence_limits(settings))
    return answered_tensors(session.manifest, predict(session, encoded, deadline_s), outputs)


def _described(signature: TensorSignature) -> TensorMetadata:
    parameters: Parameters | None = {"columns": list(signature.columns)} if signature.columns else None
    return TensorMetadata(
        name=signature.name,
        datatype=OF_ELEMENT[signature.element],
        shape=list(signature.shape),
        parameters=parameters,
    )


def _configured(signature: TensorSignature) -> TensorConfig:
    datatype = OF_ELEMENT[signature.element]
    name = "STRING" if datatype == BYTES else datatype
    return TensorConfig(name=signature.name, data_type=f"TYPE_{name}", dims=list(signature.shape[1:]))
