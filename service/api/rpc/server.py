"""The gRPC server: its port, its limits, its stop."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
from google.protobuf.message import Message

from service.api.middleware import Traffic
from service.api.open_inference.plane import is_ready
from service.api.patience import room_of
from service.api.routes import State
from service.api.rpc import open_inference_pb2 as pb
from service.api.rpc.arrival import Arrival
from service.api.rpc.calls import SERVICE, STREAM_METHOD, Calls
from service.api.rpc.frame import CallFrame, Handler
from service.api.rpc.guard import Guard, Need
from service.api.rpc.health import Health
from service.api.rpc.standard import StandardCalls
from service.errors import StartError
from service.rpc_port import rpc_address
from service.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_LINGER_S: Final = 0.5
"""Time in which a client's next calls are told that the service stops, as long as HTTP's clients have."""


_IDLE_S: Final = 300.0
"""Time without a call after which a connection is told to go, and without a request after which a stream is ended.
Clients keep theirs on purpose and connect again by themselves; it is also how rarely gRPC lets a client ask whether an
idle connection still lives. A connection that has been told to go for its age has as long to finish its calls."""

_PING_S: Final = 60
"""Time after which a client with calls under way that says nothing is asked whether it still lives; gRPC's own is two
hours, in which one that is gone, or reads nothing of what it is sent, would keep its places."""

_PONG_S: Final = 20
"""Time in which it must answer that, or any other ping; gRPC's own are 20 s and a minute."""

_OPEN_SHARE: Final = 4
"""One in so many places is for calls that need no key. They are answered in microseconds; watched health stays."""


class _Method(NamedTuple):
    answer: Callable[[Any, Any], Any]
    asked: type[Message]
    need: Need = "key"


class RpcServer:
    """The Open Inference Protocol over gRPC, with health and reflection; made and used in a running event loop.

    Args:
        state: What the application holds.
        traffic: The counters of requests, those of HTTP too.
        tracer: Makes spans of calls; None where they are not traced.

    Attributes:
        port: Where it listens, once it is started.
    """

    def __init__(self, state: State, traffic: Traffic, tracer: "Tracer | None" = None) -> None:
        settings = state["settings"]
        self.port = 0
        self._grace_s = settings.shutdown_grace_s
        self._stopping = asyncio.Event()
        self._stopped: asyncio.Future[None] | None = None
        self._server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=settings.grpc_max_calls)
        self._arrival = Arrival(settings.deadline_s, _IDLE_S, self._stopping)
        guard = Guard(state["keys"], max(1, settings.grpc_max_calls // _OPEN_SHARE))
        frame = CallFrame(SERVICE, traffic, self._stopping, guard, self._arrival)
        health = Health(lambda: is_ready(state["registry"], state["draining"]), (SERVICE,), self._stopping)
        reflection_need: Need = "all" if settings.open_docs else "key"
        standard = StandardCalls(health, (SERVICE,), guard, self._arrival, reflection_need)
        self._server.add_generic_rpc_handlers((_handlers(Calls(state), frame, _around(tracer)), *standard.handlers))
        self._address = rpc_address(settings.host, settings.grpc_port or 0)

    async def start(self) -> None:
        """Listen and answer.

        Raises:
            StartError: When it cannot listen there.
        """
        try:
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            msg = f"the service must be able to listen for gRPC on {self._address}, however it is not; choose another "
            raise StartError(f"{msg}port with --grpc-port") from error
        await self._server.start()

    async def stop(self) -> None:
        """Accept nothing more, and end when what is under way is answered or the time for it is over.

        gRPC breaks off calls that are on their way when it stops. So for a moment each is told to ask elsewhere.
        """
        if self._stopped is None:
            self._stopped = asyncio.ensure_future(self._stop())
        await self._stopped

    async def _stop(self) -> None:
        self._stopping.set()
        self._arrival.end()
        await asyncio.sleep(min(_LINGER_S, self._grace_s))
        await self._server.stop(self._grace_s)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),  # what a client may ask for is bounded by its rows
        ("grpc.max_concurrent_streams", settings.grpc_max_calls),
        ("grpc.server_handshake_timeout_ms", int(1000 * settings.receive_timeout_s)),
        ("grpc.max_allowed_incoming_connections", room_of(settings)),
        ("grpc.max_connection_idle_ms", int(1000 * _IDLE_S)),
        ("grpc.max_connection_age_ms", int(1000 * settings.grpc_connection_s)),
        ("grpc.max_connection_age_grace_ms", int(1000 * _IDLE_S)),
        ("grpc.keepalive_time_ms", 1000 * _PING_S),
        ("grpc.keepalive_timeout_ms", 1000 * _PONG_S),
        ("grpc.http2.ping_timeout_ms", 1000 * _PONG_S),
        ("grpc.so_reuseport", 1),  # the port is shared by the workers, and reserved by their parent
    ]


def _around(tracer: "Tracer | None") -> Callable[[str, Handler], Handler]:
    """Return what is put around the handler of each method."""
    if tracer is None:
        return lambda _method, handle: handle
    from service.api.rpc.traced import Traced

    return Traced(SERVICE, tracer).around


def _handlers(calls: Calls, frame: CallFrame, around: Callable[[str, Handler], Handler]) -> grpc.GenericRpcHandler:
    methods = {
        "ServerLive": _Method(calls.server_live, pb.ServerLiveRequest, need="all"),
        "ServerReady": _Method(calls.server_ready, pb.ServerReadyRequest, need="all"),
        "ModelReady": _Method(calls.model_ready, pb.ModelReadyRequest),
        "ServerMetadata": _Method(calls.server_metadata, pb.ServerMetadataRequest),
        "ModelMetadata": _Method(calls.model_metadata, pb.ModelMetadataRequest),
        "ModelConfig": _Method(calls.model_config, pb.ModelConfigRequest),
        "ModelInfer": _Method(calls.model_infer, pb.ModelInferRequest),
        "ModelStatistics": _Method(calls.model_statistics, pb.ModelStatisticsRequest),
        "RepositoryIndex": _Method(calls.repository_index, pb.RepositoryIndexRequest),
        "RepositoryModelLoad": _Method(calls.load, pb.RepositoryModelLoadRequest, "admin"),
        "RepositoryModelUnload": _Method(calls.unload, pb.RepositoryModelUnloadRequest, "admin"),
    }
    # On the wire a call with one request is a stream of one; as a stream it is ours before its message is there.
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.stream_unary_rpc_method_handler(
            around(name, frame.unary(name, method.asked, method.answer, need=method.need)),
            response_serializer=_written,
        )
        for name, method in methods.items()
    }
    stream = frame.stream(STREAM_METHOD, pb.ModelInferRequest, calls.stream_infer, calls.refused_in_stream)
    handlers[STREAM_METHOD] = grpc.stream_stream_rpc_method_handler(
        around(STREAM_METHOD, stream), response_serializer=_written
    )
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _written(message: Message) -> bytes:
    return message.SerializeToString()
