"""Signed models: what is not signed, was changed, or was signed by another is refused, and says so."""

import json
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient
from typer.testing import CliRunner

from models.contract.errors import IntegrityError, PublicationError, SignatureError, SigningKeyError
from models.contract.repository import ModelRepository
from models.contract.signing import SIGNATURE_FILE, Signer, TrustedKeys, make_key_pair
from nalu_cli import app
from service.app import create_app
from service.settings import Settings
from tests.published import arithmetic_graph, arithmetic_manifest, publish_arithmetic
from tests.serving import serve


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    make_key_pair(tmp_path / "key")
    return tmp_path / "key"


def trusting(root: Path, key: Path) -> ModelRepository:
    return ModelRepository(root, trusted=TrustedKeys(key.with_name(f"{key.name}.pub")))


@pytest.fixture(name="root")
def _root(tmp_path: Path, key: Path) -> Path:
    graph = arithmetic_graph("add")
    root = tmp_path / "repository"
    ModelRepository(root, signer=Signer(key)).publish(arithmetic_manifest("add", graph), graph)
    return root


def test_what_was_signed_is_loaded_and_a_private_key_is_private(root: Path, key: Path) -> None:
    assert trusting(root, key).load("add").manifest.name == "add"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ModelRepository(root).load("add").manifest.name == "add", "whoever trusts no key asks for no signature"


def test_several_keys_may_be_trusted(root: Path, key: Path, tmp_path: Path) -> None:
    other = make_key_pair(tmp_path / "other")
    both = tmp_path / "both.pub"
    both.write_bytes(other.read_bytes() + b"\n" + key.with_name("key.pub").read_bytes())

    assert ModelRepository(root, trusted=TrustedKeys(both)).load("add").manifest.name == "add"


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        ("unsigned", "it is not signed"),
        ("another key", "it is signed with the key"),
        ("changed manifest", "its manifest is not the one that was signed"),
        ("changed graph", "must have the checksum in its manifest"),
        ("of another version", "must name the model it lies with"),
        ("signature of another version", "its manifest is not the one that was signed"),
        ("no signature", "is no signature"),
        ("not base64", "is no signature"),
        ("too short", "its manifest is not the one that was signed"),
        ("linked", "must be a readable regular file"),
        ("huge", "must not exceed"),
    ],
)
def test_everything_else_is_refused(root: Path, key: Path, tmp_path: Path, attack: str, told: str) -> None:
    folder = root / "add" / "1"
    signature, manifest = folder / SIGNATURE_FILE, folder / "manifest.json"
    content = json.loads(signature.read_text())
    version = 1
    match attack:
        case "unsigned":
            signature.unlink()
        case "another key":
            make_key_pair(tmp_path / "other")
            ModelRepository(root, signer=Signer(tmp_path / "other")).sign("add")
        case "changed manifest":
            manifest.write_text(manifest.read_text().replace("Test model add", "Best model add"))
        case "changed graph":
            (folder / "model.onnx").write_bytes(arithmetic_graph("subtract"))
        case "of another version":
            shutil.copytree(folder, root / "add" / "2")
            version = 2
        case "signature of another version":
            publish_arithmetic(root, "add")
            shutil.copy(signature, root / "add" / "2")
            version = 2
        case "no signature":
            signature.write_text("{}")
        case "not base64":
            signature.write_text(json.dumps({**content, "signature": "%%%"}))
        case "too short":
            signature.write_text(json.dumps({**content, "signature": content["signature"][:8]}))
        case "linked":
            signature.rename(tmp_path / "elsewhere")
            signature.symlink_to(tmp_path / "elsewhere")
        case "huge":
            signature.write_bytes(b" " * 5000)

    with pytest.raises(IntegrityError, match=told):
        trusting(root, key).load("add", version)


def test_a_service_that_trusts_keys_answers_with_what_they_signed(root: Path, key: Path) -> None:
    publish_arithmetic(root, "add")
    settings = Settings(model_repository=root, signature_keys_file=key.with_name("key.pub"), provider="cpu")
    with TestClient(create_app(settings)) as client:
        model = client.get("/models/add").json()
        answer = client.post("/predict", json={"model": "add", "rows": [{"a": 3, "b": 5}]}).json()

    assert answer["version"] == 1
    assert "it is not signed" in model["failed"]["2"]


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_files_that_hold_no_key_are_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    for kind in (Signer, TrustedKeys):
        with pytest.raises(SigningKeyError, match="must be Ed25519 in PEM"):
            kind(file)
        with pytest.raises(SigningKeyError):
            kind(tmp_path / "none")


def test_keys_of_other_kinds_are_told(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "private", tmp_path / "public"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(SigningKeyError, match="a private key must be Ed25519"):
        Signer(private)
    with pytest.raises(SigningKeyError, match="a public key must be Ed25519"):
        TrustedKeys(public)


def test_no_key_is_written_over(key: Path, tmp_path: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(SigningKeyError, match="must be written to a new file"):
        make_key_pair(key)
    assert key.read_bytes() == before
    (tmp_path / "half.pub").touch()
    with pytest.raises(SigningKeyError):
        make_key_pair(tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_a_repository_without_a_signer_signs_nothing(root: Path) -> None:
    with pytest.raises(PublicationError, match="must have a signer"):
        ModelRepository(root).sign("add")
    graph = arithmetic_graph("add")
    with pytest.raises(PublicationError, match="plain name of its own"):
        ModelRepository(root).publish(arithmetic_manifest("add", graph), graph, {SIGNATURE_FILE: b"{}"})


def test_what_is_damaged_is_not_signed(root: Path, key: Path) -> None:
    (root / "add" / "1" / "model.onnx").write_bytes(b"edited")
    with pytest.raises(IntegrityError, match="checksum"):
        ModelRepository(root, signer=Signer(key)).sign("add")


def nalu(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def test_signing_on_the_command_line(tmp_path: Path) -> None:
    root, key = tmp_path / "repository", str(tmp_path / "publisher.pem")
    for _ in range(2):
        publish_arithmetic(root, "multiply")
    at = ("--repository", str(root))
    code, told = nalu("models", "make-key", key)
    assert code == 0
    assert f"NALU_SIGNATURE_KEYS_FILE={key}.pub" in told
    assert nalu("models", "verify", *at, "--trusted", f"{key}.pub")[0] == 1
    assert nalu("models", "sign", "multiply", "--key", key, *at) == (
        0,
        "signed multiply version 1\nsigned multiply version 2\n",
    )
    assert nalu("models", "verify", *at, "--trusted", f"{key}.pub")[0] == 0
    (root / "multiply" / "2" / SIGNATURE_FILE).unlink()
    assert nalu("models", "sign", "multiply", "latest", "--key", key, *at)[1] == "signed multiply version 2\n"
    assert isinstance(CliRunner().invoke(app, ["models", "sign", "none", "--key", key, *at]).exception, Exception)


def test_a_signature_error_is_one_of_integrity() -> None:
    assert issubclass(SignatureError, IntegrityError)


def test_a_service_whose_keys_cannot_be_read_says_so_once_and_does_not_start(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="error: a public key must be Ed25519 in PEM") as caught:
        serve(root, "--workers", "2", NALU_SIGNATURE_KEYS_FILE=str(tmp_path / "none")).__enter__()
    assert str(caught.value).count("must be Ed25519") == 1
