"""A model that blocks: large requests beyond the queue are refused, late ones are told so, small ones are answered."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.admission import N_RUNNING
from service.api import predictions, routes
from service.app import create_app
from service.settings import Settings
from tests.published import publish_arithmetic
from tests.sequences import publish_sequences

PAIRS: list[list[int]] = np.arange(20_000).reshape(-1, 2).tolist()
ROWS = {"model": "add", "columns": ["a", "b"], "data": PAIRS}


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    publish_arithmetic(root, "add")
    return publish_sequences(root)


@pytest.fixture(name="blocked")
def _blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Hold every large request in its thread until the event is set; the semaphore tells of each that has come."""
    arrived, release = threading.Semaphore(0), threading.Event()

    def hold(*arguments: object) -> bytes:
        arrived.release()
        assert release.wait(30)
        return predictions.answer_large(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(routes, "answer_large", hold)
    yield arrived, release
    release.set()


def ask(client: TestClient, pool: ThreadPoolExecutor) -> Future[Response]:
    return pool.submit(client.post, "/predict", json=ROWS)


def test_beyond_the_queue_large_requests_are_refused_and_small_ones_answered(
    root: Path, blocked: tuple[threading.Semaphore, threading.Event]
) -> None:
    arrived, release = blocked
    with (
        TestClient(create_app(Settings(model_repository=root, max_queue=0))) as client,
        ThreadPoolExecutor(N_RUNNING) as pool,
    ):
        under_way = [ask(client, pool) for _ in range(N_RUNNING)]
        for _ in under_way:
            assert arrived.acquire(timeout=30)
        refused = client.post("/predict", json=ROWS)
        small = client.post("/predict", json={"model": "add", "rows": [{"a": 1, "b": 2}]})
        release.set()
        answers = [one.result() for one in under_way]
        after = client.post("/predict", json=ROWS)
        told = client.get("/metrics").text

    assert (refused.status_code, refused.json()["type"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert small.json()["predictions"] == [{"y": 3.0}]
    for answer in (*answers, after):
        assert answer.json()["data"] == [[a + b] for a, b in PAIRS]
    assert 'nalu_rejected_total{kind="json",reason="overloaded"} 1\n' in told
    assert 'nalu_admission_running{kind="json"} 0\n' in told


def test_beyond_the_deadline_a_large_request_is_told_so(
    root: Path, blocked: tuple[threading.Semaphore, threading.Event]
) -> None:
    _arrived, release = blocked
    with TestClient(create_app(Settings(model_repository=root, deadline_s=0.2))) as client:
        late = client.post("/predict", json=ROWS)
        release.set()
        told = client.get("/metrics").text

    assert (late.status_code, late.json()["type"]) == (504, "deadline-exceeded")
    assert late.headers["connection"] == "close"
    assert 'nalu_rejected_total{kind="json",reason="deadline-exceeded"} 1\n' in told


@pytest.mark.parametrize(
    ("way", "content"),
    [("answer_large", ROWS), ("answer_json", {"model": "number-words", "rows": [{"text": "five"}]})],
)
def test_who_has_waited_for_a_turn_is_given_the_rest_of_the_time(
    root: Path, monkeypatch: pytest.MonkeyPatch, way: str, content: object
) -> None:
    release, given_s, answer = threading.Event(), list[float](), getattr(predictions, way)

    def hold(*arguments: Any) -> bytes:
        given_s.append(arguments[-1])
        assert release.wait(30)
        answered: bytes = answer(*arguments)
        return answered

    monkeypatch.setattr(routes, way, hold)
    with (
        TestClient(create_app(Settings(model_repository=root, deadline_s=20.0))) as client,
        ThreadPoolExecutor(N_RUNNING + 1) as pool,
    ):
        under_way = [pool.submit(client.post, "/predict", json=content) for _ in range(N_RUNNING + 1)]
        wanted = {'nalu_admission_running{kind="json"} 2', 'nalu_admission_waiting{kind="json"} 1'}
        while not wanted <= set(client.get("/metrics").text.splitlines()):
            time.sleep(0.01)
        time.sleep(0.3)
        release.set()
        assert [one.result().status_code for one in under_way] == [200] * (N_RUNNING + 1)

    assert given_s[-1] < 19.71
