"""The admin routes: which version of a model answers, its aliases, what is removed; all need an admin key."""

from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from models.contract.names import MAX_NAME, NAME
from service.administration import Administration, Served
from service.api.admin import ADMIN_PROBLEMS, AdminOnly
from service.api.problems import CONTENT_TYPE, PROBLEMS, listed_types
from service.api.routes import PathName, State
from service.api.schemas import MAX_VERSION, VersionNumber

PathAlias = Annotated[str, Path(max_length=MAX_NAME, pattern=f"^{NAME}$")]
PathVersion = Annotated[int, Path(ge=1, le=MAX_VERSION)]


class ChosenVersion(BaseModel):
    """A version of a model."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra={"examples": [{"version": 2}]}
    )

    version: VersionNumber


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

router = APIRouter(prefix=PREFIX, tags=["administration"], dependencies=[AdminOnly], responses=_problems())


@router.post("/activate", summary="Let a version answer")
async def activate(request: Request, name: PathName, chosen: ChosenVersion) -> ServedModel:
    """Let a version answer where none is asked for, once it is loaded here; `latest` for the newest from now on.

    It is loaded first, and refused where it cannot be. The choice stands in the repository, which the other workers
    follow.
    """
    return _told(await _administration(request).activate(name, chosen.version))


@router.post("/rollback", summary="Let the version before answer")
async def roll_back(request: Request, name: PathName) -> ServedModel:
    """Let the version answer again that did before the last activation, or else the next older one."""
    return _told(await _administration(request).roll_back(name))


@router.put("/aliases/{alias}", summary="Set an alias")
async def set_alias(request: Request, name: PathName, alias: PathAlias, chosen: ChosenVersion) -> ServedModel:
    """Let a name such as `champion` stand for a version in requests."""
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


def _told(served: Served) -> ServedModel:
    return ServedModel.model_validate(served)


def _administration(request: Request) -> Administration:
    return cast(State, request.scope["state"])["administration"]
