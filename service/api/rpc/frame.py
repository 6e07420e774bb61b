"""The frame around every call: its id, counters, a log line, errors as codes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Literal, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.api.admin import checked_admin
from service.api.middleware import CLIENT_LEFT, Traffic, log_answer, new_id, sane_id
from service.api.rpc.statuses import TYPE_KEY, refusal_of
from service.errors import ForbiddenError, ModelNotReadyError, UnauthorizedError, UnreadableBodyError
from service.keys import KeyRing, presented_key
from service.logging import LOGGER, request_id

Asked = TypeVar("Asked", bound=Message)
Item = TypeVar("Item")
Answered = TypeVar("Answered")

Context = grpc.aio.ServicerContext[Any, Any]

Need = Literal["all", "key", "admin"]

ID_KEY: Final = "x-request-id"


class CallFrame:
    """What is done around each call.

    Args:
        service: Full name of the service, the beginning of what calls are counted and logged under.
        traffic: The counters, those of HTTP too.
        stopping: Set when calls are not answered any more.
        keys: The keys that are taken; None where the service takes none.
    """

    def __init__(self, service: str, traffic: Traffic, stopping: asyncio.Event, keys: KeyRing | None) -> None:
        self._service = service
        self._keys = keys
        self._traffic = traffic
        self._stopping = stopping

    def unary(
        self,
        method: str,
        asked: type[Asked],
        answer: Callable[[Asked, Context], Awaitable[Answered]],
        *,
        need: Need = "key",
    ) -> Callable[[bytes, Context], Awaitable[Answered]]:
        """Return a handler of calls with one request and one answer.

        Args:
            method: Its name.
            asked: Its requests.
            answer: Answers a request.
            need: Whether it is answered to all, to those who bring a key where the service takes keys, or to those
                alone who bring an admin key.
        """
        path = f"/{self._service}/{method}"

        async def handle(raw: bytes, context: Context) -> Answered:
            own_id = _id_of(context)
            context.set_trailing_metadata(((ID_KEY, own_id),))
            try:
                with self._counted(path, own_id), self._admitted(context, need):
                    if self._stopping.is_set():
                        raise ModelNotReadyError("the service is stopping; ask again, on a connection of its successor")
                    return await answer(parsed(asked, raw), context)
            except Exception as error:
                refusal = refusal_of(error)
                await context.abort(
                    refusal.code, refusal.details, ((ID_KEY, own_id), (TYPE_KEY, refusal.type))
                )  # raises

        return handle

    def stream(
        self,
        method: str,
        asked: type[Asked],
        answer: Callable[[Asked, Context], Awaitable[Answered]],
        refuse: Callable[[Asked, str], Answered],
    ) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Answered]]:
        """Return a handler of calls with any number of requests, each answered or refused before the next is read.

        Args:
            method: Its name.
            asked: Its requests.
            answer: Answers a request.
            refuse: Makes the answer to one that is refused, given why.
        """
        path = f"/{self._service}/{method}"

        async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Answered]:
            own_id = _id_of(context)
            context.set_trailing_metadata(((ID_KEY, own_id),))
            async for raw in _until(self._stopping, requests):
                request = asked()
                try:
                    with self._counted(path, own_id), self._admitted(context, "key"):
                        request = parsed(asked, raw)
                        answered = await answer(request, context)
                except (UnauthorizedError, ForbiddenError) as error:
                    refusal = refusal_of(error)
                    await context.abort(
                        refusal.code, refusal.details, ((ID_KEY, own_id), (TYPE_KEY, refusal.type))
                    )  # raises
                except Exception as error:
                    answered = refuse(request, refusal_of(error).details)
                yield answered

        return handle

    def _admitted(self, context: Context, need: Need) -> AbstractContextManager[None]:
        """Return what lasts as long as a request is under way.

        Raises:
            UnauthorizedError: When a key is needed and none was brought.
            ForbiddenError: When it is none that is taken now, or no admin's where one is needed.
            RateLimitedError: On entering, when it has sent too many.
        """
        if need == "all" or (need == "key" and self._keys is None):
            return nullcontext()
        key = self._keys.admit(presented_key(_headers(context))) if self._keys else None
        if need == "admin" or key is None:
            key = checked_admin(key)
        return key.limit.admitted() if key.limit else nullcontext()

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


def parsed(asked: type[Asked], raw: bytes) -> Asked:
    """Return a request from its bytes; left to gRPC, one that is none would be an error of ours in the log.

    Raises:
        UnreadableBodyError: When it is none.
    """
    try:
        return asked.FromString(raw)
    except DecodeError as error:
        msg = f"a message must be a {asked.DESCRIPTOR.name}, however it cannot be read as one"
        raise UnreadableBodyError(msg) from error


def _id_of(context: Context) -> str:
    """Return the id that the client gave where it may be kept, else a new one."""
    told = next((value for name, value in _headers(context) if name == ID_KEY.encode()), b"")
    return sane_id(told) or new_id()


def _headers(context: Context) -> Iterator[tuple[bytes, bytes]]:
    """Yield what a client sent beside its request, as HTTP's headers are held."""
    for name, value in context.invocation_metadata() or ():
        yield name.encode(), value.encode() if isinstance(value, str) else value


async def _until(stopping: asyncio.Event, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """Yield items until there are no more, or the next one has not come when the stop begins."""
    stop = asyncio.ensure_future(stopping.wait())
    following: asyncio.Future[Item | None] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(items, None))
            await asyncio.wait({stop, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done() or (item := following.result()) is None:
                return
            yield item
    finally:
        stop.cancel()
        if following is not None:
            following.cancel()
