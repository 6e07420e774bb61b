"""API keys hold on every way that a request can take, and on every route that there is."""

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from service.api.openapi import HEALTH_PATHS
from service.app import create_app
from service.key_file import KeyRecord, add_record, hash_of, remove_record
from service.settings import Settings
from tests.paths import PATHS, client_on
from tests.published import publish_all

PREDICT, ADMIN, EXPIRED, LIMITED = (f"nalu_{name}{'x' * 30}" for name in ("predict", "admin", "expired", "limited"))
GOOD: dict[str, Any] = {"model": "multiply", "rows": [{"a": 3, "b": 5}]}
PATIENCE_S = 30


def add_key(file: Path, key: str, name: str, **more: object) -> None:
    sha256 = hash_of(key.encode()).hex()
    add_record(file, KeyRecord.model_validate({"name": name, "role": "predict", "sha256": sha256, **more}))


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_all(tmp_path_factory.mktemp("repository"))


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.jsonl"
    add_key(file, PREDICT, "dashboard")
    add_key(file, ADMIN, "operator", role="admin")
    add_key(file, EXPIRED, "former", expires="2026-01-01T00:00:00Z")
    add_key(file, LIMITED, "visitor", rate=1e-4, burst=3)
    return file


@pytest.fixture(name="client", params=PATHS)
def _client(root: Path, file: Path, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    with client_on(request.param, Settings(model_repository=root, keys_file=file)) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def predict(client: httpx2.Client, key: str | None, **body: Any) -> httpx2.Response:
    return client.post("/predict", json={**GOOD, **body}, headers=bearer(key) if key else {})


def assert_refused(answer: httpx2.Response, status: int, kind: str, *keys: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert not [key for key in keys if key in answer.text]


def test_predictions_are_for_those_with_a_key(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(2):  # a head is remembered once it was read
        for headers in (bearer(PREDICT), bearer(ADMIN), {"X-API-Key": PREDICT}):
            answer = client.post("/predict", json=GOOD, headers=headers)
            assert answer.json()["predictions"] == [{"y": 15.0}]
        assert_refused(predict(client, None), 401, "unauthorized")
        kept = hash_of(PREDICT.encode()).hex()
        for wrong in (EXPIRED, PREDICT[:-1], PREDICT + "x", PREDICT.upper(), ".", kept):
            assert_refused(predict(client, wrong), 403, "forbidden", PREDICT)
        both = bearer(PREDICT) | {"X-API-Key": ADMIN}
        assert_refused(client.post("/predict", json=GOOD, headers=both), 403, "forbidden")
        assert_refused(client.post("/predict", json=GOOD, params={"key": PREDICT}), 401, "unauthorized")
    logged = [record.getMessage() for record in caplog.records if record.name == "nalu"]
    assert len(logged) >= 20
    assert not [line for line in logged for key in (PREDICT, ADMIN, EXPIRED) if key in line]


def test_a_key_that_is_revoked_expires_or_is_added_counts_so_on_a_head_known_by_heart(
    client: httpx2.Client, file: Path
) -> None:
    late = PREDICT.replace("predict", "soon")
    add_key(file, late, "soon")
    assert wait_for(client, late, 200) == "ok"

    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    changed = file.with_suffix(".new")
    changed.write_text(file.read_text().replace('"name": "soon"', f'"name": "soon", "expires": "{soon.isoformat()}"'))
    changed.replace(file)
    remove_record(file, "dashboard")

    assert wait_for(client, PREDICT, 403) == "forbidden"
    assert wait_for(client, late, 403) == "forbidden"
    assert datetime.now(UTC) >= soon
    assert predict(client, ADMIN).status_code == 200


def wait_for(client: httpx2.Client, key: str, status: int) -> str:
    """Ask until the answer has the status; return its type."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := predict(client, key)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return str(answer.json().get("type", "ok"))


def test_a_limited_key_is_told_when_to_try_again(client: httpx2.Client) -> None:
    unanswerable = {"model": "divide", "rows": [{"a": 1, "b": 0}]}

    statuses = [predict(client, LIMITED, **body).status_code for body in ({}, unanswerable, {}, {}, {})]

    assert statuses == [200, 422, 200, 429, 429]
    answer = predict(client, LIMITED)
    assert_refused(answer, 429, "rate-limited")
    assert 5_000 < int(answer.headers["retry-after"]) <= 10_000
    assert "0.0001 requests a second" in answer.json()["detail"]
    assert predict(client, PREDICT).status_code == 200


@pytest.fixture(name="app")
def _app(tmp_path: Path, file: Path) -> FastAPI:
    return create_app(Settings(model_repository=publish_all(tmp_path / "models"), keys_file=file))


def routes_of(routes: Iterable[object]) -> list[tuple[str, str]]:
    """Return method and path of every route, whatever kind it is."""
    found: list[tuple[str, str]] = []
    for route in routes:
        if isinstance(inner := getattr(route, "original_router", None), APIRouter):
            found += routes_of(inner.routes)
        elif isinstance(route, Mount):
            found.append(("GET", f"{route.path}/docs.js"))
        else:
            assert isinstance(route, (APIRoute, Route)), route
            path = re.sub(r"\{version(:\w+)?\}", "1", route.path)
            path = re.sub(r"\{\w+\}", "multiply", path)
            found += [(method, path) for method in sorted(route.methods or ())]
    return found


def test_no_route_is_open_but_health(tmp_path: Path, file: Path) -> None:
    root = publish_all(tmp_path / "own")  # an admin's requests unload and remove what is there
    app = create_app(Settings(model_repository=root, keys_file=file))
    routes = routes_of(app.routes)
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "multiply", path.replace("{version}", "1")))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert documented <= set(routes)
    assert len(routes) > 25

    with TestClient(app) as client:
        for method, path in [*routes, ("GET", "/nowhere"), ("POST", "/"), ("OPTIONS", "/predict"), ("GET", "//docs")]:
            for key in (None, EXPIRED, "wrong"):
                answer = client.request(method, path, headers=bearer(key) if key else {}, json={})
                if path in HEALTH_PATHS:
                    assert answer.status_code == 200
                    continue
                assert answer.status_code == (403 if key else 401), (method, path, answer.text)
                if method != "HEAD":
                    assert_refused(answer, 403 if key else 401, "forbidden" if key else "unauthorized")
            assert client.request(method, path, headers=bearer(ADMIN), json={}).status_code not in (401, 403), path


def test_tables_and_the_open_inference_protocol_ask_for_a_key(app: FastAPI) -> None:
    tensors = {"inputs": [{"name": "numeric", "shape": [1, 2], "datatype": "FP64", "data": [3, 5]}]}
    with TestClient(app) as client:
        for url, content, media_type in (
            ("/predict?model=multiply", b"a,b\n3,5\n", "text/csv"),
            ("/v2/models/multiply/infer", json.dumps(tensors).encode(), "application/json"),
        ):
            plain = {"Content-Type": media_type}
            for key, status in ((None, 401), (EXPIRED, 403), (PREDICT, 200)):
                headers = plain | (bearer(key) if key else {})
                assert client.post(url, content=content, headers=headers).status_code == status
        error = client.get("/v2/models/multiply").json()
        assert error["error"] == error["detail"]


def test_metrics_and_pages_are_opened_by_name(root: Path, file: Path) -> None:
    pages = ("/", "/docs", "/openapi.json", "/static/docs.js", "/favicon.ico")
    for opened, paths in (({"open_metrics": True}, ["/metrics"]), ({"open_docs": True}, list(pages))):
        app = create_app(Settings.model_validate({"model_repository": root, "keys_file": file, **opened}))
        with TestClient(app) as client:
            for path in (*pages, "/metrics", "/models", "/static", "/static/../models", "/static/%2e%2e/models"):
                answer = client.get(path)
                assert answer.status_code == (200 if path in paths else answer.status_code)
                assert path in paths or answer.status_code in (401, 404), path


def test_the_interface_says_which_routes_need_a_key(app: FastAPI, root: Path) -> None:
    document = app.openapi()

    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in HEALTH_PATHS)
            assert operation.get("security", [{"bearer": []}])[0] == {"bearer": []}
    free = create_app(Settings(model_repository=root)).openapi()
    assert free["paths"]["/predict"]["post"]["security"] == [{}]


def test_pages_of_other_origins_are_let_in_by_name(root: Path, file: Path) -> None:
    origin = "https://dash.example"
    settings = Settings(model_repository=root, keys_file=file, cors_origins=f"{origin}, http://localhost:3000")
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}
    for path in PATHS:
        with client_on(path, settings) as client:
            for known in (origin, "http://localhost:3000"):
                before = client.options("/predict", headers={"Origin": known, **asked})
                assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, known)
                answer = client.post("/predict", json=GOOD, headers={"Origin": known, **bearer(PREDICT)})
                assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, known)
                assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
                assert client.post("/predict", json=GOOD, headers={"Origin": known}).status_code == 401
            other = {"Origin": "https://evil.example"}
            assert client.options("/predict", headers=other | asked).status_code == 400
            answer = client.post("/predict", json=GOOD, headers=other | bearer(PREDICT))
            assert "access-control-allow-origin" not in answer.headers
    with TestClient(create_app(Settings(model_repository=root))) as client:
        answer = client.post("/predict", json=GOOD, headers={"Origin": origin})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
