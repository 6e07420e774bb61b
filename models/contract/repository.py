"""The model repository on disk: names, versions, atomic publication, integrity.

Layout: `<root>/<name>/<version>/` with `model.onnx`, `manifest.json`, `companion.onnx` where the model has one, and
whatever else belongs to the version (`report.json`, model card, plots). Versions are positive integers, counted up.
This is the only place that joins these paths.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.contract.errors import (
    ContractError,
    IntegrityError,
    InvalidNameError,
    ModelNotFoundError,
    PublicationError,
    RepositoryError,
)
from models.contract.manifest import MAX_MANIFEST_BYTES, ModelManifest, parse_manifest

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
COMPANION_FILE = "companion.onnx"
CARD_FILE = "model-card.md"
CARD_PAGE = "model-card.html"

MAX_CARD_BYTES = 16 * 1024 * 1024
"""Largest model card read; one with five plots takes half a megabyte."""

MAX_MODEL_BYTES = 512 * 1024 * 1024
"""Largest ONNX file read; arithmetic networks take kilobytes, boosted residuals a few megabytes."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
_MAX_NAME = 64
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))})
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_LAST_VERSION = 999_999_999
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_STAGING = ".staging-"
_STALE_STAGING_S = 24 * 3600
"""Age after which a staging folder is taken for the leftover of a killed run; no publication takes a day."""


def check_name(name: str) -> str:
    """Return `name` if it may name a model.

    Raises:
        InvalidNameError: When it is not lower-case letters, digits and single inner `_` or `-`, starting with a letter,
            at most 64 characters, and no device name of Windows.
    """
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or name in _DEVICES:
        msg = (
            "a model name must be 1 to 64 lower-case letters, digits and single inner '_' or '-', starting with a "
            f"letter, however: {name[:80]!a}"
        )
        raise InvalidNameError(msg)
    return name


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
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def names(self) -> list[str]:
        """Return the names with at least one version, sorted.

        Raises:
            RepositoryError: When the folder exists and cannot be read.
        """
        return sorted(name for name in self._entries(self.root) if self._is_name(name) and self.versions(name))

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
        folder = self.path(name, version)
        manifest = parse_manifest(_read_regular(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES))
        if (manifest.name, str(manifest.version)) != (name, folder.name):
            msg = (
                f"a manifest must name the model it lies with, however {name}/{folder.name} holds the manifest of "
                f"{manifest.name}/{manifest.version}; publish the model again"
            )
            raise IntegrityError(msg)
        return manifest

    def load(self, name: str, version: int | None = None) -> PublishedModel:
        """Read a version, the latest by default, and verify its checksum.

        Raises:
            ModelNotFoundError: When it is not there.
            ManifestError: When its manifest cannot be read.
            IntegrityError: When a file is missing, is no regular file or is not the one the manifest describes.
        """
        manifest = self.manifest(name, version)
        onnx = self._graph(manifest, MODEL_FILE, manifest.graph.sha256)
        if manifest.companion is None:
            return PublishedModel(manifest, onnx)
        return PublishedModel(manifest, onnx, self._graph(manifest, COMPANION_FILE, manifest.companion.sha256))

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
        return _read_regular(self.path(name, version) / CARD_PAGE, MAX_CARD_BYTES)

    def _graph(self, manifest: ModelManifest, file: str, expected: str) -> bytes:
        onnx = _read_regular(self.path(manifest.name, manifest.version) / file, MAX_MODEL_BYTES)
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
            if not _FILE.fullmatch(file) or file in (MODEL_FILE, COMPANION_FILE, MANIFEST_FILE):
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
            _remove_stale(folder)
            while True:
                version = _next_version(folder)
                manifest = manifest.model_copy(update={"version": version})
                for file, content in {**extra, **graphs, MANIFEST_FILE: manifest.to_json()}.items():
                    _write_durably(staging / file, content)
                _flush_folder(staging)
                if _rename_new(staging, folder / str(version)):
                    break
            _flush_folder(folder)
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
                return [entry.name for entry in folder.iterdir() if entry.is_dir()]
            except FileNotFoundError:
                return []


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"the model repository must be readable, however {error.strerror} at {folder}; check its permissions"
        raise RepositoryError(msg) from error


def _read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes, following no symbolic link."""
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


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _next_version(folder: Path) -> int:
    """Return the version after every entry that has the name of one, be it a version or something in its way."""
    last = max((int(entry.name) for entry in folder.iterdir() if _VERSION.fullmatch(entry.name)), default=0)
    if last >= _LAST_VERSION:
        msg = f"versions must not exceed {_LAST_VERSION}, however {folder} has {last}; remove it"
        raise PublicationError(msg)
    return last + 1


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
    now = time.time()
    for entry in folder.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):
            if now - entry.stat().st_mtime > _STALE_STAGING_S:
                shutil.rmtree(entry, ignore_errors=True)


def _unwritable(error: OSError, root: Path) -> PublicationError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space" if full else "check the path and its permissions, or name another with --repository"
    return PublicationError(
        f"the model repository must be writable, however {error.strerror or error} at {root}; "
        f"{remedy}; nothing was published"
    )
