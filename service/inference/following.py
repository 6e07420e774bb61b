"""Follows a model repository: sees what changed, loads it beside what is loaded, and says what to switch to.

Nothing is switched here. Looking costs a listing of the repository and one `stat` for each model, which tells whether
a version or a pointer was renamed into or out of its folder; only where that is so, or something failed before, is
the model looked at closely.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from models.contract.activation import Activation
from models.contract.errors import ActivationError, ContractError, RepositoryError
from models.contract.repository import COMPANION_FILE, MANIFEST_FILE, MODEL_FILE
from models.contract.signing import SIGNATURE_FILE
from service.errors import ProviderError
from service.inference.loading import Loader, without_root
from service.inference.session import ModelSession
from service.inference.versions import Versions

DEFAULT_KEEP: Final = 8
"""Newest versions of a model that are loaded."""

Print = tuple[tuple[int, int, int] | None, ...]
"""What tells files from those that had their names before: inode, time of change and size of each."""


@dataclass
class _Seen:
    """What was seen of a model.

    Attributes:
        folder: Print of its folder, or None where it has to be listed again.
        settled: Whether it was the same the time before. File systems tell time in steps of milliseconds, so that a
            second change in one step shows in nothing but the listing.
        versions: Version → print of its files when it was loaded, or could not be.
    """

    folder: Print | None = None
    settled: bool = False
    versions: dict[int, Print] = field(default_factory=dict)


_MOST_READ = 3
"""How often a pointer is read that names a version which is not there."""


class Follower:
    """Sees and loads what changed in a repository; used by one thread at a time.

    Args:
        loader: Loads versions of the repository.
        keep: Newest versions of each model to load, beside the active one, the one before it and those with an alias.
        strict: Whether a provider that is not available is an error, and not only a reason why a version is not loaded.

    Attributes:
        on_loading: Called with model and version before one is loaded, and with None after.
        trouble: Why the repository could not be looked at the last time, or None.
    """

    def __init__(self, loader: Loader, keep: int = DEFAULT_KEEP, *, strict: bool = False) -> None:
        self._loader = loader
        self._strict = strict
        self._repository = loader.repository
        self._keep = keep
        self._seen: dict[str, _Seen] = {}
        self.on_loading: Callable[[tuple[str, int] | None], None] = lambda _loading: None
        self.trouble: str | None = None

    def forget(self, name: str | None = None) -> None:
        """Look closely at a model the next time, or at all of them, and try again what failed."""
        if name is None:
            self._seen.clear()
        else:
            self._seen.pop(name, None)

    def look(self, models: Mapping[str, Versions]) -> dict[str, Versions] | None:
        """Return the models as they are to be from now on, or None where nothing changed.

        Where the repository cannot be read, or nothing is left in it, the models stay as they are: a volume that is
        not mounted looks like that.

        Args:
            models: What is loaded.

        Raises:
            ProviderError: When the provider is not available and the follower is strict.
        """
        self.trouble = None
        try:
            names = self._repository.folders()
        except RepositoryError as error:
            self.trouble = f"{without_root(error, self._repository)}; what is loaded is served on"
            return None
        found: dict[str, Versions] = {}
        for name in names:
            before = models.get(name)
            try:
                now = self._look_at(name, before)
            except ContractError as error:  # it went, or cannot be read
                self.trouble = f"{without_root(error, self._repository)}; what is loaded is served on"
                now = before
            if now is not None:
                found[name] = now
        if models and not found and not self._repository.is_kept():
            self.trouble = "the model repository holds nothing any more; what is loaded is served on"
            return None
        for name in self._seen.keys() - found.keys():
            del self._seen[name]
        changed = found.keys() != models.keys() or any(found[name] is not models[name] for name in found)
        return found if changed else None

    def try_out(self, name: str, version: int) -> str | None:
        """Load a version, drop it, and return why it cannot be loaded; None where it can."""
        found = self._load(name, version)
        return found if isinstance(found, str) else None

    def _look_at(self, name: str, before: Versions | None) -> Versions | None:
        """Return the versions of a model as they are to be, `before` itself where nothing changed, None without any."""
        seen = self._seen.get(name)
        now = _print(self._repository.root / name)
        if (
            before is not None
            and seen is not None
            and seen.settled
            and seen.folder == now
            and all(seen.versions.get(version) == self._print_of(name, version) for version in before.failed)
        ):
            return before
        if seen is None:
            seen = self._seen[name] = _Seen()
        seen.settled = seen.folder == now
        seen.folder = now
        found = self._found(name, before or Versions(), seen)
        return before if found == before else found

    def _found(self, name: str, before: Versions, seen: _Seen) -> Versions | None:
        """Load what is to be loaded of a model and is not, and leave out what is not there or not wanted any more."""
        published, activation, fault = self._told(name, before)
        if not published:
            return None
        if activation.unloaded or (fault is not None and not before.published):  # nothing tells what was chosen
            seen.versions.clear()
            return Versions(idle=frozenset(published), activation=activation, fault=fault)
        found = _Found(before, seen.versions, partial(self._load, name), partial(self._print_of, name))
        for version in _needed(activation, published):
            found.take(version)
        candidates, n_kept = activation.candidates(published), 0
        for version in reversed(published):
            if n_kept >= self._keep and any(one in found.loaded for one in candidates):
                break
            found.take(version)
            n_kept += version in found.loaded
        idle = frozenset(published) - found.loaded.keys() - found.failed.keys()
        for version in seen.versions.keys() - found.loaded.keys() - found.failed.keys():
            del seen.versions[version]
        return Versions(_sorted(found.loaded), _sorted(found.failed), idle, activation, fault, _sorted(found.stale))

    def _told(self, name: str, before: Versions) -> tuple[list[int], Activation, str | None]:
        """Return the versions published, which of them were chosen, and why that cannot be read.

        What was chosen is read first, so that a version that is published and chosen meanwhile is not missing, and
        again where one is: it may have been removed once it was chosen no longer.
        """
        activation, fault = before.activation, None
        for _ in range(_MOST_READ):
            try:
                activation, fault = self._repository.activation(name), None
            except ActivationError as error:
                fault = without_root(error, self._repository)
            published = self._repository.versions(name)
            if fault is not None or activation.named.issubset(published):
                break
        return published, activation, fault

    def _load(self, name: str, version: int) -> ModelSession | str:
        self.on_loading((name, version))
        try:
            return self._loader.load(name, version)
        except ProviderError as error:
            if self._strict:
                raise
            return str(error)
        finally:
            self.on_loading(None)

    def _print_of(self, name: str, version: int) -> Print:
        folder = self._repository.root / name / str(version)
        return _print(folder, *(folder / file for file in (MANIFEST_FILE, MODEL_FILE, COMPANION_FILE, SIGNATURE_FILE)))


class _Found:
    """What is loaded of a model, and what cannot be, collected version by version.

    Args:
        before: What was loaded of it before.
        prints: Version → print of its files when it was loaded, or could not be; kept up to date.
        load: Loads a version, or says why it cannot be.
        print_of: Returns the print of a version's files.
    """

    def __init__(
        self,
        before: Versions,
        prints: dict[int, Print],
        load: Callable[[int], ModelSession | str],
        print_of: Callable[[int], Print],
    ) -> None:
        self.loaded: dict[int, ModelSession] = {}
        self.failed: dict[int, str] = {}
        self.stale: dict[int, str] = {}
        self._before = before
        self._prints = prints
        self._load = load
        self._print_of = print_of

    def take(self, version: int) -> None:
        """Keep a version as it was where its files are the same, and load it otherwise."""
        if version in self.loaded or version in self.failed:
            return
        before, now = self._before, self._print_of(version)
        if version in before.loaded and self._prints.setdefault(version, now) == now:
            self.loaded[version] = before.loaded[version]
            if version in before.stale:
                self.stale[version] = before.stale[version]
            return
        if version in before.failed and self._prints.get(version) == now:
            self.failed[version] = before.failed[version]
            return
        self._prints[version] = now
        got = self._load(version)
        if not isinstance(got, str):
            self.loaded[version] = got
        elif version in before.loaded:  # what is in memory was good when it was read
            self.loaded[version] = before.loaded[version]
            self.stale[version] = got
        else:
            self.failed[version] = got


def _needed(activation: Activation, published: Iterable[int]) -> list[int]:
    """Return the versions that are loaded however old they are: chosen, next to roll back to, or with an alias."""
    needed = {*activation.history[-1:], *activation.named}
    return sorted(needed.intersection(published))


def _print(*paths: Path) -> Print:
    return tuple(map(_stat, paths))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


T = TypeVar("T")


def _sorted(versions: Mapping[int, T]) -> dict[int, T]:
    return dict(sorted(versions.items()))
