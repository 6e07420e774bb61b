"""gRPC's health service, as probes of orchestrators and load balancers ask it.

Source: grpc.health.v1, `health.proto`. `liveness` and `readiness` are for the two probes of Kubernetes, which can each
name a service.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer

from service.api.rpc.metadata import Context

SERVICE: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

LIVENESS: Final = "liveness"

READINESS: Final = "readiness"

_LOOK_S: Final = 0.5
"""How often a watched state is looked at; probes ask every few seconds."""


class Health(HealthServicer):
    """Tells whether the process lives and is ready.

    Args:
        is_ready: Tells whether predictions are to be had.
        services: Names of services that are ready when the process is.
        stopping: Set when the server stops, so that nobody watches any more.
    """

    def __init__(self, is_ready: Callable[[], bool], services: tuple[str, ...], stopping: asyncio.Event) -> None:
        self._is_ready = is_ready
        self._services = frozenset({"", READINESS, *services})
        self._stopping = stopping

    async def Check(  # noqa: N802 - the protocol's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Tell the state of a service; "" is the process as a whole."""
        status = self._status(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            known = ", ".join(sorted({*self._services, LIVENESS} - {""}))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"the services are: {known}")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802 - the protocol's name
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Tell the state of a service now, and whenever it is another."""
        told = None
        while not self._stopping.is_set():
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            try:
                await asyncio.wait_for(self._stopping.wait(), _LOOK_S)
            except TimeoutError:
                continue
        if request.service != LIVENESS:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)

    def _status(self, service: str) -> int:
        states = health_pb2.HealthCheckResponse
        if service == LIVENESS:
            return states.SERVING
        if service not in self._services:
            return states.SERVICE_UNKNOWN
        return states.SERVING if self._is_ready() else states.NOT_SERVING
