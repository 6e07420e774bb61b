"""Files that are whole or not there: read without following links, written to disk before they are named.

A folder is locked while what lies in it is read and changed, so that two who change it at once do not undo each other.
"""

import contextlib
import errno
import os
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from models.contract.errors import IntegrityError, RepositoryError

if sys.platform != "win32":
    import fcntl

LOCK_S = 10.0
"""Time after which a lock is given up; whoever holds one works for some milliseconds."""

_LOOK_S = 0.01


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes, following no symbolic link.

    Raises:
        IntegrityError: When it is no such file, is not there or is larger.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Not a regular file")  # a device may never end
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                content = stream.read(limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        msg = f"{path.name} must be a readable regular file, however {error.strerror} at {path}"
        raise IntegrityError(msg) from error
    if len(content) > limit:
        msg = f"{path.name} must not exceed {limit} bytes, however {path} does"
        raise IntegrityError(msg)
    return content


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and flush it to disk."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def flush_folder(folder: Path) -> None:
    """Flush to disk which names a folder holds."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes, prefix: str) -> None:
    """Put a file in the place of another in one step: a reader sees the old one or the new one.

    Args:
        path: The file.
        content: Its new content.
        prefix: What the name of the file that is written first begins with.
    """
    beside = path.with_name(f"{prefix}{uuid.uuid4().hex}")
    try:
        write_durably(beside, content)
        beside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    flush_folder(path.parent)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process, and thread, that has this folder locked; where the system has no such locks, do nothing.

    Raises:
        RepositoryError: When another keeps it for longer than `LOCK_S`.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + LOCK_S
        while not _locks(descriptor):
            if time.monotonic() > deadline:
                msg = (
                    f"a folder must be free to be changed, however {folder} has been locked for {LOCK_S:g} s; try again"
                )
                raise RepositoryError(msg)
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)  # ends the lock


def is_locked(folder: Path) -> bool:
    """Return whether somebody has a folder locked now."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return not _locks(descriptor)
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
