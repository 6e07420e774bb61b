"""The Open Inference Protocol over gRPC, served in this process, against Python's arithmetic and HTTP's answers."""

import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from starlette.testclient import TestClient

from service.api.open_inference import plane
from service.api.rpc import open_inference_pb2 as pb
from service.app import create_app
from service.settings import Settings
from tests.published import GRADES, publish_all
from tests.rpc import PATIENCE_S, RpcClient, flag, numbers, outputs, request, tensor
from tests.rpc_service import served_over_grpc

NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(name="http", scope="module")
def _http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served_over_grpc(tmp_path_factory.mktemp("repository")) as client:
        yield client


@pytest.fixture(name="rpc", scope="module")
def _rpc(http: TestClient) -> Iterator[RpcClient]:
    client = RpcClient(http.app_state["rpc"].port)
    yield client
    client.close()


def test_the_server_tells_what_it_is(rpc: RpcClient, http: TestClient) -> None:
    told, over_http = rpc.call("ServerMetadata", pb.ServerMetadataRequest()), http.get("/v2").json()

    assert rpc.call("ServerLive", pb.ServerLiveRequest()).live
    assert not rpc.call("ServerReady", pb.ServerReadyRequest()).ready  # one model is broken
    assert {"name": told.name, "version": told.version, "extensions": list(told.extensions)} == over_http


@pytest.mark.parametrize("model", ["divide", "graded", "number-words", "recurrent"])
def test_a_model_tells_over_grpc_what_it_tells_over_http(rpc: RpcClient, http: TestClient, model: str) -> None:
    asked = {"name": model, "version": "1"}
    told = rpc.call("ModelMetadata", pb.ModelMetadataRequest(**asked))
    config = rpc.call("ModelConfig", pb.ModelConfigRequest(name=model)).config

    over_http = http.get(f"/v2/models/{model}/versions/1").json()
    assert (told.name, list(told.versions), told.platform) == (model, ["1"], over_http["platform"])
    for tensors, wanted in ((told.inputs, over_http["inputs"]), (told.outputs, over_http["outputs"])):
        found = [(one.name, one.datatype, list(one.shape)) for one in tensors]
        assert found == [(one["name"], one["datatype"], one["shape"]) for one in wanted]
    wanted = http.get(f"/v2/models/{model}/config").json()
    assert (config.backend, config.max_batch_size) == (wanted["backend"], wanted["max_batch_size"])
    for tensors, described in ((config.input, wanted["input"]), (config.output, wanted["output"])):
        listed = [{"name": t.name, "data_type": pb.DataType.Name(t.data_type), "dims": list(t.dims)} for t in tensors]
        assert listed == described
    assert rpc.call("ModelReady", pb.ModelReadyRequest(**asked)).ready


def test_the_repository_is_listed(rpc: RpcClient, http: TestClient) -> None:
    every = rpc.call("RepositoryIndex", pb.RepositoryIndexRequest()).models
    ready = rpc.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True)).models

    told = [{"name": m.name, "version": m.version, "state": m.state, "reason": m.reason} for m in every]
    assert told == http.post("/v2/repository/index").json()
    assert {m.name for m in every} - {m.name for m in ready} == {"broken"}
    assert not rpc.call("ModelReady", pb.ModelReadyRequest(name="broken")).ready


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_typed_contents_are_answered_with_typed_contents(rpc: RpcClient, datatype: str) -> None:
    answer = rpc.infer("divide", numbers([-7, 2, 20, 4], datatype), id="seven")

    assert (answer.model_name, answer.model_version, answer.id) == ("divide", "1", "seven")
    assert outputs(answer) == {"predictions": [[-3.5], [5.0]], "in_range": [True, False]}
    assert not answer.raw_output_contents


@pytest.mark.parametrize(
    ("datatype", "place"),
    [
        ("INT8", "int_contents"),
        ("INT16", "int_contents"),
        ("INT32", "int_contents"),
        ("INT64", "int64_contents"),
        ("UINT8", "uint_contents"),
        ("UINT16", "uint_contents"),
        ("UINT32", "uint_contents"),
        ("UINT64", "uint64_contents"),
    ],
)
def test_whole_numbers_are_taken_in_their_places(rpc: RpcClient, datatype: str, place: str) -> None:
    assert outputs(rpc.infer("divide", tensor("numeric", datatype, [1, 2], place, [9, 2])))["predictions"] == [[4.5]]


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2", "<i4", "u1"])
def test_raw_contents_are_answered_with_raw_contents(rpc: RpcClient, dtype: str) -> None:
    datatype = {"<f8": "FP64", "<f4": "FP32", "<f2": "FP16", "<i4": "INT32", "u1": "UINT8"}[dtype]
    raw = np.array([[9, 2], [20, 5]], dtype).tobytes()

    answer = rpc.infer(
        "divide",
        tensor("numeric", datatype, [2, 2]),
        raw_input_contents=[raw],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("in_range", "y")],
    )

    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [
        ("in_range", "BOOL", [2]),
        ("y", "FP64", [2]),
    ]
    assert np.frombuffer(answer.raw_output_contents[0], "?").tolist() == [True, False]
    assert np.frombuffer(answer.raw_output_contents[1], "<f8").tolist() == [4.5, 4.0]
    assert not any(one.HasField("contents") for one in answer.outputs)


def test_texts_and_missing_values_are_taken_raw_and_typed(rpc: RpcClient) -> None:
    shapes = [tensor("numeric", "FP64", [2, 1]), tensor("categorical", "BYTES", [2, 1])]
    text = b"".join(struct.pack("<I", len(part)) + part for part in (b"B", b""))
    typed = [
        tensor("numeric", "FP64", [2, 1], "fp64_contents", [2.0, float("nan")]),
        tensor("categorical", "BYTES", [2, 1], "bytes_contents", [b"B", b""]),
    ]

    raw = rpc.infer("graded", *shapes, raw_input_contents=[np.array([2.0, np.nan]).tobytes(), text])
    by_type = rpc.infer("graded", *typed)

    assert np.frombuffer(raw.raw_output_contents[0], "<f8").tolist() == [2 * GRADES["B"], 0.0]
    assert outputs(by_type)["predictions"] == [[2 * GRADES["B"]], [0.0]]


def test_sequences_are_answered_as_over_http(rpc: RpcClient, http: TestClient) -> None:
    texts, steps = ["three hundred", "twelve"], [1.0, 2.0, 3.0, 4.0, 0.5, -1.0]
    words = {"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": texts}
    walked = {"name": "steps", "datatype": "FP64", "shape": [1, 3, 2], "data": steps}

    by_words = rpc.infer("number-words", tensor("text", "BYTES", [2], "bytes_contents", [t.encode() for t in texts]))
    by_steps = rpc.infer("recurrent", tensor("steps", "FP64", [1, 3, 2], "fp64_contents", steps))

    for model, body, answer in (("number-words", words, by_words), ("recurrent", walked, by_steps)):
        wanted = http.post(f"/v2/models/{model}/infer", json={"inputs": [body]}).json()["outputs"][0]
        assert np.ravel(outputs(answer)[wanted["name"]]).tolist() == wanted["data"]


def test_large_requests_are_answered_in_a_thread(rpc: RpcClient, http: TestClient) -> None:
    data = np.random.default_rng(3).uniform(1, 9, (15_000, 2))

    answer = rpc.infer("divide", tensor("numeric", "FP64", [15_000, 2]), raw_input_contents=[data.tobytes()])

    assert np.frombuffer(answer.raw_output_contents[0], "<f8").tolist() == (data[:, 0] / data[:, 1]).tolist()
    assert 'nalu_rows_total{model="divide"' in http.get("/metrics").text


@pytest.mark.parametrize(("timeout", "longest"), [(20.0, 20.0), (None, 30.0)])
def test_a_run_gets_no_longer_than_the_client_waits(
    rpc: RpcClient, monkeypatch: pytest.MonkeyPatch, timeout: float | None, longest: float
) -> None:
    given = []
    infer = plane.infer

    def noted(*arguments: Any) -> Any:
        given.append(arguments[-1])
        return infer(*arguments)

    monkeypatch.setattr(plane, "infer", noted)
    large = tensor("numeric", "FP64", [15_000, 2])
    rpc.multi("ModelInfer")(
        request("divide", large, raw_input_contents=[np.ones((15_000, 2)).tobytes()]), timeout=timeout
    )
    rpc.call("ModelInfer", request("divide", numbers([1, 2])))

    assert longest - 19 < given[0] < longest + 1  # a timeout is rounded up on its way
    assert given[1] is None


def test_parameters_that_ask_nothing_of_a_model_are_ignored(rpc: RpcClient) -> None:
    empty = {"priority": pb.InferParameter(uint64_param=1), "sequence_start": flag(False), "own": pb.InferParameter()}

    assert outputs(rpc.infer("divide", numbers([8, 2]), parameters=empty))["predictions"] == [[4.0]]


@pytest.mark.parametrize("told", ["own.id-7", "two words", ""])
def test_a_call_has_an_id(rpc: RpcClient, told: str) -> None:
    _answer, call = rpc.multi("ServerLive").with_call(
        pb.ServerLiveRequest(), timeout=PATIENCE_S, metadata=(("x-request-id", told),)
    )

    given = dict(call.trailing_metadata())["x-request-id"]
    assert (given == told) == (told == "own.id-7")
    assert len(given) in (8, 32)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_read(rpc: RpcClient, compression: grpc.Compression) -> None:
    data = np.full((1000, 2), 4.0)
    asked = request("divide", tensor("numeric", "FP64", [1000, 2]), raw_input_contents=[data.tobytes()])

    answer = rpc.call("ModelInfer", asked, compression=compression)

    assert set(np.frombuffer(answer.raw_output_contents[0], "<f8")) == {1.0}


def test_a_stream_answers_its_requests_in_order_and_goes_on_after_a_refusal(rpc: RpcClient) -> None:
    wishes = [
        request("divide", numbers([8, 2]), id="1"),
        request("unknown", numbers([8, 2]), id="2"),
        request("divide", numbers([9, 3]), id="3", parameters={"triton_enable_empty_final_response": flag(True)}),
    ]

    answers = list(rpc.multi("ModelStreamInfer")(iter(wishes), timeout=PATIENCE_S))

    assert [answer.infer_response.id for answer in answers] == ["1", "2", "3"]
    assert "not published" in answers[1].error_message
    assert not answers[0].error_message
    assert outputs(answers[0].infer_response)["predictions"] == [[4.0]]
    assert outputs(answers[2].infer_response)["predictions"] == [[3.0]]
    assert answers[2].infer_response.parameters["triton_final_response"].bool_param


def test_calls_are_counted_as_requests(rpc: RpcClient, http: TestClient) -> None:
    rpc.infer("divide", numbers([8, 2]))
    rpc.refused("ModelInfer", request("unknown", numbers([1, 2])))

    told = http.get("/metrics").text
    for status in ("200", "404"):
        assert f'nalu_requests_total{{path="/inference.GRPCInferenceService/ModelInfer",status="{status}"}}' in told


def test_what_was_counted_is_told_as_over_http(rpc: RpcClient, http: TestClient) -> None:
    def counted(name: str = "subtract", version: str = "") -> Any:
        return rpc.call("ModelStatistics", pb.ModelStatisticsRequest(name=name, version=version)).model_stats

    rpc.infer("subtract", numbers([8, 2, 5, 5]))
    rpc.infer("subtract", numbers([8, 2]))
    rpc.refused("ModelInfer", request("subtract", numbers([1e308, -1e308])))

    (told,) = counted()
    assert (told.name, told.version, told.inference_count, told.execution_count) == ("subtract", "1", 3, 2)
    spent = told.inference_stats
    assert (spent.success.count, spent.fail.count, spent.compute_infer.count) == (2, 1, 2)
    assert spent.success.ns > 0
    assert counted(version="1") == [told]
    for path in ("subtract/stats", "subtract/versions/1/stats", "stats"):
        (over_http,) = [
            one for one in http.get(f"/v2/models/{path}").json()["model_stats"] if one["name"] == "subtract"
        ]
        assert over_http["inference_stats"]["success"] == {"count": 2, "ns": spent.success.ns}
        assert over_http["inference_count"] == 3
    assert {one.name for one in counted("")} >= {"add", "subtract"}
    for asked in (pb.ModelStatisticsRequest(name="unknown"), pb.ModelStatisticsRequest(version="1")):
        error: Any = rpc.refused("ModelStatistics", asked)
        assert error.code() == NOT_FOUND


def test_health_is_told(rpc: RpcClient) -> None:
    health: Any = HealthStub(rpc.channel)
    states = health_pb2.HealthCheckResponse

    def status(service: str) -> int:
        answer: health_pb2.HealthCheckResponse = health.Check(
            health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S
        )
        return answer.status

    assert status("liveness") == states.SERVING
    for service in ("", "readiness", "inference.GRPCInferenceService"):
        assert status(service) == states.NOT_SERVING  # one model is broken
    with pytest.raises(grpc.RpcError) as refused:
        status("other")
    assert refused.value.code() == NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=PATIENCE_S)
    assert next(iter(watch)).status == states.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_tells_the_services(rpc: RpcClient) -> None:
    asked = reflection_pb2.ServerReflectionRequest(list_services="")

    stub: Any = ServerReflectionStub(rpc.channel)
    (answer,) = stub.ServerReflectionInfo(iter([asked]), timeout=PATIENCE_S)

    assert {service.name for service in answer.list_services_response.service} >= {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
    }


def test_a_stop_ends_what_waits_for_more(tmp_path: Any) -> None:
    """A stream whose client is silent, and a watched health, would else hold up the stop until its time is over."""
    publish_all(tmp_path)
    settings = Settings(model_repository=tmp_path, grpc_port=0, shutdown_grace_s=600)
    more = threading.Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        yield request("divide", numbers([8, 2]))
        more.wait(PATIENCE_S)

    with TestClient(create_app(settings)) as http:
        rpc = RpcClient(http.app_state["rpc"].port)
        stream = rpc.multi("ModelStreamInfer")(requests(), timeout=PATIENCE_S)
        assert not next(stream).error_message
        health: Any = HealthStub(rpc.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        states = iter(watch)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    assert [state.status for state in states] == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert list(stream) == []
    more.set()
    rpc.close()
