"""The frame around every call: its id, who may, counters, a log line, errors as codes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import Message

from service.api.middleware import CLIENT_LEFT, Traffic, log_answer
from service.api.rpc.arrival import Arrival, Asked, parsed
from service.api.rpc.guard import Guard, Need
from service.api.rpc.metadata import ID_KEY, Context, id_of
from service.api.rpc.statuses import TYPE_KEY, refusal_of
from service.errors import ForbiddenError, ModelNotReadyError, RateLimitedError, ServiceError, UnauthorizedError
from service.logging import LOGGER, request_id

Answered = TypeVar("Answered", bound=Message)

Handler = Callable[[Any, Context], Awaitable[Any]]
"""What gRPC calls when a call's metadata is there; messages are read from its context."""


class CallFrame:
    """What is done around each call.

    Args:
        service: Full name of the service, the beginning of what calls are counted and logged under.
        traffic: The counters, those of HTTP too.
        stopping: Set when calls are not answered any more.
        guard: Who may call.
        arrival: How long messages are waited for.
    """

    def __init__(self, service: str, traffic: Traffic, stopping: asyncio.Event, guard: Guard, arrival: Arrival) -> None:
        self._service = service
        self._traffic = traffic
        self._stopping = stopping
        self._guard = guard
        self._arrival = arrival

    def unary(
        self,
        method: str,
        asked: type[Asked],
        answer: Callable[[Asked, Context], Awaitable[Answered]],
        *,
        need: Need = "key",
    ) -> Handler:
        """Return a handler of calls with one request and one answer.

        Args:
            method: Its name.
            asked: Its requests.
            answer: Answers a request.
            need: Whether it is answered to all, to those who bring a key where the service takes keys, or to those
                alone who bring an admin key. Who may not is told so before the request is read.
        """
        path = f"/{self._service}/{method}"

        async def handle(_requests: object, context: Context) -> Answered:
            own_id = id_of(context)
            context.set_trailing_metadata(((ID_KEY, own_id),))
            try:
                with self._counted(path, own_id), self._guard.admitted(context, need):
                    raw = await self._arrival.first(context)
                    if self._stopping.is_set():
                        raise ModelNotReadyError("the service is stopping; ask again, on a connection of its successor")
                    return await answer(parsed(asked, raw), context)
            except Exception as error:
                await refuse(context, error, own_id)

        async def handle_open(requests: object, context: Context) -> Answered:
            try:
                async with self._guard.open_place():
                    return await handle(requests, context)
            except RateLimitedError as error:
                await refuse(context, error, id_of(context))

        return handle_open if need == "all" else handle

    def stream(
        self,
        method: str,
        asked: type[Asked],
        answer: Callable[[Asked, Context], Awaitable[Answered]],
        told: Callable[[Asked, str], Answered],
    ) -> Handler:
        """Return a handler of calls with any number of requests, each answered or refused before the next is read.

        Args:
            method: Its name.
            asked: Its requests.
            answer: Answers a request.
            told: Makes the answer to one that is refused, given why.
        """
        path = f"/{self._service}/{method}"

        async def answered(raw: bytes, context: Context, own_id: str) -> Answered:
            request = asked()
            try:
                with self._counted(path, own_id), self._guard.admitted(context, "key"):
                    request = parsed(asked, raw)
                    return await answer(request, context)
            except (UnauthorizedError, ForbiddenError):
                raise
            except Exception as error:
                return told(request, refusal_of(error).details)

        async def handle(_requests: object, context: Context) -> None:
            own_id = id_of(context)
            async with refusing(context, own_id):
                self._check(path, own_id, context)
                while (raw := await self._arrival.following(context)) is not None:
                    await context.write(await answered(raw, context, own_id))

        return handle

    def _check(self, path: str, own_id: str, context: Context) -> None:
        """Refuse a stream that brings no key that is taken, before anything of it is read."""
        try:
            self._guard.check(context, "key")
        except ServiceError:
            with self._counted(path, own_id):
                raise

    @contextmanager
    def _counted(self, path: str, own_id: str) -> Iterator[None]:
        token = request_id.set(own_id)
        started = time.perf_counter()
        status = CLIENT_LEFT
        self._traffic.begin()
        try:
            yield
            status = 200
        except Exception as error:
            status = refusal_of(error).status
            if status == 500:
                LOGGER.exception("a call failed inside the service")
            raise
        finally:
            elapsed_s = time.perf_counter() - started
            self._traffic.end()
            self._traffic.count(path, status, elapsed_s)
            if LOGGER.isEnabledFor(logging.INFO):
                log_answer(logging.INFO, {"method": "GRPC", "path": path}, status, elapsed_s)
            request_id.reset(token)


@asynccontextmanager
async def refusing(context: Context, own_id: str) -> AsyncIterator[None]:
    """End a call with its code where the service refuses it; it is told its id in any case."""
    context.set_trailing_metadata(((ID_KEY, own_id),))
    try:
        yield
    except ServiceError as error:
        await refuse(context, error, own_id)


async def refuse(context: Context, error: Exception, own_id: str) -> NoReturn:
    """End a call with the code of an error, telling its id."""
    refusal = refusal_of(error)
    await context.abort(refusal.code, refusal.details, ((ID_KEY, own_id), (TYPE_KEY, refusal.type)))
