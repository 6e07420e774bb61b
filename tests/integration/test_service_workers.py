"""Several workers as one service: killed, renewed, counted together."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.published import publish_all, publish_arithmetic
from tests.serving import Served, serve


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    return publish_all(tmp_path)


def workers(served: Served) -> list[int]:
    """Return the process ids of the workers."""
    pid = served.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def metric(served: Served, series: str) -> float:
    connection = served.connect()
    with connection, connection.makefile("rb") as stream:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = stream.read().decode()
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(series + " ")), 0.0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Asking(threading.Thread):
    """Asks on one connection after the other until told to stop; counts right answers, refusals and lost ones."""

    def __init__(self, served: Served) -> None:
        super().__init__()
        self.served = served
        self.stop = threading.Event()
        self.right, self.lost, self.wrong = 0, 0, list[object]()
        self.versions = set[int]()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                status, _headers, answer = self.served.predict(model="multiply", rows=[{"a": 3, "b": 5}])
            except (OSError, json.JSONDecodeError):
                self.lost += 1
                continue
            if status == 200 and answer["predictions"] == [{"y": 15.0}]:
                self.right += 1
                self.versions.add(answer["version"])
            else:
                self.wrong.append((status, answer))


def test_a_killed_worker_is_replaced_and_takes_nothing_with_it_but_its_own_requests(repository: Path) -> None:
    with serve(repository, "--workers", "2", NALU_LOG_LEVEL="warning") as served:
        until(lambda: metric(served, "nalu_workers") == 2)
        asking = [Asking(served) for _ in range(3)]
        for one in asking:
            one.start()
        until(lambda: sum(one.right for one in asking) > 100)
        before = metric(served, 'nalu_requests_total{path="/predict",status="200"}')
        victim = workers(served)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: metric(served, "nalu_worker_starts_total") == 3)
        assert metric(served, "nalu_workers") == 2
        answered = sum(one.right for one in asking)
        until(lambda: sum(one.right for one in asking) > answered + 100)
        for one in asking:
            one.stop.set()
        for one in asking:
            one.join()
        counted = metric(served, 'nalu_requests_total{path="/predict",status="200"}')
        ids = workers(served)
        code = served.stop()

    assert [one.wrong for one in asking] == [[], [], []]
    assert sum(one.lost for one in asking) <= len(asking)  # those in flight on the victim
    assert before >= 100
    assert counted == pytest.approx(sum(one.right for one in asking), abs=len(asking))
    assert len(ids) == 2
    assert victim not in ids
    assert code == 0
    assert f"worker {victim} ended by signal 9; starting another" in served.output


def test_workers_are_renewed_under_load_and_a_broken_model_is_not_taken(repository: Path) -> None:
    with serve(repository, "--workers", "2", NALU_LOG_LEVEL="warning", NALU_RELOAD_S="0") as served:
        until(lambda: metric(served, "nalu_workers") == 2)
        asking = Asking(served)
        asking.start()
        publish_arithmetic(repository, "multiply")
        served.process.send_signal(signal.SIGHUP)
        newest = 'nalu_models_loaded{model="multiply",version="2"}'
        until(lambda: metric(served, newest) == 2 and len(workers(served)) == 2)
        asked = asking.right
        until(lambda: asking.right > asked)
        renewed = workers(served)

        for version in (1, 2):
            (repository / "multiply" / str(version) / "model.onnx").write_bytes(b"broken")
        served.process.send_signal(signal.SIGHUP)
        until(lambda: "stays: its successor is not ready" in served.output)
        until(lambda: len(workers(served)) == 2)
        status, _headers, answer = served.predict(model="multiply", rows=[{"a": 3, "b": 5}])
        asking.stop.set()
        asking.join()
        kept = workers(served)
        code = served.stop()

    assert asking.wrong == []
    assert asking.lost == 0
    assert asking.versions == {1, 2}
    assert (status, answer["version"]) == (200, 2)
    assert sorted(kept) == sorted(renewed)
    assert code == 0


def test_workers_end_when_their_supervisor_is_killed(repository: Path) -> None:
    with serve(repository, "--workers", "2") as served:
        until(lambda: metric(served, "nalu_workers") == 2)
        ids = workers(served)
        served.process.kill()

        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ids))
    assert sum("stopped after" in line for line in served.lines) == 2


def test_ids_made_by_workers_differ(repository: Path) -> None:
    with serve(repository, "--workers", "2", NALU_LOG_LEVEL="warning") as served:
        served.wait_until_ready()
        made = [served.request("GET", "/health/live")[1]["x-request-id"] for _ in range(40)]

    assert len(set(made)) == len(made)


def test_a_repository_that_is_a_file_is_refused_once(tmp_path: Path) -> None:
    (tmp_path / "repository").write_text("")
    with pytest.raises(AssertionError, match="error: the model repository must be readable") as caught:
        serve(tmp_path / "repository", "--workers", "2").__enter__()
    assert str(caught.value).count("must be readable") == 1
