"""Log lines: plain or JSON, each with the id of its request, never with a request's content."""

import json
import logging
import os
import sys
import time
from contextvars import ContextVar
from typing import Literal

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request being answered."""

trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""Id of the trace that it belongs to, where requests are traced."""

LOGGER = logging.getLogger("nalu")
"""The service's logger."""


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = request_id.get()
        line = f"{_time(record)} {record.levelname.lower():7} {_printable(record.getMessage())}"
        if told is not None:
            line += f" request_id={told}"
        if (traced := trace_id.get()) is not None:
            line += f" trace_id={traced}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (told := request_id.get()) is not None:
            line["request_id"] = told
        if (traced := trace_id.get()) is not None:
            line["trace_id"] = traced
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(level: Literal["debug", "info", "warning", "error"], form: Literal["plain", "json"]) -> None:
    """Send every log line of this process to standard error in the form wanted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _PlainFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # The server's own lines about starting and stopping repeat ours.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))


def drop_standard_output() -> None:
    """Let what is still to be written to standard output go nowhere, so that the process does not fail at its end."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path of ours
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _printable(text: str) -> str:
    """Escape what could forge or garble a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
