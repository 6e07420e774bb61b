"""Predictions over HTTP, in process, against Python's own arithmetic."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from httpx2 import Client
from starlette.testclient import TestClient

from service.api.predictions import INLINE_BODY_BYTES
from service.app import create_app
from service.settings import Settings
from tests.paths import PATHS, client_on
from tests.published import GRADES, TRUTH, publish_all, publish_arithmetic


@pytest.fixture(name="client", scope="module", params=PATHS)
def _client(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Client]:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_arithmetic(root, "multiply", "float32")
    with client_on(request.param, Settings(model_repository=root)) as client:
        yield client


@pytest.mark.parametrize(
    ("operation", "a", "b"),
    [("multiply", 3, 5), ("multiply", 1e6, 1e6), ("divide", -7, 2), ("add", 0.1, 0.2), ("subtract", 2**53, 1)],
)
def test_records_are_answered_as_records(client: Client, operation: str, a: float, b: float) -> None:
    request = {"model": operation, "version": 1, "rows": [{"a": a, "b": b}, {"b": 1, "a": 1}]}

    answer = client.post("/predict", json=request)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model": operation,
        "version": 1,
        "predictions": [{"y": TRUTH[operation](a, b)}, {"y": TRUTH[operation](1, 1)}],
        "in_range": [abs(a) <= 10 and abs(b) <= 10, True],
    }


def test_the_split_form_is_answered_in_the_split_form(client: Client) -> None:
    request = {"model": "subtract", "columns": ["b", "a"], "data": [[5, 3], [7, 200]]}

    answer = client.post("/predict", json=request)

    assert answer.json() == {
        "model": "subtract",
        "version": 1,
        "columns": ["y"],
        "data": [[-2.0], [193.0]],
        "in_range": [True, False],
    }


def test_the_newest_version_answers_unless_another_is_named(client: Client) -> None:
    rows = [{"a": 0.1, "b": 3}]

    newest = client.post("/predict", json={"model": "multiply", "rows": rows}).json()
    named = client.post("/predict", json={"model": "multiply", "version": 1, "rows": rows}).json()

    assert (newest["version"], named["version"]) == (2, 1)
    assert newest["predictions"][0]["y"] == float(np.float32(0.1) * np.float32(3))
    assert named["predictions"][0]["y"] == 0.1 * 3


def test_categories_and_missing_values(client: Client) -> None:
    rows = [{"mass": 2, "grade": "C"}, {"mass": None, "grade": "A"}, {"mass": 3, "grade": None}]

    answer = client.post("/predict", json={"model": "graded", "rows": rows}).json()

    assert answer["predictions"] == [{"strength": 2 * GRADES["C"]}, {"strength": 0.0}, {"strength": 21.0}]
    assert answer["in_range"] == [True, True, True]


def test_a_body_too_large_for_the_event_loop_gets_the_same_answers(client: Client) -> None:
    pairs = np.random.default_rng(3).uniform(-10, 10, (8000, 2)).tolist()

    answer = client.post("/predict", json={"model": "add", "columns": ["a", "b"], "data": pairs})

    assert len(answer.request.content) > INLINE_BODY_BYTES
    assert answer.json()["data"] == [[a + b] for a, b in pairs]


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON ; charset=UTF-8"])
def test_json_content_types_are_taken(client: Client, content_type: str) -> None:
    body = b'{"model": "add", "rows": [{"a": 1, "b": 2}]}'

    assert client.post("/predict", content=body, headers={"Content-Type": content_type}).status_code == 200


def test_a_request_id_comes_back_and_is_made_where_none_or_a_strange_one_is_given(client: Client) -> None:
    kept = client.get("/health/live", headers={"X-Request-ID": "order-17:a.b_c"})
    made = client.get("/health/live")
    remade = client.get("/health/live", headers={"X-Request-ID": "x" * 129})
    refused = client.get("/nowhere", headers={"X-Request-ID": "order-18"})

    assert kept.headers["x-request-id"] == "order-17:a.b_c"
    assert len(made.headers["x-request-id"]) == 32
    assert len(remade.headers["x-request-id"]) == 32
    assert refused.headers["x-request-id"] == refused.json()["request_id"] == "order-18"


def test_more_rows_than_allowed_are_refused(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "add")
    with TestClient(create_app(Settings(model_repository=tmp_path, max_rows=2))) as client:
        row = {"a": 1, "b": 1}

        assert client.post("/predict", json={"model": "add", "rows": [row] * 2}).status_code == 200
        refused = client.post("/predict", json={"model": "add", "rows": [row] * 3})

    assert refused.status_code == 422
    assert "at most 2 rows, however it has 3" in refused.json()["detail"]
