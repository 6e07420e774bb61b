"""Heads of small prediction requests, read by the server's own parser once and remembered.

The heads of a client are the same bytes again and again. A head is a front's to answer only where the parser, given
these very bytes, found in them one whole request head and nothing else.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import httptools

from service.api.front import head_of_answers, read_head
from service.api.negotiation import PREDICT_PATH
from service.api.predictions import INLINE_BODY_BYTES
from service.key_limits import Limit
from service.keys import KeyRing

_MAX_HEADS: Final = 256
"""Heads remembered: a client's differ in the length of the body, those behind some proxies in an id each."""


_INFER: Final = re.compile(rb"(/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]+))?/infer)")


class Head(NamedTuple):
    """What a head tells.

    Attributes:
        n_body: Length of the body.
        told: The request id told.
        limit: What limits the key.
        infer: Where it asks for `infer`, its path, model and version, None for the default; None for `/predict`.
    """

    n_body: int
    told: bytes
    limit: Limit | None
    infer: tuple[str, str, str | None] | None


class Heads:
    """What heads of requests tell, and the head of answers.

    Attributes:
        closing: Whether the last head of an answer given tells that the connection closes: the server is stopping.

    Args:
        max_body_bytes: Largest body that a front answers.
        keys: The keys that are taken; None where the service takes none. A head whose key is none of them is not a
            front's to answer, and all heads are read anew when a key may have begun or ceased to be valid.
    """

    def __init__(self, max_body_bytes: int, keys: KeyRing | None = None) -> None:
        self._max_body_bytes = max_body_bytes
        self._keys = keys
        self._known: dict[bytes, Head | None] = {}
        if keys is not None:
            keys.on_change(self._known.clear)
        self._default: Sequence[tuple[bytes, bytes]] | None = None
        self._answer = b""
        self.closing = False

    def read(self, head: bytes) -> Head | None:
        """Return what a head tells, or None where it is not a front's to answer."""
        try:
            return self._known[head]
        except KeyError:
            if len(self._known) >= _MAX_HEADS:
                self._known.clear()
            told = self._known[head] = self._parsed(head)
            return told

    def _parsed(self, head: bytes) -> Head | None:
        parser = _HeadParser(head)
        told = parser.told(self._max_body_bytes)
        if told is None or self._keys is None:
            return told
        key = self._keys.find(parser.headers)
        return None if key is None else told._replace(limit=key.limit)

    def of_answers(self, default_headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return what an answer begins with; the server replaces its default headers every second, with the date."""
        if self._default is not default_headers:
            self._default = default_headers
            self._answer = head_of_answers(default_headers)
            self.closing = (b"connection", b"close") in default_headers
        return self._answer


class _HeadParser:
    """The server's parser on a head alone.

    Attributes:
        headers: Names in lower case, and values.

    Args:
        head: A request up to its empty line.
    """

    def __init__(self, head: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._complete = False
        self._beyond = False
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._complete = False

    def told(self, max_body_bytes: int) -> Head | None:
        """Return what the head tells, its key not looked at, or None where it is not a front's to answer."""
        if (
            not self._complete
            or self._beyond
            or self._parser.get_method() != b"POST"
            or self._parser.get_http_version() != "1.1"
            or not self._parser.should_keep_alive()
            or self._parser.should_upgrade()
        ):
            return None
        if self._url == PREDICT_PATH.encode():
            told = read_head(self.headers, max_body_bytes)
            return None if told is None else Head(*told, None, None)
        found = _INFER.fullmatch(self._url)
        told = read_head(self.headers, min(max_body_bytes, INLINE_BODY_BYTES), any_type=True) if found else None
        if found is None or told is None:
            return None
        version = None if found[3] is None else found[3].decode()
        return Head(*told, None, (found[1].decode(), found[2].decode(), version))

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._complete = True

    def on_body(self, _body: bytes) -> None:
        self._beyond = True

    def on_message_complete(self) -> None:
        self._beyond = True
