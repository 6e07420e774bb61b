"""The model repository: names, versions, integrity, and publication that is whole or not at all."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from models.contract.files import locked
from models.contract.manifest import ModelManifest
from models.contract.names import check_name
from models.contract.repository import MANIFEST_FILE, MODEL_FILE, ModelRepository
from tests.published import arithmetic_graph, arithmetic_manifest, publish_arithmetic

GRAPH = arithmetic_graph("add")
MANIFEST = arithmetic_manifest("add", GRAPH)

ROOT = os.name == "posix" and os.geteuid() == 0


def everything(folder: Path) -> list[str]:
    return sorted(entry.relative_to(folder).as_posix() for entry in folder.rglob("*"))


def publish(root: Path, **files: bytes) -> ModelManifest:
    return ModelRepository(root).publish(MANIFEST, GRAPH, files)


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


@pytest.mark.parametrize("n_before", [0, 1])
@pytest.mark.parametrize("call", ["fsync", "rename", "write", "mkdir"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO])
def test_a_publication_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, n_before: int
) -> None:
    for _ in range(n_before):
        publish(tmp_path)
    before = everything(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, {"rename": "rename", "write": "open", "mkdir": "mkdir"}[call], fail)
    with pytest.raises(PublicationError) as caught:
        publish(tmp_path)
    monkeypatch.undo()

    remedy = "free some space" if number in (errno.ENOSPC, errno.EDQUOT) else "check the path and its permissions"
    assert os.strerror(number) in str(caught.value)
    assert remedy in str(caught.value)
    assert str(caught.value).endswith("nothing was published")
    assert everything(tmp_path) == before
    assert publish(tmp_path).version == n_before + 1


def test_an_interrupted_publication_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path)
    assert everything(tmp_path) == []


def test_leftovers_of_killed_runs_are_removed_when_old(tmp_path: Path) -> None:
    for name, age_s in (("old", 25 * 3600), ("young", 60)):
        staging = tmp_path / "add" / f".staging-{name}"
        staging.mkdir(parents=True)
        moment = staging.stat().st_mtime - age_s
        os.utime(staging, (moment, moment))

    publish(tmp_path)

    assert [entry for entry in everything(tmp_path) if "/" in entry and entry.count("/") == 1] == [
        "add/.staging-young",
        "add/1",
    ]


_PUBLISH = """
import resource, sys
from models.contract.errors import PublicationError
from models.contract.repository import ModelRepository
from tests.published import arithmetic_graph, arithmetic_manifest
if sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
graph = arithmetic_graph("add")
try:
    ModelRepository(sys.argv[1]).publish(arithmetic_manifest("add", graph), graph, {"plot.png": bytes(200_000)})
except PublicationError as error:
    sys.exit(f"refused: {error}")
"""

CHECKOUT = Path(__file__).resolve().parents[2]


def publish_in_process(root: Path, *arguments: str) -> str:
    """Publish in another process and return what it wrote to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", _PUBLISH, str(root), *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    return done.stderr


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX's")
def test_a_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    assert publish_in_process(tmp_path, "100000").startswith(
        "refused: the model repository must be writable, however File"
    )
    assert everything(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ROOT and shutil.which("mount") is not None
    if mounted:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, check=False
        )
        mounted = done.returncode == 0
    if not mounted:
        pytest.skip("mounting a small file system needs privileges that this process has not")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_leaves_nothing(small_disk: Path) -> None:
    first = publish(small_disk)

    with pytest.raises(PublicationError, match=r"No space left on device .* free some space"):
        publish(small_disk, **{"plot.png": bytes(200_000)})

    assert ModelRepository(small_disk).load("add").manifest == first
    assert everything(small_disk) == ["add", "add/1", "add/1/manifest.json", "add/1/model.onnx"]
    assert publish(small_disk).version == 2


def test_room_is_made_on_a_full_disk_by_removing_a_version(small_disk: Path) -> None:
    """The pointer that says so needs room itself."""
    publish(small_disk)
    publish(small_disk)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    repository = ModelRepository(small_disk)
    with pytest.raises(PublicationError, match=r"No space left on device .* free some space"):
        repository.change_activation("add", lambda now, there: now.activated("add", 1, there))
    assert everything(small_disk / "add") == [
        "1",
        "1/manifest.json",
        "1/model.onnx",
        "2",
        "2/manifest.json",
        "2/model.onnx",
    ]

    repository.remove("add", 2)
    assert repository.versions("add") == [1]
    ballast.unlink()
    assert publish(small_disk).version == 3


def test_a_read_only_disk_refuses(small_disk: Path) -> None:
    publish(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    for refused in (lambda: publish(small_disk), ModelRepository(small_disk).check_writable):
        with pytest.raises(PublicationError, match=r"Read-only file system .* check the path"):
            refused()
    assert ModelRepository(small_disk).load("add").onnx == GRAPH


@pytest.mark.skipif(ROOT or os.name != "posix", reason="root ignores permissions")
def test_folders_without_permission_refuse(tmp_path: Path) -> None:
    publish(tmp_path / "repository")
    (tmp_path / "repository" / "add").chmod(0o000)

    try:
        with pytest.raises(PublicationError, match="Permission denied"):
            publish(tmp_path / "repository")
        with pytest.raises(RepositoryError, match="Permission denied"):
            ModelRepository(tmp_path / "repository").versions("add")
    finally:
        (tmp_path / "repository" / "add").chmod(0o755)


def forbidden(*_arguments: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("call", ["pathlib.Path.is_symlink", "os.scandir"])
def test_a_repository_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    publish(tmp_path)
    monkeypatch.setattr(call, forbidden)

    with pytest.raises(RepositoryError, match=r"must be readable, however Permission denied .* check its permissions"):
        ModelRepository(tmp_path).versions("add")


@pytest.mark.parametrize("call", ["is_symlink", "iterdir", "is_dir"])
def test_a_repository_that_cannot_be_read_is_not_published_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    publish(tmp_path)
    monkeypatch.setattr(Path, call, forbidden)

    with pytest.raises(PublicationError, match="must be writable, however Permission denied"):
        publish(tmp_path)


def test_a_clock_that_jumps_removes_nothing_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    under_way, left = tmp_path / "add" / ".staging-one", tmp_path / "add" / ".staging-two"
    under_way.mkdir()
    left.mkdir()
    (tmp_path / "add" / ".staging-three").touch()
    with locked(under_way):
        monkeypatch.setattr("models.contract.repository.time.time", lambda: time.monotonic() + 1e11)
        assert publish(tmp_path).version == 2

    assert everything(tmp_path / "add") == [
        ".staging-one",
        "1",
        "1/manifest.json",
        "1/model.onnx",
        "2",
        "2/manifest.json",
        "2/model.onnx",
    ]


def test_concurrent_publishers_get_versions_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: publish(tmp_path).version, range(40)))

    assert sorted(versions) == list(range(1, 41))
    assert [fault for _, _, fault in ModelRepository(tmp_path).verify()] == [None] * 40
    assert not list(tmp_path.glob("add/.*"))


def test_a_reader_never_sees_half_a_version(tmp_path: Path) -> None:
    publish(tmp_path)
    repository = ModelRepository(tmp_path)

    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(lambda: [publish(tmp_path).version for _ in range(30)])
        while not publishing.done():
            assert repository.load("add").onnx == GRAPH

    assert publishing.result()[-1] == 31


def test_a_repository_is_told_writable_without_a_trace(tmp_path: Path) -> None:
    ModelRepository(tmp_path / "new").check_writable()

    assert everything(tmp_path) == ["new"]
