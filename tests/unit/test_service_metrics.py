"""What is counted, across processes, in the format that Prometheus reads; its own client library is the oracle."""

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.app import create_app
from service.metrics import DURATION_BUCKETS_S, FAMILIES, SLOT_BYTES, Counts, Histogram
from service.process_metrics import process_series
from service.settings import Settings
from tests.published import publish_all


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample of an exposition, read by Prometheus's client library, which adds `_total` to counters."""
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    read = {(sample.name, frozenset(sample.labels.items())): float(sample.value) for sample in found}
    assert len(read) == len(found), "a series must be told once"
    return read


def value(text: str, name: str, **labels: str) -> float:
    return samples(text)[name, frozenset(labels.items())]


def test_counters_of_other_processes_are_added_up_and_survive_them() -> None:
    counts = Counts(2)
    for worker in (0, 1):
        pid = os.fork()
        if not pid:
            slot = counts.slot(worker)
            slot.take_over()
            slot.cell("nalu_rows_total", model="add", version="1").add(5 + worker)
            slot.cell("nalu_workers").set(1.0)
            os._exit(0)
        os.waitpid(pid, 0)

    assert value(counts.exposition(), "nalu_rows_total", model="add", version="1") == 11
    assert value(counts.exposition(), "nalu_workers") == 2

    successor = counts.slot(1)
    successor.take_over()
    successor.cell("nalu_rows_total", model="add", version="1").add(1)

    assert value(counts.exposition(), "nalu_rows_total", model="add", version="1") == 12
    assert value(counts.exposition(), "nalu_workers") == 1  # a gauge tells of the living


def test_a_histogram_is_cumulative_and_ends_with_its_count() -> None:
    counts = Counts(2)
    seconds = [1e-5, DURATION_BUCKETS_S[0], 3e-4, 99.0]
    for worker in (0, 1):
        histogram = Histogram(counts.slot(worker), "nalu_request_duration_seconds", path="/predict")
        for duration in seconds:
            histogram.observe(duration)

    read = samples(counts.exposition())

    for bound in (*DURATION_BUCKETS_S, float("inf")):
        label = "+Inf" if bound == float("inf") else format(bound, "g")
        series = ("nalu_request_duration_seconds_bucket", frozenset({("path", "/predict"), ("le", label)}))
        assert read[series] == 2 * sum(duration <= bound for duration in seconds)
    path = frozenset({("path", "/predict")})
    assert read["nalu_request_duration_seconds_count", path] == 2 * len(seconds)
    assert read["nalu_request_duration_seconds_sum", path] == pytest.approx(2 * sum(seconds))


def test_durations_counted_together_are_those_counted_one_by_one() -> None:
    counts = Counts(2)
    durations = [0.0, 5e-5, 6e-5, 0.3, 7.0]
    together, alone = (Histogram(counts.slot(i), "nalu_request_duration_seconds", path="/") for i in range(2))

    together.observe_each(durations)
    for seconds in durations:
        alone.observe(seconds)

    assert dict(counts.slot(0).read()) == pytest.approx(dict(counts.slot(1).read()))


def test_a_label_may_hold_any_text() -> None:
    counts = Counts()
    name = 'a"b\\c\nd'
    counts.slot(0).cell("nalu_rows_total", model=name, version="1").add(2)

    assert value(counts.exposition(), "nalu_rows_total", model=name, version="1") == 2


def test_a_full_slot_loses_new_series_and_nothing_else() -> None:
    counts = Counts(2)
    slot = counts.slot(0)
    slot.cell("nalu_rows_total", model="first", version="1").add(3)
    for i in range(12):
        slot.cell("nalu_rows_total", model=f"{i}" + "x" * (SLOT_BYTES // 10), version="1").add()
    slot.cell("nalu_rows_total", model="first", version="1").add(4)
    counts.slot(1).cell("nalu_rows_total", model="first", version="1").add(1)

    assert value(counts.exposition(), "nalu_rows_total", model="first", version="1") == 8
    assert len(counts.totals()) == 10


def test_a_process_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert list(process_series({0: 1}, proc=tmp_path)) == []
    assert len(list(process_series({0: os.getpid(), 1: 2**22 + 1}))) == 4


@pytest.fixture(name="client", scope="module")
def _client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    (root / "add" / "2").mkdir()
    with TestClient(create_app(Settings(model_repository=root))) as client:
        yield client


def test_requests_predictions_and_models_are_counted(client: TestClient) -> None:
    row = {"a": 3, "b": 5}
    client.post("/predict", json={"model": "multiply", "rows": [row, {"a": 3, "b": 5000}]})
    client.post("/predict", json={"model": "divide", "rows": [{"a": 1, "b": 0}]})
    client.post("/predict", json={"model": "multiply", "rows": [{"a": 1e300, "b": 1e300}]})
    client.get("/models/multiply")
    client.get("/models/no-such-model")
    client.get("/any/path/that/a/client/makes/up")

    told = client.get("/metrics")
    text = told.text
    read = samples(text)
    multiply = {"model": "multiply", "version": "1"}

    assert told.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert value(text, "nalu_predictions_total", **multiply, outcome="answered") == 1
    assert value(text, "nalu_predictions_total", **multiply, outcome="non-finite") >= 1
    assert value(text, "nalu_predictions_total", model="divide", version="1", outcome="out-of-domain") >= 1
    assert value(text, "nalu_rows_total", **multiply) == 2
    assert value(text, "nalu_rows_out_of_range_total", **multiply) == 1
    assert value(text, "nalu_prediction_duration_seconds_count", **multiply, outcome="answered") == 1
    assert value(text, "nalu_prediction_duration_seconds_count", **multiply, outcome="non-finite") == 1
    assert value(text, "nv_inference_request_success_total", **multiply) == 1
    assert value(text, "nv_inference_request_failure_total", **multiply, reason="OTHER") == 1
    assert value(text, "nv_inference_count_total", **multiply) == 2
    assert value(text, "nv_inference_exec_count_total", **multiply) == 1
    run_us = 1e6 * value(text, "nalu_prediction_duration_seconds_sum", **multiply, outcome="answered")
    assert value(text, "nv_inference_compute_infer_duration_us_total", **multiply) == pytest.approx(run_us)
    assert value(text, "nalu_prediction_values_count", **multiply, output="y") == 2
    assert value(text, "nalu_prediction_values_sum", **multiply, output="y") == 15 + 15000
    buckets = {
        float(of["le"]): n
        for (name, labels), n in read.items()
        if name == "nalu_prediction_values_bucket" and (of := dict(labels))["model"] == "multiply"
    }
    assert buckets == {bound: (bound >= 15) + (bound >= 15000) for bound in buckets}
    assert value(text, "nalu_requests_total", path="/predict", status="200") == 1
    assert value(text, "nalu_requests_total", path="/predict", status="422") == 2
    assert value(text, "nalu_requests_total", path="/models/…", status="200") == 1
    assert value(text, "nalu_requests_total", path="/models/…", status="404") == 1
    assert value(text, "nalu_requests_total", path="other", status="404") == 1
    assert value(text, "nalu_request_duration_seconds_count", path="/predict") == 3
    assert value(text, "nalu_requests_in_flight") == 1  # this one
    assert value(text, "nalu_models_loaded", **multiply) == 1
    assert value(text, "nalu_models_failed", model="add", version="2") == 1
    assert value(text, "nalu_workers") == 1
    assert value(text, "nalu_model_loads_total", model="multiply", outcome="loaded") == 1
    assert value(text, "nalu_model_loads_total", model="add", outcome="failed") == 1
    assert value(text, "process_resident_memory_bytes", worker="0") > 10 * 2**20
    assert value(text, "process_cpu_seconds_total", worker="0") > 0
    assert value(text, "process_open_fds", worker="0") >= 3
    assert 0 < value(text, "process_start_time_seconds", worker="0") <= time.time() + 1


def test_every_family_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")

    for name, family in FAMILIES.items():
        assert f"| `{name}` | {family.kind} |" in page


def test_series_of_what_is_no_more_make_room_for_others() -> None:
    counts = Counts()
    slot = counts.slot(0)
    for version in range(1, 1001):
        slot.cell("nalu_rows_total", model="multiply", version=f"{version:04}").add(version)
        slot.cell("nalu_predictions_total", model="multiply", version=f"{version:04}", outcome="answered").add()
        if version == 1:
            (taken,) = struct.unpack_from("=Q", slot._memory)
        if version < 1000:
            slot.release(model="multiply", version=f"{version:04}")
    slot.cell("nalu_rows_total", model="other", version="1").add(7)

    assert 'nalu_rows_total{model="multiply",version="1000"} 1000' in counts.exposition()
    assert counts.totals() == {
        'nalu_rows_total{model="multiply",version="1000"}': 1000.0,
        'nalu_predictions_total{model="multiply",version="1000",outcome="answered"}': 1.0,
        'nalu_rows_total{model="other",version="1"}': 7.0,
    }
    (end,) = struct.unpack_from("=Q", slot._memory)
    assert end < taken + 200, "all versions had the same room"


def test_a_worker_that_takes_over_knows_which_room_is_free() -> None:
    counts = Counts()
    counts.slot(0).cell("nalu_rows_total", model="a", version="1").add(3)
    counts.slot(0).cell("nalu_rows_total", model="b", version="1").add(4)
    counts.slot(0).release(model="a", version="1")
    counts.slot(0).take_over()
    (before,) = struct.unpack_from("=Q", counts.slot(0)._memory)
    assert counts.slot(0).cell("nalu_rows_total", model="c", version="1").values is not None
    (after,) = struct.unpack_from("=Q", counts.slot(0)._memory)

    assert before == after
    assert counts.totals() == {
        'nalu_rows_total{model="c",version="1"}': 0.0,
        'nalu_rows_total{model="b",version="1"}': 4.0,
    }


def test_a_full_slot_releases_nothing_that_it_never_had() -> None:
    slot = Counts().slot(0)
    for number in range(60_000):
        slot.cell("nalu_rows_total", model=f"model-{number}", version="1")
    slot.release(version="1")
    slot.cell("nalu_rows_total", model="model-1", version="1").add(2)

    assert dict(slot.read()) == {'nalu_rows_total{model="model-1",version="1"}': 2.0}
