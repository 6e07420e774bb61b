"""The guard before every route: no key, no answer."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.admin import SCOPE_KEY
from service.api.openapi import HEALTH_PATHS
from service.api.problems import problem_of
from service.errors import ForbiddenError, RateLimitedError, UnauthorizedError
from service.keys import KeyRing, presented_key
from service.settings import Settings

CORS: Final[Mapping[str, Any]] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": [
        "Accept",
        "Authorization",
        "Content-Encoding",
        "Content-Type",
        "Inference-Header-Content-Length",
        "X-API-Key",
        "X-Request-ID",
    ],
    "expose_headers": [
        "Inference-Header-Content-Length",
        "Nalu-Model",
        "Nalu-Version",
        "Retry-After",
        "X-Request-ID",
    ],
    "max_age": 600,
}
"""What pages of an allowed origin may send and read; no cookies, of which there are none."""

_DOCS_PATHS: Final = frozenset({"/", "/docs", "/openapi.json", "/favicon.ico"})
_DOCS_FOLDER: Final = "/static/"


class OpenPaths:
    """What is answered without a key.

    Args:
        settings: Whether metrics and the pages for people are.
    """

    def __init__(self, settings: Settings) -> None:
        metrics = frozenset({"/metrics"}) if settings.open_metrics else frozenset()
        self._paths = HEALTH_PATHS | metrics | (_DOCS_PATHS if settings.open_docs else frozenset())
        self._docs = settings.open_docs

    def __contains__(self, path: str) -> bool:
        """Return whether a path is answered without a key."""
        return path in self._paths or (self._docs and path.startswith(_DOCS_FOLDER))


class KeyGuard:
    """ASGI middleware; the keys are `keys` of the lifespan's state, None where the service takes none.

    Args:
        app: The application inside.
        open_paths: What is answered without a key.
    """

    def __init__(self, app: ASGIApp, open_paths: OpenPaths) -> None:
        self._app = app
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in whose key is taken, or whose path is open."""
        keys: KeyRing | None = scope["state"]["keys"] if scope["type"] == "http" else None
        if keys is None or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        try:
            key = keys.admit(presented_key(scope["headers"]))
            scope[SCOPE_KEY] = key
            with key.limit.admitted() if key.limit else nullcontext():
                await self._app(scope, receive, send)
        except (UnauthorizedError, ForbiddenError, RateLimitedError) as error:
            await problem_of(error, scope["path"])(scope, receive, send)
