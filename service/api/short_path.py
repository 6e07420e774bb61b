"""`POST /predict` in front of everything else: the body to arrays, the arrays to the answer, two messages.

Routing, dependencies and validation into objects cost several times what the model does. A small request that the quick
reader is sure of is answered here, in one function and on the event loop. Any other, and any that turns out to have no
answer, is handed on with what has been read of its body: this path has no limits and no problems of its own.
"""

import logging
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.middleware import SECURITY_HEADERS, Traffic, log_answer, new_id, sane_id
from service.api.predictions import INLINE_BODY_BYTES
from service.api.together import Turn, next_turn
from service.inference.quick_rows import QuickReader, SmallRequest
from service.logging import LOGGER, request_id

PREDICT_PATH: Final = "/predict"

_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_JSON_HEADER: Final = (b"content-type", b"application/json")


class ShortPath:
    """ASGI application.

    Args:
        app: The ordinary application, with the frame around its requests.
        max_body_bytes: Largest body that the frame lets in.
        traffic: The counters that the frame keeps too.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, traffic: Traffic) -> None:
        self._app = app
        self._max_bytes = min(max_body_bytes, INLINE_BODY_BYTES)
        self._traffic = traffic
        self._turn = Turn()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction request, or let the application do it."""
        if scope["type"] != "http" or scope["path"] != PREDICT_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        plain, told, declared = False, b"", b"0"
        for name, value in scope["headers"]:
            if name == b"content-type":
                plain = value in _JSON
            elif name == b"x-request-id":
                told = value
            elif name == b"content-length":
                declared = value
            elif name == b"content-encoding":
                plain = False
                break
        if not plain or not declared.isdigit() or int(declared) > self._max_bytes:
            await self._app(scope, receive, send)
            return
        message = await receive()
        request = self._read(scope["state"]["quick"], message)
        if request is not None:
            turn = self._turn
            if turn.over:
                turn = self._turn = Turn()
            place = turn.add(request)
            await next_turn()
            answer = turn.answers()[place]
        if request is None or answer is None:
            await self._app(scope, _again(message, receive), send)
            return
        own_id = sane_id(told) or new_id()
        headers = [
            _JSON_HEADER,
            (b"content-length", b"%d" % len(answer)),
            (b"x-request-id", own_id.encode()),
            *SECURITY_HEADERS,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        elapsed_s = time.perf_counter() - started
        self._traffic.count(PREDICT_PATH, 200, elapsed_s)
        if LOGGER.isEnabledFor(logging.INFO):
            token = request_id.set(own_id)
            log_answer(logging.INFO, scope, 200, elapsed_s)
            request_id.reset(token)

    def _read(self, reader: QuickReader, message: Message) -> SmallRequest | None:
        """Return a request that came in one message, or None where the ordinary route has to decide."""
        if message["type"] != "http.request" or message.get("more_body"):
            return None
        body: bytes = message.get("body", b"")
        return None if len(body) > self._max_bytes else reader.read_small(body)


def _again(message: Message, receive: Receive) -> Receive:
    """Return a `receive` that gives a message again, then those that follow it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return message

    return receive_again
