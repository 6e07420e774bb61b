"""Messages as they arrive: waited for, and not for ever."""

import asyncio
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.api.rpc.metadata import Context
from service.errors import SlowMessageError, UnreadableBodyError

Asked = TypeVar("Asked", bound=Message)


class Arrival:
    """How long calls wait for a message.

    A call is a method's own once its metadata is there: gRPC reads a message when it is asked for one, also that of a
    call that has only one.

    Args:
        within_s: Time in which the message of a call must have arrived.
        pause_s: Time in which the next message of a stream must have.
        stopping: Set when no further message of a stream is waited for.
    """

    def __init__(self, within_s: float, pause_s: float, stopping: asyncio.Event) -> None:
        self._within_s = within_s
        self._pause_s = pause_s
        self._stopping = stopping
        self._waiting = set[asyncio.Timeout]()

    async def first(self, context: Context) -> bytes:
        """Return the message of a call that has one.

        Raises:
            SlowMessageError: When it does not arrive in time.
            UnreadableBodyError: When the client ends the call without one.
        """
        try:
            async with asyncio.timeout(self._within_s):
                raw: Any = await context.read()
        except TimeoutError as error:
            raise SlowMessageError(self._within_s) from error
        if raw is grpc.aio.EOF:
            msg = "a call must bring a message, however this one ends without"
            raise UnreadableBodyError(msg)
        return bytes(raw)

    async def following(self, context: Context) -> bytes | None:
        """Return the next message of a stream, None where there are no more or the stop has begun.

        Raises:
            SlowMessageError: When it does not arrive in time.
        """
        if self._stopping.is_set():
            return None
        try:
            async with asyncio.timeout(self._pause_s) as patience:
                self._waiting.add(patience)
                raw: Any = await context.read()
        except TimeoutError as error:
            if self._stopping.is_set():
                return None
            raise SlowMessageError(self._pause_s) from error
        finally:
            self._waiting.discard(patience)
        return None if raw is grpc.aio.EOF else bytes(raw)

    def end(self) -> None:
        """Wait no longer for what is waited for in streams, once the stop has begun."""
        for patience in self._waiting:
            patience.reschedule(asyncio.get_running_loop().time())


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
