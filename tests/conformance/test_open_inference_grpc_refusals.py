"""What is refused over gRPC: requests, messages and methods, each with its code and a reason."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from service.api.rpc import open_inference_pb2 as pb
from tests.rpc import PATIENCE_S, RpcClient, flag, numbers, outputs, request, tensor
from tests.rpc_service import served_over_grpc

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND

_ONE = numbers([1, 2])
_EMPTY = [0, *[2**31 - 1] * 3]
_OUTPUT = pb.ModelInferRequest.InferRequestedOutputTensor
_ELSEWHERE = {"shared_memory_region": pb.InferParameter(string_param="here")}


@pytest.fixture(name="rpc", scope="module")
def _rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcClient]:
    with served_over_grpc(tmp_path_factory.mktemp("repository")) as http:
        client = RpcClient(http.app_state["rpc"].port)
        yield client
        client.close()


def _with(**more: Any) -> pb.ModelInferRequest:
    return request("divide", _ONE, **more)


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (request("divide"), "must have inputs"),
        (request("divide", _ONE, _ONE), "given once"),
        (request("divide", tensor("numeric", "FP128", [1, 2], "fp64_contents", [1, 2])), "must be one of BOOL"),
        (request("divide", tensor("numeric", "FP64", [1, -2], "fp64_contents", [1, 2])), "none negative"),
        (request("divide", tensor("numeric", "FP64", [2**40, 2**40], "fp64_contents", [1, 2])), "none negative"),
        (request("divide", tensor("numeric", "FP64", [2**20, 2**20], "fp64_contents", [1, 2])), "must hold the"),
        (request("divide", tensor("numeric", "FP64", _EMPTY)), "must multiply to at most"),
        (request("divide", tensor("numeric", "BYTES", _EMPTY)), "must multiply to at most"),
        (request("divide", tensor("numeric", "FP64", _EMPTY), raw_input_contents=[b""]), "must multiply to at most"),
        (request("divide", tensor("numeric", "FP64", [1] * 9, "fp64_contents", [1])), "1 to 8 whole"),
        (request("divide", tensor("numeric", "FP64", [2, 2], "fp64_contents", [1, 2])), "must hold the 4 elements"),
        (request("divide", tensor("numeric", "FP64", [1, 2])), "must hold the 2 elements"),
        (request("divide", tensor("numeric", "FP64", [1, 2], "fp32_contents", [1, 2])), "must be in fp64_contents"),
        (request("divide", tensor("numeric", "FP16", [1, 2], "fp32_contents", [1, 2])), "raw_input_contents"),
        (request("divide", tensor("numeric", "UINT8", [1, 2], "uint_contents", [1, 300])), "fits it"),
        (request("divide", tensor("numeric", "BOOL", [1, 2], "bool_contents", [True, False])), "must be a number"),
        (request("divide", tensor("numeric", "BYTES", [1, 2], "bytes_contents", [b"1", b"2"])), "must hold numbers"),
        (request("graded", tensor("categorical", "BYTES", [1, 1], "bytes_contents", [b"\xff"])), "must be UTF-8"),
        (request("divide", tensor("", "FP64", [1, 2], "fp64_contents", [1, 2])), "1 to 200 characters"),
        (request("divide", tensor("x" * 201, "FP64", [1, 2], "fp64_contents", [1, 2])), "1 to 200 characters"),
        (request("divide", _ONE, numbers([1, 2], name="other")), "does not know this input"),
        (request("divide", tensor("a", "FP64", [1], "fp64_contents", [1])), "is missing"),
        (request("divide", tensor("numeric", "FP64", [0, 2])), "at least one row"),
        (request("divide", numbers([1, 0])), "no answer"),
        (_with(outputs=[_OUTPUT(name="z")]), "no such output"),
        (_with(outputs=[_OUTPUT(name="y"), _OUTPUT(name="y")]), "once"),
        (_with(outputs=[_OUTPUT(name="")]), "1 to 200 characters"),
        (
            _with(outputs=[_OUTPUT(name="y", parameters={"classification": pb.InferParameter(int64_param=2)})]),
            "classification",
        ),
        (_with(outputs=[_OUTPUT(name="y", parameters=_ELSEWHERE)]), "shared memory"),
        (_with(parameters={"sequence_start": flag(True)}), "sequence_start"),
        (_with(raw_input_contents=[bytes(16)]), "typed ones"),
        (_with(raw_input_contents=[b"", b""]), "for all 1 inputs"),
        (request("divide", tensor("numeric", "FP64", [1, 2]), raw_input_contents=[bytes(15)]), "must have 16 bytes"),
        (
            request("divide", tensor("numeric", "BYTES", [1, 2]), raw_input_contents=[b"\xff" * 8]),
            "must not end beyond it",
        ),
        (
            request("divide", tensor("numeric", "FP64", [20_001, 2]), raw_input_contents=[bytes(320_016)]),
            "at most 20000 rows",
        ),
        (
            request(
                "divide",
                pb.ModelInferRequest.InferInputTensor(
                    name="numeric", datatype="FP64", shape=[1, 2], parameters=_ELSEWHERE
                ),
            ),
            "shared memory",
        ),
    ],
)
def test_what_is_not_valid_is_refused_with_its_reason(rpc: RpcClient, asked: pb.ModelInferRequest, rule: str) -> None:
    error: Any = rpc.refused("ModelInfer", asked)

    assert (error.code(), rule in error.details()) == (INVALID, True), error.details()


@pytest.mark.parametrize(
    ("method", "asked", "code", "kind"),
    [
        ("ModelInfer", request("unknown", _ONE), NOT_FOUND, "model-not-found"),
        ("ModelInfer", request("divide", _ONE, model_version="9"), NOT_FOUND, "model-not-found"),
        ("ModelInfer", request("divide", _ONE, model_version="one"), NOT_FOUND, "model-not-found"),
        ("ModelInfer", request("divide", _ONE, model_version="9" * 5000), NOT_FOUND, "model-not-found"),
        ("ModelInfer", request("broken", _ONE), grpc.StatusCode.UNAVAILABLE, "model-not-ready"),
        ("ModelInfer", request("divide", numbers([1, 0])), INVALID, "input-out-of-domain"),
        ("ModelMetadata", pb.ModelMetadataRequest(name="x" * 9999), NOT_FOUND, "model-not-found"),
        ("ModelReady", pb.ModelReadyRequest(name="unknown"), NOT_FOUND, "model-not-found"),
        ("ModelConfig", pb.ModelConfigRequest(), NOT_FOUND, "model-not-found"),
    ],
)
def test_errors_have_their_codes_and_name_their_problem(
    rpc: RpcClient, method: str, asked: Any, code: grpc.StatusCode, kind: str
) -> None:
    error: Any = rpc.refused(method, asked, metadata=(("x-request-id", "mine-1"),))

    assert error.code() == code
    assert len(error.details()) < 1100
    assert dict(error.trailing_metadata()) == {"x-request-id": "mine-1", "nalu-problem-type": kind}


def test_messages_over_the_limit_are_refused_compressed_or_not(rpc: RpcClient) -> None:
    large = request("divide", tensor("numeric", "FP64", [1, 2]), raw_input_contents=[bytes(2 * 1024**2)])

    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert rpc.refused("ModelInfer", large, compression=compression).code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata"])
def test_what_is_no_message_is_refused(rpc: RpcClient, method: str) -> None:
    call = rpc.plain(method)

    with pytest.raises(grpc.RpcError) as refused:
        call(b"\xff\xff\xff", timeout=PATIENCE_S)
    assert refused.value.code() == INVALID


def test_a_stream_goes_on_after_what_is_no_message(rpc: RpcClient) -> None:
    call = rpc.multi("ModelStreamInfer", plain=True)

    wishes = [b"\xff", request("divide", numbers([8, 2])).SerializeToString()]
    answers = list(call(iter(wishes), timeout=PATIENCE_S))

    assert "cannot be read" in answers[0].error_message
    assert outputs(answers[1].infer_response)["predictions"] == [[4.0]]


@pytest.mark.parametrize(
    "method", ["TraceSetting", "LogSettings", "SystemSharedMemoryStatus", "CudaSharedMemoryRegister"]
)
def test_what_is_not_offered_is_told_so(rpc: RpcClient, method: str) -> None:
    call = rpc.plain(method)

    with pytest.raises(grpc.RpcError) as refused:
        call(b"", timeout=PATIENCE_S)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="divide")),
        ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="divide")),
    ],
)
def test_nobody_changes_the_models_of_a_service_without_keys(rpc: RpcClient, method: str, asked: Any) -> None:
    error: Any = rpc.refused(method, asked)

    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "nalu keys new" in error.details()
