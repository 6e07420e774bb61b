"""What receives spans, and log lines as they would be written, for tests of what is told of requests."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.logging import LOGGER

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Receives spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def spans(self) -> list[Span]:
        return [span for one in self.requests for r in one.resource_spans for s in r.scope_spans for span in s.spans]


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Give a collector to which spans are sent."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_address[1]}")
        yield collector
        collector.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, Any]:
    """Return the attributes of a span."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes}


class Lines(logging.Handler):
    """Keeps log lines as they would be written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("httpx"):  # the client's own
            self.lines.append(self.format(record))


@contextmanager
def logging_to(formatter: logging.Formatter) -> Iterator[list[str]]:
    """Give the lines logged at any level."""
    handler = Lines(formatter)
    root = logging.getLogger()
    before = [(logger, logger.level) for logger in (root, LOGGER)]
    for logger, _level in before:
        logger.setLevel(logging.DEBUG)  # an assignment would leave what loggers remember of being enabled
    root.addHandler(handler)
    yield handler.lines
    root.removeHandler(handler)
    for logger, level in before:
        logger.setLevel(level)
