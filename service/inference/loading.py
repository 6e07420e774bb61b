"""One version of a model, from its files to a session that has answered its sample."""

import os

import numpy as np

from models.contract.errors import NaluError
from models.contract.repository import ModelRepository
from service.errors import ModelLoadError, ProviderError
from service.inference.encoding import encode_records
from service.inference.predictor import predict
from service.inference.providers import ANY_CUDA, CudaOptions, Wanted
from service.inference.session import ModelSession, load_session
from service.logging import LOGGER

WARM_UP_DEADLINE_S = 10.0
"""Time for the sample of at most 100 rows; the largest graph measured, an LSTM unrolled over ten steps, takes 0.2 ms
a row."""


class Loader:
    """Loads versions, each verified and warmed up.

    Args:
        repository: Where they are published.
        provider: Execution provider wanted.
        n_threads: Threads of one run.
        cuda: Where on CUDA.
    """

    def __init__(
        self,
        repository: ModelRepository,
        provider: Wanted = "auto",
        n_threads: int = 1,
        cuda: CudaOptions = ANY_CUDA,
    ) -> None:
        self.repository = repository
        self._provider: Wanted = provider
        self._n_threads = n_threads
        self._cuda = cuda

    def load(self, name: str, version: int) -> ModelSession | str:
        """Return a version, ready to answer, or the reason why it cannot be loaded.

        Raises:
            ProviderError: When the provider is not available, which concerns no version more than another.
        """
        try:
            session = load_session(self.repository.load(name, version), self._provider, self._n_threads, self._cuda)
            warm_up(session)
        except ProviderError:
            raise
        except NaluError as error:
            return without_root(error, self.repository)
        except Exception as error:  # one version must never take down the others
            LOGGER.exception("version %d of model %s failed while it was loaded", version, name)
            return f"it failed while it was loaded ({type(error).__name__}); the log says where"
        return session


def without_root(error: NaluError, repository: ModelRepository) -> str:
    """Return an error's text as anyone may read it: without where the repository lies on this machine."""
    reason = str(error)
    for root in (repository.root.resolve(), repository.root):
        reason = reason.replace(f"{root}{os.sep}", "")
        if root.is_absolute():
            reason = reason.replace(str(root), "the model repository")
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
