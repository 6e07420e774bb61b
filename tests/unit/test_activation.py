"""Which version answers: the pointer, what it says after each change, and how it is kept."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.contract import files
from models.contract.activation import MAX_ALIASES, Activation, parse_activation
from models.contract.errors import (
    ActivationError,
    InvalidNameError,
    ModelNotFoundError,
    PublicationError,
    RepositoryError,
)
from models.contract.names import check_alias
from models.contract.repository import ModelRepository
from tests.published import publish_arithmetic

POINTER = "active.json"


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> ModelRepository:
    for _ in range(3):
        publish_arithmetic(tmp_path, "add")
    return ModelRepository(tmp_path)


def activate(repository: ModelRepository, version: int | None) -> Activation:
    return repository.activate("add", version)


def roll_back(repository: ModelRepository) -> Activation:
    return repository.change_activation("add", lambda now, there: now.rolled_back("add", there))


def test_without_a_pointer_the_newest_answers_then_older_ones() -> None:
    assert Activation().candidates([1, 3, 2]) == [3, 2, 1]
    assert Activation().chosen([1, 3, 2]) == 3
    assert Activation().chosen([]) is None


def test_the_chosen_one_answers_then_what_was_before_it_then_older_ones_and_never_a_newer_one() -> None:
    activation = Activation(active=4, history=(2, 6))

    assert activation.candidates([1, 2, 3, 4, 5, 6, 7]) == [4, 6, 2, 3, 1]
    assert activation.candidates([1, 3, 7]) == [3, 1]


def test_activate_roll_back_and_follow_the_newest_again(repository: ModelRepository) -> None:
    assert repository.activation("add") == Activation()
    assert activate(repository, 1).history == (3,)
    assert activate(repository, 2).history == (3, 1)
    assert roll_back(repository).active == 1
    assert roll_back(repository).active == 3
    assert roll_back(repository).active == 2, "the next older one, where nothing was chosen before"
    assert activate(repository, None).active is None
    assert roll_back(repository).active == 2
    assert repository.activation("add").generation == 7


def test_what_was_newest_can_be_rolled_back_from_without_having_chosen(repository: ModelRepository) -> None:
    assert roll_back(repository).active == 2
    assert roll_back(repository).active == 1
    with pytest.raises(ActivationError, match="an earlier version to roll 'add' back to"):
        roll_back(repository)
    assert repository.activation("add").active == 1


def test_a_version_that_went_is_not_rolled_back_to(repository: ModelRepository) -> None:
    activate(repository, 1)
    activate(repository, 2)
    activate(repository, 3)
    shutil.rmtree(repository.root / "add" / "2")

    assert roll_back(repository).active == 1


def test_aliases(repository: ModelRepository) -> None:
    repository.change_activation("add", lambda now, there: now.aliased("add", "champion", 2, there))
    aliased = repository.change_activation("add", lambda now, there: now.aliased("add", "canary", 3, there))

    assert aliased.aliases == {"canary": 3, "champion": 2}
    with pytest.raises(ActivationError, match="must have no alias to be removed, however add/2 is champion"):
        repository.remove("add", 2)
    with pytest.raises(ModelNotFoundError, match="version 9 of model 'add'"):
        repository.change_activation("add", lambda now, there: now.aliased("add", "champion", 9, there))
    repository.change_activation("add", lambda now, _there: now.unaliased("add", "champion"))
    with pytest.raises(ModelNotFoundError, match="available: canary"):
        repository.change_activation("add", lambda now, _there: now.unaliased("add", "champion"))
    repository.remove("add", 2)
    assert repository.versions("add") == [1, 3]


def test_there_is_a_bound_of_aliases() -> None:
    full = Activation(aliases={f"a{i}": 1 for i in range(MAX_ALIASES)})

    assert full.aliased("add", "a0", 2, [1, 2]).aliases["a0"] == 2
    with pytest.raises(ActivationError, match="at most 100 aliases"):
        full.aliased("add", "more", 1, [1])


@pytest.mark.parametrize("alias", ["latest", "", "1", "Champion", "a/b", "../a", "x" * 65, "a\n", "a b"])
def test_bad_aliases(alias: str) -> None:
    with pytest.raises(InvalidNameError, match="an alias must be"):
        check_alias(alias)


def test_a_removed_version_s_number_is_not_given_again(repository: ModelRepository) -> None:
    activate(repository, 2)
    with pytest.raises(ActivationError, match="must not be the active one"):
        repository.remove("add", 2)
    with pytest.raises(ModelNotFoundError):
        repository.remove("add", 7)

    assert repository.remove("add", 3).history == ()
    assert publish_arithmetic(repository.root, "add").version == 4
    assert not list((repository.root / "add").glob(".staging-*"))


def test_a_model_can_be_removed_version_by_version(repository: ModelRepository) -> None:
    assert not repository.is_kept()
    activate(repository, 3)
    for version in (1, 2, 3):
        repository.remove("add", version)

    assert repository.names() == []
    assert repository.is_kept()
    assert repository.activation("add").active is None
    with pytest.raises(ModelNotFoundError):
        activate(repository, 3)
    assert publish_arithmetic(repository.root, "add").version == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'{"format_version": 2}',
        b'{"active": 0}',
        b'{"active": "3"}x',
        b'{"aliases": {"../x": 1}}',
        b'{"unknown": 1}',
        b"[" * 50_000,
        b"\xff",
    ],
)
def test_a_broken_pointer_is_told_and_written_anew_by_an_activation_alone(
    content: bytes, repository: ModelRepository
) -> None:
    with pytest.raises(ActivationError, match=r"active\.json must be a pointer .*; activate a version by its number"):
        parse_activation(content)
    pointer = repository.root / "add" / POINTER
    pointer.write_bytes(content)
    with pytest.raises(ActivationError, match="activate a version by its number"):
        roll_back(repository)
    with pytest.raises(ModelNotFoundError):
        activate(repository, 9)
    assert pointer.read_bytes() == content

    assert activate(repository, 2) == repository.activation("add") == Activation(generation=1, active=2)
    assert roll_back(repository).active == 1, "not the newest, which nobody chose"
    pointer.write_bytes(content)
    assert activate(repository, None).active is None


def test_a_pointer_that_is_a_link_or_too_large_is_not_followed(repository: ModelRepository, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_bytes(Activation(active=1).to_json())
    pointer = repository.root / "add" / POINTER
    pointer.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ActivationError, match=r"must be a readable regular file.*or remove it and activate"):
        activate(repository, 2)
    pointer.unlink()
    pointer.write_bytes(b" " * 100_000)
    with pytest.raises(ActivationError, match=r"must not exceed.*or remove it and activate"):
        activate(repository, 2)
    pointer.unlink()
    assert activate(repository, 2).active == 2


def test_a_disk_that_is_full_changes_nothing(repository: ModelRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(repository, 1)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(PublicationError, match="No space left on device"):
            activate(repository, 2)
    assert repository.activation("add").active == 1
    assert sorted(entry.name for entry in (repository.root / "add").iterdir()) == ["1", "2", "3", POINTER]


def test_a_folder_that_stays_locked_is_given_up(repository: ModelRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_S", 0.05)
    folder = repository.root / "add"
    assert not files.is_locked(folder)
    with files.locked(folder):
        assert files.is_locked(folder)
        with pytest.raises(RepositoryError, match="must be free to be changed"):
            activate(repository, 1)
    assert activate(repository, 1).active == 1


def test_two_who_change_a_pointer_at_once_undo_nothing_of_each_other(repository: ModelRepository) -> None:
    """The first is still at it when the second begins: it must wait, and then see what the first wrote."""
    at_it, finished = threading.Event(), threading.Event()

    def slowly(now: Activation, there: list[int]) -> Activation:
        at_it.set()
        finished.wait(0.3)  # the second, did it not wait, would have changed the pointer by now
        return now.aliased("add", "first", 1, there)

    first = threading.Thread(target=repository.change_activation, args=("add", slowly))
    first.start()
    assert at_it.wait(30)
    other = ModelRepository(repository.root)
    other.change_activation("add", lambda now, there: now.aliased("add", "second", 2, there))
    finished.set()
    first.join()

    now = repository.activation("add")
    assert now.generation == 2
    assert now.aliases == {"first": 1, "second": 2}


def test_what_is_written_is_what_a_person_reads(repository: ModelRepository) -> None:
    activate(repository, 2)

    assert json.loads((repository.root / "add" / POINTER).read_text()) == {
        "format_version": 1,
        "generation": 1,
        "active": 2,
        "history": [3],
        "aliases": {},
        "unloaded": False,
        "last": 0,
    }


def test_history_is_bounded() -> None:
    activation = Activation()
    change: Callable[..., Any] = activation.activated
    for i in range(120):
        activation = change("add", 1 + i % 2, [1, 2])
        change = activation.activated

    assert len(activation.history) == 50
    assert parse_activation(activation.to_json()) == activation
