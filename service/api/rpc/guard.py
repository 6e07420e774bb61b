"""Who may call, told from what comes before any message."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

from service.api.admin import checked_admin
from service.api.rpc.metadata import Context, headers_of
from service.errors import RateLimitedError
from service.keys import Key, KeyRing, presented_key

Need = Literal["all", "key", "admin"]


class Guard:
    """The keys, and places for calls that need none.

    Args:
        keys: The keys that are taken; None where the service takes none.
        n_open: Most calls at once that are answered to all, so that those who bring no key cannot take every place.
    """

    def __init__(self, keys: KeyRing | None, n_open: int) -> None:
        self._keys = keys
        self._n_open = n_open
        self._n_taken = 0

    def check(self, context: Context, need: Need) -> Key | None:
        """Return the key that a call brings, None where it needs none.

        Raises:
            UnauthorizedError: When a key is needed and none was brought.
            ForbiddenError: When it is none that is taken now, or no admin's where one is needed.
        """
        if need == "all" or (need == "key" and self._keys is None):
            return None
        key = self._keys.admit(presented_key(headers_of(context))) if self._keys else None
        return checked_admin(key) if need == "admin" else key

    def admitted(self, context: Context, need: Need) -> AbstractContextManager[None]:
        """Return what lasts as long as a request is under way.

        Raises:
            UnauthorizedError: As `check`.
            ForbiddenError: As `check`.
            RateLimitedError: On entering, when its key has sent too many, or too many without a key are under way.
        """
        if need == "all":
            return self.open_place()
        key = self.check(context, need)
        return key.limit.admitted() if key is not None and key.limit else nullcontext()

    @contextmanager
    def open_place(self) -> Iterator[None]:
        """Take one of the places for calls that need no key, for as long as the block lasts.

        Raises:
            RateLimitedError: When all are taken.
        """
        if self._n_taken >= self._n_open:
            msg = f"at most {self._n_open} probes may be under way at once in a worker, however so many are"
            raise RateLimitedError(msg, 1.0)
        self._n_taken += 1
        try:
            yield
        finally:
            self._n_taken -= 1
