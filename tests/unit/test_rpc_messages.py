"""The generated messages are what the .proto says, and the protocol's clients can read them."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from service.api.middleware import CALLS, counted_path
from service.api.rpc import open_inference_pb2 as pb
from service.api.rpc.statuses import refusal_of
from service.errors import InferenceError, OverloadedError

FOLDER = Path(__file__).resolve().parents[2] / "service" / "api" / "rpc"


def test_the_generated_messages_are_those_of_the_proto(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}", f"--pyi_out={tmp_path}"]
    made = tmp_path / "made.bin"
    subprocess.run([*command, f"--descriptor_set_out={made}", "open_inference.proto"], check=True)

    (described,) = FileDescriptorSet.FromString(made.read_bytes()).file
    generated = FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    assert generated == without_json_names(described)
    assert (tmp_path / "open_inference_pb2.pyi").read_text() == (FOLDER / "open_inference_pb2.pyi").read_text()


def test_every_call_is_counted_under_its_own_name() -> None:
    (service,) = pb.DESCRIPTOR.services_by_name.values()

    paths = {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert paths == CALLS
    assert {counted_path(path) for path in paths} == paths
    assert counted_path(f"/{service.full_name}/MadeUp") == "other"


def without_json_names(file: FileDescriptorProto) -> FileDescriptorProto:
    """Leave out what protoc derives from the names of fields, and generated code does without."""
    stack = list(file.message_type)
    while stack:
        message = stack.pop()
        stack += message.nested_type
        for field in message.field:
            field.ClearField("json_name")
    return file


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (OverloadedError(3), "UNAVAILABLE", 503),
        (InferenceError("inner workings"), "INTERNAL", 500),
        (ZeroDivisionError("inner workings"), "INTERNAL", 500),
    ],
)
def test_what_should_not_happen_tells_nothing_of_itself(error: Exception, code: str, status: int) -> None:
    refusal = refusal_of(error)

    assert (refusal.code.name, refusal.status) == (code, status)
    assert "inner workings" not in refusal.details
