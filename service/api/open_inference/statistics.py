"""The statistics extension: what was counted of each version, in all workers together.

Source: Triton's statistics extension. Time is measured from the check of the domain to that of the answer, and nothing
apart from it; what is not measured is told as zero.
"""

from collections.abc import Mapping
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request

from models.contract.errors import ModelNotFoundError
from service.api.open_inference.documented import PREFIX, PathVersion, errors
from service.api.open_inference.plane import asked_session
from service.api.open_inference.schemas import Duration, InferStatistics, ModelStatistics, Statistics
from service.api.routes import PathName, State
from service.inference.registry import Registry
from service.triton_metrics import triton_series

router = APIRouter(prefix=f"{PREFIX}/models", tags=["open inference protocol"])


def model_statistics(registry: Registry, totals: Mapping[str, float], name: str = "", version: str = "") -> Statistics:
    """Return what was counted.

    Args:
        registry: The models.
        totals: Series → value, as the workers counted.
        name: The model, or nothing for all.
        version: Its version, or nothing for all that are loaded.

    Raises:
        ModelNotFoundError: When there is no such model or version.
        ModelNotReadyError: When the version is not loaded.
    """
    if version:
        if not name:
            raise ModelNotFoundError(name, available=registry.names)
        wanted = [(name, asked_session(registry, name, version).manifest.version)]
    else:
        names = [name] if name else registry.names
        wanted = [(one, number) for one in names for number in sorted(registry.versions(one).loaded)]
    series = triton_series(totals)
    return Statistics(model_stats=[_counted(series, *one) for one in wanted])


def _counted(series: Mapping[str, float], name: str, version: int) -> ModelStatistics:
    labels = f'{{model="{name}",version="{version}"'

    def total(family: str) -> int:
        return round(sum(value for told, value in series.items() if told.startswith(family + labels)))

    answered = total("nv_inference_request_success")
    ns = 1000 * total("nv_inference_compute_infer_duration_us")
    return ModelStatistics(
        name=name,
        version=str(version),
        inference_count=total("nv_inference_count"),
        execution_count=total("nv_inference_exec_count"),
        inference_stats=InferStatistics(
            success=Duration(count=answered, ns=ns),
            fail=Duration(count=total("nv_inference_request_failure")),
            compute_infer=Duration(count=answered, ns=ns),
        ),
    )


@router.get("/stats", summary="Tell what was counted of all models")
async def statistics_of_all(request: Request) -> Statistics:
    """Tell requests, rows, runs and the time they took, of every version that is loaded."""
    state = _state(request)
    return model_statistics(state["registry"], state["counts"].totals())


@router.get("/{name}/stats", summary="Tell what was counted of a model", responses=errors(400, 404))
async def statistics_of_model(request: Request, name: PathName) -> Statistics:
    """Tell requests, rows, runs and the time they took, of every version of a model that is loaded."""
    state = _state(request)
    return model_statistics(state["registry"], state["counts"].totals(), name)


@router.get(
    "/{name}/versions/{version}/stats", summary="Tell what was counted of a version", responses=errors(400, 404, 503)
)
async def statistics_of_version(request: Request, name: PathName, version: PathVersion) -> Statistics:
    """Tell requests, rows, runs and the time they took, of one version."""
    state = _state(request)
    return model_statistics(state["registry"], state["counts"].totals(), name, version)


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])
