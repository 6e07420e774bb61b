"""Requests that are there together: each has the answer that it has alone, bit for bit."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from onnx import helper
from starlette.types import Message, Receive, Scope, Send

from models.contract.manifest import NUMERIC_TENSOR, PREDICTIONS_TENSOR, NumberColumn
from models.contract.repository import ModelRepository, PublishedModel
from service.api.front import Front
from service.api.middleware import Traffic
from service.api.short_path import ShortPath
from service.api.together import answer_small, answer_together
from service.inference.joint_runs import MAX_ROWS, runs_jointly
from service.inference.quick_rows import QuickReader, SmallRequest
from service.inference.registry import Registry, Versions, load_registry
from service.inference.session import ModelSession, load_session
from service.metrics import Counts
from tests.published import describe, model_bytes, publish_all, publish_arithmetic


@pytest.fixture(name="reader", scope="module")
def _reader(tmp_path_factory: pytest.TempPathFactory) -> QuickReader:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_arithmetic(root, "multiply", "float32")
    return QuickReader(load_registry(ModelRepository(root), provider="cpu"), 1000)


def request_of(reader: QuickReader, content: dict[str, Any]) -> SmallRequest:
    request = reader.read_small(json.dumps(content).encode())
    assert request is not None
    return request


def pairs(n_rows: int, seed: int = 0) -> list[dict[str, float]]:
    return [{"a": a, "b": b} for a, b in np.random.default_rng(seed).uniform(-20, 20, (n_rows, 2)).tolist()]


def counted_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the rows of every run from now on."""
    rows: list[int] = []
    run = ModelSession.run

    def counting(session: ModelSession, encoded: Any, deadline_s: float | None = None) -> Any:
        rows.append(encoded.n_rows)
        return run(session, encoded, deadline_s)

    monkeypatch.setattr(ModelSession, "run", counting)
    return rows


def mean_of_rows() -> ModelSession:
    """Return a model that adds to its row the mean over all rows of the run: no row is answered as if alone."""
    nodes = [
        helper.make_node("ReduceMean", [NUMERIC_TENSOR, "axes"], ["mean"], keepdims=1),
        helper.make_node("Add", [NUMERIC_TENSOR, "mean"], [PREDICTIONS_TENSOR]),
    ]
    graph = model_bytes(nodes, {"axes": np.array([0], dtype=np.int64)}, d_numeric=1)
    manifest = describe("mean", graph, [NumberColumn(name="a", minimum=0, maximum=1)], {"a": 0.5}, [1.0])
    return load_session(PublishedModel(manifest, graph), "cpu")


def test_together_each_has_its_own_answer(reader: QuickReader, monkeypatch: pytest.MonkeyPatch) -> None:
    contents: list[dict[str, Any]] = [
        {"model": "multiply", "rows": pairs(1)},
        {"model": "add", "rows": pairs(2, seed=1)},
        {"model": "multiply", "columns": ["a", "b"], "data": [[0.1, 3], [-7, 1e30]]},
        {"model": "graded", "rows": [{"mass": None, "grade": "A"}, {"mass": 3, "grade": None}]},
        {"model": "multiply", "rows": pairs(3, seed=2)},
        {"model": "graded", "columns": ["mass", "grade"], "data": [[200, "C"]]},
    ]
    requests = [request_of(reader, content) for content in contents]
    alone = [answer_small(request) for request in requests]
    rows = counted_runs(monkeypatch)

    together = answer_together(requests)

    assert None not in alone
    assert together == alone
    assert sorted(rows) == [2, 3, 6]


def test_one_without_an_answer_takes_none_from_the_others(reader: QuickReader) -> None:
    contents = [{"model": "divide", "rows": [{"a": 1, "b": b}]} for b in (4, 0, 8)]

    answers = answer_together([request_of(reader, content) for content in contents])

    assert [answer and json.loads(answer)["predictions"] for answer in answers] == [
        [{"y": 0.25}],
        None,
        [{"y": 0.125}],
    ]


def test_more_rows_than_one_run_takes_are_several_runs(reader: QuickReader, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [15, 15, 15, 1, MAX_ROWS, 3]
    requests = [request_of(reader, {"model": "add", "rows": pairs(n, seed=n)}) for n in sizes]
    alone = [answer_small(request) for request in requests]
    rows = counted_runs(monkeypatch)

    assert answer_together(requests) == alone
    assert rows == [MAX_ROWS, 30, 19]


def test_a_model_that_answers_otherwise_in_company_is_asked_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    session = mean_of_rows()
    reader = QuickReader(Registry({"mean": Versions({1: session})}), 10)
    requests = [request_of(reader, {"model": "mean", "rows": [{"a": a}]}) for a in (0.25, 0.5)]
    rows = counted_runs(monkeypatch)

    answers = answer_together(requests)

    assert not runs_jointly(session)
    assert [json.loads(answer or b"")["predictions"][0]["y"] for answer in answers] == [0.5, 1.0]
    assert rows[:2] == [1, 1]


def test_a_model_whose_runs_are_long_is_asked_alone(reader: QuickReader, monkeypatch: pytest.MonkeyPatch) -> None:
    session = request_of(reader, {"model": "add", "rows": pairs(1)}).model.session
    assert runs_jointly(session)

    monkeypatch.setattr("service.inference.joint_runs._MAX_RUN_S", 0.0)

    assert not runs_jointly(session)


def test_requests_of_one_turn_of_the_event_loop_share_a_run(
    reader: QuickReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("the short path must answer")

    path = ShortPath(refuse)
    front = Front(reader, max_body_bytes=10_000, traffic=Traffic(Counts().slot(0)))

    async def ask(a: float) -> Any:
        sent: list[Message] = []
        body = json.dumps({"model": "add", "rows": [{"a": a, "b": 1}]}).encode()
        scope = {
            "type": "http",
            "path": "/predict",
            "method": "POST",
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
            "state": {"front": front},
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            sent.append(message)

        await path(scope, receive, send)
        return json.loads(sent[1]["body"])["predictions"][0]["y"]

    async def ask_all() -> list[Any]:
        return [*await asyncio.gather(*map(ask, range(5))), await ask(7)]

    rows = counted_runs(monkeypatch)

    assert asyncio.run(ask_all()) == [1, 2, 3, 4, 5, 8]
    assert rows == [5, 1]
