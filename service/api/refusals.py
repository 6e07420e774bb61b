"""Answers to what never became a request, each written once: of a crowd that is refused, one more costs an id."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from service.api.middleware import SECURITY_HEADERS
from service.api.problems import problem_of
from service.errors import ServiceError
from service.logging import request_id

_PLACE: Final = "0" * 32
"""Stands for the id, which is as long; nothing else in an answer has so many zeros."""


class Refusals:
    """What clients are told whose connection is closed.

    They are few: an error's text tells a limit of the settings, and nothing that a client sent.
    """

    def __init__(self) -> None:
        self._default: Sequence[tuple[bytes, bytes]] | None = None
        self._written: dict[str, tuple[int, bytes]] = {}

    def of(self, error: ServiceError, own_id: str, default_headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, bytes]:
        """Return status and bytes of a refusal.

        Args:
            error: Why.
            own_id: Its id, of 32 characters.
            default_headers: What every answer brings; the server replaces them every second, with the date.
        """
        if self._default is not default_headers:
            self._default = default_headers
            self._written.clear()
        text = str(error)
        told = self._written.get(text)
        if told is None:
            told = self._written[text] = _write(error, default_headers)
        return told[0], told[1].replace(_PLACE.encode(), own_id.encode())


def _write(error: ServiceError, default_headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    token = request_id.set(_PLACE)
    response = problem_of(error, "")
    request_id.reset(token)
    headers = (
        *default_headers,
        *(header for header in response.raw_headers if header[0] != b"connection"),
        *SECURITY_HEADERS,
        (b"x-request-id", _PLACE.encode()),
        (b"connection", b"close"),
    )
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    phrase = HTTPStatus(response.status_code).phrase.encode()
    return response.status_code, b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (
        response.status_code,
        phrase,
        lines,
        bytes(response.body),
    )
