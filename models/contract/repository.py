"""The model repository on disk, written: publication that is whole or not at all, and what is said of versions.

`models.contract.reading` tells the layout, and reads it.
"""

import contextlib
import errno
import hashlib
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from models.contract.activation import ACTIVATION_FILE, Activation
from models.contract.errors import ActivationError, BrokenActivationError, IntegrityError, PublicationError
from models.contract.files import flush_folder, is_locked, locked, replace_durably, write_durably
from models.contract.manifest import ModelManifest
from models.contract.names import check_name
from models.contract.reading import (
    CARD_FILE,
    CARD_PAGE,
    COMPANION_FILE,
    MANIFEST_FILE,
    MAX_CARD_BYTES,
    MAX_MODEL_BYTES,
    MODEL_FILE,
    VERSION,
    PublishedModel,
    RepositoryReader,
)
from models.contract.signing import SIGNATURE_FILE, Signer, TrustedKeys

__all__ = [
    "CARD_FILE",
    "CARD_PAGE",
    "COMPANION_FILE",
    "MANIFEST_FILE",
    "MAX_CARD_BYTES",
    "MAX_MODEL_BYTES",
    "MODEL_FILE",
    "ModelRepository",
    "PublishedModel",
]

_LAST_VERSION = 999_999_999
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_STAGING = ".staging-"
_STALE_STAGING_S = 24 * 3600
"""Age after which a staging folder is taken for the leftover of a killed run; no publication takes a day."""


class ModelRepository(RepositoryReader):
    """A folder of published models, read and written.

    Args:
        root: The folder; it need not exist until something is published.
        signer: Signs what is published; None leaves it unsigned.
        trusted: Keys of which one must have signed what is loaded; None loads what is not signed, too.
    """

    def __init__(self, root: Path | str, *, signer: Signer | None = None, trusted: TrustedKeys | None = None) -> None:
        super().__init__(root, trusted=trusted)
        self._signer = signer

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

    def activate(self, name: str, version: int | None) -> Activation:
        """Let a version answer, or with None the newest from now on.

        A pointer whose content is broken is written anew: what it said, aliases and earlier choices, is lost already.

        Returns:
            What the pointer says now.

        Raises:
            ModelNotFoundError: When there is no such version of the model.
            ActivationError: When the pointer there cannot be read.
            PublicationError: When the repository cannot be written; nothing was changed.
        """

        def told() -> Activation:
            try:
                return self.activation(name)
            except BrokenActivationError:
                return Activation(active=version)  # of nothing chosen, the newest would be the one to go back to

        return self._change(name, told, lambda now, there: now.activated(name, version, there))

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
        return self._change(name, lambda: self.activation(name), change)

    def remove(self, name: str, version: int) -> Activation:
        """Remove a version that is not active and has no alias; a reader sees all of it or nothing.

        Its number is not given again.

        Raises:
            ModelNotFoundError: When it is not there.
            ActivationError: When it is active while there are others, or an alias stands for it.
            PublicationError: When the repository cannot be written.
        """
        folder = self.path(name).parent
        try:
            with locked(folder):
                changed = self.activation(name).without(name, version, self.versions(name))
                try:
                    self._write_activation(name, changed)
                except OSError as error:
                    if error.errno not in _FULL:
                        raise
                    _discard(folder / str(version))  # makes the room that the pointer needs
                    self._write_activation(name, changed)
                else:
                    _discard(folder / str(version))
        except OSError as error:
            raise _unwritable(error, self.root) from error
        return changed

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

    def _change(
        self, name: str, told: Callable[[], Activation], change: Callable[[Activation, list[int]], Activation]
    ) -> Activation:
        folder = self.path(name).parent
        try:
            with locked(folder):
                changed = change(told(), self.versions(name))
                self._write_activation(name, changed)
        except OSError as error:
            raise _unwritable(error, self.root) from error
        return changed

    def _write_activation(self, name: str, activation: Activation) -> None:
        replace_durably(self.root / name / ACTIVATION_FILE, activation.to_json(), _STAGING)

    def _next_version(self, name: str) -> int:
        """Return the version after every entry that has the name of one, be it a version or something in its way."""
        folder = self.root / name
        last = max((int(entry.name) for entry in folder.iterdir() if VERSION.fullmatch(entry.name)), default=0)
        with contextlib.suppress(ActivationError):
            last = max(last, self.activation(name).last)
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


def _discard(folder: Path) -> None:
    """Take a folder away in one step, then remove what was in it."""
    removed = folder.with_name(f"{_STAGING}{uuid.uuid4().hex}")
    folder.rename(removed)
    flush_folder(removed.parent)
    shutil.rmtree(removed, ignore_errors=True)


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
    remedy = (
        "free some space"
        if error.errno in _FULL
        else "check the path and its permissions, or name another with --repository"
    )
    return PublicationError(
        f"the model repository must be writable, however {error.strerror or error} at {root}; "
        f"{remedy}; nothing was published"
    )
