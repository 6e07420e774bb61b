"""gRPC beside HTTP in a real service: its port, several workers, and the stop."""

import errno
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from starlette.testclient import TestClient

from service import rpc_port
from service.app import create_app
from service.errors import StartError
from service.rpc_port import remedy, reserved_rpc_port
from service.settings import Settings
from tests.published import publish_all
from tests.rpc import RpcClient, tensor
from tests.serving import Served, serve

_WISH = tensor("numeric", "FP64", [1, 2], "fp64_contents", [3, 5])


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    return publish_all(tmp_path)


def rpc_port_of(served: Served) -> int:
    found = re.search(r"gRPC at 127\.0\.0\.1:(\d+)", served.output)
    assert found, served.output
    return int(found[1])


def product(client: RpcClient) -> float:
    answer = client.infer("multiply", _WISH)
    value: float = answer.outputs[0].contents.fp64_contents[0]
    return value


def test_workers_share_the_port_and_stop_together(repository: Path) -> None:
    with serve(repository, "--workers", "2", "--grpc-port", "0") as served:
        served.wait_until_ready()
        port = rpc_port_of(served)
        for _ in range(8):
            client = RpcClient(port)
            assert product(client) == 15.0
            client.close()
        assert served.predict(model="multiply", rows=[{"a": 3, "b": 5}])[0] == 200
        assert served.stop() == 0
    assert "Traceback" not in served.output, served.output


class Asking(threading.Thread):
    """Asks over one channel until it is refused."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.client = RpcClient(port)
        self.begun = threading.Event()
        self.answers = set[float]()
        self.end: grpc.StatusCode | None = None

    def run(self) -> None:
        while self.end is None:
            try:
                self.answers.add(product(self.client))
                self.begun.set()
            except grpc.RpcError as error:
                self.end = error.code()
        self.client.close()


def test_a_stop_under_load_leaves_every_call_answered_or_to_be_asked_again(repository: Path) -> None:
    with serve(repository, "--workers", "1", "--grpc-port", "0", NALU_LOG_LEVEL="warning") as served:
        served.wait_until_ready()
        threads = [Asking(rpc_port_of(served)) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert all(thread.begun.wait(60) for thread in threads)
        assert served.stop() == 0
        for thread in threads:
            thread.join(60)
    assert {thread.end for thread in threads} == {grpc.StatusCode.UNAVAILABLE}
    assert [thread.answers for thread in threads] == [{15.0}] * 4
    assert "Traceback" not in served.output, served.output


def test_a_taken_port_stops_the_start(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusing = pytest.raises(AssertionError, match="choose another port with --grpc-port")
        with refusing as refused, serve(repository, "--grpc-port", str(port)):
            pass
    assert "Traceback" not in str(refused.value)


def test_two_services_never_share_a_port() -> None:
    with reserved_rpc_port(Settings(grpc_port=0)) as first, socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", first.grpc_port))
        worker.listen()
        with pytest.raises(StartError, match="stop what listens there"), reserved_rpc_port(first):
            pass


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.EADDRINUSE, "stop what listens there, or choose another port with --grpc-port"),
        (errno.EACCES, "ports below 1024 need privileges; choose another with --grpc-port"),
        (errno.EADDRNOTAVAIL, "choose another address with --host"),
    ],
)
def test_what_to_do_where_a_port_cannot_be_had(number: int, what: str) -> None:
    assert remedy(OSError(number, ""), "--grpc-port") == what


def test_an_application_says_so_where_it_cannot_listen(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(model_repository=repository, grpc_port=taken.getsockname()[1])
        refusing = pytest.raises(StartError, match=r"must be able to listen for gRPC on 127\.0\.0\.1:")
        with refusing, TestClient(create_app(settings)):
            pass


def test_without_the_extra_the_start_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        return None if name == "grpc_health" else object()

    monkeypatch.setattr(rpc_port, "find_spec", find)

    refusing = pytest.raises(StartError, match=r"are missing: grpc_health; .* '\.\[serve,grpc\]'")
    with refusing, reserved_rpc_port(Settings(grpc_port=0)):
        pass
    with reserved_rpc_port(Settings()) as unchanged:
        assert unchanged.grpc_port is None


def test_the_application_without_grpc_imports_none_of_it() -> None:
    code = (
        "import sys, service.server, service.app; print([m for m in sys.modules if m.startswith(('grpc', 'google'))])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
