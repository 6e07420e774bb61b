"""The admin routes: which version of a model answers, its aliases, what is removed; all need an admin key."""

from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from models.contract.names import MAX_NAME, NAME
from service.administration import Administration, Served
from service.api.admin import ADMIN_PROBLEMS, AdminOnly
from service.api.json_body import parse_json
from service.api.openapi import json_content
from service.api.problems import CONTENT_TYPE, PROBLEMS, listed_types
from service.api.routes import PathName, State
from service.api.schemas import MAX_VERSION, ChosenVersion, read_form
from service.api.small_bodies import read_small

PathAlias = Annotated[str, Path(max_length=MAX_NAME, pattern=f"^{NAME}$")]
PathVersion = Annotated[int, Path(ge=1, le=MAX_VERSION)]


class ServedModel(BaseModel):
    """What is served of a model after a change, in this worker and in how many."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    model: str
    active: int | None = Field(description="The version that answers by default; null where none does.")
    pinned: int | None = Field(description="The version chosen; null for the newest that can be loaded.")
    aliases: dict[str, int] = Field(description="Names that may stand for a version in a request.")
    generation: int = Field(description="Changes so far; GET /models/{name} tells how far a worker has followed.")
    n_switched: int = Field(description="Workers in which that version answers by default already.")
    n_workers: int = Field(description="Workers that serve.")


def _problems() -> dict[int | str, dict[str, Any]]:
    documented = dict(ADMIN_PROBLEMS)
    for status in (400, 404, 409, 413, 422, 503):
        kinds = [problem for problem in PROBLEMS.values() if problem.status == status]
        documented[status] = {
            "description": listed_types(kinds),
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}},
        }
    return documented


PREFIX: Final = "/admin/models/{name}"

_CHOSEN_VERSION: Final = {"requestBody": {"required": True, "content": json_content(ChosenVersion)}}

router = APIRouter(prefix=PREFIX, tags=["administration"], dependencies=[AdminOnly], responses=_problems())


@router.post("/activate", summary="Let a version answer", openapi_extra=_CHOSEN_VERSION)
async def activate(request: Request, name: PathName) -> ServedModel:
    """Let a version answer where none is asked for, once it is loaded here; `latest` for the newest from now on.

    It is loaded first, and refused where it cannot be. The choice stands in the repository, which the other workers
    follow.
    """
    chosen = await _chosen(request)
    return _told(await _administration(request).activate(name, chosen.version))


@router.post("/rollback", summary="Let the version before answer")
async def roll_back(request: Request, name: PathName) -> ServedModel:
    """Let the version answer again that did before the last activation, or else the next older one."""
    return _told(await _administration(request).roll_back(name))


@router.put("/aliases/{alias}", summary="Set an alias", openapi_extra=_CHOSEN_VERSION)
async def set_alias(request: Request, name: PathName, alias: PathAlias) -> ServedModel:
    """Let a name such as `champion` stand for a version in requests."""
    chosen = await _chosen(request)
    return _told(await _administration(request).set_alias(name, alias, chosen.version))


@router.delete("/aliases/{alias}", summary="Remove an alias")
async def remove_alias(request: Request, name: PathName, alias: PathAlias) -> ServedModel:
    """Let a name stand for no version any more."""
    return _told(await _administration(request).remove_alias(name, alias))


@router.delete("/versions/{version}", summary="Remove a version", status_code=204, response_class=Response)
async def remove_version(request: Request, name: PathName, version: PathVersion) -> Response:
    """Remove a version from the repository; not the one that was chosen, and none that an alias stands for."""
    await _administration(request).remove(name, version)
    return Response(status_code=204)


@router.post("/load", summary="Load a model")
async def load(request: Request, name: PathName) -> ServedModel:
    """Serve a model that was unloaded, and try again the versions that could not be loaded."""
    return _told(await _administration(request).load(name))


@router.post("/unload", summary="Unload a model")
async def unload(request: Request, name: PathName) -> ServedModel:
    """Serve no version of a model, in any worker, until it is loaded again; nothing is removed."""
    return _told(await _administration(request).unload(name))


async def _chosen(request: Request) -> ChosenVersion:
    body = await read_small(request)
    return read_form(ChosenVersion, parse_json(body) if body else None)


def _told(served: Served) -> ServedModel:
    return ServedModel.model_validate(served)


def _administration(request: Request) -> Administration:
    return cast(State, request.scope["state"])["administration"]
