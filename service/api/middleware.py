"""The frame around every request, as pure ASGI: its id, the limit of its body, counters, a log line, the last catch."""

import itertools
import logging
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.negotiation import is_bulk
from service.api.openapi import HEALTH_PATHS
from service.api.problems import problem_of
from service.errors import BodyTooLargeError
from service.logging import LOGGER, request_id
from service.metrics import Cell, Histogram, Slot

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
"""Incoming ids that are kept; another could forge a log line or fill the log."""

SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""Set where the answer does not bring its own."""

_MAX_PATH = 200

CLIENT_LEFT = 499
"""Status logged and counted where the client went before it had an answer; nginx uses the same number."""


class _Ids:
    """Ids that no other request of any process has: 20 random digits for the process, 12 counted."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self._process = secrets.token_hex(10)
        self._numbers = itertools.count()

    def next(self) -> str:
        return f"{self._process}{next(self._numbers):012x}"


new_id = _Ids().next
"""Return an id that no other request has."""


def sane_id(told: bytes) -> str | None:
    """Return the id that a client gave, where it may be kept."""
    return told.decode() if told and _SANE_ID.fullmatch(told) else None


_PATHS = frozenset(
    {
        "/",
        "/predict",
        "/invocations",
        "/ping",
        "/models",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/docs",
        "/openapi.json",
    }
)

_FOLDERS = ("/models/", "/static/", "/v2/", "/v1/", "/admin/")

CALLS = frozenset(
    f"/inference.GRPCInferenceService/{method}"
    for method in (
        *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"),
        *("ModelStreamInfer", "ModelConfig", "ModelStatistics"),
        *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
    )
)
"""Paths of the calls over gRPC."""


def counted_path(path: str) -> str:
    """Return the path that a request counts under: one of a few, whatever a client asks for."""
    if path in _PATHS or path in CALLS:
        return path
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return "/v2/models/…/infer"
    return next((f"{folder}…" for folder in _FOLDERS if path.startswith(folder)), "other")


class Traffic:
    """What this process has answered; counted on its event loop alone.

    Args:
        slot: Where it is told to the other workers too.

    Attributes:
        answered: Status code → requests; CLIENT_LEFT where nobody was there to be answered.
    """

    def __init__(self, slot: Slot) -> None:
        self.answered: Counter[int] = Counter()
        self._slot = slot
        self._in_flight = slot.cell("nalu_requests_in_flight")
        self._series: dict[tuple[str, int], tuple[Cell, Histogram]] = {}

    def begin(self) -> None:
        """Count a request as in flight."""
        self._in_flight.add()

    def end(self) -> None:
        """Count it so no longer."""
        self._in_flight.add(-1.0)

    def count(self, path: str, status: int, elapsed_s: float) -> None:
        """Count an answer."""
        self.answered[status] += 1
        series = self._series.get((path, status)) or self._found(counted_path(path), status)
        series[0].add()
        series[1].observe(elapsed_s)

    def count_each(self, path: str, status: int, durations: Sequence[float]) -> None:
        """Count answers of one path and status."""
        self.answered[status] += len(durations)
        requests, histogram = self._series.get((path, status)) or self._found(counted_path(path), status)
        requests.add(len(durations))
        histogram.observe_each(durations)

    def _found(self, path: str, status: int) -> tuple[Cell, Histogram]:
        if (path, status) not in self._series:
            requests = self._slot.cell("nalu_requests_total", path=path, status=str(status))
            durations = Histogram(self._slot, "nalu_request_duration_seconds", path=path)
            self._series[path, status] = requests, durations
        return self._series[path, status]


class RequestFrame:
    """ASGI middleware.

    Args:
        app: The application inside.
        max_body_bytes: Largest body; more is refused, by its header or while it arrives.
        max_bulk_bytes: Largest body of those that are read as they arrive.
        traffic: The counters to keep.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_bulk_bytes: int, traffic: Traffic) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_bulk_bytes = max_bulk_bytes
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever fails inside becomes a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told, declared = b"", b"0"
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                told = value
            elif name == b"content-length":
                declared = value
        limit = self._max_bulk_bytes if is_bulk(scope["path"], scope["headers"]) else self._max_body_bytes
        token = request_id.set(sane_id(told) or new_id())
        response = _Response(send)
        started = time.perf_counter()
        self._traffic.begin()
        try:
            await self._answer(scope, declared, limit, receive, response)
        finally:
            elapsed_s = time.perf_counter() - started
            status = response.status or CLIENT_LEFT
            self._traffic.end()
            self._traffic.count(scope["path"], status, elapsed_s)
            level = logging.DEBUG if scope["path"] in HEALTH_PATHS and status == HTTPStatus.OK else logging.INFO
            if LOGGER.isEnabledFor(level):
                log_answer(level, scope, status, elapsed_s)
            request_id.reset(token)

    async def _answer(self, scope: Scope, declared: bytes, limit: int, receive: Receive, response: "_Response") -> None:
        arrived = 0

        async def receive_limited() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limit:
                raise BodyTooLargeError(limit)
            return message

        try:
            if not declared.isdigit() or int(declared) > limit:
                raise BodyTooLargeError(limit)
            await self._app(scope, receive_limited, response.send)
        except ClientDisconnect:
            pass
        except BodyTooLargeError as error:
            await response.send_unless_started(scope, receive, problem_of(error, scope["path"]))
        except Exception as error:
            LOGGER.exception("a request failed inside the service")
            await response.send_unless_started(scope, receive, problem_of(error, scope["path"]))


def log_answer(level: int, scope: Mapping[str, Any], status: int, elapsed_s: float) -> None:
    """Log one line about an answered request."""
    path, elapsed_ms = scope["path"][:_MAX_PATH], round(elapsed_s * 1000, 1)
    facts = {"method": scope["method"], "path": path, "status": status, "elapsed_ms": elapsed_ms}
    LOGGER.log(level, "%s %s %d %.1f ms", scope["method"], path, status, elapsed_ms, extra={"facts": facts})


class _Response:
    """Sends on what the application answers, with the frame's headers, and keeps its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = message.get("headers", [])
            brought = [name for name, _value in own]
            headers = [*own, (b"x-request-id", (request_id.get() or "").encode())]
            headers += [header for header in SECURITY_HEADERS if header[0] not in brought]
            message["headers"] = headers
        await self._send(message)

    async def send_unless_started(self, scope: Scope, receive: Receive, response: ASGIApp) -> None:
        if self.status is None:
            await response(scope, receive, self.send)
