"""The models loaded in this process."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models.contract.errors import ModelNotFoundError, NaluError
from models.contract.repository import ModelRepository
from service.errors import ModelLoadError, ModelNotReadyError, ProviderError
from service.inference.encoding import encode_records
from service.inference.predictor import predict
from service.inference.providers import Wanted
from service.inference.session import ModelSession, load_session

WARM_UP_DEADLINE_S = 10.0
"""Time for the sample of at most 100 rows; the largest graph measured, an LSTM unrolled over ten steps, takes 0.2 ms
a row."""


@dataclass(frozen=True)
class Versions:
    """The versions of one model.

    Attributes:
        loaded: Version → session, for those that can answer.
        failed: Version → why it cannot.
    """

    loaded: Mapping[int, ModelSession] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)

    @property
    def latest(self) -> int:
        """The newest version published, whether it can answer or not."""
        return max((*self.loaded, *self.failed))


class Registry:
    """Models by name and version.

    A version that cannot be loaded is kept with its reason and stops no other. A request that names no version is for
    the newest one published: where that one failed, an older one does not answer in its place unasked.

    Args:
        models: Model name → its versions.
    """

    def __init__(self, models: Mapping[str, Versions]) -> None:
        self._models = dict(sorted(models.items()))

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

    def get(self, name: str, version: int | None = None) -> ModelSession:
        """Return the session of a model, the newest version by default.

        Raises:
            ModelNotFoundError: When it is not published.
            ModelNotReadyError: When it is published and could not be loaded.
        """
        versions = self.versions(name)
        wanted = versions.latest if version is None else version
        if wanted in versions.loaded:
            return versions.loaded[wanted]
        if wanted in versions.failed:
            msg = f"version {wanted} of model {name!r} is published but could not be loaded: {versions.failed[wanted]}"
            raise ModelNotReadyError(msg)
        raise ModelNotFoundError(name, version, sorted((*versions.loaded, *versions.failed)))

    def faults(self) -> list[str]:
        """Return why the service is not ready; empty when the newest version of every model can answer."""
        if not self._models:
            return ["the model repository holds no published model; publish one and start the service again"]
        return [
            f"{name}/{versions.latest}: {versions.failed[versions.latest]}"
            for name, versions in self._models.items()
            if versions.latest in versions.failed
        ]


def load_registry(repository: ModelRepository, *, provider: Wanted = "auto", n_threads: int = 1) -> Registry:
    """Load every version of every model in a repository, each verified and warmed up.

    Args:
        repository: Where the models are published.
        provider: Execution provider wanted.
        n_threads: Threads of one run.

    Raises:
        RepositoryError: When the repository cannot be read at all.
        ProviderError: When the provider is not available.
    """
    models = {}
    for name in repository.names():
        loaded: dict[int, ModelSession] = {}
        failed: dict[int, str] = {}
        for version in repository.versions(name):
            try:
                session = load_session(repository.load(name, version), provider, n_threads)
                warm_up(session)
            except ProviderError:
                raise
            except NaluError as error:
                failed[version] = _told(error, repository)
            else:
                loaded[version] = session
        models[name] = Versions(loaded, failed)
    return Registry(models)


def _told(error: NaluError, repository: ModelRepository) -> str:
    """Return the reason as anyone may read it under `/models`: without where the repository lies on this machine."""
    reason = str(error)
    for root in (repository.root.resolve(), repository.root):
        reason = reason.replace(f"{root}{os.sep}", "")
    return reason


def warm_up(session: ModelSession) -> None:
    """Answer the manifest's sample: a model is ready when its predictions are those measured at publication.

    Raises:
        ModelLoadError: When they are not, or the sample is refused.
    """
    manifest = session.manifest
    try:
        values = predict(session, encode_records(manifest, manifest.sample.rows), WARM_UP_DEADLINE_S).values
    except NaluError as error:
        msg = f"a model must answer its own sample, however: {error}; publish the model again"
        raise ModelLoadError(msg) from error
    expected = np.array(manifest.sample.predictions)
    difference = np.abs(values - expected)
    if not (difference <= np.array(manifest.sample.atol) + manifest.sample.rtol * np.abs(expected)).all():
        msg = (
            "a model must answer its sample within the tolerance of its manifest, however the largest difference is "
            f"{difference.max():.3g}; publish the model again"
        )
        raise ModelLoadError(msg)
