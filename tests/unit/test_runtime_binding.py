"""Runs on CUDA: inputs and outputs are bound to the device, and the answers are those of a run that is not."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.errors import InferenceError
from service.inference.providers import PREFERENCES, resolve_provider
from service.inference.runtime import CUDA, RuntimeSession, offered_providers
from tests.published import arithmetic_graph, graded_graph


@pytest.fixture(name="bound_to")
def _bound_to(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let memory of the CPU stand for that of a device; note what is put where."""
    devices: list[str] = []
    from_numpy, bind_output = ort.OrtValue.ortvalue_from_numpy, ort.IOBinding.bind_output

    def noting_input(array: Any, device: str = "cpu", device_id: int = 0) -> Any:
        devices.append(f"{device} {device_id} in")
        return from_numpy(array, "cpu", 0)

    def noting_output(binding: Any, name: str, device: str = "cpu", device_id: int = 0) -> None:
        devices.append(f"{device} {device_id} out")
        bind_output(binding, name, "cpu", 0)

    monkeypatch.setattr(RuntimeSession, "providers", property(lambda _session: (CUDA, "CPUExecutionProvider")))
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", staticmethod(noting_input))
    monkeypatch.setattr(ort.IOBinding, "bind_output", noting_output)
    return devices


def session_of(graph: bytes) -> RuntimeSession:
    return RuntimeSession(graph, providers=PREFERENCES["cpu"], n_threads=1)


def test_a_bound_run_answers_as_one_that_is_not(bound_to: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).uniform(-5, 5, size=(7, 4))[:, ::2]  # not contiguous
    bound = session_of(arithmetic_graph("divide"))

    answers = [bound.run("predictions", {"numeric": rows}, deadline_s) for deadline_s in (None, 60.0)]

    assert bound_to == ["cuda 0 in", "cuda 0 out"] * 2
    monkeypatch.undo()
    plain = session_of(arithmetic_graph("divide")).run("predictions", {"numeric": rows})
    assert [answer.tobytes() for answer in answers] == [plain.tobytes()] * 2


def test_a_run_is_bound_to_the_gpu_that_was_chosen(bound_to: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ((cpu, options),) = PREFERENCES["cpu"]
    graph = arithmetic_graph("divide")
    made = ort.InferenceSession

    def without_options(onnx: bytes, session_options: Any, **given: Any) -> Any:
        return made(onnx, session_options, **{**given, "providers": [cpu]})

    monkeypatch.setattr(ort, "InferenceSession", without_options)
    session = RuntimeSession(graph, providers=[(cpu, {**options, "device_id": "2"})], n_threads=1)

    assert session.run("predictions", {"numeric": np.array([[6.0, 3.0]])}).tolist() == [[2.0]]
    assert bound_to == ["cuda 2 in", "cuda 2 out"]


def test_a_model_of_text_is_run_unbound(bound_to: list[str]) -> None:
    feeds = {"numeric": np.array([[2.0], [3.0]]), "categorical": np.array([["A"], ["B"]], dtype=object)}

    answer = session_of(graded_graph()).run("predictions", feeds)

    assert answer.tolist() == [[2.0], [30.0]]
    assert bound_to == []


def test_a_bound_run_that_fails_is_told(bound_to: list[str]) -> None:
    with pytest.raises(InferenceError, match="the runtime must answer, however"):
        session_of(arithmetic_graph("add")).run("predictions", {"numeric": np.ones((1, 2), dtype=np.float32)})
    assert bound_to


@pytest.mark.skipif(CUDA not in offered_providers(), reason="the installed onnxruntime was built without CUDA")
def test_on_a_gpu_a_bound_run_is_right() -> None:
    if resolve_provider("auto") != "cuda":
        pytest.skip("no GPU works here")
    rows = np.array([[6.0, 3.0], [1.0, 8.0]])
    session = RuntimeSession(arithmetic_graph("divide"), providers=PREFERENCES["cuda"], n_threads=1)

    assert session.run("predictions", {"numeric": rows}).tolist() == [[2.0], [0.125]]
