"""gRPC's own services beside the protocol's: health and reflection, with the same guard and the same patience."""

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.api.rpc.arrival import Arrival, Asked, parsed
from service.api.rpc.frame import refuse, refusing
from service.api.rpc.guard import Guard, Need
from service.api.rpc.health import SERVICE as HEALTH
from service.api.rpc.health import Health
from service.api.rpc.metadata import Context, id_of
from service.errors import ServiceError

REFLECTION: Final[str] = reflection.SERVICE_NAME


class StandardCalls:
    """Health for all, and reflection for those who may.

    Args:
        health: Answers probes.
        services: Names that reflection tells of.
        guard: Who may call.
        arrival: How long messages are waited for.
        reflection_need: Whether reflection needs a key where the service takes keys.
    """

    def __init__(
        self, health: Health, services: tuple[str, ...], guard: Guard, arrival: Arrival, reflection_need: Need
    ) -> None:
        self._health = health
        self._reflection = reflection.aio.ReflectionServicer((*services, HEALTH, REFLECTION))
        self._guard = guard
        self._arrival = arrival
        self._reflection_need: Need = reflection_need

    @property
    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """What gRPC is given."""
        health: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, response_serializer=_written),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, response_serializer=_written),
        }
        reflected: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(self._reflect, response_serializer=_written)
        }
        return (
            grpc.method_handlers_generic_handler(HEALTH, health),
            grpc.method_handlers_generic_handler(REFLECTION, reflected),
        )

    async def _check(self, _requests: object, context: Context) -> health_pb2.HealthCheckResponse:
        try:
            async with self._guard.open_place():
                request = parsed(health_pb2.HealthCheckRequest, await self._arrival.first(context))
                return await self._health.Check(request, context)
        except ServiceError as error:
            await refuse(context, error, id_of(context))

    async def _watch(self, _requests: object, context: Context) -> None:
        async with refusing(context, id_of(context)), self._guard.open_place():
            request = parsed(health_pb2.HealthCheckRequest, await self._arrival.first(context))
            async for state in self._health.Watch(request, context):
                await context.write(state)

    async def _reflect(self, _requests: object, context: Context) -> None:
        async with refusing(context, id_of(context)):
            with self._guard.admitted(context, self._reflection_need):
                requests = self._read(reflection_pb2.ServerReflectionRequest, context)
                answers: Any = self._reflection.ServerReflectionInfo(requests, context)
                async for answer in answers:
                    await context.write(answer)

    async def _read(self, asked: type[Asked], context: Context) -> AsyncIterator[Asked]:
        while (raw := await self._arrival.following(context)) is not None:
            yield parsed(asked, raw)


def _written(message: Any) -> bytes:
    written: bytes = message.SerializeToString()
    return written
