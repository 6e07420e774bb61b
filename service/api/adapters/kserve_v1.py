"""TensorFlow Serving's REST API, which is KServe's first protocol too.

Source: TensorFlow Serving, "RESTful API"; KServe, "V1 protocol". An answer to `instances` is `predictions`, one to
`inputs` is `outputs`. Of a model's state and its signature both servers' shapes are told, as each has members that the
other's clients pass over.
Clients of TensorFlow Serving say version 0 for the one that is served. The routes of predictions come first: those of
states would take `:predict` for the end of a name.
"""

from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from models.contract.manifest import ModelManifest
from service.api.adapters.answering import answered, read_object, told
from service.api.adapters.instances import (
    check_rows,
    column_predictions,
    encode_inputs,
    encode_instances,
    n_rows_of,
    row_predictions,
)
from service.api.negotiation import JSON
from service.api.open_inference.documented import errors
from service.api.open_inference.plane import sequence_limits
from service.api.openapi import json_object_content
from service.api.routes import PathName, State
from service.errors import ModelNotReadyError
from service.inference.predictor import predict
from service.inference.session import ModelSession
from service.inference.tensors import TensorSignature, input_signatures, output_signatures

PathVersion = Annotated[int, Path(ge=0, le=999_999_999)]

_FORMS: Final = {"instances": encode_instances, "inputs": encode_inputs}
_IGNORED: Final = frozenset({"signature_name", "parameters"})
_DTYPES: Final = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "bool": "DT_BOOL", "text": "DT_STRING"}

_EXAMPLE: Final = {"instances": [[3, 5], [2, 7]]}
_BODY: Final = {"requestBody": {"required": True, "content": json_object_content(_FORMS, _EXAMPLE)}}

router = APIRouter(prefix="/v1/models", tags=["adapters"])


class ModelNames(BaseModel):
    """The models that are served."""

    models: list[str]


class VersionStatus(BaseModel):
    """State of a version, in TensorFlow Serving's words."""

    version: str
    state: str
    status: dict[str, str]


class ModelStatus(BaseModel):
    """State of a model."""

    name: str
    ready: bool
    model_version_status: list[VersionStatus]


class PredictAnswer(BaseModel):
    """Predictions, row by row or output by output."""

    predictions: list[Any] | None = Field(default=None, description="To `instances`: one for each.")
    outputs: list[float] | dict[str, list[float]] | None = Field(default=None, description="To `inputs`.")


class SignatureTree(BaseModel):
    """What a model takes and answers, in TensorFlow Serving's words, and in the spelling of OpenVINO's server."""

    model_spec: dict[str, str]
    modelSpec: dict[str, str]  # noqa: N815 - OpenVINO's spelling
    metadata: dict[str, Any]


@router.post(
    "/{name}:predict",
    summary="Predict with a model",
    response_model=PredictAnswer,
    responses=errors(400, 404, 413, 503, 504),
    openapi_extra=_BODY,
)
async def predict_active(request: Request, name: PathName) -> Response:
    """Answer `instances` row by row, or `inputs` output by output."""
    return await _predicted(request, _state(request)["registry"].get(name))


@router.post(
    "/{name}/versions/{version:int}:predict",
    summary="Predict with a version",
    response_model=PredictAnswer,
    responses=errors(400, 404, 413, 503, 504),
    openapi_extra=_BODY,
)
async def predict_version(request: Request, name: PathName, version: PathVersion) -> Response:
    """Answer `instances` row by row, or `inputs` output by output."""
    return await _predicted(request, _state(request)["registry"].get(name, version or None))


@router.get("", summary="Name the models")
async def names(request: Request) -> ModelNames:
    """Name every model."""
    return ModelNames(models=list(_state(request)["registry"].names))


@router.get("/{name}", summary="Is a model ready?", responses=errors(400, 404))
async def status(request: Request, name: PathName) -> ModelStatus:
    """Tell the states of a model's versions."""
    versions = _state(request)["registry"].versions(name)
    states = [
        _status(number, versions.reason(number), loaded=number in versions.loaded) for number in versions.published
    ]
    return ModelStatus(name=name, ready=versions.default is not None, model_version_status=states)


@router.get("/{name}/versions/{version:int}", summary="Is a version ready?", responses=errors(400, 404))
async def status_of_version(request: Request, name: PathName, version: PathVersion) -> ModelStatus:
    """Tell the state of a version."""
    registry = _state(request)["registry"]
    try:
        number = registry.get(name, version or None).manifest.version
        reason = ""
    except ModelNotReadyError as error:
        number, reason = version, str(error)
    state = _status(number, reason, loaded=not reason)
    return ModelStatus(name=name, ready=not reason, model_version_status=[state])


@router.get("/{name}/metadata", summary="Show a model's signature", responses=errors(400, 404, 503))
async def metadata(request: Request, name: PathName) -> SignatureTree:
    """Tell the tensors that a model takes and answers."""
    return _signature(_state(request)["registry"].get(name).manifest)


@router.get(
    "/{name}/versions/{version:int}/metadata", summary="Show a version's signature", responses=errors(400, 404, 503)
)
async def metadata_of_version(request: Request, name: PathName, version: PathVersion) -> SignatureTree:
    """Tell the tensors that a version takes and answers."""
    return _signature(_state(request)["registry"].get(name, version or None).manifest)


async def _predicted(request: Request, session: ModelSession) -> Response:
    state = _state(request)
    settings = state["settings"]

    def answer(body: bytes, deadline_s: float | None) -> bytes:
        form, rows = read_object(body, _FORMS, _IGNORED)
        check_rows(n_rows_of(rows), settings.max_rows)
        encoded = _FORMS[form](session.manifest, rows, sequence_limits(settings))
        prediction = predict(session, encoded, deadline_s)
        if form == "instances":
            return told({"predictions": row_predictions(session.output_names, prediction)})
        return told({"outputs": column_predictions(session.output_names, prediction)})

    return await answered(request, state, session, answer, JSON)


def _status(number: int, reason: str, *, loaded: bool) -> VersionStatus:
    state = "AVAILABLE" if loaded else "END"
    error = (
        {"error_code": "OK", "error_message": ""} if loaded else {"error_code": "UNAVAILABLE", "error_message": reason}
    )
    return VersionStatus(version=str(number), state=state, status=error)


def _signature(manifest: ModelManifest) -> SignatureTree:
    definition = {
        "inputs": {one.name: _tensor(one) for one in input_signatures(manifest)},
        "outputs": {one.name: _tensor(one) for one in output_signatures(manifest)},
        "method_name": "tensorflow/serving/predict",
    }
    spec = {"name": manifest.name, "signature_name": "", "version": str(manifest.version)}
    told = {"serving_default": definition}
    metadata = {"signature_def": {"signature_def": told, "signatureDef": told}}
    return SignatureTree(model_spec=spec, modelSpec=spec, metadata=metadata)


def _tensor(signature: TensorSignature) -> dict[str, Any]:
    axes = [{"size": str(axis), "name": ""} for axis in signature.shape]
    shape = {"dim": axes, "unknown_rank": False}
    return {
        "dtype": _DTYPES[signature.element],
        "tensor_shape": shape,
        "tensorShape": shape,
        "name": signature.name,
    }


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])
