"""Follows the model repository while the service runs, and switches to what it holds between two requests.

A thread looks and loads; what it found is taken over on the event loop, so that a request is answered by what there was
before or by what there is after, whichever way it takes. Who is being answered keeps the session that he began with:
it is dropped, and its memory given back, when the last of them is done.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from service.inference.following import Follower
from service.inference.quick_models import QuickModel
from service.inference.quick_rows import QuickReader
from service.inference.registry import Registry
from service.inference.versions import Versions
from service.logging import LOGGER
from service.metrics import Slot
from service.model_meter import ModelMeter


class Switching:
    """Keeps the models of this process those of the repository.

    Args:
        follower: Looks at the repository and loads.
        registry: The models loaded; the service's, switched in place.
        quick: What reads the requests to them; likewise.
        slot: Where it is counted what is loaded and what answers.
    """

    def __init__(self, follower: Follower, registry: Registry, quick: QuickReader, slot: Slot) -> None:
        self.follower = follower
        self._registry = registry
        self._quick = quick
        self._slot = slot
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nalu-reload")
        self._one = asyncio.Lock()
        self._uncounted = deque[tuple[str, int]]()
        self._followed = slot.cell("nalu_repository_followed")
        self._followed.set(1.0)
        follower.on_loading = self._tell_loading
        _meter({}, registry.models, slot, self._uncounted)

    async def follow(self, every_s: float) -> None:
        """Look at the repository again and again, until cancelled.

        Args:
            every_s: Seconds between two looks, of a clock that nobody sets.
        """
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except Exception:
                LOGGER.exception("the model repository could not be followed; what is loaded is served on")

    async def look(self, anew: str | None = None) -> None:
        """Look at the repository now, and switch to what it holds before returning.

        Args:
            anew: A model to look at closely, and to load again where it failed.
        """
        await asyncio.shield(asyncio.ensure_future(self._look(anew)))  # half done, what was loaded would be lost

    async def try_out(self, name: str, version: int) -> str | None:
        """Return why a version cannot be loaded; None where it can, or is."""
        versions = self._registry.models.get(name, Versions())
        if version in versions.loaded and version not in versions.stale:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.follower.try_out, name, version)

    def close(self) -> None:
        """Look no more; what is being loaded is loaded to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look(self, anew: str | None) -> None:
        async with self._one:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._prepare, anew)
            self._tell_trouble(self.follower.trouble)
            if found is not None:
                self._switch(*found)
            self._release()

    def _prepare(self, anew: str | None) -> tuple[Mapping[str, Versions], Mapping[str, QuickModel]] | None:
        """Load what changed and compile its readers; in the thread."""
        if anew is not None:
            self.follower.forget(anew)
        try:
            models = self.follower.look(self._registry.models)
            return None if models is None else (models, self._quick.compiled(Registry(models)))
        except BaseException:
            self.follower.forget()
            raise

    def _switch(self, models: Mapping[str, Versions], compiled: Mapping[str, QuickModel]) -> None:
        before = self._registry.models
        _meter(before, models, self._slot, self._uncounted)
        self._registry.switch(models)
        self._quick.take(compiled)
        for name in sorted({*before, *models}):
            _log(name, before.get(name, Versions()), models.get(name, Versions()))

    def _release(self) -> None:
        """Give back the room of series of versions that are no more, so that a worker can see any number of them."""
        while self._uncounted:
            name, version = self._uncounted.popleft()
            versions = self._registry.models.get(name, Versions())
            if version not in versions.loaded and version not in versions.failed:
                self._slot.release(model=name, version=str(version))

    def _tell_loading(self, loading: tuple[str, int] | None) -> None:
        self._registry.loading = loading

    def _tell_trouble(self, trouble: str | None) -> None:
        if trouble != self._registry.trouble:
            if trouble is None:
                LOGGER.info("the model repository can be followed again")
            else:
                LOGGER.error("%s", trouble)
        self._registry.trouble = trouble
        self._followed.set(float(trouble is None))


def _meter(
    before: Mapping[str, Versions], after: Mapping[str, Versions], slot: Slot, uncounted: deque[tuple[str, int]]
) -> None:
    """Let every model newly loaded count what it answers, and tell which are loaded and which answer.

    Args:
        before: What was loaded.
        after: What is.
        slot: Where it is counted.
        uncounted: Takes model and version when nothing counts for them any more: the last run has ended.
    """
    for name in {*before, *after}:
        old, new = before.get(name, Versions()), after.get(name, Versions())
        if old is new:
            continue
        for number, session in new.loaded.items():
            if session is not old.loaded.get(number):
                session.meter = ModelMeter(slot, name, number, session.manifest.outputs)
                weakref.finalize(session.meter, uncounted.append, (name, number)).atexit = False
                slot.cell("nalu_model_loads_total", model=name, outcome="loaded").add()
        for version, reason in {**new.failed, **new.stale}.items():
            if reason not in (old.failed.get(version), old.stale.get(version)):
                slot.cell("nalu_model_loads_total", model=name, outcome="failed").add()
        uncounted.extend((name, number) for number in old.failed.keys() - new.failed.keys())
        for family, was, now in (
            ("nalu_models_loaded", old.loaded.keys(), new.loaded.keys()),
            ("nalu_models_failed", old.failed.keys(), new.failed.keys()),
            ("nalu_models_active", {old.active} - {None}, {new.active} - {None}),
        ):
            for version in {*was, *now}:
                slot.cell(family, model=name, version=str(version)).set(float(version in now))


def _log(name: str, old: Versions, new: Versions) -> None:
    """Log what changed of a model."""
    for version, reason in new.failed.items():
        if old.failed.get(version) != reason:
            LOGGER.error("model %s/%d was not loaded: %s", name, version, reason)
    for version, reason in new.stale.items():
        if old.stale.get(version) != reason:
            LOGGER.error("model %s/%d is served on from memory: %s", name, version, reason)
    if new.fault is not None and new.fault != old.fault:
        LOGGER.error("model %s: %s", name, new.fault)
    for version in sorted(new.loaded.keys() - old.loaded.keys()):
        LOGGER.info("model %s/%d is loaded", name, version)
    for version in sorted(old.loaded.keys() - new.loaded.keys()):
        LOGGER.info("model %s/%d is dropped", name, version)
    if old.active != new.active:
        LOGGER.info(
            "model %s is answered by version %s, before by %s", name, new.active or "none", old.active or "none"
        )
