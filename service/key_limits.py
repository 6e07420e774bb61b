"""How much each key may send: a rate with bursts, and requests under way at once, over all workers together.

The state of every limited key lies in memory that the workers share, made before they are forked, as the metrics'
does. A rate is the generic cell rate algorithm (ITU-T I.371), which is a token bucket kept as one number, the time at
which the bucket is full again. What is under way is counted by each worker in a cell of its own, and added up. A worker
reads and writes a key's numbers under a lock of their own, so that none counts what another is counting: a lock on a
byte of a file, which the system takes from a worker that is killed.
"""

import fcntl
import hashlib
import math
import mmap
import os
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.errors import KeyFileError, RateLimitedError
from service.key_file import KeyRecord

_N_ROWS: Final = 16_384
"""Names of limited keys that a running service can have seen; a row is 8 bytes for each worker and 16 more, and takes
memory once it is used."""

_RETRY_S: Final = 1.0
"""When to try again where too many requests are under way: nobody knows when the first of them ends."""


class _Lock:
    """One byte of a file, locked against the other workers for the length of a block; one thread of each may use it.

    Args:
        file: Its descriptor; the byte need not be there.
        at: Which byte.
    """

    __slots__ = ("_at", "_file")

    def __init__(self, file: int, at: int) -> None:
        self._file = file
        self._at = at

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._at)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._at)


def _nameless_file() -> int:
    """Return the descriptor of an empty file that nobody else can open: in memory, where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nalu-keys")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Ledger:
    """What the limited keys have used, in memory that workers share.

    Args:
        n_workers: How many workers there can be at once.
    """

    def __init__(self, n_workers: int = 1) -> None:
        self._width = 2 + n_workers
        shared = mmap.mmap(-1, _N_ROWS * self._width * 8)
        self._file = _nameless_file()
        weakref.finalize(shared, os.close, self._file)  # limits, which lock it, see to it that the memory stays
        memory = memoryview(shared)
        self._names_lock = _Lock(self._file, _N_ROWS)
        self._ids = memory.cast("Q")
        self._values = memory.cast("d")

    def limit_of(self, record: KeyRecord, worker: int) -> "Limit | None":
        """Return what a key may send through a worker; None where it has no limits.

        Raises:
            KeyFileError: When more keys had limits than there is room for.
        """
        if record.rate is None and record.concurrent is None:
            return None
        with self._names_lock:
            row = self._row(record.name)
        return Limit(self._values, row * self._width, self._width - 2, worker, record, _Lock(self._file, row))

    def clear_worker(self, worker: int) -> None:
        """Forget what was under way in a worker that is no more."""
        for row in self._used():
            self._values[row * self._width + 2 + worker] = 0.0

    def _row(self, name: str) -> int:
        wanted = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") or 1
        row = 0
        for row in self._used():
            if self._ids[row * self._width] == wanted:
                return row
        n_used = row + 1 if self._ids[0] else 0
        if n_used == _N_ROWS:
            msg = f"a running service knows at most {_N_ROWS} names of keys with limits, however there are more"
            raise KeyFileError(msg)
        self._ids[n_used * self._width] = wanted
        return n_used

    def _used(self) -> Iterator[int]:
        for row in range(_N_ROWS):
            if not self._ids[row * self._width]:
                return
            yield row


class Limit:
    """What one key may send, as one worker sees it; used from its event loop alone.

    Args:
        values: The memory.
        at: Where the key's row begins.
        n_workers: Cells of the row for what is under way.
        worker: Which of them is this worker's.
        record: The key.
        lock: What the other workers wait for while this one reads and writes the row.
    """

    __slots__ = (
        "_at",
        "_interval_s",
        "_lock",
        "_max_under_way",
        "_mine",
        "_rate",
        "_tolerance_s",
        "_under_way",
        "_values",
    )

    def __init__(
        self, values: "memoryview[float]", at: int, n_workers: int, worker: int, record: KeyRecord, lock: _Lock
    ) -> None:
        self._values = values
        self._at = at + 1
        self._under_way = slice(at + 2, at + 2 + n_workers)
        self._mine = at + 2 + worker
        self._max_under_way = record.concurrent or math.inf
        self._rate = record.rate
        self._interval_s = 1.0 / record.rate if record.rate else 0.0
        burst = record.burst or math.ceil(record.rate or 1)
        self._tolerance_s = (burst - 1 + 1e-6) * self._interval_s  # a little more, so that rounding refuses none
        self._lock = lock

    def take(self) -> float:
        """Count a request; return 0 where it is admitted, else in how many seconds to try again."""
        interval = self._interval_s
        if not interval:
            return 0.0
        with self._lock:
            now = time.monotonic()
            full_at = self._values[self._at]
            if full_at - self._tolerance_s > now:
                return full_at - self._tolerance_s - now
            self._values[self._at] = (full_at if full_at > now else now) + interval
        return 0.0

    def give_back(self) -> None:
        """Count a request no longer that was admitted: it is asked for again."""
        with self._lock:
            self._values[self._at] -= self._interval_s

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Admit one request, which is under way as long as the block lasts.

        Raises:
            RateLimitedError: When the key has sent too many, or has too many under way.
        """
        if wait_s := self.take():
            msg = f"a key may send at most {self._rate:g} requests a second over time, however this one sent more"
            raise RateLimitedError(msg, wait_s)
        with self._lock:
            free = sum(self._values[self._under_way]) < self._max_under_way
            self._values[self._mine] += free
        if not free:
            msg = (
                f"a key may have at most {self._max_under_way:g} requests under way at once, however this one has as "
                "many"
            )
            raise RateLimitedError(msg, _RETRY_S)
        try:
            yield
        finally:
            self._values[self._mine] -= 1.0
