"""Answers of the service instead of ours: laws are published, `nalu serve` is started, and POST /predict is asked."""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.contract.manifest import ModelManifest, NumberColumn, OutputColumn, Provenance, Sample
from models.contract.repository import ModelRepository
from training.bench.cell import Floats, Problem
from training.bench.solving import Answer
from training.errors import TrainingError
from training.fitting.law import Law
from training.lowering import lower_network
from training.parity import RTOL, GraphRunner, RawRows
from training.publish import describe_graph

_START_S = 120.0
"""Longest wait for the service: a hundred models take a second."""

_STOP_S = 30.0
_NUMBERS_A_REQUEST = 200_000
"""Numbers in one request: 4 MB of JSON, a quarter of the service's default body limit."""


class ServiceFailedError(TrainingError):
    """A service that did not start or answered with an error."""


@contextmanager
def served(problems: Sequence[Problem], answers: Sequence[Answer]) -> Iterator[list[Answer]]:
    """Serve the laws found, and give answers that ask the service; what is no law is left as it is.

    Args:
        problems: The problems.
        answers: What was found for each.
    """
    with tempfile.TemporaryDirectory(prefix="nalu-bench-") as folder:
        repository = ModelRepository(Path(folder))
        names = [f"law-{position}" for position in range(len(answers))]
        laws = [answer.law for answer in answers]
        for name, law, problem in zip(names, laws, problems, strict=True):
            if law is not None:
                _publish(repository, name, law, problem)
        if not any(laws):
            yield list(answers)
            return
        with _service(Path(folder)) as port:
            yield [
                answer if law is None else replace(answer, predict=_asking(port, name, law.layers[0].weight.shape[1]))
                for answer, law, name in zip(answers, laws, names, strict=True)
            ]


def _publish(repository: ModelRepository, name: str, law: Law, problem: Problem) -> None:
    graph = lower_network(law.network(), "float64")
    rows = problem.inputs[:3]
    predictions = GraphRunner(graph, "float64")(RawRows(rows))
    names = _names(problem.inputs.shape[1])
    scale = max(float(np.abs(problem.targets).max()), 1e-12)
    manifest = ModelManifest(
        name=name,
        version=1,
        kind="arithmetic",
        description="A law of the benchmark.",
        inputs=tuple(
            NumberColumn(name=column, minimum=values.min(), maximum=values.max())
            for column, values in zip(names, problem.inputs.T, strict=True)
        ),
        outputs=(OutputColumn(name="y", minimum=problem.targets.min(), maximum=problem.targets.max()),),
        graph=describe_graph(graph, "float64"),
        provenance=Provenance(task="nalu bench arithmetic", n_rows=len(problem.inputs), seed=0),
        sample=Sample(
            rows=tuple(dict(zip(names, row, strict=True)) for row in rows.tolist()),
            predictions=tuple((float(y),) for y in predictions[:, 0]),
            rtol=RTOL["float64"],
            atol=(RTOL["float64"] * scale,),
        ),
    )
    repository.publish(manifest, graph, {})


def _names(d_inputs: int) -> list[str]:
    return [f"x{position}" for position in range(d_inputs)]


@contextmanager
def _service(repository: Path) -> Iterator[int]:
    """Run `nalu serve` on a free port."""
    process = subprocess.Popen(  # noqa: S603 # our own command
        [sys.executable, "-m", "nalu_cli", "serve", "--port", "0", "--repository", str(repository)],
        env={name: value for name, value in os.environ.items() if not name.upper().startswith("NALU_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        yield _ready_port(process, lines)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(_STOP_S)
        if process.stdout is not None:
            process.stdout.close()


def _ready_port(process: "subprocess.Popen[str]", lines: list[str]) -> int:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", "".join(lines))
        if found and _is_ready(int(found[1])):
            return int(found[1])
        time.sleep(0.05)
    msg = f"`nalu serve` must become ready within {_START_S:g} s, however it printed: {''.join(lines)[-500:]}"
    raise ServiceFailedError(msg)


def _is_ready(port: int) -> bool:
    try:
        return _request(port, "GET", "/health/ready", None)[0] == http.client.OK
    except OSError:
        return False


def _request(port: int, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _asking(port: int, name: str, d_inputs: int) -> Callable[[Floats], Floats]:
    """Return a function that asks the service; a number's JSON text is the shortest that reads as the same float64."""
    columns = _names(d_inputs)
    step = max(1, _NUMBERS_A_REQUEST // d_inputs)

    def predict(inputs: Floats) -> Floats:
        answers = []
        for start in range(0, len(inputs), step):
            body = {"model": name, "columns": columns, "data": inputs[start : start + step].tolist()}
            status, content = _request(port, "POST", "/predict", json.dumps(body).encode())
            if status != http.client.OK:
                msg = f"the service must answer, however it said {status}: {content[:300].decode()}"
                raise ServiceFailedError(msg)
            answers += json.loads(content)["data"]
        return np.array(answers, dtype=np.float64)[:, 0]

    return predict
