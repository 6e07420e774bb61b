"""A request's body on its way from the event loop, where it arrives, to a thread that reads it as a file."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

from service.errors import BodyTooLargeError, UnreadableBodyError

Encoding = Literal["gzip", "zstd"]

_MOST_AHEAD_BYTES: Final = 1024 * 1024
"""What may have arrived and not be read yet, before the sender is made to wait."""

_PIECE_BYTES: Final = 256 * 1024


class Readable(Protocol):
    """What a thread reads a body from."""

    def read(self, size: int) -> bytes | bytearray:
        """Return that many bytes, fewer only at the end."""


class BodyPipe:
    """Bytes fed on an event loop and read in a thread, which waits for them; made on the loop.

    Attributes:
        closed: Whether the reader wants no more.
    """

    closed = False

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._n_bytes = 0
        self._ended = False
        self._error: Exception | None = None
        self._room = asyncio.Event()

    async def feed(self, piece: bytes) -> None:
        """Pass bytes on, then wait until there is room for more."""
        with self._arrived:
            self._pieces.append(piece)
            self._n_bytes += len(piece)
            self._room.clear()
            crowded = self._n_bytes > _MOST_AHEAD_BYTES
            self._arrived.notify()
        if crowded and not self.closed:
            await self._room.wait()

    def end(self, error: Exception | None = None) -> None:
        """Tell the reader that nothing more comes, or why."""
        with self._arrived:
            self._ended = True
            self._error = self._error or error
            self._arrived.notify()

    def read(self, size: int) -> bytearray:
        """Return that many bytes, fewer only at the end.

        Raises:
            Exception: The one that the feeding side ended with.
        """
        wanted = bytearray()
        while len(wanted) < size:
            with self._arrived:
                while not self._pieces and not self._ended:
                    self._arrived.wait()
                if self._error is not None:
                    raise self._error
                if not self._pieces:
                    break
                piece = self._pieces.popleft()
                lacking = size - len(wanted)
                if len(piece) > lacking:
                    self._pieces.appendleft(piece[lacking:])
                    piece = piece[:lacking]
                self._n_bytes -= len(piece)
                relieved = self._n_bytes <= _MOST_AHEAD_BYTES // 2
            wanted += piece
            if relieved:
                self._tell(self._room.set)
        return wanted

    def close(self) -> None:
        """Take no more bytes."""
        self.closed = True
        self._tell(self._room.set)

    def _tell(self, told: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(told)


class Inflated:
    """A body as it was before it was compressed, read piece by piece, up to a limit.

    Args:
        stream: The compressed body.
        encoding: How it is compressed; None for not at all.
        limit: Most bytes that it may hold.
    """

    def __init__(self, stream: Readable, encoding: Encoding | None, limit: int) -> None:
        self._inner: Any = stream
        if encoding is not None:
            import pyarrow as pa

            self._inner = pa.CompressedInputStream(pa.PythonFile(_File(stream), mode="r"), encoding)
        self._encoding = encoding
        self._limit = limit
        self._n_read = 0

    def read(self, size: int) -> bytes | bytearray:
        """Return that many bytes, fewer only at the end.

        Raises:
            UnreadableBodyError: When the compression is broken.
            BodyTooLargeError: When there are more bytes than allowed.
        """
        if self._encoding is None:
            read = self._inner.read(size)
            self._count(len(read))
            return bytes(read) if size <= 16 else read
        whole = bytearray()
        while len(whole) < size:
            try:
                piece = self._inner.read(min(size - len(whole), _PIECE_BYTES))
            except OSError as error:
                msg = f"a body must be the {self._encoding} that its content encoding says, however it is broken"
                raise UnreadableBodyError(msg) from error
            if not piece:
                break
            self._count(len(piece))
            whole += piece
        return whole

    def _count(self, n_bytes: int) -> None:
        self._n_read += n_bytes
        if self._n_read > self._limit:
            raise BodyTooLargeError(self._limit)


def inflate(body: bytes, encoding: Encoding, limit: int) -> bytes:
    """Return a whole body as it was before it was compressed.

    Raises:
        UnreadableBodyError: When the compression is broken.
        BodyTooLargeError: When it holds more bytes than allowed.
    """
    import io

    return bytes(Inflated(io.BytesIO(body), encoding, limit).read(limit + 1))


class _File:
    """A stream with what the runtime of Arrow asks of a file."""

    closed = False

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes | bytearray:
        return self._stream.read(size if size >= 0 else _PIECE_BYTES)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
