"""Changes of what is served: written to the repository, which every worker follows, and followed here at once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from models.contract.activation import Activation
from models.contract.errors import ActivationError, RepositoryError
from models.contract.names import LATEST
from models.contract.repository import ModelRepository
from service.errors import RepositoryFailedError
from service.inference.loading import without_root
from service.inference.registry import Registry
from service.metrics import Counts
from service.switching import Switching


@dataclass(frozen=True)
class Served:
    """What is served of a model after a change.

    Attributes:
        model: Its name.
        active: The version that answers by default in this worker; None where none does.
        pinned: The version chosen; None for the newest that can be loaded.
        aliases: Alias → version.
        generation: Changes so far.
        n_switched: Workers in which that version answers by default.
        n_workers: Workers that serve.
    """

    model: str
    active: int | None
    pinned: int | None
    aliases: dict[str, int]
    generation: int
    n_switched: int
    n_workers: int


class Administration:
    """Changes which version of a model answers.

    Each method returns when this worker has switched; the others do so by themselves, within `NALU_RELOAD_S`.

    Args:
        repository: Where the models are published.
        registry: The models loaded in this worker.
        switching: Keeps them those of the repository.
        counts: What all workers tell.
    """

    def __init__(self, repository: ModelRepository, registry: Registry, switching: Switching, counts: Counts) -> None:
        self._repository = repository
        self._registry = registry
        self._switching = switching
        self._counts = counts

    async def activate(self, name: str, version: int | str) -> Served:
        """Let a version answer from now on.

        Args:
            name: The model.
            version: Its number, an alias, or `latest`, for the newest that can be loaded, whichever that will be.

        Raises:
            ModelNotFoundError: When there is no such model, version or alias.
            ActivationError: When it cannot be loaded; what answered before goes on.
            RepositoryFailedError: When the repository cannot be written.
        """
        number = None if version == LATEST else await self._number(name, version)
        if number is not None:
            await self._check_loads(name, number)
        return await self._changed(name, lambda: self._repository.activate(name, number))

    async def roll_back(self, name: str) -> Served:
        """Let the version answer that did before.

        Raises:
            ModelNotFoundError: When there is no such model.
            ActivationError: When there is none, or it cannot be loaded.
            RepositoryFailedError: When the repository cannot be written.
        """
        await self._known(name)

        def before() -> int | None:
            now, there = self._repository.activation(name), self._repository.versions(name)
            return now.rolled_back(name, there).active

        number = await asyncio.to_thread(before)
        if number is not None:
            await self._check_loads(name, number)
        return await self._change(name, lambda now, there: now.rolled_back(name, there))

    async def set_alias(self, name: str, alias: str, version: int | str) -> Served:
        """Let an alias stand for a version.

        Raises:
            InvalidNameError: When it cannot be an alias.
            ModelNotFoundError: When there is no such model, version or alias.
            ActivationError: When there are too many aliases.
            RepositoryFailedError: When the repository cannot be written.
        """
        number = await self._number(name, version)
        return await self._change(name, lambda now, there: now.aliased(name, alias, number, there))

    async def remove_alias(self, name: str, alias: str) -> Served:
        """Take an alias away.

        Raises:
            ModelNotFoundError: When there is no such model or alias.
            RepositoryFailedError: When the repository cannot be written.
        """
        return await self._change(name, lambda now, _there: now.unaliased(name, alias))

    async def remove(self, name: str, version: int) -> None:
        """Remove a version that is not active and has no alias from the repository.

        Raises:
            ModelNotFoundError: When it is not there.
            ActivationError: When it is active or has an alias.
            RepositoryFailedError: When the repository cannot be written.
        """
        await self._known(name)
        await self._write(lambda: self._repository.remove(name, version))
        await self._switching.look()

    async def load(self, name: str) -> Served:
        """Serve a model that was unloaded, and try again what could not be loaded.

        Raises:
            ModelNotFoundError: When there is no such model.
            ActivationError: When none of its versions can be loaded.
            RepositoryFailedError: When it was unloaded and the repository cannot be written.
        """
        await self._known(name)
        if self._registry.versions(name).unloaded:
            await self._change(name, lambda now, _there: now.served(wanted=True))
        await self._switching.look(anew=name)
        versions = self._registry.versions(name)
        if versions.default is None:
            msg = f"a version of model {name!r} must be loaded, however none can be: {versions.fault_of_default()}"
            raise ActivationError(msg)
        return self._served(name)

    async def unload(self, name: str) -> Served:
        """Serve no version of a model until it is loaded again.

        Raises:
            ModelNotFoundError: When there is no such model.
            RepositoryFailedError: When the repository cannot be written.
        """
        return await self._change(name, lambda now, _there: now.served(wanted=False))

    async def _known(self, name: str) -> None:
        """Look at the repository, and refuse a name that it does not have before it touches a path."""
        await self._switching.look()
        self._registry.versions(name)

    async def _number(self, name: str, version: int | str) -> int:
        """Return the number of a version that is published; whether it can be loaded is another matter."""
        await self._known(name)
        return self._registry.versions(name).number(name, version)

    async def _check_loads(self, name: str, number: int) -> None:
        fault = await self._switching.try_out(name, number)
        if fault is not None:
            msg = f"a version must be one that can be loaded to be activated, however {name}/{number} is not: {fault}"
            raise ActivationError(msg)

    async def _change(self, name: str, change: Callable[[Activation, list[int]], Activation]) -> Served:
        return await self._changed(name, lambda: self._repository.change_activation(name, change))

    async def _changed(self, name: str, write: Callable[[], object]) -> Served:
        await self._known(name)
        await self._write(write)
        await self._switching.look()
        return self._served(name)

    async def _write(self, write: Callable[[], object]) -> None:
        try:
            await asyncio.to_thread(write)
        except RepositoryError as error:
            raise RepositoryFailedError(without_root(error, self._repository)) from error

    def _served(self, name: str) -> Served:
        versions, totals = self._registry.versions(name), self._counts.totals()
        active = versions.active
        return Served(
            model=name,
            active=active,
            pinned=versions.activation.active,
            aliases=dict(versions.activation.aliases),
            generation=versions.activation.generation,
            n_switched=int(totals.get(f'nalu_models_active{{model="{name}",version="{active}"}}', 0)),
            n_workers=int(totals.get("nalu_workers", 0)),
        )
