"""Who may change what is served: the guard of the admin routes."""

from typing import Any, Final

from fastapi import Depends
from starlette.requests import Request

from service.api.problems import CONTENT_TYPE, PROBLEMS
from service.errors import ForbiddenError, UnauthorizedError
from service.keys import Key

SCOPE_KEY: Final = "nalu.key"
"""Where the key of a request stands in its ASGI scope, put there by the guard of all routes."""


async def require_admin(request: Request) -> Key:
    """Return the admin key of a request.

    Raises:
        ForbiddenError: When the request has no key with the role `admin`.
    """
    key = request.scope.get(SCOPE_KEY)
    return checked_admin(key if isinstance(key, Key) else None)


def checked_admin(key: Key | None) -> Key:
    """Return a key that may change what is served.

    Where the service takes no keys, nobody is an admin: a page in somebody's browser reaches a port on their machine.

    Raises:
        ForbiddenError: When there is no key, or it has not the role `admin`.
    """
    if key is None:
        msg = (
            "an admin key must be given, however the service runs without keys; make one with `nalu keys new NAME "
            "--role admin` and start the service with NALU_KEYS_FILE"
        )
        raise ForbiddenError(msg)
    if key.role != "admin":
        msg = f"the key must have the role admin for this, however it has the role {key.role}"
        raise ForbiddenError(msg)
    return key


AdminOnly = Depends(require_admin)
"""For `APIRouter(dependencies=[AdminOnly])` or one route's `dependencies`."""

ADMIN_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    PROBLEMS[kind].status: {
        "description": f"`{PROBLEMS[kind].type}`: {PROBLEMS[kind].title}",
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}},
    }
    for kind in (UnauthorizedError, ForbiddenError)
}
"""What the guard answers, for a route's `responses`."""
