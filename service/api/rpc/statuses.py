"""The table of problems in gRPC's words."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import grpc

from service.api.problems import told_of

_CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""Status of a problem over HTTP → code; any other is INTERNAL.

Source: the mapping that gRPC's gateways use (google.rpc.Code), where 422 has no code of its own.
"""

_MAX_DETAILS: Final = 1000
"""Characters told: they travel in a header, of which clients take 8 KiB, and take up to three bytes each there."""

TYPE_KEY: Final = "nalu-problem-type"
"""Metadata that names the problem, for programs."""


class Refusal(NamedTuple):
    """How a call ends that is not answered.

    Attributes:
        code: Its code.
        details: What is wrong, for people.
        type: Name of the problem.
        status: Its status over HTTP, under which it is counted.
    """

    code: grpc.StatusCode
    details: str
    type: str
    status: int


def refusal_of(error: Exception) -> Refusal:
    """Return how a call ends in which an error was raised; of one that should not be, nothing is told."""
    problem, text = told_of(error)
    details = text if len(text) <= _MAX_DETAILS else f"{text[:_MAX_DETAILS]}…"
    return Refusal(_CODES.get(problem.status, grpc.StatusCode.INTERNAL), details, problem.type, problem.status)
