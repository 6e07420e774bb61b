"""How a port is closed so that nobody who has connected is lost."""

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

_SO_ATTACH_FILTER = 26
"""From Linux' `asm-generic/socket.h`."""

_NO_NEW_CONNECTION = b"".join(
    struct.pack("=HBBI", *one)
    for one in (
        (0x30, 0, 0, 13),  # load the flags of the TCP header
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # where it is SYN alone,
        (0x06, 0, 0, 0),  # drop it,
        (0x06, 0, 0, 0xFFFFFFFF),  # else take all of it
    )
)
"""A program of the kernel's packet filter (`linux/filter.h`)."""

_HANDSHAKE_S = 0.1
"""Time for a client that has begun to connect: a packet to it and one back."""


async def accept_the_last(listeners: Sequence[socket.socket], protocol: Callable[[], asyncio.Protocol]) -> None:
    """Close listening sockets, and take over the connections that waited in their queue until then.

    Whoever waits there is told nothing of a close but a reset, although it may have sent its request. Where the kernel
    was told to begin no new connection, those that have begun are waited for, and nobody comes between the last look at
    the queue and the close; elsewhere those are microseconds.

    Args:
        listeners: Sockets that nothing accepts from any more.
        protocol: Makes the protocol of a connection.
    """
    await asyncio.sleep(_HANDSHAKE_S)  # the event loop has closed its own by then, too
    waiting = []
    for listener in listeners:
        listener.setblocking(False)
        with suppress(OSError):  # the queue is empty
            while True:
                waiting.append(listener.accept()[0])
        listener.close()
    loop = asyncio.get_running_loop()
    for connection in waiting:
        connection.setblocking(False)
        with suppress(OSError):  # it has left meanwhile
            await loop.connect_accepted_socket(protocol, connection)


def begin_nothing_new(listener: socket.socket) -> None:
    """Let the kernel drop what would begin a connection, for all processes that share a listening socket.

    A client whose packet is dropped tries again after a second, and is refused then, or answered by who listens there
    by that time. Where the kernel has no such filter, nothing happens; only Linux has.
    """
    program = ctypes.create_string_buffer(_NO_NEW_CONNECTION, len(_NO_NEW_CONNECTION))
    told = struct.pack("@HP", len(_NO_NEW_CONNECTION) // 8, ctypes.addressof(program))
    if sys.platform == "linux":
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, told)
