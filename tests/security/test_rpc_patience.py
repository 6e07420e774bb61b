"""Clients over gRPC that take their time: none keeps a place for good, and none gets that far without a key."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from starlette.testclient import TestClient

from service.api.rpc import open_inference_pb2 as pb
from service.api.rpc import server
from service.api.rpc.calls import Calls
from service.api.rpc.metadata import Context
from service.app import create_app
from service.key_file import KeyRecord, add_record, hash_of, new_key
from service.rpc_port import reserved_rpc_port
from service.settings import Settings
from tests.published import publish_arithmetic
from tests.rpc import PATIENCE_S, RpcClient, request, tensor

KEY = new_key()
METADATA = (("x-api-key", KEY),)
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
SERVICE = _SERVICE.full_name
ASKED = request("multiply", tensor("numeric", "FP64", [1, 2], "fp64_contents", [3, 5]))


@contextlib.contextmanager
def served(root: Path, **more: Any) -> Iterator[RpcClient]:
    """Serve one model to those with the key; settings may be out of their bounds, for the tests to be quick."""
    publish_arithmetic(root / "models", "multiply")
    add_record(root / "keys.jsonl", KeyRecord(name="good", role="predict", sha256=hash_of(KEY.encode()).hex()))
    settings = Settings(
        model_repository=root / "models", keys_file=root / "keys.jsonl", grpc_port=0, shutdown_grace_s=0
    )
    with (
        reserved_rpc_port(settings.model_copy(update=more)) as reserved,  # a free port may be given to two that share
        TestClient(create_app(reserved)),
    ):
        client = RpcClient(reserved.grpc_port or 0)
        yield client
        client.close()


class Silence:
    """Calls that are begun, and whose message never comes."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc
        self._over = threading.Event()

    def begin(self, path: str, *metadata: tuple[str, str]) -> Any:
        """Return a call that has begun."""
        ask: Any = self._rpc.channel.stream_stream(path)
        return ask(self._nothing(), timeout=PATIENCE_S, metadata=metadata)

    def end(self) -> None:
        """Let the client's threads go."""
        self._over.set()

    def _nothing(self) -> Iterator[bytes]:
        self._over.wait(PATIENCE_S)
        yield from ()


@pytest.fixture(name="silence")
def _silence(rpc: RpcClient) -> Iterator[Silence]:
    silence = Silence(rpc)
    yield silence
    silence.end()


@pytest.fixture(name="rpc")
def _rpc(tmp_path: Path) -> Iterator[RpcClient]:
    """Serve with 7 places, one of them for probes, and a quarter of a second for a message."""
    with served(tmp_path, deadline_s=0.25, grpc_max_calls=7) as client:
        yield client


NO_PLACE = ("Concurrent RPC limit", "RST_STREAM with error code 7")
"""Told where a place of a call that has ended is not free yet: by the service, or by HTTP/2 (REFUSED_STREAM)."""


def product(rpc: RpcClient) -> float:
    """Ask for 3 × 5, again as long as there is no place, or this machine is slow."""
    while True:
        try:
            answer = rpc.call("ModelInfer", ASKED, metadata=METADATA)
        except grpc.RpcError as error:
            if any(why in str(error.details()) for why in (*NO_PLACE, "a message must arrive")):
                continue
            raise
        value: float = answer.outputs[0].contents.fp64_contents[0]
        return value


WATCH = "/grpc.health.v1.Health/Watch"
KEYED = sorted(method.name for method in _SERVICE.methods if method.name not in ("ServerLive", "ServerReady"))


@pytest.mark.parametrize("path", [*(f"/{SERVICE}/{method}" for method in KEYED), REFLECTION])
def test_who_may_not_is_told_so_before_anything_is_read(silence: Silence, path: str) -> None:
    assert silence.begin(path).code() == grpc.StatusCode.UNAUTHENTICATED
    assert silence.begin(path, ("x-api-key", "wrong")).code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_call_whose_message_does_not_come_gives_its_place_back(rpc: RpcClient, silence: Silence) -> None:
    n_late = 0
    while n_late < 15:  # of 7 places
        calls = [silence.begin(f"/{SERVICE}/ModelInfer", *METADATA) for _ in range(7)]
        late = [call for call in calls if call.code() == grpc.StatusCode.DEADLINE_EXCEEDED]
        assert all(any(why in call.details() for why in NO_PLACE) for call in calls if call not in late)
        n_late += len(late)
    assert "a message must arrive within 0.25 s" in late[0].details()
    assert dict(late[0].trailing_metadata())["nalu-problem-type"] == "request-timeout"
    assert product(rpc) == 15.0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@contextlib.contextmanager
def begun(rpc: RpcClient, path: str, message: bytes, settings: bytes = b"") -> Iterator[socket.socket]:
    """Give a connection that begins a call with bytes of its own, and then does nothing by itself, pings included."""

    def literal(name: str, value: str) -> bytes:
        return b"".join((b"\0", bytes([len(name)]), name.encode(), bytes([len(value)]), value.encode()))

    head = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "here"}
    head |= {"te": "trailers", "content-type": "application/grpc", "x-api-key": KEY}
    with socket.create_connection(("127.0.0.1", rpc.port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings))
        connection.sendall(frame(1, 4, 1, b"".join(literal(*pair) for pair in head.items())))
        connection.sendall(frame(0, 0, 1, message))
        yield connection


def test_part_of_a_message_is_none(rpc: RpcClient) -> None:
    with begun(rpc, f"/{SERVICE}/ModelInfer", b"\0\0\0\4\0" + b"\x0a\x01m") as connection:  # 3 bytes of 1024
        received = b""
        while b"a message must arrive" not in received and b"request-timeout" not in received:
            received += connection.recv(4096) or pytest.fail(str(received))
        assert product(rpc) == 15.0


def test_a_client_that_answers_no_ping_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PING_S", 1)
    monkeypatch.setattr(server, "_PONG_S", 1)
    with (
        served(tmp_path) as rpc,
        begun(rpc, WATCH, b"\0\0\0\0\0") as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        while connection.recv(4096):
            pass


def test_a_client_that_never_reads_is_ended_with_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers pings, and has no window for the answer."""
    monkeypatch.setattr(server, "_IDLE_S", 0.2)
    no_window = b"\0\4\0\0\0\0"
    with (
        served(tmp_path, grpc_connection_s=0.2) as rpc,
        begun(rpc, f"/{SERVICE}/ServerLive", b"\0\0\0\0\0", no_window) as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        while head := connection.recv(9, socket.MSG_WAITALL):
            payload = connection.recv(int.from_bytes(head[:3], "big"), socket.MSG_WAITALL) if any(head[:3]) else b""
            if head[3] == 6 and not head[4]:
                connection.sendall(frame(6, 1, 0, payload))
            assert head[3] != 0, "it was sent data that it has no window for"


def test_a_call_that_ends_without_a_message_is_refused(rpc: RpcClient) -> None:
    ask: Any = rpc.channel.stream_stream(f"/{SERVICE}/ModelInfer")
    call = ask(iter(()), timeout=PATIENCE_S, metadata=METADATA)

    assert call.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "must bring a message" in call.details()


def test_probes_and_watches_without_a_key_take_places_from_each_other_alone(rpc: RpcClient, silence: Silence) -> None:
    health: Any = HealthStub(rpc.channel)

    def watched() -> Any:
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        assert next(iter(watch)).status == health_pb2.HealthCheckResponse.SERVING
        return watch

    taken = [watched()]
    taken += [silence.begin("/grpc.health.v1.Health/Check"), silence.begin(f"/{SERVICE}/ServerLive"), watched()]
    assert product(rpc) == 15.0
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status == 1

    for call in taken:
        late = "a message must arrive" in call.details()  # which it may have been before its place was taken
        assert (call.code(), late) == (grpc.StatusCode.RESOURCE_EXHAUSTED, False) or late
    assert "at most 1 probes" in taken[-1].details()


def test_a_silent_stream_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_IDLE_S", 0.25)
    with served(tmp_path) as rpc:
        silence = Silence(rpc)
        for path in (f"/{SERVICE}/ModelStreamInfer", REFLECTION):
            call = silence.begin(path, *METADATA)
            assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED, path
        silence.end()


def test_reflection_needs_a_key_unless_the_pages_are_open(tmp_path: Path) -> None:
    asked = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    with served(tmp_path, open_docs=True) as rpc:
        ask: Any = rpc.channel.stream_stream(REFLECTION)
        (answer,) = ask(iter([asked]), timeout=PATIENCE_S)
    assert SERVICE.encode() in answer


def test_an_old_connection_is_told_to_go_and_no_call_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also spreads clients anew over the workers."""
    seen = set[str]()
    answer = Calls.server_live

    async def noted(self: Calls, asked: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        seen.add(context.peer())
        return await answer(self, asked, context)

    monkeypatch.setattr(Calls, "server_live", noted)
    with served(tmp_path, grpc_connection_s=0.2) as rpc:
        while len(seen) < 3:
            assert rpc.call("ServerLive", pb.ServerLiveRequest()).live


def test_connections_have_a_limit(tmp_path: Path) -> None:
    with served(tmp_path, max_connections=2) as rpc, contextlib.ExitStack() as opened:
        assert product(rpc) == 15.0
        more = [
            opened.enter_context(socket.create_connection(("127.0.0.1", rpc.port), timeout=PATIENCE_S))
            for _ in range(2)
        ]
        for connection in more:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert more[0].recv(1)
        with contextlib.suppress(ConnectionResetError):
            assert not more[1].recv(1)
        assert product(rpc) == 15.0
