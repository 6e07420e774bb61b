"""Signatures of manifests: who published a model, told apart from whoever can write to the repository.

A signature is Ed25519 over the bytes of `manifest.json`, which name the model, its version and the checksums of its
graphs, so it holds for all of them and for no other name or version. The service holds public keys alone: whoever
breaks into it can sign nothing, which a shared secret (HMAC) would not give.

`manifest.sig` stands beside the manifest. Reports and model cards are not signed, nor is which version is active.

Source: RFC 8032, by the `cryptography` package, which the extra `sign` brings.
"""

import base64
import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, ValidationError

from models.contract.errors import IntegrityError, SignatureError, SigningKeyError
from models.contract.files import read_regular
from models.contract.part import Part

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE_FILE: Final = "manifest.sig"

MAX_SIGNATURE_BYTES: Final = 4096
_MAX_KEY_BYTES: Final = 64 * 1024

_CONTEXT: Final = b"nalu-serving manifest 1\0"
"""Stands before what is signed, so that a signature is never one of something else made with the same key."""

_PEM_END: Final = b"-----END PUBLIC KEY-----"


class Signature(Part):
    """What stands in `manifest.sig`.

    Attributes:
        format_version: Version of this format.
        algorithm: How it was made.
        key: Which key made it: the beginning of the SHA-256 of the public key.
        signature: The signature, in base64.
    """

    format_version: Literal[1] = 1
    algorithm: Literal["ed25519"] = "ed25519"
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    signature: Annotated[str, Field(max_length=128)]


class Signer:
    """Signs manifests with a private key.

    Args:
        path: File of the private key, PEM, without a password.

    Raises:
        SigningKeyError: When it is no such file.
    """

    def __init__(self, path: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(read_regular(path, _MAX_KEY_BYTES), password=None)
        except (IntegrityError, ValueError, TypeError) as error:
            raise _no_key(path, "private") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise _no_key(path, "private")
        self._key: Ed25519PrivateKey = key
        self.key_id = _id_of(key.public_key())

    def sign(self, manifest: bytes) -> bytes:
        """Return the content of `manifest.sig` for the bytes of a manifest."""
        made = base64.b64encode(self._key.sign(_CONTEXT + manifest)).decode()
        return (Signature(key=self.key_id, signature=made).model_dump_json(indent=2) + "\n").encode()


class TrustedKeys:
    """Public keys, one of which must have signed a manifest.

    Args:
        path: File of one or more public keys, PEM, one after the other.

    Raises:
        SigningKeyError: When it holds none, or something else.
    """

    def __init__(self, path: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        self._keys: dict[str, Ed25519PublicKey] = {}
        try:
            parts = read_regular(path, _MAX_KEY_BYTES).split(_PEM_END)
            for part in parts[:-1]:
                key = load_pem_public_key(part + _PEM_END)
                if not isinstance(key, Ed25519PublicKey):
                    raise _no_key(path, "public")
                self._keys[_id_of(key)] = key
        except (IntegrityError, ValueError) as error:
            raise _no_key(path, "public") from error
        if not self._keys or parts[-1].strip():
            raise _no_key(path, "public")

    def check(self, what: str, manifest: bytes, signature: bytes | None) -> None:
        """Refuse a manifest that none of the keys signed.

        Args:
            what: Model and version, for the error.
            manifest: Its bytes.
            signature: Content of its `manifest.sig`; None where there is none.

        Raises:
            SignatureError: When it is not signed, by another key, or was changed since.
        """
        from cryptography.exceptions import InvalidSignature

        if signature is None:
            raise _refused(what, "it is not signed")
        try:
            told = Signature.model_validate_json(signature)
            made = base64.b64decode(told.signature, validate=True)
        except (ValidationError, ValueError) as error:
            raise _refused(what, f"{SIGNATURE_FILE} is no signature") from error
        if told.key not in self._keys:
            raise _refused(what, f"it is signed with the key {told.key}, which is not")
        try:
            self._keys[told.key].verify(made, _CONTEXT + manifest)
        except InvalidSignature as error:
            raise _refused(what, "its manifest is not the one that was signed") from error


def make_key_pair(path: Path) -> Path:
    """Write a new private key, readable by its owner alone, and its public key beside it; return the path of that.

    Raises:
        SigningKeyError: When there is such a file already, or it cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(f"{path.name}.pub")
    written: list[Path] = []
    try:
        for target, content, mode in ((path, private, 0o600), (beside, public, 0o644)):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(target)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
    except OSError as error:
        for one in written:
            with contextlib.suppress(OSError):
                one.unlink()
        msg = f"a key must be written to a new file, however {error.strerror} at {error.filename}; take another name"
        raise SigningKeyError(msg) from error
    return beside


def _id_of(key: "Ed25519PublicKey") -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _no_key(path: Path, kind: str) -> SigningKeyError:
    file = "the file that it was made as" if kind == "private" else "its .pub file, or several one after the other"
    return SigningKeyError(
        f"a {kind} key must be Ed25519 in PEM, as `nalu models make-key` writes it, however {path} is not; name {file}"
    )


def _refused(what: str, why: str) -> SignatureError:
    return SignatureError(
        f"{what} must be signed with a key that is trusted, however {why}; sign it with `nalu models sign`"
    )
