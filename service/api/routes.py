"""The routes: HTTP here, meaning elsewhere."""

from typing import Annotated, Any, Protocol, TypedDict, cast

from fastapi import APIRouter, Path, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse

from service.administration import Administration
from service.admission import Admission
from service.api.bulk import answer_bulk
from service.api.cards import CARD_HEADERS, card_path, read_card
from service.api.front import Front
from service.api.heads import Heads
from service.api.large_bodies import answer_in_thread, is_small
from service.api.negotiation import JSON, PREDICT_PATH, form_of
from service.api.openapi import PREDICT_ANSWER_CONTENT, PREDICT_PARAMETERS, PREDICT_REQUEST_CONTENT
from service.api.predictions import answer_json, answer_large, read_json
from service.api.problems import CONTENT_TYPE, PROBLEMS, listed_types
from service.api.reaper import Reaper
from service.api.schemas import (
    MAX_VERSION,
    Live,
    ModelDetail,
    ModelEntry,
    ModelList,
    ModelSummary,
    Ready,
    detail_of,
    summary_of,
)
from service.bulk import BulkLimits
from service.draining import Draining
from service.inference.batches import SequenceLimits
from service.inference.quick_rows import QuickReader
from service.inference.registry import Registry
from service.keys import KeyRing
from service.metrics import Counts
from service.settings import Settings

PathName = Annotated[str, Path(max_length=100)]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RETRY_AFTER = {"Retry-After": "10"}


class Stoppable(Protocol):
    """A server beside this one, which stops with it."""

    async def stop(self) -> None:
        """Accept nothing more, and end when what is under way is answered."""


class State(TypedDict):
    """What the application holds while it runs.

    Attributes:
        settings: The settings.
        registry: The loaded models.
        quick: Reads the requests to those models that need no second look.
        reaper: Looks at the connections.
        front: Answers the small ones of them.
        keys: The API keys that are taken; None where the service takes none.
        heads: What their heads tell, where the HTTP protocol answers them.
        draining: Whether it has been told to stop.
        counts: What all workers have counted.
        admission: Places for requests that are answered in a thread.
        bulk: Places for tables.
        administration: Changes which versions answer.
        rpc: The gRPC server, where there is one.
    """

    settings: Settings
    registry: Registry
    quick: QuickReader
    reaper: Reaper
    front: Front
    keys: KeyRing | None
    heads: Heads
    draining: Draining
    counts: Counts
    admission: Admission
    bulk: Admission
    administration: Administration
    rpc: Stoppable | None


router = APIRouter()


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the problems that a route answers with."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        kinds = [problem for problem in PROBLEMS.values() if problem.status == status]
        documented[status] = {
            "description": listed_types(kinds),
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}},
        }
    return documented


@router.post(
    PREDICT_PATH,
    summary="Predict rows",
    tags=["predictions"],
    response_class=Response,
    responses={
        200: {"description": "Predictions, in the form of the request.", "content": PREDICT_ANSWER_CONTENT},
        **_problems(400, 404, 406, 413, 415, 422, 503, 504),
    },
    openapi_extra={
        "requestBody": {"required": True, "content": PREDICT_REQUEST_CONTENT},
        "parameters": PREDICT_PARAMETERS,
    },
)
async def predict_rows(request: Request) -> Response:
    """Answer rows in one of two forms: `rows` as objects, or `columns` and `data`; the answer has the request's form.

    Every column of the model must be given, `null` where the value is missing and the model allows it.
    Text or a boolean is never taken for a number. A model of sequences has one column: a text, a list of steps, or a
    list of images (grey PNG in base64, or rows of pixels); rows of one request may differ in length.

    A table, as an Arrow IPC stream or CSV, names its model in the query; `Accept` chooses the form of its answer.
    Bodies may be compressed with gzip, deflate or zstd.
    """
    state = _state(request)
    registry, settings = state["registry"], state["settings"]
    limits = SequenceLimits(settings.max_length, settings.max_steps, settings.max_pixels)
    form = form_of(request.headers)
    if form != "json":
        bulk_limits = BulkLimits(settings.max_bulk_bytes, settings.max_bulk_rows, limits)
        return await answer_bulk(request, form, registry, state["bulk"], bulk_limits)
    if not is_small(request):
        return await _answer_large(request, state, limits)
    if (read := read_json(registry, await request.body(), settings.max_rows)).is_light:
        answer = answer_json(read, limits)
    else:
        async with state["admission"].place() as place:
            await place.turn()
            answer = await place.run(answer_json, read, limits, place.remaining_s)
    return Response(answer, media_type=JSON)


async def _answer_large(request: Request, state: State, limits: SequenceLimits) -> Response:
    """Answer a request in JSON in a thread."""
    registry, settings = state["registry"], state["settings"]

    def answer(body: bytes, deadline_s: float) -> bytes:
        return answer_large(state["quick"], registry, body, settings.max_rows, limits, deadline_s)

    content, headers = await answer_in_thread(
        request, state["admission"], settings.max_body_bytes, answer, state["front"].answer_large
    )
    return Response(content, media_type=JSON, headers=headers)


@router.get("/models", summary="List models", tags=["models"])
async def list_models(request: Request) -> ModelList:
    """Tell every model, the versions that can answer and those that could not be loaded."""
    registry = _state(request)["registry"]
    return ModelList(models=[_entry(registry, name) for name in registry.names])


@router.get("/models/{name}", summary="Show a model", tags=["models"], responses=_problems(404, 422))
async def show_model(request: Request, name: PathName) -> ModelSummary:
    """Tell the versions of one model, and what the one that answers by default takes and gives."""
    state = _state(request)
    registry = state["registry"]
    default = registry.versions(name).default
    if default is None:
        return summary_of(_entry(registry, name), None, None)
    card = card_path(state["settings"].model_repository, name, default.manifest.version)
    return summary_of(_entry(registry, name), default.manifest, card)


@router.get(
    "/models/{name}/versions/{version}",
    summary="Show a version",
    tags=["models"],
    responses=_problems(404, 422, 503),
)
async def show_version(
    request: Request, name: PathName, version: Annotated[int, Path(ge=1, le=MAX_VERSION)]
) -> ModelDetail:
    """Tell what a version takes and gives, with ranges and units, its formula, and what was measured."""
    state = _state(request)
    session = state["registry"].get(name, version)
    card = card_path(state["settings"].model_repository, name, version)
    return detail_of(session.manifest, session.provider, card)


@router.get(
    "/models/{name}/versions/{version}/card",
    summary="Show a model card",
    tags=["models"],
    response_class=HTMLResponse,
    responses=_problems(404, 422, 503),
)
async def show_card(
    request: Request, name: PathName, version: Annotated[int, Path(ge=1, le=MAX_VERSION)]
) -> HTMLResponse:
    """Show how a version was made and judged, and how far to trust it, as a page for people without any script."""
    state = _state(request)
    state["registry"].get(name, version)
    page = await run_in_threadpool(read_card, state["settings"].model_repository, name, version)
    return HTMLResponse(page, headers=CARD_HEADERS)


@router.get("/health/live", summary="Is the process alive?", tags=["health"])
async def live(response: Response) -> Live:
    """Answer as long as the process does."""
    response.headers["Cache-Control"] = "no-store"
    return Live()


@router.get(
    "/health/ready",
    summary="Are predictions to be had?",
    tags=["health"],
    responses={503: {"description": "Not ready; the body says why.", "model": Ready}},
)
async def ready(request: Request, response: Response) -> Ready:
    """Answer 200 when a version of every model is loaded, verified and warmed up, and no stop has begun.

    Notices tell what a person should look at all the same: a version that could not be loaded, a repository that is
    gone.
    """
    response.headers["Cache-Control"] = "no-store"
    state = _state(request)
    reasons = state["registry"].faults()
    if state["draining"].begun:
        reasons.append("the service is stopping")
    if reasons:
        response.status_code = 503
        response.headers.update(_RETRY_AFTER)
    notices = state["registry"].notices()
    return Ready(status="not-ready" if reasons else "ready", reasons=reasons, notices=notices)


@router.get(
    "/metrics",
    summary="What has been counted",
    tags=["health"],
    response_class=Response,
    responses={200: {"description": "Metrics of all workers together.", "content": {_METRICS_TYPE: {}}}},
)
async def metrics(request: Request) -> Response:
    """Tell every counter, gauge and histogram in Prometheus's text format, added up over the workers."""
    return Response(_state(request)["counts"].exposition(), media_type=_METRICS_TYPE)


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])


def _entry(registry: Registry, name: str) -> ModelEntry:
    versions = registry.versions(name)
    default, activation = versions.default, versions.activation
    return ModelEntry(
        name=name,
        latest=versions.latest,
        active=versions.active,
        pinned=activation.active,
        versions=sorted(versions.loaded),
        idle=sorted(versions.idle),
        failed=dict(versions.failed),
        aliases=dict(activation.aliases),
        generation=activation.generation,
        description=default.manifest.description if default else None,
    )
