"""Errors of the service: each carries the facts, none knows HTTP."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.contract.errors import NaluError

MAX_FAULTS = 20
"""Faults that one error lists; the rest are counted."""

_MAX_QUOTED = 40


def quote(text: str) -> str:
    """Return the beginning of `text` in quotes, plain ASCII, so that it is safe in any answer or log line."""
    return ascii(text) if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]!a}…"


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input.

    Attributes:
        message: Rule, then observed value.
        column: Column it concerns, or None.
        row: Row it concerns, counted from 0, or None.
    """

    message: str
    column: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = [f"row {self.row}"] if self.row is not None else []
        if self.column is not None:
            where.append(f"column {quote(self.column)}")
        return f"{', '.join(where)}: {self.message}" if where else self.message


class ServiceError(NaluError):
    """Base of what the serving side refuses or cannot do."""


class FaultyInputError(ServiceError):
    """An input with faults.

    Args:
        faults: What is wrong; the first `MAX_FAULTS` are kept.
        n_faults: How many faults were found, where they are more than those listed.
    """

    title = "the input is not valid"

    def __init__(self, faults: Sequence[Fault], n_faults: int | None = None) -> None:
        self.faults = tuple(faults[:MAX_FAULTS])
        self.n_faults = max(len(faults), n_faults or 0)
        found = f" ({self.n_faults} faults found)" if self.n_faults > 1 else ""
        super().__init__(f"{self.title}: {self.faults[0]}{found}")


class InvalidRequestError(FaultyInputError):
    """Values or fields that do not follow the rules: text for a number, a level never seen, a field too many."""


class InputShapeError(FaultyInputError):
    """Rows and columns that are not those of the model: unknown, missing or repeated columns, ragged rows, no rows."""

    title = "the input does not have the shape that the model takes"


class InputOutOfDomainError(FaultyInputError):
    """Values for which the model has no answer, such as a divisor of zero."""

    title = "the model has no answer for this input"


class NonFinitePredictionError(FaultyInputError):
    """Rows for which the model answered NaN or infinity."""

    title = "the model's answer is not a finite number"


class CardNotFoundError(ServiceError):
    """A version that was published without a model card."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"a version must be published with a model card to show it, however {quote(name)} version {version} was "
            "not; `nalu train table` publishes one"
        )


class NotOfferedError(ServiceError):
    """An option of a request that the model does not have, such as intervals."""


class UnreadableBodyError(ServiceError):
    """A request body that is not what it says it is."""


class UnsupportedMediaTypeError(ServiceError):
    """A request body in a format that is not read."""


class NotAcceptableError(ServiceError):
    """An answer wanted in a format that is not written."""


class BodyTooLargeError(ServiceError):
    """A request body over the limit."""

    def __init__(self, limit: int, remedy: str = "send the rows in several requests") -> None:
        self.limit = limit
        super().__init__(f"a request body must not exceed {limit} bytes; {remedy}")


class ModelNotReadyError(ServiceError):
    """A model that is published and cannot answer."""


class RepositoryFailedError(ServiceError):
    """A change of what is served that could not be written to the model repository."""


class OverloadedError(ServiceError):
    """More large requests than the service takes on at once."""

    def __init__(self, n_places: int) -> None:
        super().__init__(
            f"at most {n_places} large requests are taken on at once by a worker, however so many are under way; "
            "try again, or send the rows in smaller requests"
        )


class DeadlineExceededError(ServiceError):
    """A request that was not answered in time."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(
            f"a large request must have arrived, had its turn and been answered within {deadline_s:g} s, however it "
            "was not; send fewer rows at a time"
        )


class NotHttpError(ServiceError):
    """Bytes that are no HTTP request."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"a request must be HTTP/1.1, however: {reason}")


class HeadTooLargeError(ServiceError):
    """A request whose head is over the limit, or what it has beside the chunks of its body."""

    def __init__(self, n_bytes: int, n_headers: int) -> None:
        super().__init__(
            f"the head of a request must not exceed {n_bytes} bytes and {n_headers} headers, nor what stands beside "
            f"the chunks of its body {n_bytes} bytes, however one does; send data in the body"
        )


class SlowRequestError(ServiceError):
    """A request that arrives too slowly."""

    _TEXT = (
        "a request must arrive within {:g} s and the time that its body takes at a modem's speed, "
        "however it did not; send it again on a new connection"
    )

    def __init__(self, within_s: float) -> None:
        super().__init__(self._TEXT.format(within_s))


class SlowMessageError(SlowRequestError):
    """A call whose message does not arrive."""

    _TEXT = "a message must arrive within {:g} s, however it did not; send it again in a new call"


class TooManyConnectionsError(ServiceError):
    """More connections than a worker takes on."""

    def __init__(self, n_connections: int) -> None:
        super().__init__(
            f"at most {n_connections} connections are taken on at once by a worker, however so many are open; try again"
        )


class UnauthorizedError(ServiceError):
    """A request without a key, where one is needed."""

    def __init__(self) -> None:
        super().__init__(
            "a request must bring an API key, however it brings none; send `Authorization: Bearer KEY` or "
            "`X-API-Key: KEY`"
        )


class ForbiddenError(ServiceError):
    """A request whose key is none that is taken now, or may not do this."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(
            reason
            or "an API key must be one that is taken now, however this one is not; ask the service's operator for one"
        )


class RateLimitedError(ServiceError):
    """More requests than a key may send.

    Args:
        reason: Which limit it is over.
        wait_s: Time after which to try again.
    """

    def __init__(self, reason: str, wait_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(f"{reason}; try again in {self.retry_after_s} s")


class KeyFileError(ServiceError):
    """A file of API keys that cannot be read or changed."""


class UnsafeModelError(ServiceError):
    """A graph that is refused before the runtime sees it."""


class ModelLoadError(ServiceError):
    """A graph that the runtime does not load, or that is not the one its manifest describes."""


class InferenceError(ServiceError):
    """A run that failed inside the runtime, or ran past its deadline."""


class ProviderError(ServiceError):
    """An execution provider that was asked for and is not available."""


class SettingsError(ServiceError):
    """Settings that do not hold together."""


class StartError(ServiceError):
    """A server that cannot start: its port is taken, or a check failed."""
