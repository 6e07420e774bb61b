"""An Arrow IPC stream looked at before it is believed.

The format lets a few bytes claim any size: the length of a batch without buffers, and what a compressed buffer expands
to. So messages are taken apart here (format: https://arrow.apache.org/docs/format/Columnar.html, section "IPC
Streaming Format"; the metadata is a FlatBuffer, https://flatbuffers.dev/internals/), judged by their sizes, and handed
on unchanged. What is inside them is for Arrow's reader, and its validation, to judge.
"""

import struct
from typing import Final

from service.body_pipe import Readable
from service.errors import BodyTooLargeError, Fault, InvalidRequestError, UnreadableBodyError

_CONTINUATION: Final = b"\xff\xff\xff\xff"
_MOST_METADATA_BYTES: Final = 16 * 1024**2
"""Metadata of a message; a schema of 10,000 columns takes one."""

_DICTIONARY, _RECORDS = 2, 3
"""Kinds of messages that hold a batch."""

_BUFFER_BYTES: Final = 16
_BROKEN = "a body must be an Arrow IPC stream, however {}; write it with pyarrow.ipc.new_stream or its like"


class CheckedMessages:
    """A file that holds the messages of a stream, each once it has been judged.

    Args:
        stream: The body.
        max_bytes: Most bytes that the buffers of one message may expand to.
        max_rows: Most rows of a batch.
    """

    closed = False

    def __init__(self, stream: Readable, max_bytes: int, max_rows: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._max_rows = max_rows
        self._pieces: list[memoryview] = []

    def read(self, size: int = -1) -> bytes | memoryview:
        """Return bytes of the stream, across message parts where that is asked for."""
        if size < 0:
            msg = "the reader must ask for parts"
            raise ValueError(msg)
        if not self._pieces:
            self._pieces = self._message()
        if not self._pieces or not size:
            return b""
        first = self._pieces[0]
        if len(first) > size:
            self._pieces[0] = first[size:]
            return first[:size]
        self._pieces.pop(0)
        if len(first) == size:
            return first
        return bytes(first) + bytes(self.read(size - len(first)))

    def readable(self) -> bool:
        """Tell that it is a file to read."""
        return True

    def close(self) -> None:
        """Read no more."""
        self.closed = True

    def _message(self) -> list[memoryview]:
        head = bytes(self._stream.read(8))
        if not head:
            return []
        if len(head) < 8 or head[:4] != _CONTINUATION:
            raise UnreadableBodyError(_BROKEN.format("it does not begin as one, or ends within a message"))
        (n_metadata,) = struct.unpack("<i", head[4:])
        if n_metadata == 0:
            return [memoryview(head)]
        if not 0 < n_metadata <= _MOST_METADATA_BYTES:
            raise UnreadableBodyError(_BROKEN.format(f"a message has {n_metadata} bytes of metadata"))
        metadata = bytes(self._stream.read(n_metadata))
        try:
            message = _Message(metadata)
        except (struct.error, ValueError) as error:
            raise UnreadableBodyError(_BROKEN.format("the metadata of a message is broken")) from error
        if message.n_rows > self._max_rows:
            rule = f"a request must have at most {self._max_rows} rows, however one batch has {message.n_rows}"
            raise InvalidRequestError([Fault(rule)])
        if message.n_body > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)
        body = self._stream.read(message.n_body)
        if len(metadata) < n_metadata or len(body) < message.n_body:
            raise UnreadableBodyError(_BROKEN.format("it ends within a message"))
        if message.is_compressed:
            self._check_expansion(message, body)
        return [memoryview(head), memoryview(metadata), *([memoryview(body)] if body else [])]

    def _check_expansion(self, message: "_Message", body: bytes | bytearray) -> None:
        total = 0
        for offset, length in message.buffers:
            if length:
                try:
                    (expanded,) = struct.unpack_from("<q", body, offset)
                except struct.error as error:
                    raise UnreadableBodyError(_BROKEN.format("a buffer lies outside its message")) from error
                total += expanded if expanded >= 0 else length
        if total > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)


class _Message:
    """What the metadata of a message says of its sizes.

    Raises:
        ValueError: When it contradicts itself.
        struct.error: When it points outside itself.
    """

    def __init__(self, metadata: bytes) -> None:
        root = _Table(metadata, struct.unpack_from("<I", metadata)[0])
        kind = root.number(1, "<B")
        self.n_body = root.number(3, "<q")
        self.n_rows = 0
        self.is_compressed = False
        self.buffers: list[tuple[int, int]] = []
        if kind in (_DICTIONARY, _RECORDS):
            batch = root.table(2)
            if kind == _DICTIONARY and batch is not None:
                batch = batch.table(1)
            if batch is not None:
                self.n_rows = batch.number(0, "<q")
                self.is_compressed = batch.table(3) is not None
                self.buffers = batch.pairs(2) if self.is_compressed else []
        if self.n_body < 0 or self.n_rows < 0 or any(offset < 0 or length < 0 for offset, length in self.buffers):
            msg = "sizes must not be negative"
            raise ValueError(msg)


class _Table:
    """A table of a FlatBuffer."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self._at = self._inside(at)
        self._fields = self._inside(at - struct.unpack_from("<i", content, at)[0])
        (self._n_bytes,) = struct.unpack_from("<H", content, self._fields)

    def number(self, field: int, form: str) -> int:
        """Return a number, 0 where it is left out."""
        at = self._place(field)
        return int(struct.unpack_from(form, self._content, at)[0]) if at else 0

    def table(self, field: int) -> "_Table | None":
        """Return a table, or None where it is left out."""
        at = self._place(field)
        return _Table(self._content, at + struct.unpack_from("<I", self._content, at)[0]) if at else None

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Return a vector of pairs of 64-bit numbers."""
        at = self._place(field)
        if not at:
            return []
        at += struct.unpack_from("<I", self._content, at)[0]
        (n,) = struct.unpack_from("<I", self._content, self._inside(at))
        end = at + 4 + n * _BUFFER_BYTES
        return list(struct.iter_unpack("<qq", self._content[at + 4 : self._inside(end - 1) + 1])) if n else []

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry >= self._n_bytes:
            return 0
        (offset,) = struct.unpack_from("<H", self._content, self._fields + entry)
        return self._at + offset if offset else 0

    def _inside(self, at: int) -> int:
        if not 0 <= at < len(self._content):
            msg = "an offset must lie within the metadata"
            raise ValueError(msg)
        return at
