"""Versions activated, rolled back, named, removed and unloaded over HTTP, with an admin key and without."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.contract.repository import ModelRepository
from service.api.admin import SCOPE_KEY
from service.app import create_app
from service.key_file import Role, hash_of
from service.keys import Key
from service.settings import Settings
from tests.published import publish_arithmetic

ADMIN = "/admin/models/add"


def with_key(app: ASGIApp, role: Role) -> ASGIApp:
    """Return an application whose requests have been found to bring a key."""

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, SCOPE_KEY: Key("somebody", role, hash_of(b"a"), float("inf"))}
        await app(scope, receive, send)

    return inner


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    for _ in range(3):
        publish_arithmetic(tmp_path, "add")
    return tmp_path


@pytest.fixture(name="client")
def _client(root: Path) -> Iterator[TestClient]:
    settings = Settings(model_repository=root, reload_s=0, provider="cpu", keep_versions=2)
    with TestClient(with_key(create_app(settings), "admin")) as client:
        yield client


def version(client: httpx2.Client) -> object:
    return client.post("/predict", json={"model": "add", "rows": [{"a": 3, "b": 5}]}).json()["version"]


def test_an_activation_answers_when_it_is_in_force(client: TestClient, root: Path) -> None:
    answer = client.post(f"{ADMIN}/activate", json={"version": 1})

    assert (answer.status_code, version(client)) == (200, 1)
    assert answer.json() == {
        "model": "add",
        "active": 1,
        "pinned": 1,
        "aliases": {},
        "generation": 1,
        "n_switched": 1,
        "n_workers": 1,
    }
    assert ModelRepository(root).activation("add").history == (3,)
    publish_arithmetic(root, "add")
    assert client.post(f"{ADMIN}/activate", json={"version": 4}).json()["active"] == version(client) == 4
    assert client.post(f"{ADMIN}/rollback").json()["active"] == version(client) == 1
    assert client.post(f"{ADMIN}/rollback").json()["active"] == version(client) == 3
    latest = client.post(f"{ADMIN}/activate", json={"version": "latest"}).json()
    assert (latest["active"], latest["pinned"], version(client)) == (4, None, 4)


def test_a_version_that_cannot_be_loaded_is_not_activated(client: TestClient, root: Path) -> None:
    (root / "add" / "1" / "model.onnx").write_bytes(b"edited")
    refused = client.post(f"{ADMIN}/activate", json={"version": 1})

    assert (refused.status_code, refused.json()["type"]) == (409, "activation-refused")
    assert "checksum" in refused.json()["detail"]
    assert str(root) not in refused.text
    assert version(client) == 3
    assert ModelRepository(root).activation("add").generation == 0
    client.post(f"{ADMIN}/activate", json={"version": 2})
    (root / "add" / "3" / "model.onnx").write_bytes(b"edited")
    publish_arithmetic(root, "add")  # lets the folder be looked at
    assert client.post(f"{ADMIN}/rollback").status_code == 409
    assert version(client) == 2


@pytest.mark.parametrize("broken", ["before it starts", "while it runs"])
def test_a_broken_pointer_is_mended_by_an_activation(root: Path, broken: str) -> None:
    pointer = root / "add" / "active.json"
    settings = Settings(model_repository=root, reload_s=0, provider="cpu")
    ModelRepository(root).activate("add", 1)
    if broken == "before it starts":
        pointer.write_text("{")
    with TestClient(with_key(create_app(settings), "admin")) as client:
        pointer.write_text("{")
        refused = client.post(f"{ADMIN}/rollback")
        mended = client.post(f"{ADMIN}/activate", json={"version": 2})

        assert (refused.status_code, refused.json()["type"]) == (409, "activation-refused")
        assert "activate a version by its number" in refused.json()["detail"]
        assert (mended.status_code, mended.json()["active"], version(client)) == (200, 2, 2)
        assert client.get("/health/ready").json()["notices"] == []


def test_aliases_and_removal(client: TestClient, root: Path) -> None:
    named = client.put(f"{ADMIN}/aliases/champion", json={"version": 2})
    body = {"model": "add", "version": "champion", "rows": [{"a": 3, "b": 5}]}

    assert named.json()["aliases"] == {"champion": 2}
    assert client.post("/predict", json=body).json()["version"] == 2
    assert client.get("/v2/models/add/versions/champion/ready").status_code == 200
    refused = client.delete(f"{ADMIN}/versions/2")
    assert (refused.status_code, refused.json()["type"]) == (409, "activation-refused")
    assert client.delete(f"{ADMIN}/aliases/champion").json()["aliases"] == {}
    assert client.delete(f"{ADMIN}/aliases/champion").status_code == 404
    removed = client.delete(f"{ADMIN}/versions/2")
    assert (removed.status_code, removed.content) == (204, b"")
    assert client.post("/predict", json={**body, "version": 2}).status_code == 404
    assert not (root / "add" / "2").exists()


def test_unload_and_load(client: TestClient, root: Path) -> None:
    assert client.post(f"{ADMIN}/unload").json()["active"] is None
    assert client.post("/predict", json={"model": "add", "rows": [{"a": 3, "b": 5}]}).status_code == 503
    assert client.post(f"{ADMIN}/load").json()["active"] == version(client) == 3
    for number in (1, 2, 3):
        (root / "add" / str(number) / "model.onnx").write_bytes(b"edited")
    client.post(f"{ADMIN}/unload")
    refused = client.post(f"{ADMIN}/load")
    assert (refused.status_code, refused.json()["type"]) == (409, "activation-refused")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/admin/models/none/activate", {"version": 1}, 404),
        ("POST", "/admin/models/..%2fadd/activate", {"version": 1}, 404),
        ("POST", "/admin/models/Add/unload", None, 404),
        ("POST", f"{ADMIN}/activate", {"version": 9}, 404),
        ("POST", f"{ADMIN}/activate", {"version": "nobody"}, 404),
        ("POST", f"{ADMIN}/activate", {"version": 0}, 422),
        ("POST", f"{ADMIN}/activate", {"version": 1.5}, 422),
        ("POST", f"{ADMIN}/activate", {"version": True}, 422),
        ("POST", f"{ADMIN}/activate", {"version": "../1"}, 422),
        ("POST", f"{ADMIN}/activate", {"version": 1, "more": 1}, 422),
        ("POST", f"{ADMIN}/activate", None, 422),
        ("PUT", f"{ADMIN}/aliases/latest", {"version": 1}, 422),
        ("PUT", f"{ADMIN}/aliases/A", {"version": 1}, 422),
        ("DELETE", f"{ADMIN}/versions/3", None, 204),
        ("DELETE", f"{ADMIN}/versions/0", None, 422),
        ("DELETE", f"{ADMIN}/versions/9", None, 404),
    ],
)
def test_what_is_not_there_or_not_well_said(
    client: TestClient, method: str, path: str, body: object, status: int
) -> None:
    answer = client.request(method, path, **({} if body is None else {"json": body}))  # type: ignore[arg-type]

    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b'{"version": 1', 400, "bad-request"),
        (b'{"version": "\xff"}', 400, "bad-request"),
        (b'{"version": 1, "version": 2}', 422, "invalid-request"),
        (b'{"version": 1' + b" " * 16_384 + b"}", 413, "body-too-large"),
    ],
)
def test_a_body_is_read_strictly_and_may_be_a_few_words_long(
    client: TestClient, body: bytes, status: int, kind: str
) -> None:
    for method, path in (("POST", "activate"), ("PUT", "aliases/champion")):
        answer = client.request(method, f"{ADMIN}/{path}", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (status, kind)
    assert client.get("/models/add").json()["generation"] == 0


def test_parameters_of_loading_may_be_a_few_words_long(client: TestClient) -> None:
    for action in ("load", "unload"):
        answer = client.post(f"/v2/repository/models/add/{action}", content=b"{" + b" " * 16_384 + b"}")
        assert (answer.status_code, answer.json()["type"]) == (413, "body-too-large")


@pytest.mark.skipif(os.geteuid() == 0, reason="root ignores permissions")
def test_a_repository_that_cannot_be_written_is_told_by_its_permissions(client: TestClient, root: Path) -> None:
    (root / "add").chmod(0o555)
    try:
        assert client.post(f"{ADMIN}/activate", json={"version": 2}).status_code == 503
    finally:
        (root / "add").chmod(0o755)


def test_a_full_disk_is_told_and_changes_nothing(
    client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        answer = client.post(f"{ADMIN}/activate", json={"version": 2})

    assert (answer.status_code, answer.json()["type"]) == (503, "repository-failed")
    assert "No space left on device" in answer.json()["detail"]
    assert str(root) not in answer.text
    assert version(client) == 3


@pytest.mark.parametrize("role", ["predict", None])
def test_a_body_of_who_may_not_is_not_read(root: Path, role: Role | None) -> None:
    app = create_app(Settings(model_repository=root, provider="cpu"))
    guarded: ASGIApp = app if role is None else with_key(app, role)
    read: list[str] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def noted() -> Message:
            if scope["type"] == "http":
                read.append(scope["path"])
            return await receive()

        await guarded(scope, noted, send)

    with TestClient(watched) as client:
        answers = [
            client.post(f"{ADMIN}/activate", json={"version": 1}),
            client.put(f"{ADMIN}/aliases/champion", json={"version": 1}),
            client.post("/v2/repository/models/add/load", json={}),
        ]

    assert [answer.status_code for answer in answers] == [403] * 3
    assert read == []


@pytest.mark.parametrize("role", ["predict", None])
def test_nobody_else_may(root: Path, role: Role | None) -> None:
    app = create_app(Settings(model_repository=root, provider="cpu"))
    with TestClient(app if role is None else with_key(app, role)) as client:
        routes = [
            (method.upper(), path.replace("{name}", "add").replace("{alias}", "a").replace("{version}", "1"))
            for path, methods in client.get("/openapi.json").json()["paths"].items()
            for method in methods
            if path.startswith("/admin/")
        ]
        answers = [client.request(*route) for route in routes]
        assert version(client) == 3

    assert len(routes) == 7
    assert [answer.status_code for answer in answers] == [403] * 7
