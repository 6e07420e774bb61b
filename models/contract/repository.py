"""The model repository on disk: names, versions, atomic publication, integrity.

Layout: `<root>/<name>/<version>/` with `model.onnx`, `manifest.json`, `companion.onnx` where the model has one, and
whatever else belongs to the version (`report.json`, model card, plots). Versions are positive integers, counted up.
`<root>/<name>/active.json`, where there is one, says which of them answers (`models.contract.activation`).
This is the only place that joins these paths.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.contract.activation import ACTIVATION_FILE, MAX_ACTIVATION_BYTES, Activation, parse_activation
from models.contract.errors import (
    ActivationError,
    ContractError,
    IntegrityError,
    InvalidNameError,
    ModelNotFoundError,
    PublicationError,
    RepositoryError,
)
from models.contract.files import flush_folder, is_locked, locked, read_regular, replace_durably, write_durably
from models.contract.manifest import MAX_MANIFEST_BYTES, ModelManifest, parse_manifest
from models.contract.names import check_name
from models.contract.signing import MAX_SIGNATURE_BYTES, SIGNATURE_FILE, Signer, TrustedKeys

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
COMPANION_FILE = "companion.onnx"
CARD_FILE = "model-card.md"
CARD_PAGE = "model-card.html"

MAX_CARD_BYTES = 16 * 1024 * 1024
"""Largest model card read; one with five plots takes half a megabyte."""

MAX_MODEL_BYTES = 512 * 1024 * 1024
"""Largest ONNX file read; arithmetic networks take kilobytes, boosted residuals a few megabytes."""

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_LAST_VERSION = 999_999_999
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_STAGING = ".staging-"
_STALE_STAGING_S = 24 * 3600
"""Age after which a staging folder is taken for the leftover of a killed run; no publication takes a day."""


@dataclass(frozen=True)
class PublishedModel:
    """A published version, read and verified.

    Attributes:
        manifest: Its manifest.
        onnx: The bytes of its graph, whose checksum is the manifest's.
        companion: The bytes of its companion, likewise, or None where it has none.
    """

    manifest: ModelManifest
    onnx: bytes
    companion: bytes | None = None


class ModelRepository:
    """A folder of published models.

    Args:
        root: The folder; it need not exist until something is published.
        signer: Signs what is published; None leaves it unsigned.
        trusted: Keys of which one must have signed what is loaded; None loads what is not signed, too.
    """

    def __init__(self, root: Path | str, *, signer: Signer | None = None, trusted: TrustedKeys | None = None) -> None:
        self.root = Path(root)
        self._signer = signer
        self._trusted = trusted

    def names(self) -> list[str]:
        """Return the names with at least one version, sorted.

        Raises:
            RepositoryError: When the folder exists and cannot be read.
        """
        return [name for name in self.folders() if self.versions(name)]

    def folders(self) -> list[str]:
        """Return the names that have a folder, sorted, whether there is a version in it or not.

        Raises:
            RepositoryError: When the folder exists and cannot be read.
        """
        return sorted(name for name in self._entries(self.root) if self._is_name(name))

    def versions(self, name: str) -> list[int]:
        """Return the versions of `name`, ascending; empty when there is none.

        Raises:
            InvalidNameError: When `name` cannot name a model.
            RepositoryError: When the folder exists and cannot be read.
        """
        folder = self.root / check_name(name)
        with _reading(folder):
            if folder.is_symlink():
                return []
            found = [entry for entry in self._entries(folder) if _VERSION.fullmatch(entry)]
            return sorted(int(entry) for entry in found if not (folder / entry).is_symlink())

    def is_kept(self) -> bool:
        """Return whether a model's pointer is there: models whose every version was removed leave it behind."""
        return any((self.root / entry / ACTIVATION_FILE).is_file() for entry in self._entries(self.root))

    def path(self, name: str, version: int | None = None) -> Path:
        """Return the folder of a version, the latest by default.

        Raises:
            InvalidNameError: When `name` cannot name a model.
            ModelNotFoundError: When it is not there.
            RepositoryError: When the folder exists and cannot be read.
        """
        versions = self.versions(name)
        if not versions:
            raise ModelNotFoundError(name, version, self.names())
        if version is None:
            version = versions[-1]
        elif version not in versions:
            raise ModelNotFoundError(name, version, versions)
        return self.root / name / str(version)

    def manifest(self, name: str, version: int | None = None) -> ModelManifest:
        """Read the manifest of a version, the latest by default.

        Raises:
            ModelNotFoundError: When it is not there.
            ManifestError: When it cannot be read.
            IntegrityError: When it names another model or version than its path.
        """
        return self._manifest(name, version)[0]

    def _manifest(self, name: str, version: int | None) -> tuple[ModelManifest, bytes]:
        """Read a manifest; return it and its bytes."""
        folder = self.path(name, version)
        raw = read_regular(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
        manifest = parse_manifest(raw)
        if (manifest.name, str(manifest.version)) != (name, folder.name):
            msg = (
                f"a manifest must name the model it lies with, however {name}/{folder.name} holds the manifest of "
                f"{manifest.name}/{manifest.version}; publish the model again"
            )
            raise IntegrityError(msg)
        return manifest, raw

    def load(self, name: str, version: int | None = None) -> PublishedModel:
        """Read a version, the latest by default, and verify its checksum.

        Raises:
            ModelNotFoundError: When it is not there.
            ManifestError: When its manifest cannot be read.
            IntegrityError: When a file is missing, is no regular file or is not the one the manifest describes.
            SignatureError: When keys are trusted and none of them signed the manifest.
        """
        manifest, raw = self._manifest(name, version)
        if self._trusted is not None:
            self._trusted.check(f"{manifest.name}/{manifest.version}", raw, self._signature(manifest))
        onnx = self._graph(manifest, MODEL_FILE, manifest.graph.sha256)
        if manifest.companion is None:
            return PublishedModel(manifest, onnx)
        return PublishedModel(manifest, onnx, self._graph(manifest, COMPANION_FILE, manifest.companion.sha256))

    def sign(self, name: str, version: int | None = None) -> ModelManifest:
        """Verify a version, the latest by default, and sign it with the repository's signer.

        Raises:
            ModelNotFoundError: When it is not there.
            IntegrityError: When its files are not those that its manifest describes.
            PublicationError: When there is no signer, or the repository cannot be written.
        """
        manifest, raw = self._manifest(name, version)
        if self._signer is None:
            msg = "a repository must have a signer to sign, however it has none"
            raise PublicationError(msg)
        for file, graph in ((MODEL_FILE, manifest.graph), (COMPANION_FILE, manifest.companion)):
            if graph is not None:
                self._graph(manifest, file, graph.sha256)
        path = self.path(name, manifest.version) / SIGNATURE_FILE
        try:
            replace_durably(path, self._signer.sign(raw), _STAGING)
        except OSError as error:
            raise _unwritable(error, self.root) from error
        return manifest

    def _signature(self, manifest: ModelManifest) -> bytes | None:
        path = self.path(manifest.name, manifest.version) / SIGNATURE_FILE
        try:
            return read_regular(path, MAX_SIGNATURE_BYTES)
        except IntegrityError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def has_card(self, name: str, version: int | None = None) -> bool:
        """Tell whether a version, the latest by default, was published with a model card.

        Raises:
            ModelNotFoundError: When the version is not there.
        """
        page = self.path(name, version) / CARD_PAGE
        with _reading(page):
            return page.is_file() and not page.is_symlink()

    def card(self, name: str, version: int | None = None) -> bytes:
        """Return the model card of a version, the latest by default, as an HTML page.

        Raises:
            ModelNotFoundError: When the version is not there.
            IntegrityError: When it has no card, or one that is no regular file or too large.
        """
        return read_regular(self.path(name, version) / CARD_PAGE, MAX_CARD_BYTES)

    def activation(self, name: str) -> Activation:
        """Return which version of a model is to answer; that of a model that was never asked about says the newest.

        Raises:
            InvalidNameError: When `name` cannot name a model.
            ActivationError: When the pointer cannot be read.
        """
        path = self.root / check_name(name) / ACTIVATION_FILE
        try:
            raw = read_regular(path, MAX_ACTIVATION_BYTES)
        except IntegrityError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return Activation()
            raise ActivationError(str(error)) from error
        return parse_activation(raw)

    def change_activation(self, name: str, change: Callable[[Activation, list[int]], Activation]) -> Activation:
        """Replace a model's pointer in one step, nobody else changing it meanwhile.

        Args:
            name: The model.
            change: Gives what the pointer is to say, from what it says and the versions there are.

        Returns:
            What it says now.

        Raises:
            ModelNotFoundError: When there is no version of the model.
            ActivationError: When the pointer there cannot be read.
            PublicationError: When the repository cannot be written; nothing was changed.
        """
        folder = self.path(name).parent
        try:
            with locked(folder):
                changed = change(self.activation(name), self.versions(name))
                replace_durably(folder / ACTIVATION_FILE, changed.to_json(), _STAGING)
        except OSError as error:
            raise _unwritable(error, self.root) from error
        return changed

    def remove(self, name: str, version: int) -> Activation:
        """Remove a version that is not active and has no alias; a reader sees all of it or nothing.

        Its number is not given again.

        Raises:
            ModelNotFoundError: When it is not there.
            ActivationError: When it is active while there are others, or an alias stands for it.
            PublicationError: When the repository cannot be written.
        """
        changed = self.change_activation(name, lambda now, versions: now.without(name, version, versions))
        folder = self.root / name
        removed = folder / f"{_STAGING}{uuid.uuid4().hex}"
        try:
            (folder / str(version)).rename(removed)
            flush_folder(folder)
        except OSError as error:
            raise _unwritable(error, self.root) from error
        shutil.rmtree(removed, ignore_errors=True)
        return changed

    def _graph(self, manifest: ModelManifest, file: str, expected: str) -> bytes:
        onnx = read_regular(self.path(manifest.name, manifest.version) / file, MAX_MODEL_BYTES)
        digest = hashlib.sha256(onnx).hexdigest()
        if digest != expected:
            msg = (
                f"{file} of {manifest.name}/{manifest.version} must have the checksum in its manifest, "
                f"{expected[:12]}…, however it has {digest[:12]}…; publish the model again"
            )
            raise IntegrityError(msg)
        return onnx

    def publish(
        self,
        manifest: ModelManifest,
        onnx: bytes,
        files: Mapping[str, bytes] | None = None,
        companion: bytes | None = None,
    ) -> ModelManifest:
        """Write the next version of a model in one step: readers see all of it or nothing.

        The version is written to a staging folder beside its target, flushed to disk and renamed.

        Args:
            manifest: The manifest; its version is replaced by the next free one.
            onnx: The graph that the manifest describes.
            files: More files of the version, by name.
            companion: The companion that the manifest describes, or None where it describes none.

        Returns:
            The manifest as published, with its version.

        Raises:
            IntegrityError: When a graph is not the one that the manifest describes.
            PublicationError: When the repository cannot be written; nothing is left behind.
        """
        name = check_name(manifest.name)
        graphs = {MODEL_FILE: onnx, **({} if companion is None else {COMPANION_FILE: companion})}
        described = {MODEL_FILE: manifest.graph, **({COMPANION_FILE: manifest.companion} if manifest.companion else {})}
        if {file: hashlib.sha256(graph).hexdigest() for file, graph in graphs.items()} != {
            file: graph.sha256 for file, graph in described.items()
        }:
            msg = "the graphs to publish must have the checksums in their manifest, however they do not"
            raise IntegrityError(msg)
        extra = dict(files or {})
        for file in extra:
            if not _FILE.fullmatch(file) or file in (MODEL_FILE, COMPANION_FILE, MANIFEST_FILE, SIGNATURE_FILE):
                msg = f"a published file must have a plain name of its own, however: {file!a}"
                raise PublicationError(msg)
        folder = self.root / name
        staging = folder / f"{_STAGING}{uuid.uuid4().hex}"
        existed = True
        try:
            if folder.is_symlink():
                msg = f"a model's folder must be a folder of its own, however {folder} is a symbolic link; remove it"
                raise PublicationError(msg)
            existed = folder.is_dir()
            staging.mkdir(parents=True)
            with locked(staging):
                _remove_stale(folder)
                while True:
                    version = self._next_version(name)
                    manifest = manifest.model_copy(update={"version": version})
                    raw = manifest.to_json()
                    signed = {} if self._signer is None else {SIGNATURE_FILE: self._signer.sign(raw)}
                    for file, content in {**extra, **graphs, **signed, MANIFEST_FILE: raw}.items():
                        write_durably(staging / file, content)
                    flush_folder(staging)
                    if _rename_new(staging, folder / str(version)):
                        break
            flush_folder(folder)
        except OSError as error:
            raise _unwritable(error, self.root) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if not existed:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # only succeeds when the publication left it empty
        return manifest

    def check_writable(self) -> None:
        """Write and remove a small file, so that an unwritable repository is told before a long run, not after it.

        Raises:
            PublicationError: When the repository cannot be written.
        """
        probe = self.root / f"{_STAGING}{uuid.uuid4().hex}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise _unwritable(error, self.root) from error

    def verify(self) -> Iterator[tuple[str, int, ContractError | None]]:
        """Yield every version with its fault, or None where its files are those its manifest describes."""
        for name in self.names():
            for version in self.versions(name):
                try:
                    self.load(name, version)
                except ContractError as error:
                    yield name, version, error
                else:
                    yield name, version, None

    def _next_version(self, name: str) -> int:
        """Return the version after every entry that has the name of one, be it a version or something in its way."""
        folder = self.root / name
        last = max((int(entry.name) for entry in folder.iterdir() if _VERSION.fullmatch(entry.name)), default=0)
        with contextlib.suppress(ActivationError):
            last = max(last, self.activation(name).last)
        if last >= _LAST_VERSION:
            msg = f"versions must not exceed {_LAST_VERSION}, however {folder} has {last}; remove it"
            raise PublicationError(msg)
        return last + 1

    @staticmethod
    def _is_name(name: str) -> bool:
        try:
            check_name(name)
        except InvalidNameError:
            return False
        return True

    @staticmethod
    def _entries(folder: Path) -> list[str]:
        with _reading(folder):
            try:
                with os.scandir(folder) as entries:
                    return [entry.name for entry in entries if entry.is_dir()]
            except FileNotFoundError:
                return []


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"the model repository must be readable, however {error.strerror} at {folder}; check its permissions"
        raise RepositoryError(msg) from error


def _rename_new(staging: Path, target: Path) -> bool:
    """Rename onto a path that must be new; False when somebody else published it first."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _remove_stale(folder: Path) -> None:
    """Remove what killed runs left; the lock keeps what is under way where the clock jumped."""
    now = time.time()
    for entry in folder.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):
            if now - entry.stat().st_mtime <= _STALE_STAGING_S:
                continue
            if not entry.is_dir():  # the pointer of a change that was killed
                entry.unlink()
            elif not is_locked(entry):
                shutil.rmtree(entry, ignore_errors=True)


def _unwritable(error: OSError, root: Path) -> PublicationError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space" if full else "check the path and its permissions, or name another with --repository"
    return PublicationError(
        f"the model repository must be writable, however {error.strerror or error} at {root}; "
        f"{remedy}; nothing was published"
    )
