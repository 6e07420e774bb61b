"""Traces of requests, for those who collect them: what is told of a request and of the run of its model.

Nothing of a request's content becomes part of a span: neither values nor the query. The packages belong to the extra
`otel` and are imported where tracing is on alone.
"""

import os
import threading
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from models.contract.errors import how_to_install
from service.errors import SettingsError
from service.metrics import Slot
from service.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

FLUSH_S: Final = 3.0
"""Longest wait for a collector when the service stops, so that one that is gone does not use up the time to stop in."""

_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def open_tracing(settings: Settings, worker: int) -> "Tracing | None":
    """Return what makes and sends spans, or None where tracing is off.

    Args:
        settings: How to run.
        worker: Which worker this is.

    Raises:
        SettingsError: As `Tracing`.
    """
    return None if settings.tracing == "off" else Tracing(worker)


class Tracing:
    """Spans of one worker, sent to a collector as the standard `OTEL_*` variables say.

    Args:
        worker: Which worker this is.

    Raises:
        SettingsError: When the packages of the extra `otel` are missing, or the variables ask for another protocol than
            OTLP over HTTP.
    """

    def __init__(self, worker: int) -> None:
        asked = next((os.environ[name] for name in _PROTOCOLS if name in os.environ), "http/protobuf")
        if asked != "http/protobuf":
            msg = f"traces must be exported with the protocol http/protobuf, however {asked!r} is asked for"
            raise SettingsError(msg)
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            msg = (
                "tracing must have the packages of the extra 'otel', however they are not installed; "
                f"{how_to_install('serve,otel')}, or leave NALU_TRACING off"
            )
            raise SettingsError(msg) from error
        own = {
            "service.name": "nalu-serving",
            "service.version": version("nalu-serving"),
            "service.instance.id": f"{os.uname().nodename}-{worker}",
        }
        self._provider: TracerProvider = TracerProvider(
            resource=Resource(own).merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._exporter = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self.tracer: Tracer = self._provider.get_tracer("nalu", version("nalu-serving"))

    def trace_runs(self, slot: Slot) -> None:
        """Make a span of every run that the worker's meters count from now on."""
        slot.on_run = self._run_ended

    def close(self) -> None:
        """Send what is left, for at most `FLUSH_S`."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH_S)
        if sending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _run_ended(self, facts: dict[str, Any], seconds: float) -> None:
        from opentelemetry.trace import get_current_span
        from opentelemetry.trace.status import StatusCode

        if not get_current_span().is_recording():
            return
        ended = time.time_ns()
        span = self.tracer.start_span(
            f"predict {facts['model']}",
            attributes={f"nalu.{name}": value for name, value in facts.items()},
            start_time=ended - int(1e9 * seconds),
        )
        if facts["outcome"] == "error":
            span.set_status(StatusCode.ERROR)
        span.end(ended)
