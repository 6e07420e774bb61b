"""Traces of calls over gRPC as a collector gets them, and log lines that tell the same ids."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.testclient import TestClient

from service.api.rpc import open_inference_pb2 as pb
from service.api.rpc.calls import Calls
from service.app import create_app
from service.logging import _JsonFormatter
from service.settings import Settings
from tests.collector import PARENT, TRACE, Collector, attributes, collecting, logging_to
from tests.published import publish_arithmetic
from tests.rpc import PATIENCE_S, RpcClient, request, tensor

SERVICE = "inference.GRPCInferenceService"
SECRET = 918273645.5
JOINED = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "mine"), ("x-secret", str(SECRET)))


@pytest.fixture(name="collector")
def _collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting(monkeypatch) as collector:
        yield collector


class Traced:
    """A traced service; its spans are there once it has stopped."""

    def __init__(self, root: Path) -> None:
        publish_arithmetic(root, "multiply")
        publish_arithmetic(root, "divide")
        settings = Settings(model_repository=root, tracing="otlp", grpc_port=0, shutdown_grace_s=0)
        self._http = TestClient(create_app(settings))

    def __enter__(self) -> RpcClient:
        self._http.__enter__()
        self._rpc = RpcClient(self._http.app_state["rpc"].port)
        return self._rpc

    def __exit__(self, *_error: object) -> None:
        self._rpc.close()
        self._http.__exit__(None, None, None)


def asked(model: str, a: float, b: float) -> pb.ModelInferRequest:
    return request(model, tensor("numeric", "FP64", [1, 2], "fp64_contents", [a, b]))


def told(span: Span, code: str, method: str = "ModelInfer") -> dict[str, Any]:
    """Return what a span of a call has to tell."""
    error = {"error.type": code} if span.status.code == Span().status.STATUS_CODE_ERROR else {}
    return {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/{method}",
        "rpc.response.status_code": code,
        "network.protocol.name": "http",
        "network.protocol.version": "2",
        "nalu.request_id": "mine",
        **error,
    }


def test_spans_are_joined_to_the_clients_trace_and_hold_nothing_of_its_input(
    tmp_path: Path, collector: Collector
) -> None:
    with logging_to(_JsonFormatter()) as logged, Traced(tmp_path) as rpc:
        answer = rpc.call("ModelInfer", asked("multiply", SECRET, 2), metadata=JOINED)
        unknown: Any = rpc.refused("ModelInfer", asked(f"no-{SECRET}", SECRET, 2), metadata=JOINED)
        rpc.refused("ModelInfer", asked("divide", SECRET, 0), metadata=JOINED)
        rpc.call("ServerLive", pb.ServerLiveRequest(), metadata=JOINED)
        health: Any = HealthStub(rpc.channel)
        health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S, metadata=JOINED)

    assert answer.outputs[0].contents.fp64_contents == [2 * SECRET]
    assert unknown.code() == grpc.StatusCode.NOT_FOUND
    run, first, second, out_of_domain, refused = collector.spans  # in the order of their ends
    assert (run.name, out_of_domain.name) == ("predict multiply", "predict divide")
    assert {first.name, second.name, refused.name} == {f"{SERVICE}/ModelInfer"}
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    for call, code in ((first, "OK"), (second, "NOT_FOUND"), (refused, "INVALID_ARGUMENT")):
        assert call.parent_span_id.hex() == PARENT
        assert call.kind == Span.SPAN_KIND_SERVER
        assert call.status.code == 0
        assert attributes(call) == told(call, code)
    assert run.parent_span_id == first.span_id
    assert first.start_time_unix_nano <= run.start_time_unix_nano <= run.end_time_unix_nano <= first.end_time_unix_nano
    assert attributes(run)["nalu.outcome"] == "answered"
    lines = [read for line in logged if (read := json.loads(line)).get("path") == f"/{SERVICE}/ModelInfer"]
    assert [(line["trace_id"], line["request_id"], line["status"]) for line in lines] == [
        (TRACE, "mine", 200),
        (TRACE, "mine", 404),
        (TRACE, "mine", 422),
    ]
    everything = "".join(logged).encode() + b"".join(one.SerializeToString() for one in collector.requests)
    for secret in (b"918273645", b"9.18273645", b"x-secret"):
        assert secret not in everything


def test_a_large_call_is_one_trace_with_its_run_in_a_thread(tmp_path: Path, collector: Collector) -> None:
    large = request("multiply", tensor("numeric", "FP64", [9000, 2], "fp64_contents", [2.0] * 18_000))
    with Traced(tmp_path) as rpc:
        rpc.call("ModelInfer", large, metadata=JOINED)

    run, call = sorted(collector.spans, key=lambda span: span.name, reverse=True)
    assert run.parent_span_id == call.span_id
    assert attributes(run)["nalu.rows"] == 9000


def test_a_stream_is_one_span_with_the_runs_of_its_requests(tmp_path: Path, collector: Collector) -> None:
    with Traced(tmp_path) as rpc:
        wishes = [asked("multiply", 3, 5), asked("unknown", 3, 5), asked("divide", 8, 2)]
        answers = list(rpc.multi("ModelStreamInfer")(iter(wishes), timeout=PATIENCE_S, metadata=JOINED))

    assert ["not published" in answer.error_message for answer in answers] == [False, True, False]
    (stream,) = (span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER)
    runs = [span for span in collector.spans if span is not stream]
    assert attributes(stream) == told(stream, "OK", "ModelStreamInfer")
    assert [run.name for run in runs] == ["predict multiply", "predict divide"]
    assert {run.parent_span_id for run in runs} == {stream.span_id}


def test_failures_are_errors_and_what_a_client_gives_up_is_cancelled(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")  # spans are to be seen while the service runs
    arrived = threading.Event()

    async def fail(*_arguments: object) -> None:
        msg = "broken on purpose"
        raise RuntimeError(msg)

    async def wait(*_arguments: object) -> None:
        arrived.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Calls, "model_config", fail)
    monkeypatch.setattr(Calls, "model_metadata", wait)
    with Traced(tmp_path) as rpc:
        failed: Any = rpc.refused("ModelConfig", pb.ModelConfigRequest(), metadata=JOINED)
        left = rpc.multi("ModelMetadata").future(pb.ModelMetadataRequest(), metadata=JOINED)
        assert arrived.wait(PATIENCE_S)
        left.cancel()
        while not [span for span in collector.spans if span.name.endswith("ModelMetadata")]:
            rpc.call("ServerMetadata", pb.ServerMetadataRequest(), metadata=(("traceparent", "broken"),))

    assert failed.code() == grpc.StatusCode.INTERNAL
    spans = {span.name.rpartition("/")[2]: span for span in collector.spans}
    assert spans["ModelConfig"].status.code == Span().status.STATUS_CODE_ERROR
    assert attributes(spans["ModelConfig"]) == told(spans["ModelConfig"], "INTERNAL", "ModelConfig")
    assert attributes(spans["ModelMetadata"]) == told(spans["ModelMetadata"], "CANCELLED", "ModelMetadata")
    assert spans["ServerMetadata"].trace_id.hex() != TRACE


def test_a_call_that_is_not_sampled_has_no_span_and_its_line_the_callers_trace(
    tmp_path: Path, collector: Collector
) -> None:
    metadata = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)
    with logging_to(_JsonFormatter()) as logged, Traced(tmp_path) as rpc:
        rpc.call("ModelInfer", asked("multiply", 3, 5), metadata=metadata)

    assert collector.spans == []
    assert [json.loads(line)["trace_id"] for line in logged if f"/{SERVICE}/" in line] == [TRACE]
