"""What comes with a call beside its messages."""

from collections.abc import Iterator
from typing import Any, Final

import grpc

from service.api.middleware import new_id, sane_id

Context = grpc.aio.ServicerContext[Any, Any]

ID_KEY: Final = "x-request-id"


def id_of(context: Context) -> str:
    """Return the id that the client gave where it may be kept, else a new one."""
    told = next((value for name, value in headers_of(context) if name == ID_KEY.encode()), b"")
    return sane_id(told) or new_id()


def headers_of(context: Context) -> Iterator[tuple[bytes, bytes]]:
    """Yield what a client sent beside its request, as HTTP's headers are held."""
    for name, value in context.invocation_metadata() or ():
        yield name.encode(), value.encode() if isinstance(value, str) else value
