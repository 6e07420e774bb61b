"""`POST /predict` in front of the framework: the body to arrays, the arrays to the answer, two messages.

Routing, dependencies and validation into objects cost several times what the model does. A request that the quick
reader is sure of is answered here. Any other, and any that turns out to have no answer, is handed on with what has been
read of its body to the ordinary route: this path has no problems of its own to tell.
"""

from collections.abc import Iterable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.contract.errors import NaluError
from service.api.predictions import INLINE_BODY_BYTES, answer_quick
from service.inference.quick_rows import QuickReader

PREDICT_PATH: Final = "/predict"

_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})


class ShortPath:
    """ASGI middleware, inside the frame that keeps limits, ids and counters.

    Args:
        app: The application inside, with the ordinary route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction request, or let the application do it."""
        if (
            scope["type"] != "http"
            or scope["path"] != PREDICT_PATH
            or scope["method"] != "POST"
            or not _is_plain_json(scope["headers"])
        ):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        answer = None
        if messages[-1]["type"] == "http.request":
            body = messages[0]["body"] if len(messages) == 1 else b"".join(message["body"] for message in messages)
            reader: QuickReader = scope["state"]["quick"]
            if len(body) <= INLINE_BODY_BYTES:
                answer = _answer(reader, body)
            else:
                answer = await run_in_threadpool(_answer, reader, body)
        if answer is None:
            await self._app(scope, _replayed(messages, receive), send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _answer(reader: QuickReader, body: bytes) -> bytes | None:
    request = reader.read(body)
    if request is None:
        return None
    try:
        return answer_quick(request)
    except NaluError:  # the ordinary route says which row, and as which problem
        return None


def _is_plain_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    plain = False
    for name, value in headers:
        if name == b"content-type":
            plain = value in _JSON
        elif name == b"content-encoding":
            return False
    return plain


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that gives the messages again, then those that follow."""
    remaining = iter(messages)

    async def receive_again() -> Message:
        for message in remaining:
            return message
        return await receive()

    return receive_again
