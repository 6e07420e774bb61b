"""MLflow's scoring server and SageMaker's containers: one model, at `/invocations`.

Source: MLflow, "Deploy MLflow model as a local inference server"; Amazon SageMaker, "Use your own inference code with
hosting services". MLflow's client takes an answer with no other member than `predictions`; the model and its version
are told in headers.
"""

import io
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final, cast

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from models.contract.manifest import ModelManifest
from service.api.adapters.answering import answered, read_object, told
from service.api.adapters.instances import (
    check_rows,
    encode_inputs,
    encode_instances,
    n_rows_of,
    named_rows,
    row_predictions,
)
from service.api.negotiation import JSON, MEDIA_TYPES, form_of, wanted_form
from service.api.open_inference.documented import errors
from service.api.open_inference.plane import is_ready, sequence_limits
from service.api.openapi import json_object_content
from service.api.routes import State
from service.bulk import BulkAnswer, BulkLimits, BulkRequest, predict_stream, written
from service.errors import Fault, InvalidRequestError, NotOfferedError, UnsupportedMediaTypeError
from service.inference.batches import SequenceLimits
from service.inference.encoding import Encoded, encode_records, encode_split
from service.inference.predictor import Prediction, predict
from service.inference.registry import Registry
from service.inference.session import ModelSession
from service.inference.trust import Asked
from service.settings import Settings

_EXAMPLE: Final = {"dataframe_split": {"columns": ["a", "b"], "data": [[3, 5], [2, 7]]}}

_CONTENT: Final = json_object_content(("dataframe_split", "dataframe_records", "instances", "inputs"), _EXAMPLE) | {
    MEDIA_TYPES["csv"]: {"schema": {"type": "string"}, "example": "a,b\n3,5\n2,7\n"}
}

router = APIRouter(tags=["adapters"])


class InvocationsAnswer(BaseModel):
    """Predictions, one for each row: a number, or an object by output."""

    predictions: list[Any]


@router.get(
    "/ping",
    summary="Is every model ready?",
    response_class=Response,
    responses={200: {"description": "Ready."}, 503: {"description": "Not ready."}},
)
@router.get("/health", include_in_schema=False)
async def ping(request: Request) -> Response:
    """Answer 200 when every model can answer and no stop has begun."""
    state = _state(request)
    return Response(status_code=200 if is_ready(state["registry"], state["draining"]) else 503)


@router.get("/version", summary="Tell the version of this server", response_class=PlainTextResponse)
async def server_version() -> PlainTextResponse:
    """Tell the version of this server, as plain text."""
    return PlainTextResponse(version("nalu-serving"))


@router.post(
    "/invocations",
    summary="Predict with the default model",
    responses={
        200: {
            "description": InvocationsAnswer.__doc__,
            "model": InvocationsAnswer,
            "content": {MEDIA_TYPES["csv"]: {"schema": {"type": "string"}}},
        },
        **errors(400, 404, 406, 413, 503, 504),
    },
    openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
    response_class=Response,
)
async def invocations(request: Request) -> Response:
    """Answer rows with the model of `NALU_DEFAULT_MODEL`, or the only one there is.

    JSON has exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`; CSV has a line of names
    first, and is answered as CSV where `Accept` asks for it.
    """
    state = _state(request)
    settings = state["settings"]
    session = default_session(state["registry"], settings)
    form = form_of(request.headers) if request.headers.get("content-type") else "json"
    if form == "arrow":
        msg = "a body must be JSON or CSV here, however it is an Arrow stream; send it to /predict"
        raise UnsupportedMediaTypeError(msg)
    as_csv = form == "csv" and wanted_form(request.headers, "json") == "csv"

    def answer(body: bytes, deadline_s: float | None) -> bytes:
        if form == "csv":
            return _written(_predict_csv(session, body, settings), as_csv=as_csv)
        return _predict_json(session, body, settings, deadline_s)

    return await answered(request, state, session, answer, MEDIA_TYPES["csv"] if as_csv else JSON)


def default_session(registry: Registry, settings: Settings) -> ModelSession:
    """Return the model that answers where none can be named.

    Raises:
        NotOfferedError: When there are several and none was chosen.
        ModelNotFoundError: When there is none of that name.
        ModelNotReadyError: When it cannot answer.
    """
    if settings.default_model is not None:
        return registry.get(settings.default_model)
    if len(registry.names) != 1:
        msg = (
            f"one model must be served, or NALU_DEFAULT_MODEL choose one, however {len(registry.names)} are served and "
            "none is chosen; ask for one by its name at /v1/models or /predict"
        )
        raise NotOfferedError(msg)
    return registry.get(registry.names[0])


def _dataframe_split(manifest: ModelManifest, content: object, limits: SequenceLimits) -> Encoded:
    if not isinstance(content, dict) or not {"columns", "data"} <= content.keys() <= {"columns", "data", "index"}:
        raise _invalid("dataframe_split must be an object with columns and data, however it is not")
    columns, data = content["columns"], content["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise _invalid("columns must be a list of names, however they are not")
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise _invalid("data must be a list of rows, however it is not")
    return encode_split(manifest, columns, data, limits)


def _dataframe_records(manifest: ModelManifest, content: object, limits: SequenceLimits) -> Encoded:
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise _invalid("dataframe_records must be a list of objects, however they are not")
    return encode_records(manifest, content, limits)


_FORMS: Final[dict[str, Callable[[ModelManifest, object, SequenceLimits], Encoded]]] = {
    "dataframe_split": _dataframe_split,
    "dataframe_records": _dataframe_records,
    "instances": encode_instances,
    "inputs": encode_inputs,
}


def _predict_json(session: ModelSession, body: bytes, settings: Settings, deadline_s: float | None) -> bytes:
    form, rows = read_object(body, _FORMS, frozenset({"params"}))
    claimed = rows.get("data") if form == "dataframe_split" and isinstance(rows, dict) else rows
    check_rows(n_rows_of(claimed), settings.max_rows)
    prediction = predict(session, _FORMS[form](session.manifest, rows, sequence_limits(settings)), deadline_s)
    written_as = named_rows if form.startswith("dataframe") else row_predictions
    return told({"predictions": written_as(session.output_names, prediction)})


def _predict_csv(session: ModelSession, body: bytes, settings: Settings) -> BulkAnswer:
    limits = BulkLimits(settings.max_body_bytes, settings.max_rows, sequence_limits(settings))
    return predict_stream(BulkRequest(session, "csv", None, Asked()), io.BytesIO(body), limits)


def _written(answer: BulkAnswer, *, as_csv: bool) -> bytes:
    if as_csv:
        return b"".join(written(answer, "csv"))
    values = np.column_stack(list(answer.columns.values()))
    return told({"predictions": named_rows(list(answer.columns), Prediction(values, answer.in_range))})


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError([Fault(message)])


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])
