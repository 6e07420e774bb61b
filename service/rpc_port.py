"""The port of gRPC, reserved before the workers are forked, so that all of them can listen on it.

A gRPC server cannot be given a socket that listens already: each worker opens one of its own on the same port
(SO_REUSEPORT), and the kernel spreads connections over them. So that nobody else's service shares the port unasked,
and a free port is the same for all, the parent holds a socket that is bound and never listens.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from models.contract.errors import how_to_install
from service.errors import StartError
from service.settings import Settings

_NEEDED: Final = ("grpc", "grpc_health", "grpc_reflection")


@contextmanager
def reserved_rpc_port(settings: Settings) -> Iterator[Settings]:
    """Give the settings with the port that is reserved for gRPC; as they are where there is none to be.

    Raises:
        StartError: When the port is taken, or the packages of the extra `grpc` are missing.
    """
    if settings.grpc_port is None:
        yield settings
        return
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        msg = f"gRPC must have the packages of the extra 'grpc', however these are missing: {', '.join(missing)}"
        raise StartError(f"{msg}; {how_to_install('serve,grpc')}, or leave NALU_GRPC_PORT out")
    with _bound(settings.host, settings.grpc_port, shared=False) as alone:
        port = alone.getsockname()[1]
    with _bound(settings.host, port, shared=True):
        yield settings.model_copy(update={"grpc_port": port})


def rpc_address(host: str, port: int) -> str:
    """Return an address as gRPC reads it.

    Example:
        >>> rpc_address("127.0.0.1", 8001), rpc_address("::1", 8001)
        ('127.0.0.1:8001', '[::1]:8001')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def remedy(error: OSError, option: str) -> str:
    """Return what to do where a port cannot be had.

    Args:
        error: Why it cannot.
        option: The option that chooses the port.
    """
    if error.errno == errno.EADDRINUSE:
        return f"stop what listens there, or choose another port with {option}"
    if error.errno == errno.EACCES:
        return f"ports below 1024 need privileges; choose another with {option}"
    return "choose another address with --host"


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
    try:
        held.bind(address)
        if not shared:
            held.listen(1)  # sockets that may share a port are refused only where another listens
    except OSError as error:
        held.close()
        msg = f"the service must be able to listen for gRPC on {rpc_address(host, port)}, however {error.strerror}"
        raise StartError(f"{msg}; {remedy(error, '--grpc-port')}") from error
    return held
