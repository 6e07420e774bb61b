"""Who may call, told from what comes before any message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
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
        n_open: Most calls at once that are answered to all. Where one more comes, it takes the place of the oldest: a
            probe is answered in microseconds, so that it is one that says nothing, or a watch, which begins anew. So
            those who bring no key can neither take every place nor keep others from probing.
    """

    def __init__(self, keys: KeyRing | None, n_open: int) -> None:
        self._keys = keys
        self._n_open = n_open
        self._open: dict[asyncio.Timeout, None] = {}

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
            RateLimitedError: On entering, when its key has sent too many.
        """
        key = self.check(context, need)
        return key.limit.admitted() if key is not None and key.limit else nullcontext()

    @asynccontextmanager
    async def open_place(self) -> AsyncIterator[None]:
        """Take one of the places for calls that need no key, for as long as the block lasts.

        Raises:
            RateLimitedError: When newer ones have taken it.
        """
        if len(self._open) >= self._n_open:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(None) as place:
                self._open[place] = None
                try:
                    yield
                finally:
                    self._open.pop(place, None)
        except TimeoutError as error:
            msg = f"at most {self._n_open} probes may be under way at once in a worker, however newer ones are"
            raise RateLimitedError(msg, 1.0) from error
