"""What is seen of a repository that changes, what is loaded of it, and what stays."""

import os
import shutil
from pathlib import Path

import pytest

from models.contract.activation import Activation
from models.contract.errors import RepositoryError
from models.contract.repository import ModelRepository
from service.api.open_inference.plane import repository_entries
from service.errors import ProviderError
from service.inference.following import Follower
from service.inference.loading import Loader
from service.inference.registry import load_registry
from service.inference.session import ModelSession
from service.inference.versions import Versions
from tests.published import publish_all, publish_arithmetic


class Watched:
    """A repository with its follower, and what is loaded."""

    def __init__(self, root: Path, keep: int = 8) -> None:
        self.root = root
        self.repository = ModelRepository(root)
        self.loader = Loader(self.repository, "cpu")
        self.follower = Follower(self.loader, keep)
        self.models: dict[str, Versions] = {}
        self.look()

    def look(self) -> bool:
        """Look, take over what was found, and tell whether something was."""
        found = self.follower.look(self.models)
        self.models = self.models if found is None else found
        return found is not None

    def active(self, name: str = "add") -> int | None:
        return self.models[name].active

    def activate(self, version: int | None) -> None:
        self.repository.change_activation("add", lambda now, there: now.activated("add", version, there))

    def served(self, *, wanted: bool) -> None:
        self.repository.change_activation("add", lambda now, _there: now.served(wanted=wanted))


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    publish_arithmetic(tmp_path, "add")
    publish_arithmetic(tmp_path, "multiply")
    return tmp_path


def damage(root: Path, version: int) -> None:
    (root / "add" / str(version) / "model.onnx").write_bytes(b"edited")


def test_nothing_new_changes_nothing_and_keeps_every_session(root: Path) -> None:
    watched = Watched(root)
    before = watched.models

    assert [watched.look() for _ in range(3)] == [False, False, False]
    assert watched.models is before


def test_published_activated_rolled_back_and_removed(root: Path) -> None:
    watched = Watched(root)
    first, other = watched.models["add"].loaded[1], watched.models["multiply"]
    publish_arithmetic(root, "add")
    assert watched.look()
    assert watched.active() == 2
    assert watched.models["add"].loaded[1] is first
    assert watched.models["multiply"] is other

    watched.activate(1)
    assert watched.look()
    assert watched.active() == 1
    publish_arithmetic(root, "add")
    assert watched.look()
    assert (watched.active(), sorted(watched.models["add"].loaded)) == (1, [1, 2, 3])
    watched.activate(None)
    assert watched.look()
    assert watched.active() == 3
    watched.repository.remove("add", 3)
    assert watched.look()
    assert (watched.active(), watched.models["add"].latest) == (2, 2)
    assert not watched.look()


@pytest.mark.parametrize("first", ["versions", "activation"])
def test_what_changes_between_two_reads_leaves_no_alias_without_its_version(
    first: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alias(version: int) -> None:
        watched.repository.change_activation("add", lambda now, there: now.aliased("add", "best", version, there))

    publish_arithmetic(root, "add")
    watched = Watched(root)
    alias(1)
    assert watched.look()
    read = getattr(watched.repository, first)
    publishers = [publish_arithmetic]

    def read_before_a_change(name: str) -> object:
        told = read(name)
        if publishers:
            publishers.pop()(root, "add")
            alias(3)
            watched.repository.remove("add", 1)
        return told

    monkeypatch.setattr(watched.repository, first, read_before_a_change)
    (root / "add" / "touched").touch()
    watched.look()
    versions = watched.models["add"]
    assert versions.number("add", "best") in versions.loaded


def test_a_model_that_comes_and_one_that_goes(root: Path) -> None:
    watched = Watched(root)
    publish_arithmetic(root, "divide")
    shutil.rmtree(root / "multiply")

    assert watched.look()
    assert sorted(watched.models) == ["add", "divide"]


def test_a_bad_version_is_told_and_is_loaded_once_it_is_good(root: Path) -> None:
    watched = Watched(root)
    good = publish_arithmetic(root, "add")
    graph = root / "add" / "2" / "model.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[:-10])
    assert watched.look()
    assert watched.active() == 1
    assert "checksum" in watched.models["add"].failed[2]
    assert not watched.look(), "what failed is not loaded again before it changes"

    graph.write_bytes(content)
    assert watched.look()
    assert watched.active() == 2
    assert watched.models["add"].default is not None
    assert watched.models["add"].default.manifest == good
    assert watched.models["add"].failed == {}


def test_a_folder_that_is_copied_file_by_file_is_loaded_when_it_is_whole(root: Path) -> None:
    watched = Watched(root)
    publish_arithmetic(root.parent / "other", "add")
    source, target = root.parent / "other" / "add" / "1", root / "add" / "2"
    manifest = (source / "manifest.json").read_text().replace('"version": 1', '"version": 2')
    target.mkdir()
    assert watched.look()
    assert (watched.active(), list(watched.models["add"].failed)) == (1, [2])
    (target / "manifest.json").write_text(manifest)
    watched.look()
    assert watched.active() == 1
    shutil.copy(source / "model.onnx", target)
    watched.look()
    assert watched.active() == 2


def test_a_version_replaced_under_its_number_is_loaded_anew(root: Path) -> None:
    watched = Watched(root)
    watched.look()
    before = watched.models["add"].loaded[1]
    shutil.rmtree(root / "add" / "1")
    publish_arithmetic(root, "add", "float32")

    assert watched.look()
    assert watched.models["add"].loaded[1] is not before
    assert watched.models["add"].loaded[1].manifest.graph.dtype == "float32"


def test_what_is_in_memory_is_served_on_where_its_files_were_damaged(root: Path) -> None:
    watched = Watched(root)
    watched.look()
    before = watched.models["add"].loaded[1]
    damage(root, 1)
    publish_arithmetic(root, "add")
    damage(root, 2)

    assert watched.look()
    assert watched.models["add"].default is before
    assert "checksum" in watched.models["add"].stale[1]
    watched.look()
    assert "checksum" in watched.models["add"].stale[1]
    assert "checksum" in watched.models["add"].failed[2]


def test_a_chosen_version_that_does_not_load_leaves_the_one_before_it(root: Path) -> None:
    publish_arithmetic(root, "add")
    publish_arithmetic(root, "add")
    damage(root, 2)
    watched = Watched(root)
    watched.activate(2)
    watched.look()
    assert watched.active() == 3, "what was there before"
    watched.activate(1)
    watched.look()
    assert watched.active() == 1
    assert Watched(root).active() == 1, "a process that starts now does the same"


def test_only_so_many_versions_are_loaded_and_those_that_are_named(root: Path) -> None:
    for _ in range(5):
        publish_arithmetic(root, "add")
    watched = Watched(root, keep=2)
    assert sorted(watched.models["add"].loaded) == [5, 6]
    assert watched.models["add"].idle == {1, 2, 3, 4}
    watched.repository.change_activation("add", lambda now, there: now.aliased("add", "champion", 2, there))
    watched.activate(3)
    watched.activate(4)
    watched.look()
    assert sorted(watched.models["add"].loaded) == [2, 3, 4, 5, 6]
    publish_arithmetic(root, "add")
    watched.look()
    assert sorted(watched.models["add"].loaded) == [2, 3, 4, 6, 7]


def test_where_the_newest_are_bad_older_ones_are_looked_through(root: Path) -> None:
    for version in (2, 3, 4):
        publish_arithmetic(root, "add")
        damage(root, version)

    watched = Watched(root, keep=1)
    assert watched.active() == 1
    assert sorted(watched.models["add"].failed) == [2, 3, 4]


def test_a_model_is_unloaded_and_loaded_again(root: Path) -> None:
    watched = Watched(root)
    watched.served(wanted=False)
    assert watched.look()
    assert watched.models["add"].loaded == {}
    assert watched.models["add"].idle == {1}
    assert watched.models["add"].fault_of_default() is None
    watched.served(wanted=True)
    assert watched.look()
    assert watched.active() == 1


def test_a_faulty_pointer_changes_nothing_where_one_was_known_and_lets_nothing_answer_elsewhere(root: Path) -> None:
    publish_arithmetic(root, "add")
    watched = Watched(root)
    watched.activate(1)
    watched.look()
    (root / "add" / "active.json").write_text("{")
    os.utime(root / "add")
    watched.look()
    assert watched.active() == 1
    assert "must be a pointer" in (watched.models["add"].fault or "")
    fresh = Watched(root)
    assert fresh.active() is None
    assert "must be a pointer" in (fresh.models["add"].fault_of_default() or "")


def test_a_pointer_to_a_version_that_is_not_there(root: Path) -> None:
    pointer = root / "add" / "active.json"
    pointer.write_bytes(Activation(generation=1, active=1).to_json())
    publish_arithmetic(root, "add")
    shutil.rmtree(root / "add" / "1")

    assert "version 1 is active and not published" in (Watched(root).models["add"].fault_of_default() or "")


@pytest.mark.parametrize("how", ["gone", "empty", "a file"])
def test_a_repository_that_is_gone_leaves_what_is_loaded_until_it_is_back(root: Path, how: str) -> None:
    watched = Watched(root)
    away = root.with_name("away")
    root.rename(away)
    if how == "empty":
        root.mkdir()
    elif how == "a file":
        root.write_text("")
    assert not watched.look()
    assert "what is loaded is served on" in (watched.follower.trouble or "")
    assert watched.active() == 1

    if how == "empty":
        root.rmdir()
    elif how == "a file":
        root.unlink()
    away.rename(root)
    publish_arithmetic(root, "add")
    assert watched.look()
    assert watched.follower.trouble is None
    assert watched.active() == 2


def test_a_repository_whose_every_version_was_removed_is_not_taken_for_one_that_is_gone(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "add")
    watched = Watched(tmp_path)
    watched.repository.remove("add", 1)

    assert watched.look()
    assert watched.models == {}


def test_a_version_that_breaks_the_loader_itself_stops_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object) -> ModelSession:
        raise MemoryError

    watched = Watched(root)
    publish_arithmetic(root, "add")
    with monkeypatch.context() as patch:
        patch.setattr("service.inference.loading.load_session", fail)
        watched.look()
    assert watched.active() == 1
    assert watched.models["add"].failed[2] == "it failed while it was loaded (MemoryError); the log says where"
    assert "MemoryError" in caplog.text
    watched.follower.forget("add")
    watched.look()
    assert watched.active() == 2


def test_a_provider_that_went_is_a_reason_and_not_the_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> ModelSession:
        raise ProviderError("no GPU any more")

    watched = Watched(root)
    publish_arithmetic(root, "add")
    monkeypatch.setattr("service.inference.loading.load_session", fail)
    watched.look()
    assert (watched.active(), watched.models["add"].failed) == (1, {2: "no GPU any more"})


def test_what_is_being_loaded_is_told(root: Path) -> None:
    told: list[tuple[str, int] | None] = []
    follower = Follower(Loader(ModelRepository(root), "cpu"))
    follower.on_loading = told.append
    follower.look({})

    assert told == [("add", 1), None, ("multiply", 1), None]


def test_a_whole_repository_is_found_at_once(tmp_path: Path) -> None:
    publish_all(tmp_path)

    assert sorted(Watched(tmp_path).models) == ["add", "divide", "graded", "multiply", "subtract"]


def test_a_second_change_in_the_same_tick_of_the_file_system_s_clock_is_seen(root: Path) -> None:
    watched = Watched(root)
    publish_arithmetic(root, "add")
    assert watched.look()
    tick = (root / "add").stat().st_mtime_ns
    publish_arithmetic(root, "add")
    os.utime(root / "add", ns=(tick, tick))

    assert watched.look()
    assert watched.active() == 3


def test_one_model_that_cannot_be_read_keeps_what_it_has_and_stops_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(root)
    publish_arithmetic(root, "add")
    publish_arithmetic(root, "multiply")
    versions = ModelRepository.versions

    def fail(repository: ModelRepository, name: str) -> list[int]:
        if name == "add":
            raise RepositoryError(f"the model repository must be readable, however Input/output error at {root / name}")
        return versions(repository, name)

    with monkeypatch.context() as patch:
        patch.setattr(ModelRepository, "versions", fail)
        assert watched.look()
    assert (watched.active("add"), watched.active("multiply")) == (1, 2)
    assert watched.follower.trouble == (
        "the model repository must be readable, however Input/output error at add; what is loaded is served on"
    )
    assert watched.look()
    assert watched.active("add") == 2


def test_the_index_tells_what_is_being_loaded(root: Path) -> None:
    registry = load_registry(ModelRepository(root), provider="cpu")

    def index() -> list[tuple[str, str, str]]:
        return [(entry.name, entry.version, entry.state) for entry in repository_entries(registry)]

    assert index() == [("add", "1", "READY"), ("multiply", "1", "READY")]
    registry.loading = ("add", 2)
    assert index() == [("add", "1", "READY"), ("add", "2", "LOADING"), ("multiply", "1", "READY")]
    registry.loading = ("divide", 1)
    assert index() == [("add", "1", "READY"), ("divide", "1", "LOADING"), ("multiply", "1", "READY")]
    registry.loading = ("add", 1)
    assert index()[0] == ("add", "1", "READY"), "the one before it answers meanwhile"
