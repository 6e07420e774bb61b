"""The model repository on disk, read: names, versions, integrity, and which version is to answer.

Layout: `<root>/<name>/<version>/` with `model.onnx`, `manifest.json`, `companion.onnx` where the model has one, and
whatever else belongs to the version (`manifest.sig`, `report.json`, model card, plots). Versions are positive integers,
counted up. `<root>/<name>/active.json`, where there is one, says which of them answers (`models.contract.activation`).
This and `models.contract.repository`, which writes, are the only places that join these paths.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.contract.activation import ACTIVATION_FILE, MAX_ACTIVATION_BYTES, Activation, parse_activation
from models.contract.errors import (
    ActivationError,
    ContractError,
    IntegrityError,
    InvalidNameError,
    ModelNotFoundError,
    RepositoryError,
)
from models.contract.files import read_regular
from models.contract.manifest import MAX_MANIFEST_BYTES, ModelManifest, parse_manifest
from models.contract.names import check_name
from models.contract.signing import MAX_SIGNATURE_BYTES, SIGNATURE_FILE, TrustedKeys

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
COMPANION_FILE = "companion.onnx"
CARD_FILE = "model-card.md"
CARD_PAGE = "model-card.html"

MAX_CARD_BYTES = 16 * 1024 * 1024
"""Largest model card read; one with five plots takes half a megabyte."""

MAX_MODEL_BYTES = 512 * 1024 * 1024
"""Largest ONNX file read; arithmetic networks take kilobytes, boosted residuals a few megabytes."""

VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
"""How a version's folder is named."""


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


class RepositoryReader:
    """A folder of published models, read.

    Args:
        root: The folder; it need not exist until something is published.
        trusted: Keys of which one must have signed what is loaded; None loads what is not signed, too.
    """

    def __init__(self, root: Path | str, *, trusted: TrustedKeys | None = None) -> None:
        self.root = Path(root)
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
            found = [entry for entry in self._entries(folder) if VERSION.fullmatch(entry)]
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
            BrokenActivationError: When what is there is no pointer.
            ActivationError: When it cannot be read.
        """
        path = self.root / check_name(name) / ACTIVATION_FILE
        try:
            raw = read_regular(path, MAX_ACTIVATION_BYTES)
        except IntegrityError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return Activation()
            msg = f"{error}; put that right, or remove it and activate a version"
            raise ActivationError(msg) from error
        return parse_activation(raw)

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

    def _signature(self, manifest: ModelManifest) -> bytes | None:
        path = self.path(manifest.name, manifest.version) / SIGNATURE_FILE
        try:
            return read_regular(path, MAX_SIGNATURE_BYTES)
        except IntegrityError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

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
