"""The real process: its start, its sockets, its signals."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.api.openapi import HEALTH_PATHS
from service.key_file import KeyRecord, add_record, hash_of, new_key
from tests.published import publish_all, publish_arithmetic
from tests.serving import Served, environment, serve

NALU = Path(sys.executable).parent / "nalu"
PREDICT = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'{"model": "multiply", "rows": [{"a": 3, "b": 5}]}'


@pytest.fixture(name="repository", scope="module")
def _repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_all(tmp_path_factory.mktemp("repository"))


@pytest.fixture(name="served", scope="module")
def _served(repository: Path) -> Iterator[Served]:
    with serve(repository, "--workers", "1") as served:  # so that lines stand in the order of the requests
        served.wait_until_ready()
        yield served


def assert_healthy(served: Served) -> None:
    status, _headers, answer = served.predict(model="multiply", rows=[{"a": 3, "b": 5}])
    assert (status, answer["predictions"]) == (200, [{"y": 15.0}])


def receive(connection: socket.socket) -> bytes:
    """Return what arrives until the server closes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_the_first_lines_name_the_url_and_a_request_that_works(served: Served) -> None:
    (curl,) = (line.strip() for line in served.lines if line.strip().startswith("curl "))

    assert f"http://127.0.0.1:{served.port}/docs" in served.output
    done = subprocess.run(["bash", "-c", f"{curl} --silent"], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout)["predictions"] == [{"y": 15.0}]


@pytest.mark.parametrize("open_docs", ["true", "false"])
def test_the_interface_is_offered_only_where_a_browser_is_let_in(
    open_docs: str, repository: Path, tmp_path: Path
) -> None:
    key = new_key()
    add_record(tmp_path / "keys.jsonl", KeyRecord(name="one", role="predict", sha256=hash_of(key.encode()).hex()))
    keys = str(tmp_path / "keys.jsonl")
    with serve(repository, "--workers", "1", NALU_KEYS_FILE=keys, NALU_OPEN_DOCS=open_docs) as served:
        let_in = served.request("GET", "/openapi.json")[0] == 200
    assert let_in == (open_docs == "true")
    assert ("/docs" in served.lines[0]) == let_in


def test_a_body_announced_too_large_is_refused_before_it_is_sent(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(PREDICT + b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n")
        answer = receive(connection)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer
    assert b"application/problem+json" in answer
    assert b'"body-too-large"' in answer
    assert_healthy(served)


def test_a_chunked_body_over_the_limit_is_refused_while_it_arrives(served: Served) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = b""
    with served.connect() as connection:
        connection.sendall(PREDICT + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(20):
                connection.sendall(chunk)
            answer = receive(connection)
        except (ConnectionResetError, BrokenPipeError):
            pass  # the server closed while we were still sending: nothing more was read

    assert not answer or answer.startswith(b"HTTP/1.1 413")
    assert any("POST /predict 413" in line for line in served.lines)
    assert_healthy(served)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        PREDICT + b"Content-Length: -5\r\n\r\n",
        PREDICT + b"Content-Length: abc\r\n\r\n",
        PREDICT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ],
)
def test_what_is_no_http_is_refused_and_harms_nobody(served: Served, raw: bytes) -> None:
    with served.connect() as connection:
        connection.sendall(raw)
        assert receive(connection).startswith(b"HTTP/1.1 400")

    assert_healthy(served)


def test_a_client_that_leaves_before_its_answer_harms_nobody(served: Served) -> None:
    for _ in range(5):
        with served.connect() as connection:
            connection.sendall(PREDICT + b"Content-Length: 100\r\n\r\n{")

    assert_healthy(served)
    assert "Traceback" not in served.output


def test_no_log_line_tells_what_was_asked(served: Served) -> None:
    served.predict(model="multiply", rows=[{"a": 123454321, "b": 5}])
    served.predict(model="multiply", rows=[{"a": "sensitive-text", "b": 5}])
    assert_healthy(served)

    assert "123454321" not in served.output
    assert "sensitive-text" not in served.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_the_request_in_flight_and_exits_with_0(repository: Path, number: signal.Signals) -> None:
    with serve(repository) as served, served.connect() as connection:
        served.wait_until_ready()
        connection.sendall(PREDICT + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:10])
        assert_healthy(served)  # answered after the beginning of the other request has arrived
        served.process.send_signal(number)
        while any_listener(served.port):
            time.sleep(0.02)
        connection.sendall(BODY[10:])
        answer = receive(connection)
        code = served.wait()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"predictions":[{"y":15.0}]' in answer
    assert code == 0
    assert "Traceback" not in served.output


def test_while_draining_it_is_not_ready_and_still_answers(repository: Path) -> None:
    with serve(repository, NALU_DRAIN_S="600") as served:
        served.wait_until_ready()
        served.process.send_signal(signal.SIGTERM)
        while (ready := served.request("GET", "/health/ready"))[0] == 200:
            time.sleep(0.02)
        time.sleep(0.5)  # the server looks every 0.1 s whether it shall stop
        assert ready[0] == 503
        assert ready[2]["reasons"] == ["the service is stopping"]
        assert served.request("GET", "/health/live")[0] == 200
        assert_healthy(served)

        assert served.stop() == 0  # a second signal ends the wait


def test_several_workers_share_the_port_and_stop_together(repository: Path) -> None:
    with serve(repository, "--workers", "2") as served:
        served.wait_until_ready()
        assert_healthy(served)
        while sum("models in" in line for line in served.lines) < 2:
            time.sleep(0.05)
        code = served.stop()

    assert code == 0
    assert sum("stopped after" in line for line in served.lines) == 2
    assert "Traceback" not in served.output


def test_json_log_lines_carry_the_request_s_id(repository: Path) -> None:
    with serve(repository, NALU_LOG_FORMAT="json") as served:
        served.wait_until_ready()
        served.request("GET", "/models/a%0Ab", headers={"X-Request-ID": "order-17"})
        served.stop()

    lines = [json.loads(line) for line in served.lines if line.startswith("{")]
    (line,) = (line for line in lines if line.get("request_id") == "order-17")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/models/a\nb", 404)


def test_a_plain_log_line_cannot_be_forged_by_a_path(served: Served) -> None:
    served.request("GET", "/models/a%0A2026-01-01T00:00:00.000Z%20error%20forged")
    deadline = time.monotonic() + 60
    while not any("GET /models/a\\n2026-01-01" in line for line in served.lines):
        assert time.monotonic() < deadline, served.output
        time.sleep(0.02)

    assert not any(line.startswith("2026-01-01") for line in served.lines)


def refused(*arguments: str, **variables: str) -> str:
    """Run `nalu serve`, which must fail at once with one message; return it."""
    done = subprocess.run(
        [NALU, "serve", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_taken_port_is_refused_with_the_remedy(repository: Path, served: Served) -> None:
    message = refused("--port", str(served.port), "--repository", str(repository))

    assert f"127.0.0.1:{served.port}, however Address already in use" in message
    assert "--port" in message
    assert_healthy(served)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "x" * 300])
def test_an_address_of_another_machine_is_refused(repository: Path, host: str) -> None:
    assert "host" in refused("--host", host, "--port", "0", "--repository", str(repository))


def test_a_misspelt_variable_is_refused() -> None:
    assert "NALU_MODEL_REPO" in refused(NALU_MODEL_REPO="/models")


def test_check_prints_what_was_resolved_and_fails_on_a_broken_model(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "add")
    command = [str(NALU), "serve", "--check", "--repository", str(tmp_path)]
    good = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    publish_arithmetic(tmp_path, "add")
    (tmp_path / "add" / "1" / "model.onnx").write_bytes(b"edited")
    message = refused("--check", "--repository", str(tmp_path))

    assert good.returncode == 0, good.stderr
    assert "NALU_PORT" in good.stdout
    assert "ok, on" in good.stdout
    assert "1 versions could not be loaded" in message


def test_check_of_an_empty_repository_fails(tmp_path: Path) -> None:
    assert "holds no published model" in refused("--check", "--repository", str(tmp_path))


def test_importing_the_service_loads_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, service.app; "
        "print(sorted({'torch', 'onnx', 'onnxscript', 'onnx_ir', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"


def any_listener(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_good_health_probes_leave_no_lines_at_info() -> None:
    """A container's probe every few seconds filled the log."""
    with serve(Path(__file__).parents[2] / "model_repository") as served:
        served.wait_until_ready()
        for path in HEALTH_PATHS:
            served.request("GET", path)
        served.request("GET", "/models")
        served.stop()
    assert "GET /models 200" in served.output
    for path in HEALTH_PATHS:
        assert f"GET {path} 200" not in served.output
