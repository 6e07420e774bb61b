"""A span for each request, in front of everything else, joined to the trace that the client tells of.

A request that is sampled is answered by the ordinary application, so that its model's run is its own; the others take
the short path. Probes and scrapes are not traced.
"""

from collections.abc import Iterable
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.middleware import counted_path
from service.api.openapi import HEALTH_PATHS
from service.logging import trace_id

Headers = list[tuple[bytes, bytes]]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"})
_UNTRACED: Final = HEALTH_PATHS | {"/metrics"}
_SERVER_ERROR: Final = 500


class _HeadersGetter(Getter[Headers]):
    """Reads the headers of a scope."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """Return the values of a header."""
        wanted = key.lower().encode()
        return [value.decode("latin-1") for name, value in carrier if name == wanted] or None

    def keys(self, carrier: Headers) -> list[str]:
        """Return the names of all headers."""
        return [name.decode("latin-1") for name, _value in carrier]


_GETTER: Final = _HeadersGetter()


class Traced:
    """ASGI application.

    Args:
        app: The ordinary application, for requests that are sampled.
        short: A quicker way to the same answers, for the others.
        tracer: Makes the spans.
    """

    def __init__(self, app: ASGIApp, short: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._short = short
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request within a span."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._short(scope, receive, send)
            return
        route = counted_path(scope["path"])
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        span = self._tracer.start_span(
            f"{method} {route}",
            context=propagate.extract(scope["headers"], context.Context(), _GETTER),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "network.protocol.version": scope["http_version"],
                "url.scheme": scope["scheme"],
            },
        )
        attached = context.attach(trace.set_span_in_context(span))
        told = trace_id.set(trace.format_trace_id(span.get_span_context().trace_id))

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note(span, message["status"], message.get("headers", ()))
            await send(message)

        try:
            await (self._app if span.is_recording() else self._short)(scope, receive, send_noted)
        finally:
            trace_id.reset(told)
            context.detach(attached)
            span.end()


def _note(span: trace.Span, status: int, headers: Iterable[Any]) -> None:
    """Tell a span how its request was answered."""
    span.set_attribute("http.response.status_code", status)
    for name, value in headers:
        if name == b"x-request-id":
            span.set_attribute("nalu.request_id", value.decode("latin-1"))
    if status >= _SERVER_ERROR:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)
