"""Traces as a collector gets them: a real receiver of OTLP over HTTP, and logs that hold nothing of a request."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.testclient import TestClient

from service import tracing
from service.api.openapi import HEALTH_PATHS
from service.app import create_app
from service.errors import SettingsError
from service.logging import _JsonFormatter, _PlainFormatter
from service.settings import Settings
from tests.collector import PARENT, TRACE, Collector, attributes, collecting, logging_to
from tests.published import publish_all

SECRET = 918273645.5
"""A value of an input; nobody but the model is to see it."""


@pytest.fixture(name="collector")
def _collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting(monkeypatch) as collector:
        yield collector


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_all(tmp_path_factory.mktemp("repository"))


@pytest.fixture(name="logged", params=["json", "plain"])
def _logged(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    formatter = _JsonFormatter() if request.param == "json" else _PlainFormatter()
    with logging_to(formatter) as lines:
        yield lines


def ask_everything(client: TestClient, headers: dict[str, str]) -> None:
    """Send requests with a secret in every place where an input may be: answered, refused and failing ones."""
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/predict", {"model": "multiply", "rows": [{"a": SECRET, "b": 2}]}),
        ("/predict", {"model": "multiply", "columns": ["a", "b"], "data": [[SECRET, 2]] * 4000}),
        ("/predict", {"model": "multiply", "rows": [{"a": f"{SECRET}", "b": 2}]}),
        ("/predict", {"model": "multiply", "rows": [{"a": SECRET, f"b{SECRET}": 2}]}),
        ("/predict", {"model": "multiply", "rows": [{"a": SECRET * 1e290, "b": SECRET * 1e290}]}),
        ("/predict", {"model": "divide", "rows": [{"a": SECRET, "b": 0}]}),
        ("/predict", {"model": f"no-{SECRET}", "rows": [{"a": SECRET}]}),
        (
            "/v2/models/multiply/infer",
            {"inputs": [{"name": "numeric", "datatype": "FP64", "shape": [1, 2], "data": [SECRET, 2]}]},
        ),
    ]
    for path, body in bodies:
        assert client.post(path, json=body, headers=headers).status_code in (200, 400, 404, 422)
    table = f"a,b\n{SECRET},2\n{SECRET},x\n"
    for query in ("model=multiply", f"model=multiply&a={SECRET}"):
        client.post(f"/predict?{query}", content=table, headers={**headers, "Content-Type": "text/csv"})


def test_spans_are_joined_to_the_clients_trace_and_hold_nothing_of_its_input(
    root: Path, collector: Collector, logged: list[str]
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine", "x-secret": str(SECRET)}
    with TestClient(create_app(Settings(model_repository=root, tracing="otlp"))) as client:
        first = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5e6}]}, headers=headers)
        for path in (*HEALTH_PATHS, "/metrics"):
            client.get(path, headers=headers)
        lines_before = len(logged)
        ask_everything(client, headers)
    spans = collector.spans

    assert first.json()["predictions"] == [{"y": 15e6}]
    request, run = (next(span for span in spans if span.name == name) for name in ("POST /predict", "predict multiply"))
    assert request.trace_id.hex() == run.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert run.parent_span_id == request.span_id
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.start_time_unix_nano <= run.start_time_unix_nano <= run.end_time_unix_nano
    assert run.end_time_unix_nano <= request.end_time_unix_nano
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.scheme": "http",
        "nalu.request_id": "mine",
    }
    assert attributes(run) == {
        "nalu.model": "multiply",
        "nalu.version": "1",
        "nalu.outcome": "answered",
        "nalu.rows": 1,
        "nalu.rows_out_of_range": 1,
        "nalu.requests": 1,
    }
    (resource,) = {one.resource.SerializeToString() for r in collector.requests for one in r.resource_spans}
    assert b"nalu-serving" in resource
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert not [span for span in spans if span.name.startswith("GET")], "probes and scrapes have none"
    assert {attributes(span).get("http.response.status_code") for span in spans} >= {200, 404, 422}
    outcomes = {attributes(span).get("nalu.outcome") for span in spans if span.name == "predict divide"}
    assert outcomes == {"out-of-domain"}

    told = [line for line in logged[lines_before:] if "POST /predict" in line or "POST /v2" in line]
    assert len(told) == 10
    for line in told:
        if line.startswith("{"):
            read = json.loads(line)
            assert (read["trace_id"], read["request_id"]) == (TRACE, "mine")
        else:
            assert line.endswith(f"request_id=mine trace_id={TRACE}")
    everything = "".join(logged).encode() + b"".join(one.SerializeToString() for one in collector.requests)
    for secret in (b"918273645", b"9.18273645", b"x-secret"):
        assert secret not in everything


def test_a_request_that_is_not_sampled_takes_the_short_path(root: Path, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    with TestClient(create_app(Settings(model_repository=root, tracing="otlp"))) as client:
        answer = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]}, headers=headers)

    assert answer.json()["predictions"] == [{"y": 15.0}]
    assert collector.spans == []


def test_a_broken_parent_begins_a_trace_of_its_own(root: Path, collector: Collector) -> None:
    with TestClient(create_app(Settings(model_repository=root, tracing="otlp"))) as client:
        for parent in ("", "00-zz-1-01", f"00-{'0' * 32}-{PARENT}-01", "00-" + "a" * 5000):
            assert client.get("/models", headers={"traceparent": parent}).status_code == 200
    traces = {span.trace_id.hex() for span in collector.spans}

    assert len(traces) == 4
    assert TRACE not in traces


def test_a_failure_inside_the_service_is_an_error_in_its_span(
    root: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        msg = "broken on purpose"
        raise RuntimeError(msg)

    with TestClient(
        create_app(Settings(model_repository=root, tracing="otlp")), raise_server_exceptions=False
    ) as client:
        monkeypatch.setattr("service.inference.predictor._predict", fail)
        answer = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]})
    request, run = (
        next(span for span in collector.spans if span.name == name) for name in ("POST /predict", "predict multiply")
    )

    assert answer.status_code == 500
    assert request.status.code == run.status.code == 2
    assert attributes(request)["error.type"] == "500"
    assert attributes(run)["nalu.outcome"] == "error"


def test_a_collector_that_is_gone_holds_up_neither_requests_nor_the_stop(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "FLUSH_S", 0.05)
    with TestClient(create_app(Settings(model_repository=root, tracing="otlp"))) as client:
        assert client.get("/models").status_code == 200


def test_tracing_says_what_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(model_repository=root, tracing="otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SettingsError, match="http/protobuf, however 'grpc'"):
        create_app(settings)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"constraints\.txt '\.\[serve,otel\]'"):
        create_app(settings)
