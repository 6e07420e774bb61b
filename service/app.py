"""The application: `create_app(settings)` wires the parts together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from models.contract.repository import ModelRepository
from models.contract.signing import TrustedKeys
from service.administration import Administration
from service.admission import Admission
from service.api import pages, routes, versions
from service.api.adapters import invocations, kserve_v1
from service.api.framework import ServingFastAPI
from service.api.front import Front
from service.api.heads import Heads
from service.api.key_guard import CORS, KeyGuard, OpenPaths
from service.api.middleware import RequestFrame, Traffic
from service.api.open_inference import routes as open_inference
from service.api.patience import patience_of
from service.api.problems import install_problem_handlers
from service.api.reaper import Reaper
from service.api.short_path import ShortPath
from service.draining import Draining, drain_on_signal
from service.inference.following import Follower
from service.inference.loading import Loader
from service.inference.providers import CudaOptions
from service.inference.quick_rows import QuickReader
from service.inference.registry import Registry, load_registry
from service.key_limits import Ledger
from service.keys import KeyRing
from service.logging import LOGGER
from service.metrics import Counts
from service.settings import Settings
from service.switching import Switching
from service.tracing import Tracing, open_tracing


def create_app(
    settings: Settings,
    registry: Registry | None = None,
    counts: Counts | None = None,
    worker: int = 0,
    ledger: Ledger | None = None,
) -> FastAPI:
    """Return the ASGI application.

    Args:
        settings: How to run.
        registry: Models that are loaded already; by default they are loaded from the repository when the application
            starts.
        counts: What all workers have counted; by default this process is alone.
        worker: Which of them this is.
        ledger: What keys with limits have used in all workers.

    Raises:
        KeyFileError: When there is a keys file that cannot be read.
        SettingsError: When requests are to be traced and cannot be.
    """
    counts = counts or Counts()
    slot = counts.slot(worker)
    slot.take_over()
    traffic = Traffic(slot)
    keys = KeyRing(settings.keys_file, ledger, worker) if settings.keys_file is not None else None
    tracing = open_tracing(settings, worker)
    if tracing is not None:
        tracing.trace_runs(slot)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[routes.State]:
        models = load_models(settings) if registry is None else registry
        log_models(models)
        slot.cell("nalu_workers").set(1.0)
        slot.cell("nalu_worker_starts_total").add()
        quick = QuickReader(models, settings.max_rows)
        switching = Switching(Follower(_loader(settings), settings.keep_versions), models, quick, slot)
        front = Front(quick, max_body_bytes=settings.max_body_bytes, traffic=traffic)
        draining = Draining()
        bulk = Admission("bulk", n_waiting=settings.max_queue, deadline_s=settings.bulk_deadline_s, slot=slot)
        admission = Admission("json", n_waiting=settings.max_queue, deadline_s=settings.deadline_s, slot=slot)
        state: routes.State = {
            "settings": settings,
            "registry": models,
            "quick": quick,
            "reaper": Reaper(patience_of(settings), traffic),
            "front": front,
            "keys": keys,
            "heads": Heads(front.max_large_bytes, keys),
            "draining": draining,
            "counts": counts,
            "admission": admission,
            "bulk": bulk,
            "administration": Administration(open_repository(settings), models, switching, counts),
            "rpc": None,
        }
        watching = asyncio.create_task(keys.watch()) if keys is not None else None
        with drain_on_signal(draining, settings.drain_s):
            following = asyncio.create_task(switching.follow(settings.reload_s)) if settings.reload_s else None
            async with rpc_served(state, traffic, tracing):
                yield state
        if following is not None:
            following.cancel()
        switching.close()
        if watching is not None:
            watching.cancel()
        state["reaper"].close()
        admission.close()
        bulk.close()
        if tracing is not None:
            tracing.close()
        n_failed = sum(n for status, n in traffic.answered.items() if status >= 500)
        LOGGER.info("stopped after %d requests, %d of them failed", traffic.answered.total(), n_failed)

    app = ServingFastAPI(
        title="NALU serving",
        version=version("nalu-serving"),
        description="Predictions of neural arithmetic networks. Errors are `application/problem+json` (RFC 9457).",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    install_problem_handlers(app)
    app.include_router(routes.router)
    for router in (*open_inference.ROUTERS, kserve_v1.router, invocations.router):
        app.include_router(router)
    app.include_router(versions.router)
    app.include_router(pages.router)
    app.mount("/static", pages.static_files())
    open_paths = OpenPaths(settings)
    app.needs_key = lambda path: keys is not None and path not in open_paths
    app.add_middleware(KeyGuard, open_paths=open_paths)
    if settings.allowed_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.allowed_origins, **CORS)
    largest = settings.max_body_bytes
    app.add_middleware(RequestFrame, max_body_bytes=largest, max_bulk_bytes=settings.max_bulk_bytes, traffic=traffic)
    if tracing is None:
        app.put_in_front(ShortPath)
    else:
        from service.api.traced import Traced

        tracer = tracing.tracer
        app.put_in_front(lambda ordinary: Traced(ordinary, ShortPath(ordinary), tracer))
    return app


@asynccontextmanager
async def rpc_served(state: routes.State, traffic: Traffic, tracing: Tracing | None) -> AsyncIterator[None]:
    """Serve gRPC too, where the settings say so; what it needs is imported only then.

    Raises:
        StartError: When its port cannot be had.
    """
    if state["settings"].grpc_port is None:
        yield
        return
    from service.api.rpc.server import RpcServer

    server = RpcServer(state, traffic, None if tracing is None else tracing.tracer)
    await server.start()
    state["rpc"] = server
    yield
    await server.stop()


def load_models(settings: Settings) -> Registry:
    """Load the models that the settings name.

    Raises:
        RepositoryError: When the repository cannot be read.
        ProviderError: When the provider is not available.
    """
    return load_registry(
        open_repository(settings),
        provider=settings.provider,
        n_threads=settings.threads,
        keep=settings.keep_versions,
        cuda=_cuda(settings),
    )


def _loader(settings: Settings) -> Loader:
    return Loader(open_repository(settings), settings.provider, settings.threads, _cuda(settings))


def _cuda(settings: Settings) -> CudaOptions:
    return CudaOptions(settings.cuda_device, settings.cuda_memory_bytes)


def open_repository(settings: Settings) -> ModelRepository:
    """Return the repository that the settings name, with the keys that they trust.

    Raises:
        SigningKeyError: When the file of these keys cannot be read.
    """
    file = settings.signature_keys_file
    return ModelRepository(settings.model_repository, trusted=None if file is None else TrustedKeys(file))


def log_models(registry: Registry) -> None:
    """Log what was loaded, and every version that was not with its reason."""
    n_versions = 0
    for name in registry.names:
        versions = registry.versions(name)
        n_versions += len(versions.loaded)
        for number, reason in versions.failed.items():
            LOGGER.error("model %s/%d was not loaded: %s", name, number, reason)
    if not registry.names:
        LOGGER.warning("not ready: %s", registry.faults()[0])
    providers = {session.provider for name in registry.names for session in registry.versions(name).loaded.values()}
    LOGGER.info(
        "%d models in %d versions, on %s", len(registry.names), n_versions, ", ".join(sorted(providers)) or "none"
    )
