"""The model repository: names, versions, and integrity."""

import os
import shutil
from pathlib import Path

import pytest

from models.contract.errors import (
    IntegrityError,
    InvalidNameError,
    ManifestError,
    ManifestVersionError,
    ModelNotFoundError,
    PublicationError,
    RepositoryError,
)
from models.contract.names import check_name
from models.contract.repository import MANIFEST_FILE, MODEL_FILE, ModelRepository
from tests.adding import GRAPH, MANIFEST, everything, publish
from tests.published import publish_arithmetic


@pytest.mark.parametrize("name", ["a", "add", "steel-fatigue", "steel_fatigue_2", "a1", "x" * 64, "con-1", "console"])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../add", "a/b", "a\\b", "/etc", "~", "a b", "a.b", ".add", "-add", "_add", "add-", "add_"),
        *(
            "a__b",
            "a-_b",
            "1add",
            "Add",
            "ADD",
            "a\0",
            "\0",
            "a\n",
            "add\n",
            "%2e%2e",
            "%2f",
            "a%00",
            "x" * 65,
            "x" * 300,
        ),
        *("con", "prn", "aux", "nul", "com0", "com1", "com9", "lpt1"),
        *("аdd", "ａdd", "add\u200b", "a\u0301dd", "ﬁt", "x²", "١", "add\ud800", "..%c0%af", "a:b", "c:"),
    ],
)
def test_bad_names_touch_no_path(name: str, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "repository")
    graph_named = MANIFEST.model_copy(update={"name": name})

    for touch in (check_name, repository.versions, repository.path, repository.manifest, repository.load):
        with pytest.raises(InvalidNameError, match="a model name must be") as caught:
            touch(name)
        assert len(str(caught.value)) < 700
        assert str(caught.value).isascii()
    with pytest.raises(InvalidNameError):
        repository.publish(graph_named, GRAPH)
    assert everything(tmp_path) == []


def test_publish_then_load(tmp_path: Path) -> None:
    manifest = publish(tmp_path, **{"report.json": b"{}", "error.png": b"\x89PNG"})

    assert everything(tmp_path) == [
        "add",
        "add/1",
        "add/1/error.png",
        "add/1/manifest.json",
        "add/1/model.onnx",
        "add/1/report.json",
    ]
    published = ModelRepository(tmp_path).load("add")
    assert published.onnx == GRAPH
    assert published.manifest == manifest == MANIFEST
    assert (tmp_path / "add" / "1" / "report.json").read_bytes() == b"{}"


def test_versions_count_up_and_gaps_stay(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)

    assert [publish(tmp_path).version for _ in range(3)] == [1, 2, 3]
    shutil.rmtree(tmp_path / "add" / "2")
    (tmp_path / "add" / "10").mkdir()
    assert publish(tmp_path).version == 11
    assert repository.versions("add") == [1, 3, 10, 11]
    assert repository.load("add").manifest.version == 11
    assert repository.load("add", 3).manifest.version == 3
    with pytest.raises(ModelNotFoundError, match=r"version 2 of model 'add' .* available: 1, 3, 10, 11"):
        repository.load("add", 2)


def test_only_models_are_listed(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "multiply")
    publish(tmp_path)
    for stray in ("Upper", "no_versions", ".hidden", "add/.staging-x", "add/01", "add/v2", "add/0", "add/9999999999"):
        (tmp_path / stray).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "add" / "7").touch()

    assert ModelRepository(tmp_path).names() == ["add", "multiply"]
    assert ModelRepository(tmp_path).versions("add") == [1]


def test_a_repository_that_is_not_there_is_empty(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "none")

    assert repository.names() == []
    assert list(repository.verify()) == []
    with pytest.raises(ModelNotFoundError, match="model 'add' is not published here; available: none"):
        repository.load("add")


def test_a_repository_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "repository").touch()
    repository = ModelRepository(tmp_path / "repository")

    with pytest.raises(RepositoryError, match="must be readable"):
        repository.names()
    with pytest.raises(PublicationError, match=r"must be writable, however .* nothing was published"):
        repository.publish(MANIFEST, GRAPH)
    with pytest.raises(PublicationError):
        repository.check_writable()


@pytest.mark.parametrize("damage", ["truncated", "edited", "longer", "empty", "missing", "folder", "linked", "fifo"])
def test_a_graph_that_is_not_the_published_one_is_refused(tmp_path: Path, damage: str) -> None:
    publish(tmp_path)
    file = tmp_path / "add" / "1" / MODEL_FILE
    edited = bytearray(GRAPH)
    edited[len(edited) // 2] ^= 1
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage == "linked":
        (tmp_path / "elsewhere").write_bytes(GRAPH)
        file.symlink_to(tmp_path / "elsewhere")
    elif damage == "fifo":
        os.mkfifo(file)
    elif damage != "missing":
        file.write_bytes(
            {"truncated": GRAPH[:-1], "edited": bytes(edited), "longer": GRAPH + b"\0", "empty": b""}[damage]
        )

    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        ModelRepository(tmp_path).load("add")
    ((name, version, fault),) = ModelRepository(tmp_path).verify()
    assert (name, version) == ("add", 1)
    assert isinstance(fault, IntegrityError)


def test_another_models_files_are_refused(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    publish(tmp_path)
    publish(tmp_path)
    publish_arithmetic(tmp_path, "multiply")
    for file in (MODEL_FILE, MANIFEST_FILE):
        shutil.copy(tmp_path / "multiply" / "1" / file, tmp_path / "add" / "1" / file)
    shutil.copy(tmp_path / "multiply" / "1" / MODEL_FILE, tmp_path / "add" / "2" / MODEL_FILE)

    with pytest.raises(IntegrityError, match="add/1 holds the manifest of multiply/1"):
        repository.load("add", 1)
    with pytest.raises(IntegrityError, match=r"model\.onnx of add/2 must have the checksum"):
        repository.load("add", 2)


def test_another_versions_manifest_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    shutil.copytree(tmp_path / "add" / "1", tmp_path / "add" / "2")

    with pytest.raises(IntegrityError, match="add/2 holds the manifest of add/1"):
        ModelRepository(tmp_path).load("add")


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", ManifestError), (b'{"format_version": 5}', ManifestVersionError), (b" " * 5_000_000, IntegrityError)],
)
def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    publish(tmp_path)
    (tmp_path / "add" / "1" / MANIFEST_FILE).write_bytes(content)

    with pytest.raises(error):
        ModelRepository(tmp_path).load("add")


def test_linked_versions_and_models_are_not_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "repository"
    publish(outside)
    (root / "add").mkdir(parents=True)
    (root / "add" / "1").symlink_to(outside / "add" / "1")
    (root / "multiply").symlink_to(outside / "add")
    repository = ModelRepository(root)

    assert repository.names() == []
    for name in ("add", "multiply"):
        with pytest.raises(ModelNotFoundError):
            repository.load(name)


def test_publication_goes_round_what_stands_in_its_way(tmp_path: Path) -> None:
    folder = tmp_path / "repository" / "add"
    folder.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (folder / "1").mkdir()
    (folder / "2").touch()

    assert publish(tmp_path / "repository").version == 3
    (folder / "4").symlink_to(tmp_path / "outside")
    assert publish(tmp_path / "repository").version == 5
    assert everything(tmp_path / "outside") == []


def test_publication_into_a_linked_model_is_refused(tmp_path: Path) -> None:
    """Found as an endless loop: versions of a linked folder are not seen, so that version 1 was always the next."""
    publish(tmp_path / "outside")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "add").symlink_to(tmp_path / "outside" / "add")
    before = everything(tmp_path)

    with pytest.raises(PublicationError, match="add is a symbolic link"):
        publish(tmp_path / "repository")
    assert everything(tmp_path) == before


def test_the_last_version_is_the_last(tmp_path: Path) -> None:
    (tmp_path / "add" / "999999999").mkdir(parents=True)

    with pytest.raises(PublicationError, match="999999999"):
        publish(tmp_path)


def test_a_graph_that_its_manifest_does_not_describe_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="must have the checksum"):
        ModelRepository(tmp_path).publish(MANIFEST, GRAPH + b"\0")
    assert everything(tmp_path) == []


@pytest.mark.parametrize("file", ["", "..", "../x", "a/b", MODEL_FILE, MANIFEST_FILE, ".hidden", "x\0", "x" * 101, "é"])
def test_more_files_have_plain_names(tmp_path: Path, file: str) -> None:
    with pytest.raises(PublicationError, match="plain name of its own"):
        publish(tmp_path, **{file: b""})
    assert everything(tmp_path) == []
