"""Publication is whole or not at all: failing calls, full and read-only disks, clocks, others at the same time."""

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
    PublicationError,
    RepositoryError,
)
from models.contract.files import locked
from models.contract.repository import ModelRepository
from tests.adding import GRAPH, everything, publish

ROOT = os.name == "posix" and os.geteuid() == 0


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
