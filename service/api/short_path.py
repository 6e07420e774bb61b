"""`POST /predict` in front of everything else: the body to arrays, the arrays to the answer, two messages.

Routing, dependencies and validation into objects cost several times what the model does. A small request that the quick
reader is sure of is answered here, in one function and on the event loop. Any other, and any that turns out to have no
answer, is handed on with what has been read of its body: this path has no limits and no problems of its own.
"""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.front import JSON_HEADER, Front, id_of, read_head
from service.api.middleware import SECURITY_HEADERS
from service.api.negotiation import PREDICT_PATH
from service.api.together import next_turn
from service.inference.quick_rows import SmallRequest
from service.key_limits import Limit
from service.keys import KeyRing


class ShortPath:
    """ASGI application; what it shares is `front` of the lifespan's state.

    Args:
        app: The ordinary application, with the frame around its requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction request, or let the application do it."""
        if scope["type"] != "http" or scope["path"] != PREDICT_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        front: Front = scope["state"]["front"]
        head = read_head(scope["headers"], front.max_body_bytes)
        if head is None:
            await self._app(scope, receive, send)
            return
        limit: Limit | None = None
        keys: KeyRing | None = scope["state"].get("keys")
        if keys is not None:
            key = keys.find(scope["headers"])
            if key is None:
                await self._app(scope, receive, send)
                return
            limit = key.limit
        message = await receive()
        request = _read(front, message)
        if request is not None and limit is not None and limit.take():
            request = None
        if request is not None:
            turn, place = front.turn_with(request)
            await next_turn()
            answer = turn.answers()[place]
        if request is None or answer is None:
            if request is not None and limit is not None:
                limit.give_back()
            await self._app(scope, _again(message, receive), send)
            return
        own_id = id_of(head[1])
        headers = [
            JSON_HEADER,
            (b"content-length", b"%d" % len(answer)),
            (b"x-request-id", own_id.encode()),
            *SECURITY_HEADERS,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        front.count(own_id, started)


def _read(front: Front, message: Message) -> SmallRequest | None:
    """Return a request that came in one message, or None where the ordinary route has to decide."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    body: bytes = message.get("body", b"")
    return None if len(body) > front.max_body_bytes else front.read(body)


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
