"""API keys: their file, what is taken, and what happens when either changes."""

import asyncio
import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service import keys
from service.errors import ForbiddenError, KeyFileError, UnauthorizedError
from service.key_file import MAX_KEYS, KeyRecord, add_record, hash_of, new_key, read_records, remove_record
from service.keys import KeyRing, presented_key

SOON = datetime.now(UTC) + timedelta(days=1)


def record_of(key: str, name: str = "dashboard", **more: object) -> KeyRecord:
    return KeyRecord.model_validate({"name": name, "role": "predict", "sha256": hash_of(key.encode()).hex(), **more})


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def test_a_key_is_long_new_and_known_by_its_prefix() -> None:
    keys = {new_key() for _ in range(100)}

    assert len(keys) == 100
    assert {(len(key), key[:5]) for key in keys} == {(48, "nalu_")}


def test_what_is_written_is_read_and_holds_no_key(file: Path) -> None:
    key = new_key()
    record = record_of(key, expires=SOON, rate=10, burst=20, concurrent=2)
    add_record(file, record)
    add_record(file, record_of("other", "other"))

    assert read_records(file)[0] == record
    assert [one.name for one in read_records(file)] == ["dashboard", "other"]
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in file.parent.iterdir()] == ["keys.jsonl"]


def test_a_key_is_revoked_and_the_file_s_permissions_stay(file: Path) -> None:
    for name in ("a", "b"):
        add_record(file, record_of(name, name))
    file.chmod(0o640)
    remove_record(file, "a")

    assert [one.name for one in read_records(file)] == ["b"]
    assert file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(KeyFileError, match="has no key 'a'"):
        remove_record(file, "a")


def test_a_name_is_given_once(file: Path) -> None:
    add_record(file, record_of("a"))

    with pytest.raises(KeyFileError, match="a name of its own"):
        add_record(file, record_of("b"))


def test_keys_made_at_the_same_time_are_all_kept(file: Path) -> None:
    threads = [threading.Thread(target=add_record, args=(file, record_of(f"k{i}", f"k{i}"))) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {one.name for one in read_records(file)} == {f"k{i}" for i in range(20)}


def test_comments_and_empty_lines_are_let_pass(file: Path) -> None:
    file.write_text(f"# for the dashboard\n\n{record_of('a').model_dump_json()}\n  # end\n")

    assert len(read_records(file)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "nalu_secretsecret",
        "[]",
        '{"name": "a"}',
        json.dumps({"name": "a b", "role": "predict", "sha256": "0" * 64}),
        json.dumps({"name": "a\n", "role": "predict", "sha256": "0" * 64}),
        json.dumps({"name": "a", "role": "root", "sha256": "0" * 64}),
        json.dumps({"name": "a", "role": "predict", "sha256": "0" * 63}),
        json.dumps({"name": "a", "role": "predict", "sha256": "0" * 64, "expires": "2026-01-01T00:00:00"}),
        json.dumps({"name": "a", "role": "predict", "sha256": "0" * 64, "rate": 0}),
        json.dumps({"name": "a", "role": "predict", "sha256": "0" * 64, "burst": 5}),
        json.dumps({"name": "a", "role": "predict", "sha256": "0" * 64, "note": "nalu_secret"}),
        "\udcff",
    ],
)
def test_a_line_that_is_no_key_is_refused_and_not_shown(file: Path, line: str) -> None:
    file.write_bytes(b"# keys\n" + line.encode(errors="surrogateescape") + b"\n")

    with pytest.raises(KeyFileError, match="line 2") as caught:
        read_records(file)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_is_bounded_and_its_keys_differ(file: Path) -> None:
    file.write_text((record_of("a").model_dump_json() + "\n") * 2)
    with pytest.raises(KeyFileError, match="name of its own"):
        read_records(file)
    file.write_text("".join(record_of("a", name).model_dump_json() + "\n" for name in "ab"))
    with pytest.raises(KeyFileError, match="sha256 of its own"):
        read_records(file)
    file.write_text("".join(record_of(str(i), f"k{i}").model_dump_json() + "\n" for i in range(MAX_KEYS + 1)))
    with pytest.raises(KeyFileError, match="at most 1000 keys"):
        read_records(file)
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(KeyFileError, match="must not exceed"):
        read_records(file)


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="nalu keys new"):
        read_records(tmp_path / "absent")
    with pytest.raises(KeyFileError, match="folder that is there"):
        add_record(tmp_path / "absent" / "keys", record_of("a"))
    (tmp_path / "empty").write_text("# none yet\n")
    with pytest.raises(KeyFileError, match="must hold a key"):
        KeyRing(tmp_path / "empty")


def test_a_file_that_cannot_be_replaced_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_record(file, record_of("a"))
    before = file.read_bytes()

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        add_record(file, record_of("b", "b"))
    assert file.read_bytes() == before
    assert [found.name for found in file.parent.iterdir()] == ["keys.jsonl"]


def test_a_known_key_is_admitted_and_nothing_else(file: Path) -> None:
    add_record(file, record_of("right"))
    add_record(file, record_of("late", "late", expires="2026-01-01T00:00:00Z"))
    ring = KeyRing(file)

    assert (ring.admit(b"right").name, ring.admit(b"right").role) == ("dashboard", "predict")
    assert ring.names == ["dashboard", "late"]
    told = set()
    for wrong in (b"", b"right ", b"righ", b"late", hash_of(b"right"), hash_of(b"right").hex().encode(), b"\xff"):
        with pytest.raises(ForbiddenError) as caught:
            ring.admit(wrong)
        told.add(str(caught.value))
    assert len(told) == 1, "expired, wrong and empty keys are told apart"
    with pytest.raises(UnauthorizedError):
        ring.admit(None)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        ([(b"authorization", b"Bearer abc")], b"abc"),
        ([(b"authorization", b"bearer  abc ")], b"abc"),
        ([(b"authorization", b"Basic abc")], b""),
        ([(b"authorization", b"abc")], b""),
        ([(b"x-api-key", b"abc")], b"abc"),
        ([(b"x-api-key", b"abc"), (b"authorization", b"Bearer abc")], b""),
        ([(b"x-api-key", b"abc"), (b"x-api-key", b"def")], b""),
    ],
)
def test_a_key_is_found_where_it_is_brought(headers: list[tuple[bytes, bytes]], key: bytes | None) -> None:
    assert presented_key(headers) == key


def test_a_changed_file_is_read_anew_and_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_record(file, record_of("old", "old"))
    ring, told = KeyRing(file), []
    ring.on_change(lambda: told.append(ring.names))

    ring.refresh()
    assert told == []
    add_record(file, record_of("new", "new"))
    remove_record(file, "old")
    ring.refresh()
    assert told == [["new"]]
    assert ring.find([(b"x-api-key", b"new")]) is not None
    assert ring.find([(b"x-api-key", b"old")]) is None
    assert ring.find([]) is None

    file.write_text("half a li")
    ring.refresh()
    file.unlink()
    ring.refresh()
    ring.refresh()
    assert told == [["new"]]
    assert ring.admit(b"new").name == "new"
    assert caplog.text.count("the keys stay as they were") == 2


def test_the_watch_outlives_what_fails_in_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_record(file, record_of("a"))
    ring, outcomes = KeyRing(file), [True, False]
    done = asyncio.Event()

    def refresh() -> None:
        if outcomes.pop():
            done.set()
        else:
            raise RuntimeError("a listener failed")

    async def watch() -> None:
        task = asyncio.create_task(ring.watch())
        await asyncio.wait_for(done.wait(), 30)
        task.cancel()

    monkeypatch.setattr(ring, "refresh", refresh)
    monkeypatch.setattr(keys, "_LOOK_S", 0.0)
    asyncio.run(watch())

    assert "could not be looked after" in caplog.text


def test_a_key_that_expires_is_told_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in (1, 2):
        add_record(file, record_of(f"k{days}", f"k{days}", expires=datetime.now(UTC) + timedelta(days=days)))
    ring, told = KeyRing(file), []
    ring.on_change(lambda: told.append(1))
    now = time.time()

    for passed, expired, changes in ((0.9, "", 0), (1.1, "k1", 1), (1.2, "k1", 1), (2.1, "k1 k2", 2)):
        monkeypatch.setattr(time, "time", lambda at=passed: now + at * 86_400)
        ring.refresh()
        assert " ".join(k for k in ("k1", "k2") if ring.find([(b"x-api-key", k.encode())]) is None) == expired
        assert len(told) == changes
