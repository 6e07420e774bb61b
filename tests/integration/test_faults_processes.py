"""The short form of `benchmarks.faults.processes`: processes, a session and the disk taken away under load."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import processes
from benchmarks.faults.faulty_models import SLOW
from models.contract.repository import ModelRepository
from service.errors import InferenceError
from service.inference.encoding import Encoded
from service.inference.session import load_session
from tests.serving import environment


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return processes.repository(tmp_path_factory.mktemp("repository"))


def test_killed_workers_take_only_their_own_requests_with_them(root: Path) -> None:
    figure, facts = asyncio.run(processes.kill_workers(root, 1))

    assert figure.holds, facts
    assert facts["n_right"] > 0


def test_a_stop_under_load_loses_nothing(root: Path) -> None:
    _figure, facts = asyncio.run(processes.stop_servers(root, 1))

    assert facts["n_right"] > 0
    assert (facts["wrong"], facts["n_lost"], facts["exit_codes"]) == ([], 0, [0])


def test_a_session_that_fails_fails_alone(root: Path) -> None:
    figure, facts = asyncio.run(processes.fail_a_session(root, 0.3))

    assert figure.holds, facts
    assert facts["n_failed"] > 0


def test_a_run_beyond_its_deadline_is_stopped(root: Path) -> None:
    """Alone it takes a second or more; the runtime looks for the stop between two layers of 48."""
    session = load_session(ModelRepository(root).load(SLOW, 1), "cpu")
    rows = Encoded(np.zeros((2000, 1)), np.empty((2000, 0), dtype=object), np.ones(2000, dtype=np.bool_))
    started = time.process_time()

    with pytest.raises(InferenceError, match=r"stopped after 0\.02 s"):
        session.run(rows, deadline_s=0.02)
    stopped_s = time.process_time() - started
    session.run(rows)

    assert stopped_s < (time.process_time() - started - stopped_s) / 2


def test_a_full_disk_stops_log_lines_and_nothing_else(root: Path) -> None:
    figure, facts = asyncio.run(processes.fill_the_disk(root, 0.3))

    assert figure.holds, facts


def test_a_service_starts_and_ends_well_where_nothing_can_be_printed(root: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "nalu"), "serve", "--port", str(port), "--workers", "2"]
    errors = tmp_path / "errors"
    with Path("/dev/full").open("w", encoding="ascii") as full, errors.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--repository", str(root)], env=environment(), stdout=full, stderr=log, text=True
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            body = json.dumps({"model": "multiply", "rows": [{"a": 3, "b": 5}]})
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = json.load(connection.getresponse())
                break
            except ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            finally:
                connection.close()
        # the first worker may answer before the others are there, and only then is anything printed
        while "cannot be told on standard output" not in errors.read_text("utf-8"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert answer["predictions"] == [{"y": 15.0}]
    assert process.returncode == 0
    assert "cannot be told on standard output: No space left on device" in errors.read_text("utf-8")
    assert "Traceback" not in errors.read_text("utf-8")
