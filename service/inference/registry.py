"""The models loaded in this process, replaced as a whole when the repository has changed."""

from collections.abc import Mapping

from models.contract.errors import ModelNotFoundError
from models.contract.repository import ModelRepository
from service.errors import ModelNotReadyError
from service.inference.following import DEFAULT_KEEP, Follower
from service.inference.loading import Loader
from service.inference.providers import ANY_CUDA, CudaOptions, Wanted
from service.inference.session import ModelSession
from service.inference.versions import Versions

__all__ = ["Registry", "Versions", "load_registry"]


class Registry:
    """Models by name and version.

    A version that cannot be loaded is kept with its reason and stops no other. A request that names no version is
    answered by the active one: the one chosen, else the newest, and where that one cannot be loaded, the one before it.

    Args:
        models: Model name → its versions.

    Attributes:
        trouble: Why the repository cannot be followed at the moment, or None.
        loading: Model and version that is being loaded at the moment, or None.
    """

    def __init__(self, models: Mapping[str, Versions]) -> None:
        self._models: Mapping[str, Versions] = {}
        self.trouble: str | None = None
        self.loading: tuple[str, int] | None = None
        self.switch(models)

    def switch(self, models: Mapping[str, Versions]) -> None:
        """Answer with these models from now on; one assignment, so that no request sees half of it."""
        self._models = dict(sorted(models.items()))

    @property
    def models(self) -> Mapping[str, Versions]:
        """Model name → its versions, by name."""
        return self._models

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models, loaded or failed."""
        return tuple(self._models)

    def versions(self, name: str) -> Versions:
        """Return the versions of a model.

        Raises:
            ModelNotFoundError: When it is not published.
        """
        try:
            return self._models[name]
        except KeyError:
            raise ModelNotFoundError(name[:100], available=self.names) from None

    def get(self, name: str, version: int | str | None = None) -> ModelSession:
        """Return the session of a model, the active version by default.

        Args:
            name: The model.
            version: A version, an alias, or `latest`.

        Raises:
            ModelNotFoundError: When it is not published, or there is no such alias.
            ModelNotReadyError: When it is published and not loaded.
        """
        versions = self.versions(name)
        if version is None:
            if versions.default is not None:
                return versions.default
            reason = "the model was unloaded" if versions.unloaded else versions.fault_of_default()
            msg = f"a version of model {name!r} must be loaded to answer, however none is: {reason}"
            raise ModelNotReadyError(msg)
        wanted = versions.number(name, version)
        if wanted not in versions.loaded:
            msg = f"version {wanted} of model {name!r} is published but {versions.reason(wanted)}"
            raise ModelNotReadyError(msg)
        return versions.loaded[wanted]

    def faults(self) -> list[str]:
        """Return why the service is not ready; empty when every model that is to be served can answer."""
        if not self._models:
            return ["the model repository holds no published model; publish one"]
        told = ((name, versions, versions.fault_of_default()) for name, versions in self._models.items())
        return [f"{name}/{versions.latest}: {fault}" for name, versions, fault in told if fault is not None]

    def notices(self) -> list[str]:
        """Return what a person should look at though every request is answered."""
        told = [] if self.trouble is None else [self.trouble]
        for name, versions in self._models.items():
            told += [f"{name}/{number} could not be loaded: {reason}" for number, reason in versions.failed.items()]
            told += [f"{name}/{number} still answers, however: {reason}" for number, reason in versions.stale.items()]
            if versions.fault is not None and versions.default is not None:
                told.append(f"{name}: {versions.fault}")
        return told


def load_registry(
    repository: ModelRepository,
    *,
    provider: Wanted = "auto",
    n_threads: int = 1,
    keep: int = DEFAULT_KEEP,
    cuda: CudaOptions = ANY_CUDA,
) -> Registry:
    """Load the models in a repository, each version verified and warmed up.

    Args:
        repository: Where the models are published.
        provider: Execution provider wanted.
        n_threads: Threads of one run.
        keep: Newest versions of each model to load, beside the active one and those with an alias.
        cuda: Where on CUDA.

    Raises:
        RepositoryError: When the repository cannot be read at all.
        ProviderError: When the provider is not available.
    """
    repository.names()
    found = Follower(Loader(repository, provider, n_threads, cuda), keep, strict=True).look({})
    return Registry(found or {})
