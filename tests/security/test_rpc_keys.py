"""Calls over gRPC without a key that is taken: each is refused, whatever it asks."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from starlette.testclient import TestClient

from service.api.rpc import open_inference_pb2 as pb
from service.app import create_app
from service.key_file import KeyRecord, add_record, hash_of, new_key
from service.settings import Settings
from tests.published import publish_arithmetic
from tests.rpc import PATIENCE_S, RpcClient, request, tensor

METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
OPEN = {"ServerLive", "ServerReady"}
ADMIN = {"RepositoryModelLoad", "RepositoryModelUnload"}
KEYS = {name: new_key() for name in ("good", "old", "slow", "admin")}
ASKED = request("multiply", tensor("numeric", "FP64", [1, 2], "fp64_contents", [3, 5]))


@pytest.fixture(name="rpc", scope="module")
def _rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcClient]:
    root: Path = tmp_path_factory.mktemp("served")
    publish_arithmetic(root / "models", "multiply")
    file = root / "keys.jsonl"
    yesterday = datetime.now(UTC) - timedelta(days=1)
    limits: dict[str, dict[str, object]] = {
        "old": {"expires": yesterday},
        "slow": {"rate": 0.001, "burst": 2},
        "admin": {"role": "admin"},
    }
    for name, key in KEYS.items():
        told = {"name": name, "role": "predict", "sha256": hash_of(key.encode()).hex(), **limits.get(name, {})}
        add_record(file, KeyRecord.model_validate(told))
    settings = Settings(model_repository=root / "models", keys_file=file, grpc_port=0, shutdown_grace_s=0)
    with TestClient(create_app(settings)) as http:
        client = RpcClient(http.app_state["rpc"].port)
        yield client
        client.close()


def outcome(rpc: RpcClient, method: str, *metadata: tuple[str, str]) -> str:
    """Return the code with which an empty request, or two of a stream, is answered."""
    told = METHODS[method]
    asked = GetMessageClass(told.input_type)()
    try:
        if told.client_streaming:
            list(rpc.multi(method)(iter([asked, asked]), timeout=PATIENCE_S, metadata=metadata))
        else:
            rpc.call(method, asked, metadata=metadata)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code.name
    return "OK"


@pytest.mark.parametrize("method", sorted(METHODS.keys() - OPEN))
def test_a_call_without_a_key_that_is_taken_is_refused(rpc: RpcClient, method: str) -> None:
    good = KEYS["good"]
    assert outcome(rpc, method) == "UNAUTHENTICATED"
    for metadata in (
        [("x-api-key", "wrong")],
        [("authorization", "Bearer wrong")],
        [("authorization", f"Basic {good}")],
        [("x-api-key", KEYS["old"])],
        [("x-api-key", good), ("authorization", f"Bearer {good}")],
        [("x-api-key", "")],
    ):
        assert outcome(rpc, method, *metadata) == "PERMISSION_DENIED"
    good = KEYS["admin"] if method in ADMIN else good
    for metadata in ([("x-api-key", good)], [("authorization", f"Bearer {good}")]):
        assert outcome(rpc, method, *metadata) not in ("UNAUTHENTICATED", "PERMISSION_DENIED")


@pytest.mark.parametrize("method", sorted(ADMIN))
def test_what_changes_the_models_needs_an_admin_key(rpc: RpcClient, method: str) -> None:
    assert outcome(rpc, method, ("x-api-key", KEYS["good"])) == "PERMISSION_DENIED"
    assert outcome(rpc, method, ("x-api-key", KEYS["admin"])) == "NOT_FOUND"


def test_a_model_is_unloaded_and_loaded_as_it_was_published(rpc: RpcClient) -> None:
    metadata = (("x-api-key", KEYS["admin"]),)
    own = {"config": pb.ModelRepositoryParameter(string_param="{}")}
    dependents = {"unload_dependents": pb.ModelRepositoryParameter(bool_param=False)}

    rpc.call(
        "RepositoryModelUnload",
        pb.RepositoryModelUnloadRequest(model_name="multiply", parameters=dependents),
        metadata=metadata,
    )
    unloaded: Any = rpc.refused("ModelInfer", ASKED, metadata=metadata)
    refused: Any = rpc.refused(
        "RepositoryModelLoad",
        pb.RepositoryModelLoadRequest(model_name="multiply", parameters=own),
        metadata=metadata,
    )
    rpc.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="multiply"), metadata=metadata)

    assert unloaded.code() == grpc.StatusCode.UNAVAILABLE
    assert "as it was published" in refused.details()
    assert rpc.call("ModelInfer", ASKED, metadata=metadata).outputs[0].contents.fp64_contents == [15.0]


@pytest.mark.parametrize("sent", [b"", b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_a_connection_that_does_not_begin_is_closed(tmp_path: Path, sent: bytes) -> None:
    publish_arithmetic(tmp_path, "multiply")
    settings = Settings(model_repository=tmp_path, grpc_port=0, shutdown_grace_s=0, receive_timeout_s=0.2)
    with TestClient(create_app(settings)) as http:
        connection = socket.create_connection(("127.0.0.1", http.app_state["rpc"].port), timeout=PATIENCE_S)
        connection.sendall(sent)
        while connection.recv(4096):
            pass
        connection.close()


def test_probes_need_no_key(rpc: RpcClient) -> None:
    health: Any = HealthStub(rpc.channel)

    assert {outcome(rpc, method) for method in OPEN} == {"OK"}
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status == 1


def test_a_key_over_its_rate_is_told_when_to_ask_again(rpc: RpcClient) -> None:
    metadata = (("x-api-key", KEYS["slow"]),)
    for _ in range(2):
        assert rpc.call("ModelInfer", ASKED, metadata=metadata).outputs[0].contents.fp64_contents == [15.0]

    error: Any = rpc.refused("ModelInfer", ASKED, metadata=metadata)
    streamed = list(rpc.multi("ModelStreamInfer")(iter([ASKED]), timeout=PATIENCE_S, metadata=metadata))

    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "try again in" in error.details()
    assert dict(error.trailing_metadata())["nalu-problem-type"] == "rate-limited"
    assert "try again in" in streamed[0].error_message
