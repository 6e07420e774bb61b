"""Errors of the training side; each message says rule, observed value, remedy."""

from models.contract.errors import NaluError, how_to_install


class TrainingError(NaluError):
    """Base of everything that can go wrong between a task or a table and a published model."""


class ConfigError(TrainingError):
    """A setting of a run that does not hold together."""


class TrainingDataError(TrainingError):
    """A table that nothing can be learned from as it is."""


class FitError(TrainingError):
    """A search in which no candidate could be fitted."""


class ExportError(TrainingError):
    """A network that cannot be exported, or whose graph does not answer as the network does."""


class UnprovenError(TrainingError):
    """A law whose exactness the measurements do not prove."""


class NotFoundError(TrainingError):
    """Rows in which no exact law was found."""


class MissingExtraError(TrainingError):
    """An optional dependency that is asked for and not installed."""

    def __init__(self, what: str, extra: str) -> None:
        """Say what needs which extra of the distribution."""
        super().__init__(
            f"{what} must have the packages of the extra {extra!r}, however they are not installed; "
            f"{how_to_install(extra)}"
        )


def first_line(error: Exception) -> str:
    """Return the beginning of another library's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
