"""An application that is given a request once its body is there, not once its head is.

All that an application does before it reads the body, its task, its layers and what each keeps meanwhile, costs a
hundred times what a byte of the body does. A client that sends a body slowly, or never, is not to have it.
"""

from typing import Any, Final

from service.api.negotiation import is_bulk
from service.api.upgrades import PlainProtocol

HELD_BYTES: Final = 16 * 1024
"""Bytes of a body that are waited for, where it has more: what is refused by its head is refused then at the latest."""


class HoldingProtocol(PlainProtocol):
    """Uvicorn's HTTP/1.1 protocol that lets the application begin once a body, or `HELD_BYTES` of it, is there.

    Tables, which are answered as they arrive, clients that wait to be told to go on, and bodies said to be larger than
    may be, which are refused by their heads, are not held.
    """

    max_held_bytes: int
    """Largest body that is waited for."""

    _held: tuple[Any, Any] | None = None
    """What the application is to begin with: uvicorn's cycle of a request, and the application."""

    @property
    def is_held(self) -> bool:
        """Whether the application has not begun with the request that is arriving."""
        return self._held is not None

    def on_body(self, body: bytes) -> None:
        """Begin where enough of the body has come."""
        super().on_body(body)
        if self._held is not None and len(self.cycle.body) >= HELD_BYTES:
            self._begin_held()

    def on_message_complete(self) -> None:
        """Begin: the body is whole."""
        super().on_message_complete()
        if self._held is not None:
            self._begin_held()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the application find that the client has left, and count it."""
        if self._held is not None:
            self._begin_held()
        super().connection_lost(exc)

    def drop_held(self) -> None:
        """Forget a request that was refused before the application began."""
        self._held = None

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if cycle.more_body and _may_be_held(cycle.scope, self.max_held_bytes):
            self._held = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def _begin_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            super()._start_asgi_task(*held)


def _may_be_held(scope: Any, max_held_bytes: int) -> bool:
    has_body = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            if int(value) > max_held_bytes:  # the parser lets digits alone through
                return False
            has_body = True
        elif name == b"transfer-encoding":
            has_body = True
        elif name == b"expect":
            return False
    return has_body and not is_bulk(scope["path"], scope["headers"])
