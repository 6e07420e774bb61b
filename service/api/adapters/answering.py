"""What the adapters share: from a request to its answer, in the event loop or in a thread."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.api.json_body import parse_json
from service.api.large_bodies import answer_in_thread, is_small
from service.api.routes import State
from service.errors import Fault, InvalidRequestError, quote
from service.inference.session import ModelSession

Answer = Callable[[bytes, float | None], bytes]
"""Takes a body and the time that is left, or None for no limit, and returns the body of the answer."""


async def answered(request: Request, state: State, session: ModelSession, answer: Answer, media_type: str) -> Response:
    """Return the answer to a request, its model and version in the headers.

    Args:
        request: The request.
        state: What the application holds.
        session: The model that answers; one of sequences does so in a thread, as does any a large body.
        answer: Makes the body of the answer.
        media_type: Of the answer.
    """
    headers = {"Nalu-Model": session.manifest.name, "Nalu-Version": str(session.manifest.version)}
    if session.manifest.sequence is None and is_small(request):
        content = answer(await request.body(), None)
    else:
        content, more = await answer_in_thread(request, state["admission"], state["settings"].max_body_bytes, answer)
        headers |= more
    return Response(content, media_type=media_type, headers=headers)


def read_object(body: bytes, forms: Mapping[str, object], ignored: frozenset[str]) -> tuple[str, Any]:
    """Return the one form in which a body holds its rows, and what it holds.

    Args:
        body: JSON.
        forms: Names of the forms.
        ignored: Members that may stand beside them.

    Raises:
        UnreadableBodyError: When it is not JSON.
        InvalidRequestError: When it is no object, or has none of the forms, several, or members that mean nothing.
    """
    content = parse_json(body, nan_is_missing=True)
    if not isinstance(content, dict):
        raise _invalid("a request must be an object, however it is not")
    given = [name for name in forms if name in content]
    if len(given) != 1:
        named = ", ".join(given) or "none"
        raise _invalid(f"a request must have exactly one of {', '.join(forms)}, however it has {named}")
    if unknown := sorted(content.keys() - forms.keys() - ignored):
        raise _invalid(f"a request must have no other members, however it has {quote(unknown[0])}")
    return given[0], content[given[0]]


def told(content: object) -> bytes:
    """Return an answer as JSON."""
    return orjson.dumps(content)


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError([Fault(message)])
