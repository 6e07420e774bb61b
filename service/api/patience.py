"""How much of a client is borne, and how many clients there may be: as many as files can be opened."""

import resource
from dataclasses import dataclass
from typing import Final

from service.logging import LOGGER
from service.settings import Settings

_SPARE_FILES: Final = 128
"""Open files that are no connections: models, logs, tables that are being read."""


@dataclass(frozen=True)
class Patience:
    """How much of a client is borne.

    Attributes:
        receive_s: Time for a head, for the first bytes of a connection, and for a client to close; beside a second for
            each `MIN_BYTES_S` also for a body, and for an answer to be read.
        idle_s: Time between two requests.
        head_bytes: Largest head.
        body_bytes: Largest body that is not a table.
        n_connections: Most connections.
    """

    receive_s: float
    idle_s: float
    head_bytes: int
    body_bytes: int
    n_connections: int


def patience_of(settings: Settings) -> Patience:
    """Return what the settings say, with no more connections than this process can open files."""
    return Patience(
        receive_s=settings.receive_timeout_s,
        idle_s=settings.keep_alive_s,
        head_bytes=settings.max_head_bytes,
        body_bytes=settings.max_body_bytes,
        n_connections=room_of(settings),
    )


def room_of(settings: Settings) -> int:
    """Return how many connections each port takes: as many as it may, where this process can open so many files."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    return min(settings.max_connections, max(1, (soft - _SPARE_FILES) // settings.n_ports))


def allow_files(n_files: int) -> None:
    """Let this process open as many files as it may, where it needs so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n_files + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < wanted:
        LOGGER.warning("%d connections need %d open files; %d are allowed (ulimit -n)", n_files, wanted, granted)
