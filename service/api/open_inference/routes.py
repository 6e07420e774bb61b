"""The routes of the protocol; what they answer is in the protocol's shape, errors included.

Clients send no content type and put bytes behind the JSON, so that bodies are read here and not by the framework.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from fastapi import APIRouter, Response
from pydantic import BaseModel
from starlette.requests import Request

from service.api.large_bodies import answer_in_thread, is_small
from service.api.open_inference import plane, repository, statistics
from service.api.open_inference.bodies import JSON_LENGTH_HEADER, read_infer, write_infer
from service.api.open_inference.documented import PREFIX, PathVersion, errors
from service.api.open_inference.schemas import (
    InferAnswerBody,
    InferRequestBody,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from service.api.openapi import json_or_bytes_content
from service.api.routes import PathName, State
from service.inference.session import ModelSession
from service.settings import Settings

_BINARY_MEDIA_TYPE: Final = "application/octet-stream"

router = APIRouter(prefix=PREFIX, tags=["open inference protocol"])

ROUTERS: Final = (repository.router, statistics.router, router)
"""All of the protocol, statistics before the models, whose routes would take its path for a name."""


@router.get("", summary="Tell what this server is")
@router.get("/", include_in_schema=False)
async def server_metadata() -> ServerMetadata:
    """Tell name, version and extensions of the protocol."""
    return plane.server_metadata()


@router.get("/health/live", summary="Is the process alive?")
async def live() -> ServerLive:
    """Answer as long as the process does."""
    return ServerLive(live=True)


@router.get(
    "/health/ready",
    summary="Is every model ready?",
    responses={503: {"description": "Not ready.", "model": ServerReady}},
)
async def ready(request: Request, response: Response) -> ServerReady:
    """Answer 200 when the active version of every model can answer and no stop has begun."""
    state = _state(request)
    is_ready = plane.is_ready(state["registry"], state["draining"])
    response.status_code = 200 if is_ready else 503
    return ServerReady(ready=is_ready)


@dataclass(frozen=True)
class Asked:
    """The model that a path names.

    Attributes:
        request: The request.
        name: Name of the model.
        version: What is said of its version; None for the active one.
    """

    request: Request
    name: str
    version: str | None = None

    @property
    def state(self) -> State:
        """What the application holds."""
        return _state(self.request)

    def session(self) -> ModelSession:
        """Return the model.

        Raises:
            ModelNotFoundError: When it is not published.
            ModelNotReadyError: When it could not be loaded.
        """
        return plane.asked_session(self.state["registry"], self.name, self.version)


async def model_metadata(asked: Asked) -> Response:
    """Tell the tensors that a model takes and answers."""
    return _written(plane.model_metadata(asked.state["registry"], asked.session()))


async def model_ready(asked: Asked) -> Response:
    """Answer 200 when it can answer; 404 when there is none, 503 when it could not be loaded or a stop has begun."""
    asked.session()
    is_ready = not asked.state["draining"].begun
    return _written(ModelReady(name=asked.name, ready=is_ready), 200 if is_ready else 503)


async def model_config(asked: Asked) -> Response:
    """Tell the configuration as Triton's clients ask for it; its shapes leave the batch out."""
    return _written(plane.model_config(asked.session(), asked.state["settings"].max_rows))


def _written(answer: BaseModel, status: int = 200) -> Response:
    return Response(answer.model_dump_json(exclude_none=True), status, media_type="application/json")


async def infer(asked: Asked) -> Response:
    """Answer tensors, given in JSON or as bytes behind it.

    A model of a table takes `numeric` and `categorical`, or one tensor for each column, named as it is; it answers
    `predictions` and `in_range`. Missing values are NaN, in JSON null.
    """
    request, settings = asked.request, asked.state["settings"]
    session, told = asked.session(), request.headers.get(JSON_LENGTH_HEADER)
    headers: dict[str, str] = {}

    def answer(body: bytes, deadline_s: float | None = None) -> bytes:
        content, length = _answer(session, body, told, settings, deadline_s)
        if length is not None:
            headers[JSON_LENGTH_HEADER] = str(length)
        return content

    if session.manifest.sequence is None and is_small(request):
        content = answer(await request.body())
    else:
        content, more = await answer_in_thread(request, asked.state["admission"], settings.max_body_bytes, answer)
        headers |= more
    media_type = _BINARY_MEDIA_TYPE if JSON_LENGTH_HEADER in headers else "application/json"
    return Response(content, media_type=media_type, headers=headers)


def _add(
    method: str,
    suffix: str,
    answer: Callable[[Asked], Awaitable[Response]],
    summary: str,
    answers: type[BaseModel],
    *statuses: int,
    body: type[BaseModel] | None = None,
) -> None:
    """Add a route of a model, for its active version and for one by its number."""
    extra = {"requestBody": {"required": True, "content": json_or_bytes_content(body)}} if body else None

    async def of_active(request: Request, name: PathName) -> Response:
        return await answer(Asked(request, name))

    async def of_version(request: Request, name: PathName, version: PathVersion) -> Response:
        return await answer(Asked(request, name, version))

    for path, endpoint, which in (
        ("", of_active, "active version"),
        ("/versions/{version}", of_version, "one version"),
    ):
        router.add_api_route(
            f"/models/{{name}}{path}{suffix}",
            endpoint,
            methods=[method],
            summary=f"{summary}, {which}",
            description=answer.__doc__,
            response_class=Response,
            responses={200: {"model": answers, "description": answers.__doc__}, **errors(400, 404, *statuses, 503)},
            openapi_extra=extra,
            name=f"{answer.__name__}_{endpoint.__name__}",
        )


_add("GET", "", model_metadata, "Show a model", ModelMetadata)
_add("GET", "/ready", model_ready, "Is a model ready?", ModelReady)
_add("GET", "/config", model_config, "Show a model's configuration", ModelConfig)
_add("POST", "/infer", infer, "Infer", InferAnswerBody, 413, 504, body=InferRequestBody)


def _answer(
    session: ModelSession, body: bytes, told: str | None, settings: Settings, deadline_s: float | None
) -> tuple[bytes, int | None]:
    asked = read_infer(body, told)
    outputs = plane.infer(session, asked.tensors, [output.name for output in asked.outputs], settings, deadline_s)
    return write_infer(session.manifest, asked, outputs)


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])
