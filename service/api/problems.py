"""The one table from domain errors to HTTP: `application/problem+json` (RFC 9457) everywhere."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from models.contract.errors import ActivationError, InvalidNameError, ModelNotFoundError
from service.api.negotiation import MEDIA_TYPES
from service.errors import (
    BodyTooLargeError,
    CardNotFoundError,
    DeadlineExceededError,
    Fault,
    FaultyInputError,
    ForbiddenError,
    HeadTooLargeError,
    InputOutOfDomainError,
    InputShapeError,
    InvalidRequestError,
    ModelNotReadyError,
    NonFinitePredictionError,
    NotAcceptableError,
    NotHttpError,
    NotOfferedError,
    OverloadedError,
    RateLimitedError,
    RepositoryFailedError,
    SlowRequestError,
    TooManyConnectionsError,
    UnauthorizedError,
    UnreadableBodyError,
    UnsupportedMediaTypeError,
)
from service.logging import request_id

CONTENT_TYPE = "application/problem+json"

FOREIGN_PREFIXES = ("/v2", "/v1", "/invocations")
"""Paths of protocols that are not ours: errors there are plain JSON with a member `error`, as their clients expect, and
an input that is not valid is a bad request."""

_RETRY_AFTER_S = "10"
"""Seconds after which a client may try a model again that was not ready; a probe's usual interval."""


@dataclass(frozen=True)
class Problem:
    """A class of error as HTTP sees it.

    Attributes:
        status: Status code.
        type: Its name, stable, for programs.
        title: Its name for people, the same for every occurrence.
        headers: Response headers that belong to it.
    """

    status: int
    type: str
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)


INTERNAL_ERROR = Problem(500, "internal-error", "The service failed")

PROBLEMS: dict[type[Exception], Problem] = {
    UnreadableBodyError: Problem(400, "bad-request", "The body cannot be read"),
    UnauthorizedError: Problem(401, "unauthorized", "A key is needed", {"WWW-Authenticate": 'Bearer realm="nalu"'}),
    ForbiddenError: Problem(403, "forbidden", "The key does not open this"),
    CardNotFoundError: Problem(404, "card-not-found", "The version has no model card"),
    ModelNotFoundError: Problem(404, "model-not-found", "No such model or version"),
    NotAcceptableError: Problem(406, "not-acceptable", "No answer in a format that is wanted"),
    NotHttpError: Problem(400, "bad-request", "This is no HTTP request", {"Connection": "close"}),
    SlowRequestError: Problem(408, "request-timeout", "The request arrives too slowly", {"Connection": "close"}),
    ActivationError: Problem(409, "activation-refused", "What is served cannot be changed so"),
    BodyTooLargeError: Problem(413, "body-too-large", "The body is over the limit", {"Connection": "close"}),
    UnsupportedMediaTypeError: Problem(
        415, "unsupported-media-type", "The body's format is not read", {"Accept-Post": ", ".join(MEDIA_TYPES.values())}
    ),
    InvalidNameError: Problem(422, "invalid-request", "The request does not follow the rules"),
    InvalidRequestError: Problem(422, "invalid-request", "The request does not follow the rules"),
    NotOfferedError: Problem(422, "not-offered", "The model does not have what the request asks for"),
    InputShapeError: Problem(422, "input-shape-mismatch", "Rows and columns are not those of the model"),
    InputOutOfDomainError: Problem(422, "input-out-of-domain", "The model has no answer for this input"),
    NonFinitePredictionError: Problem(422, "non-finite-prediction", "The model's answer is not a finite number"),
    RateLimitedError: Problem(429, "rate-limited", "Too many requests with this key"),
    HeadTooLargeError: Problem(431, "head-too-large", "The head is over the limit", {"Connection": "close"}),
    ModelNotReadyError: Problem(503, "model-not-ready", "The model cannot answer", {"Retry-After": _RETRY_AFTER_S}),
    RepositoryFailedError: Problem(503, "repository-failed", "The model repository cannot be read or written"),
    OverloadedError: Problem(503, "overloaded", "Too many large requests at once", {"Retry-After": "1"}),
    TooManyConnectionsError: Problem(503, "overloaded", "Too many connections at once", {"Retry-After": "1"}),
    DeadlineExceededError: Problem(504, "deadline-exceeded", "Time is up", {"Connection": "close"}),
}
"""Domain error → what HTTP says; any other error is `INTERNAL_ERROR`."""

_MAX_COLUMN = 200
"""Length of a column's name in an answer; a model's own names are no longer."""

_INVALID_INPUT = frozenset({415, 422})

_INTERNAL_DETAIL = "something failed that should not; the log holds the details under this request id"


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every expected error as a problem; the unexpected is the middleware's."""
    for error_type in PROBLEMS:
        app.add_exception_handler(error_type, _answer_domain_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)


def problem_of(error: Exception, path: str) -> Response:
    """Return the response to a domain error.

    Args:
        error: What happened.
        path: Path of the request, which decides the form.
    """
    problem, detail = told_of(error)
    more: dict[str, Any] = {}
    if isinstance(error, RateLimitedError):
        problem = replace(problem, headers={"Retry-After": str(error.retry_after_s)})
    if isinstance(error, FaultyInputError):
        more["errors"] = [_listed(fault) for fault in error.faults]
        more["n_errors"] = error.n_faults
    return problem_response(problem, detail, path, **more)


def told_of(error: Exception) -> tuple[Problem, str]:
    """Return the class of an error, and what is told of it: nothing of one that should not be."""
    problem = next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), INTERNAL_ERROR)
    return problem, _INTERNAL_DETAIL if problem is INTERNAL_ERROR else str(error)


def problem_response(problem: Problem, detail: str, path: str, **more: Any) -> Response:
    """Return a problem response; plain ASCII, so that no content of a request can make it unwritable."""
    foreign = is_foreign(path)
    status = foreign_status(problem.status) if foreign else problem.status
    content = {"type": problem.type, "title": problem.title, "status": status, "detail": detail, **more}
    content["request_id"] = request_id.get()
    if foreign:
        content = {"error": detail, **content}
    return Response(
        json.dumps(content).encode(),
        status_code=status,
        headers=dict(problem.headers),
        media_type="application/json" if foreign else CONTENT_TYPE,
    )


def foreign_status(status: int) -> int:
    """Return the status with which a problem of ours is told in a protocol that is not ours."""
    return 400 if status in _INVALID_INPUT else status


def listed_types(problems: Iterable[Problem]) -> str:
    """Return the types and titles of problems, for the documentation."""
    return "; ".join(f"`{problem.type}`: {problem.title}" for problem in problems)


def is_foreign(path: str) -> bool:
    """Return whether a path belongs to a protocol that is not ours."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in FOREIGN_PREFIXES)


def _listed(fault: Fault) -> dict[str, Any]:
    listed: dict[str, Any] = {"message": fault.message}
    if fault.row is not None:
        listed["row"] = fault.row
    if fault.column is not None:
        listed["column"] = fault.column[:_MAX_COLUMN].encode(errors="backslashreplace").decode()
    return listed


async def _answer_domain_error(request: Request, error: Exception) -> Response:
    return problem_of(error, request.scope["path"])


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    """Answer faulty path parameters, without echoing them."""
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    invalid = InvalidRequestError([Fault(f"{fault['loc'][-1]}: {fault['msg']}") for fault in faults])
    return problem_of(invalid, request.scope["path"])


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses, with the headers it gives: 405 keeps its `Allow`."""
    if not isinstance(error, HTTPException):
        return problem_of(error, request.scope["path"])
    phrase = HTTPStatus(error.status_code).phrase
    problem = Problem(error.status_code, phrase.lower().replace(" ", "-"), phrase, error.headers or {})
    details = {
        404: "there is nothing at this path; the paths are listed at /docs",
        405: "this path exists, however not with this method; the Allow header lists those it has",
    }
    return problem_response(problem, details.get(error.status_code, phrase), request.scope["path"])
