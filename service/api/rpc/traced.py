"""A span for each call, joined to the trace that the client tells of; imported where calls are traced alone.

Names and attributes follow OpenTelemetry's semantic conventions for gRPC, as of 1.44, of which addresses are left out,
as over HTTP; no metadata becomes part of a span, nor a message. Probes are not traced, as over HTTP. A stream is one
call, and so one span.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from service.api.rpc.frame import Handler
from service.api.rpc.metadata import ID_KEY, Context
from service.logging import trace_id

_UNTRACED: Final = frozenset({"ServerLive", "ServerReady"})

_ERRORS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that are the server's fault.

Source: OpenTelemetry semantic conventions, gRPC, server spans.
"""


class _MetadataGetter(Getter[Context]):
    """Reads the metadata of a call."""

    def get(self, carrier: Context, key: str) -> list[str] | None:
        """Return the values under a name."""
        wanted = key.lower()
        return [value for name, value in _texts(carrier) if name == wanted] or None

    def keys(self, carrier: Context) -> list[str]:
        """Return all names."""
        return [name for name, _value in _texts(carrier)]


_GETTER: Final = _MetadataGetter()


class Traced:
    """Makes spans around calls.

    Args:
        service: Full name of the service.
        tracer: Makes the spans.
    """

    def __init__(self, service: str, tracer: Tracer) -> None:
        self._service = service
        self._tracer = tracer

    def around(self, method: str, handle: Handler) -> Handler:
        """Return a handler that answers within a span; the same one for a probe."""
        if method in _UNTRACED:
            return handle
        name = f"{self._service}/{method}"

        async def handle_traced(requests: object, context: Context) -> Any:
            with self._span(name, context):
                return await handle(requests, context)

        return handle_traced

    @contextmanager
    def _span(self, name: str, context: Context) -> Iterator[None]:
        span = self._tracer.start_span(
            name,
            context=propagate.extract(context, contexts.Context(), _GETTER),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": name,
                "network.protocol.name": "http",
                "network.protocol.version": "2",
            },
        )
        attached = contexts.attach(trace.set_span_in_context(span))
        told = trace_id.set(trace.format_trace_id(span.get_span_context().trace_id))
        code = grpc.StatusCode.CANCELLED  # where the client leaves, nothing else is told
        try:
            yield
            code = grpc.StatusCode.OK
        except grpc.aio.AbortError:
            code = context.code()
            raise
        finally:
            trace_id.reset(told)
            contexts.detach(attached)
            _note(span, code.name, context)
            span.end()


def _note(span: trace.Span, code: str, context: Context) -> None:
    """Tell a span how its call ended."""
    span.set_attribute("rpc.response.status_code", code)
    for name, value in context.trailing_metadata() or ():
        if name == ID_KEY:
            span.set_attribute("nalu.request_id", value)
    if code in _ERRORS:
        span.set_attribute("error.type", code)
        span.set_status(StatusCode.ERROR)


def _texts(carrier: Context) -> Iterator[tuple[str, str]]:
    for name, value in carrier.invocation_metadata() or ():
        if isinstance(value, str):
            yield name, value
