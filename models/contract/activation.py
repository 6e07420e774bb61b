"""Which version of a model answers: a pointer kept beside its versions, with aliases and what was active before.

`<root>/<name>/active.json` is replaced in one step whenever it changes. A model without one is served by its newest
version that can answer. Each change counts `generation` up, by which several processes tell how far they have followed.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from models.contract.errors import ActivationError, BrokenActivationError, ModelNotFoundError
from models.contract.names import MAX_NAME, NAME, check_alias
from models.contract.part import Part

ACTIVATION_FILE: Final = "active.json"

MAX_ACTIVATION_BYTES: Final = 64 * 1024
"""Largest pointer read; one with all the aliases and history there may be stays below."""

MAX_ALIASES: Final = 100
MAX_HISTORY: Final = 50
"""Earlier choices kept to roll back to."""

Version = Annotated[int, Field(ge=1, le=999_999_999)]
Alias = Annotated[str, Field(pattern=rf"^(?:{NAME})$", max_length=MAX_NAME)]


class Activation(Part):
    """What a model's pointer says; each method returns what it says after a change.

    Attributes:
        format_version: Version of this format.
        generation: Changes so far.
        active: The version chosen to answer, or None for the newest one that can.
        history: Versions that were chosen or newest before, the latest last.
        aliases: Name → version.
        unloaded: Whether no version is to be served.
        last: Largest version ever removed, so that its number is not given again.
    """

    format_version: Literal[1] = 1
    generation: Annotated[int, Field(ge=0)] = 0
    active: Version | None = None
    history: tuple[Version, ...] = Field(default=(), max_length=MAX_HISTORY)
    aliases: dict[Alias, Version] = Field(default_factory=dict, max_length=MAX_ALIASES)
    unloaded: bool = False
    last: Annotated[int, Field(ge=0, le=999_999_999)] = 0

    def candidates(self, versions: Iterable[int]) -> list[int]:
        """Return the versions that may answer where none is asked for, the first choice first.

        Where one is chosen and cannot answer, those that were before it may, then older ones; never a newer one, which
        nobody chose.
        """
        newest_first = sorted(versions, reverse=True)
        if self.active is None:
            return newest_first
        older = [version for version in newest_first if version < self.active]
        there = set(newest_first)
        return [one for one in dict.fromkeys((self.active, *reversed(self.history), *older)) if one in there]

    @property
    def named(self) -> frozenset[int]:
        """Versions that were activated or have an alias."""
        return frozenset(self.aliases.values()).union(() if self.active is None else (self.active,))

    def chosen(self, versions: Sequence[int]) -> int | None:
        """Return the version that is to answer: the chosen one, else the newest."""
        return self.active or max(versions, default=None)

    def activated(self, name: str, version: int | None, versions: Sequence[int]) -> "Activation":
        """Choose a version, or with None the newest from now on.

        Raises:
            ModelNotFoundError: When it is not there.
        """
        if version is not None and version not in versions:
            raise ModelNotFoundError(name, version, versions)
        before = self.chosen(versions)
        history = self.history if before in (None, version) else (*self.history, before)
        return self._changed(active=version, history=history[-MAX_HISTORY:])

    def rolled_back(self, name: str, versions: Sequence[int]) -> "Activation":
        """Choose what answered before: the last of the history that is still there, else the next older version.

        Raises:
            ActivationError: When there is none.
        """
        now = self.chosen(versions)
        history = [version for version in self.history if version in versions]
        while history and history[-1] == now:
            history.pop()
        if history:
            return self._changed(active=history[-1], history=tuple(history[:-1]))
        older = [version for version in versions if now is not None and version < now]
        if not older:
            msg = f"there must be an earlier version to roll {name!r} back to, however there is none before {now}"
            raise ActivationError(msg)
        return self._changed(active=max(older), history=())

    def aliased(self, name: str, alias: str, version: int, versions: Sequence[int]) -> "Activation":
        """Let an alias stand for a version.

        Raises:
            InvalidNameError: When it cannot be an alias.
            ModelNotFoundError: When the version is not there.
            ActivationError: When there are too many aliases.
        """
        check_alias(alias)
        if version not in versions:
            raise ModelNotFoundError(name, version, versions)
        aliases = {**self.aliases, alias: version}
        if len(aliases) > MAX_ALIASES:
            msg = f"a model must have at most {MAX_ALIASES} aliases, however {name!r} has; remove one"
            raise ActivationError(msg)
        return self._changed(aliases=dict(sorted(aliases.items())))

    def unaliased(self, name: str, alias: str) -> "Activation":
        """Take an alias away.

        Raises:
            ModelNotFoundError: When there is none of that name.
        """
        if alias not in self.aliases:
            raise ModelNotFoundError(name, alias, sorted(self.aliases))
        return self._changed(aliases={one: version for one, version in self.aliases.items() if one != alias})

    def served(self, *, wanted: bool) -> "Activation":
        """Let the model be served, or not."""
        return self._changed(unloaded=not wanted)

    def without(self, name: str, version: int, versions: Sequence[int]) -> "Activation":
        """Let a version be removed.

        Raises:
            ModelNotFoundError: When it is not there.
            ActivationError: When it is the one chosen while there are others, or an alias stands for it.
        """
        if version not in versions:
            raise ModelNotFoundError(name, version, versions)
        if version == self.active and len(versions) > 1:
            msg = f"a version must not be the active one to be removed, however {name}/{version} is; activate another"
            raise ActivationError(msg)
        standing = [alias for alias, one in self.aliases.items() if one == version]
        if standing:
            msg = (
                f"a version must have no alias to be removed, however {name}/{version} is {', '.join(standing[:5])}; "
                "remove the alias first"
            )
            raise ActivationError(msg)
        return self._changed(
            active=None if self.active == version else self.active,
            history=tuple(one for one in self.history if one != version),
            last=max(self.last, version),
        )

    def to_json(self) -> bytes:
        """Return the pointer as UTF-8 JSON, indented, ending in a newline."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    def _changed(self, **changes: Any) -> "Activation":
        return self.model_copy(update={**changes, "generation": self.generation + 1})


def parse_activation(raw: bytes) -> Activation:
    """Read a pointer from its bytes.

    Raises:
        BrokenActivationError: When it is no pointer of this format.
    """
    try:
        return Activation.model_validate(json.loads(raw))
    except (ValueError, RecursionError) as error:
        told = error.errors(include_input=False, include_url=False)[0] if isinstance(error, ValidationError) else None
        fault = f"{'.'.join(map(str, told['loc']))}: {told['msg']}" if told else type(error).__name__
        msg = (
            f"{ACTIVATION_FILE} must be a pointer of format version 1, however: {fault}; activate a version by its "
            "number, which writes it anew without aliases"
        )
        raise BrokenActivationError(msg) from error
