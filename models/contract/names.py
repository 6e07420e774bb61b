"""Names that may touch a path, and aliases of versions."""

import re
from typing import Final

from models.contract.errors import InvalidNameError

NAME: Final = r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*"
"""How a model's name and an alias are written, as a regular expression."""

MAX_NAME: Final = 64

LATEST: Final = "latest"
"""Stands for the newest version published; no alias may have this name."""

_NAME = re.compile(NAME)
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))})


def check_name(name: str) -> str:
    """Return `name` if it may name a model.

    Raises:
        InvalidNameError: When it is not lower-case letters, digits and single inner `_` or `-`, starting with a letter,
            at most 64 characters, and no device name of Windows.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name) or name in _DEVICES:
        msg = (
            "a model name must be 1 to 64 lower-case letters, digits and single inner '_' or '-', starting with a "
            f"letter, however: {name[:80]!a}"
        )
        raise InvalidNameError(msg)
    return name


def check_alias(alias: str) -> str:
    """Return `alias` if it may stand for a version.

    Raises:
        InvalidNameError: When it is not written as a model's name is, or is the word for the newest version.
    """
    if len(alias) > MAX_NAME or not _NAME.fullmatch(alias) or alias == LATEST:
        msg = (
            "an alias must be 1 to 64 lower-case letters, digits and single inner '_' or '-', starting with a letter, "
            f"and must not be {LATEST!r}, however: {alias[:80]!a}"
        )
        raise InvalidNameError(msg)
    return alias
