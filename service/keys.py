"""Who asks: the API keys that are taken now, re-read when their file changes.

What is compared is the SHA-256 of what was presented: it is looked up, and compared in constant time with what was
found or, where nothing was, with a value that nothing is equal to. So wrong, expired and missing keys take the same
steps, and how long they take says nothing about a key: whoever guesses cannot steer a hash byte by byte.
"""

import asyncio
import hmac
import os
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.errors import ForbiddenError, KeyFileError, UnauthorizedError
from service.key_file import KeyRecord, Role, hash_of, read_records, read_some_records
from service.key_limits import Ledger, Limit
from service.logging import LOGGER

_LOOK_S: Final = 1.0
"""How often the file is looked at: `stat` takes 2 µs, and nobody should wait long for a key to be taken back."""

_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is known.

    Attributes:
        name: What it is called.
        role: What it may do.
        digest: What is kept of it.
        expires_at: When it is no longer taken, in seconds since 1970.
        limit: How much it may send; None where it has no limits.
    """

    name: str
    role: Role
    digest: bytes
    expires_at: float
    limit: Limit | None = None


class KeyRing:
    """The keys of a file.

    Args:
        path: The file.
        ledger: What limited keys have used, in all workers.
        worker: Which of them this is.

    Raises:
        KeyFileError: When it cannot be read, a line is no key, or it holds none.
    """

    def __init__(self, path: Path, ledger: Ledger | None = None, worker: int = 0) -> None:
        self._path = path
        self._ledger = ledger or Ledger()
        self._ledger.clear_worker(worker)
        self._worker = worker
        self._nobody = Key("", "predict", secrets.token_bytes(32), _NEVER)
        self._known: dict[bytes, Key] = {}
        self._next_expiry = _NEVER
        self._listeners: list[Callable[[], None]] = []
        self._seen = _look(path)
        self._take(read_some_records(path))

    @property
    def names(self) -> list[str]:
        """Names of the keys, expired ones included."""
        return [key.name for key in self._known.values()]

    def on_change(self, listener: Callable[[], None]) -> None:
        """Let a function be called whenever a key may have begun or ceased to be valid."""
        self._listeners.append(listener)

    def admit(self, presented: bytes | None) -> Key:
        """Return the key that was presented.

        Args:
            presented: What a request brings, None where it brings none.

        Raises:
            UnauthorizedError: When it brings none.
            ForbiddenError: When it is none that is taken now.
        """
        key = self._match(presented or b"")
        if presented is None:
            raise UnauthorizedError
        if key is None:
            raise ForbiddenError
        return key

    def find(self, headers: Iterable[tuple[bytes, bytes]]) -> Key | None:
        """Return the key that the headers of a request bring, or None where they bring none that is taken now."""
        presented = presented_key(headers)
        return None if presented is None else self._match(presented)

    async def watch(self) -> None:
        """Keep up with the file and with the clock, until cancelled."""
        while True:
            await asyncio.sleep(max(0.0, min(_LOOK_S, self._next_expiry - time.time())))
            try:
                self.refresh()
            except Exception:  # a watch that ends in silence would take no key back any more
                LOGGER.exception("the keys could not be looked after")

    def refresh(self) -> None:
        """Read the file again where it has changed, and tell of keys that have expired.

        A file that is gone or faulty changes nothing, and is told in the log: half a file must lock nobody out.
        """
        seen = _look(self._path)
        if seen != self._seen:
            self._seen = seen
            try:
                self._take(read_records(self._path))
            except KeyFileError as error:
                LOGGER.error("the keys stay as they were: %s", error)
            else:
                LOGGER.info("keys read anew: %d", len(self._known))
                self._tell()
        if self._next_expiry <= time.time():
            self._next_expiry = self._expiry_after(time.time())
            self._tell()

    def _match(self, presented: bytes) -> Key | None:
        digest = hash_of(presented)
        key = self._known.get(digest, self._nobody)
        same = hmac.compare_digest(digest, key.digest)
        valid = time.time() < key.expires_at
        return key if same and valid else None

    def _take(self, records: Iterable[KeyRecord]) -> None:
        keys = [
            Key(
                record.name,
                record.role,
                bytes.fromhex(record.sha256),
                record.expires.timestamp() if record.expires else _NEVER,
                self._ledger.limit_of(record, self._worker),
            )
            for record in records
        ]
        self._known = {key.digest: key for key in keys}
        self._next_expiry = self._expiry_after(time.time())

    def _expiry_after(self, now: float) -> float:
        return min((key.expires_at for key in self._known.values() if key.expires_at > now), default=_NEVER)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the key that the headers of a request, or the metadata of a call, bring; None where they bring none.

    `Authorization: Bearer KEY` and `X-API-Key: KEY` say the same. Where several keys are brought, which is meant is
    not guessed: the answer is one that is no key.

    Args:
        headers: Names in lower case, and values.

    Example:
        >>> presented_key([(b"accept", b"*/*"), (b"authorization", b"Bearer abc")])
        b'abc'
    """
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, told = value.partition(b" ")
            key = told.strip() if scheme.lower() == b"bearer" else b""
        elif name == b"x-api-key":
            key = value.strip()
        else:
            continue
        found = key if found is None else b""
    return found


def _look(path: Path) -> tuple[int, int, int] | None:
    """Return what is different where the file is."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path's method takes twice as long
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
