"""The models of a running service follow their repository, on every way that a request takes."""

import gc
import shutil
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from models.contract.repository import ModelRepository
from service.app import create_app, load_models
from service.inference.following import Follower
from service.inference.quick_rows import QuickReader
from service.settings import Settings
from tests.paths import PATHS, client_on
from tests.published import (
    TRUTH,
    arithmetic_graph,
    arithmetic_manifest,
    graded_graph,
    graded_manifest,
    publish_arithmetic,
)

SOON_S = 0.05


def settings(root: Path, **given: Any) -> Settings:
    return Settings(model_repository=root, reload_s=SOON_S, provider="cpu", **given)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def publish_as(root: Path, name: str, operation: str) -> int:
    """Publish a version of `name` that really does `operation`."""
    graph = arithmetic_graph(operation)
    manifest = arithmetic_manifest(operation, graph).model_copy(update={"name": name})
    return ModelRepository(root).publish(manifest, graph).version


def asked(client: httpx2.Client, version: int | str | None = None) -> dict[str, Any]:
    request = {"model": "law", "rows": [{"a": 3, "b": 5}], **({} if version is None else {"version": version})}
    answer: dict[str, Any] = client.post("/predict", json=request).json()
    return answer


def active(client: httpx2.Client) -> object:
    return client.get("/models/law").json()["active"]


@pytest.mark.parametrize("path", PATHS)
def test_publish_activate_roll_back_and_remove_show_in_the_next_answers(path: str, tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    publish_as(tmp_path, "law", "add")
    with client_on(path, settings(tmp_path)) as client:
        assert asked(client)["predictions"] == [{"y": 8.0}]
        for version, operation in ((2, "multiply"), (3, "subtract")):
            publish_as(tmp_path, "law", operation)
            until(lambda version=version: active(client) == version)  # type: ignore[misc]
            told = asked(client)
            assert (told["version"], told["predictions"]) == (version, [{"y": TRUTH[operation](3.0, 5.0)}])

        repository.change_activation("law", lambda now, there: now.activated("law", 1, there))
        until(lambda: active(client) == 1)
        assert asked(client)["predictions"] == [{"y": 8.0}]
        repository.change_activation("law", lambda now, there: now.aliased("law", "champion", 2, there))
        until(lambda: client.get("/models/law").json()["aliases"] == {"champion": 2})
        assert asked(client, "champion") | {"in_range": None} == {
            "model": "law",
            "version": 2,
            "predictions": [{"y": 15.0}],
            "in_range": None,
        }
        assert asked(client, "latest")["version"] == 3
        assert asked(client, 2)["version"] == 2
        missing = client.post("/predict", json={"model": "law", "version": "nobody", "rows": [{"a": 3, "b": 5}]})
        assert (missing.status_code, missing.json()["type"]) == (404, "model-not-found")
        assert "1, 2, 3, champion" in missing.json()["detail"]

        repository.change_activation("law", lambda now, there: now.rolled_back("law", there))
        until(lambda: active(client) == 3)
        repository.remove("law", 1)
        until(lambda: client.get("/models/law").json()["versions"] == [2, 3])
        assert asked(client, 1)["type"] == "model-not-found"


@pytest.mark.parametrize("path", PATHS)
def test_a_version_with_other_columns_is_read_with_them(path: str, tmp_path: Path) -> None:
    """The readers compiled for the old version must not read a request to the new one."""
    publish_as(tmp_path, "law", "add")
    with client_on(path, settings(tmp_path)) as client:
        assert asked(client)["version"] == 1
        graph = graded_graph()
        ModelRepository(tmp_path).publish(graded_manifest(graph).model_copy(update={"name": "law"}), graph)
        until(lambda: active(client) == 2)

        graded = client.post("/predict", json={"model": "law", "rows": [{"mass": 2.0, "grade": "C"}]}).json()
        assert (graded["version"], graded["predictions"]) == (2, [{"strength": 200.0}])
        assert asked(client)["type"] == "input-shape-mismatch"
        table = client.post("/predict?model=law", content=b"mass,grade\n2,B\n", headers={"Content-Type": "text/csv"})
        assert table.headers["nalu-version"] == "2"
        old = client.post("/predict?model=law&version=1", content=b"a,b\n2,3\n", headers={"Content-Type": "text/csv"})
        assert (old.headers["nalu-version"], old.text.splitlines()[1]) == ("1", "5,true")


@pytest.mark.parametrize("path", PATHS)
def test_a_bad_version_takes_nothing_down_and_is_told(path: str, tmp_path: Path) -> None:
    publish_as(tmp_path, "law", "add")
    with client_on(path, settings(tmp_path)) as client:
        publish_as(tmp_path, "law", "multiply")
        (tmp_path / "law" / "2" / "model.onnx").write_bytes(b"broken")
        publish_as(tmp_path / "elsewhere", "law", "multiply")
        shutil.copytree(tmp_path / "elsewhere" / "law" / "1", tmp_path / "law" / "3")  # it calls itself version 1
        until(lambda: sorted(client.get("/models/law").json()["failed"]) == ["2", "3"])
        ready = client.get("/health/ready")
        model = client.get("/models/law").json()
        answers = [asked(client)["version"] for _ in range(5)]
        bad = client.post("/predict", json={"model": "law", "version": 2, "rows": [{"a": 3, "b": 5}]})
        metrics = client.get("/metrics").text
        index = client.post("/v2/repository/index").json()

    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert any("law/2" in notice and "checksum" in notice for notice in ready.json()["notices"])
    assert "must name the model it lies with" in model["failed"]["3"]
    assert str(tmp_path) not in str(model)
    assert (model["latest"], model["active"], model["pinned"]) == (3, 1, None)
    assert answers == [1] * 5
    assert (bad.status_code, bad.json()["type"]) == (503, "model-not-ready")
    assert 'nalu_models_failed{model="law",version="2"} 1' in metrics
    assert 'nalu_models_active{model="law",version="1"} 1' in metrics
    assert [(entry["version"], entry["state"]) for entry in index] == [
        ("1", "READY"),
        ("2", "UNAVAILABLE"),
        ("3", "UNAVAILABLE"),
    ]
    assert "checksum" in index[1]["reason"]


def test_models_come_and_go_and_a_repository_that_is_gone_is_told(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    with TestClient(create_app(settings(root))) as client:
        assert client.get("/health/ready").status_code == 503
        publish_as(root, "law", "add")
        until(lambda: client.get("/health/ready").status_code == 200)
        publish_arithmetic(root, "divide")
        until(lambda: len(client.get("/models").json()["models"]) == 2)
        shutil.rmtree(root / "divide")
        until(lambda: len(client.get("/models").json()["models"]) == 1)
        root.rename(tmp_path / "away")
        until(lambda: bool(client.get("/health/ready").json()["notices"]))
        gone = client.get("/health/ready")
        answer = asked(client)
        assert "nalu_repository_followed 0" in client.get("/metrics").text
        (tmp_path / "away").rename(root)
        until(lambda: not client.get("/health/ready").json()["notices"])
        assert "nalu_repository_followed 1" in client.get("/metrics").text

    assert gone.status_code == 200
    assert "holds nothing any more; what is loaded is served on" in gone.json()["notices"][0]
    assert answer["version"] == 1


def test_an_unloaded_model_is_refused_with_its_reason_and_stops_nobody(tmp_path: Path) -> None:
    publish_as(tmp_path, "law", "add")
    publish_arithmetic(tmp_path, "divide")
    repository = ModelRepository(tmp_path)
    with TestClient(create_app(settings(tmp_path))) as client:
        repository.change_activation("law", lambda now, _there: now.served(wanted=False))
        until(lambda: active(client) is None)
        refused, named = asked(client), asked(client, 1)
        ready = client.get("/health/ready").status_code
        index = client.post("/v2/repository/index").json()
        repository.change_activation("law", lambda now, _there: now.served(wanted=True))
        until(lambda: active(client) == 1)
        assert asked(client)["version"] == 1

    assert refused["type"] == named["type"] == "model-not-ready"
    assert "the model was unloaded" in refused["detail"]
    assert "the model was unloaded" in named["detail"]
    assert ready == 200
    assert [(entry["name"], entry["state"]) for entry in index] == [("divide", "READY"), ("law", "UNAVAILABLE")]


def test_what_is_dropped_gives_its_memory_back_though_it_was_there_from_the_start(tmp_path: Path) -> None:
    """Nothing may go round in a circle: what was frozen when the service started is never collected."""
    publish_as(tmp_path, "law", "add")
    chosen = settings(tmp_path, keep_versions=1)
    registry = load_models(chosen)
    session = weakref.ref(registry.get("law"))
    with TestClient(create_app(chosen, registry)) as client:
        asked(client)
        gc.collect()
        gc.disable()
        try:
            publish_as(tmp_path, "law", "multiply")
            publish_as(tmp_path, "law", "subtract")
            until(lambda: active(client) == 3)
            asked(client)
            assert session() is None
        finally:
            gc.enable()
        assert client.get("/models/law").json()["idle"] == [1, 2]
        until(lambda: 'model="law",version="1"' not in client.get("/metrics").text)
        assert 'nalu_rows_total{model="law",version="3"} 1' in client.get("/metrics").text


@pytest.mark.parametrize("path", PATHS)
def test_large_requests_of_every_form_follow_too(path: str, tmp_path: Path) -> None:
    publish_as(tmp_path, "law", "add")
    rows = [[1.5, 2.25]] * 9_000
    split: dict[str, Any] = {"model": "law", "columns": ["a", "b"], "data": rows}
    records = {"model": "law", "rows": [{"a": a, "b": b} for a, b in rows]}
    with client_on(path, settings(tmp_path)) as client:
        for version, operation in ((1, "add"), (2, "multiply")):
            if version == 2:
                publish_as(tmp_path, "law", operation)
                until(lambda: active(client) == 2)
            value = TRUTH[operation](1.5, 2.25)
            told = client.post("/predict", json=split).json()
            assert (told["version"], told["data"]) == (version, [[value]] * len(rows))
            told = client.post("/predict", json=records).json()
            assert (told["version"], told["predictions"]) == (version, [{"y": value}] * len(rows))
            told = client.post("/predict", json={**split, "columns": ["b", "a"], "version": "latest"}).json()
            assert told["version"] == version
            tensor = {"name": "numeric", "datatype": "FP64", "shape": [len(rows), 2], "data": rows}
            told = client.post("/v2/models/law/infer", json={"inputs": [tensor]}).json()
            assert (told["model_version"], told["outputs"][0]["data"][:2]) == (str(version), [value, value])


def test_no_look_where_none_is_wanted(tmp_path: Path) -> None:
    publish_as(tmp_path, "law", "add")
    with TestClient(create_app(Settings(model_repository=tmp_path, reload_s=0))) as client:
        publish_as(tmp_path, "law", "add")
        time.sleep(0.2)
        assert active(client) == 1


@pytest.mark.parametrize("broken", ["look", "compiled"])
def test_a_look_that_fails_is_told_and_nothing_that_it_saw_is_lost(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What had been loaded when the readers could not be compiled was taken for known, and never came."""
    publish_as(tmp_path, "law", "add")
    owner = Follower if broken == "look" else QuickReader
    with TestClient(create_app(settings(tmp_path))) as client:
        with monkeypatch.context() as patch:

            def fail(*_arguments: object) -> None:
                raise ZeroDivisionError("inner secret")

            patch.setattr(owner, broken, fail)
            publish_as(tmp_path, "law", "multiply")
            until(lambda: caplog.text.count("could not be followed") > 2)
            assert asked(client)["version"] == 1
            assert client.get("/health/ready").status_code == 200
        until(lambda: active(client) == 2)
        assert asked(client)["predictions"] == [{"y": 15.0}]
