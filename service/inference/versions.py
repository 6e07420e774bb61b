"""The versions of one model in this process: which are loaded, which are not and why, which one answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from models.contract.activation import Activation
from models.contract.errors import ModelNotFoundError
from models.contract.names import LATEST
from service.inference.session import ModelSession


@dataclass(frozen=True)
class Versions:
    """The versions of one model.

    Attributes:
        loaded: Version → session, for those that can answer.
        failed: Version → why it cannot.
        idle: Versions that are published and were not to be loaded.
        activation: Which of them is to answer.
        fault: Why the pointer that says so cannot be read, or None.
        stale: Version → why the files that it was loaded from cannot be loaded any more, though it still answers.
    """

    loaded: Mapping[int, ModelSession] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    idle: frozenset[int] = frozenset()
    activation: Activation = field(default_factory=Activation)
    fault: str | None = None
    stale: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def published(self) -> tuple[int, ...]:
        """Every version published, ascending."""
        return tuple(sorted({*self.loaded, *self.failed, *self.idle}))

    @property
    def latest(self) -> int:
        """The newest version published, whether it can answer or not."""
        return self.published[-1]

    @cached_property
    def default(self) -> ModelSession | None:
        """What answers where no version is asked for: the first candidate that is loaded; None where none is."""
        candidates = self.activation.candidates(self.published)
        return next((self.loaded[version] for version in candidates if version in self.loaded), None)

    @property
    def active(self) -> int | None:
        """Version of the default."""
        return None if self.default is None else self.default.manifest.version

    @property
    def unloaded(self) -> bool:
        """Whether no version is to be served."""
        return self.activation.unloaded

    def number(self, name: str, version: int | str) -> int:
        """Return the number of a version that is published, loaded or not.

        Args:
            name: The model, for errors.
            version: A number, an alias, or `latest`.

        Raises:
            ModelNotFoundError: When there is no such version or alias.
        """
        wanted: int | None
        if isinstance(version, int):
            wanted = version
        else:
            wanted = self.latest if version == LATEST else self.activation.aliases.get(version)
        if wanted is None or wanted not in self.published:
            named = version if isinstance(version, int) else version[:100]
            raise ModelNotFoundError(name, named, (*self.published, *self.activation.aliases))
        return wanted

    def reason(self, version: int) -> str:
        """Return why a version that is published is not loaded."""
        if version in self.failed:
            return f"could not be loaded: {self.failed[version]}"
        if self.unloaded:
            return "is not loaded: the model was unloaded"
        return "is not loaded: only newer versions, the active one and those with an alias are; give it an alias"

    def fault_of_default(self) -> str | None:
        """Return why no version answers where none is asked for; None where one does, or none is to."""
        if self.default is not None or self.unloaded:
            return None
        if self.fault is not None:
            return self.fault
        candidates = self.activation.candidates(self.published)
        if not candidates:
            return f"version {self.activation.active} is active and not published; activate another"
        return self.failed.get(candidates[0], f"version {candidates[0]} {self.reason(candidates[0])}")
