"""The model repository extension: which versions there are, and models loaded and unloaded.

Source: Triton's model repository extension. A model is loaded as it was published: its files and its configuration are
not taken from a request.
"""

from collections.abc import Mapping
from typing import Any, cast

from fastapi import APIRouter
from starlette.requests import Request

from service.api.admin import AdminOnly
from service.api.json_body import parse_json
from service.api.open_inference import plane
from service.api.open_inference.bodies import read_parameters
from service.api.open_inference.documented import PREFIX, errors
from service.api.open_inference.schemas import Done, RepositoryEntry, RepositoryRequestBody
from service.api.openapi import json_or_bytes_content
from service.api.routes import PathName, State
from service.api.small_bodies import read_small

router = APIRouter(prefix=f"{PREFIX}/repository", tags=["open inference protocol"])

_BODY = {"requestBody": {"required": False, "content": json_or_bytes_content(RepositoryRequestBody)}}


@router.post("/index", summary="List the versions of all models")
async def repository_index(request: Request) -> list[RepositoryEntry]:
    """Tell every version with its state, and of one that could not be loaded the reason."""
    return plane.repository_entries(_state(request)["registry"])


@router.post(
    "/models/{name}/load",
    summary="Load a model",
    dependencies=[AdminOnly],
    responses=errors(400, 404, 409, 413, 503),
    openapi_extra=_BODY,
)
async def load(request: Request, name: PathName) -> Done:
    """Serve a model that was unloaded, and try again the versions that could not be loaded."""
    await plane.load(_state(request)["administration"], name, await _parameters(request))
    return Done()


@router.post(
    "/models/{name}/unload",
    summary="Unload a model",
    dependencies=[AdminOnly],
    responses=errors(400, 404, 409, 413, 503),
    openapi_extra=_BODY,
)
async def unload(request: Request, name: PathName) -> Done:
    """Serve no version of a model, in any worker, until it is loaded again; nothing is removed."""
    await plane.unload(_state(request)["administration"], name, await _parameters(request))
    return Done()


async def _parameters(request: Request) -> Mapping[str, Any]:
    body = await read_small(request)
    return read_parameters(parse_json(body)) if body else {}


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])
