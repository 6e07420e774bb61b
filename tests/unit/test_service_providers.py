"""What is asked of the runtime, and what it really has."""

import onnxruntime
import pytest
from onnx import TensorProto, helper

from models.contract.repository import PublishedModel
from service.errors import ModelLoadError, ProviderError
from service.inference import providers
from service.inference.session import load_session
from tests.published import arithmetic_graph, arithmetic_manifest

CUDA = "CUDAExecutionProvider"


def test_the_probe_is_the_smallest_graph_as_the_onnx_package_writes_it() -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    assert model.SerializeToString() == providers._PROBE


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this runtime was built with CUDA")
def test_without_cuda_auto_takes_the_cpu_and_cuda_refuses_with_the_remedy() -> None:
    assert providers.resolve_provider("auto") == "cpu"
    assert providers.resolve_provider("cpu") == "cpu"
    with pytest.raises(ProviderError, match=r"built without it; install the 'serve-cuda' extra"):
        providers.resolve_provider("cuda")


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this runtime was built with CUDA")
def test_a_runtime_that_offers_cuda_and_falls_back_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-gpu lists CUDA on a machine without a GPU and then runs on the CPU without a word."""
    monkeypatch.setattr("service.inference.runtime.offered_providers", lambda: (CUDA, "CPUExecutionProvider"))
    monkeypatch.setitem(providers.PREFERENCES, "cuda", (("CPUExecutionProvider", {}),))

    assert providers.resolve_provider("auto") == "cpu"
    with pytest.raises(ProviderError, match="fell back to the CPU"):
        providers.resolve_provider("cuda")


def test_a_model_that_falls_back_is_refused_although_the_probe_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.inference.session.resolve_provider", lambda _wanted, _cuda: "cuda")
    monkeypatch.setitem(providers.PREFERENCES, "cuda", (("CPUExecutionProvider", {}),))
    graph = arithmetic_graph("add")

    with pytest.raises(ProviderError, match="must run on 'cuda', however the runtime fell back to 'cpu'"):
        load_session(PublishedModel(arithmetic_manifest("add", graph), graph), "cuda")


def test_device_and_memory_reach_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[object] = []

    def refuse(_onnx: bytes, *, providers: object, n_threads: int) -> object:
        assert n_threads == 1
        chosen.append(providers)
        raise ModelLoadError("no GPU of that number")

    monkeypatch.setattr("service.inference.runtime.offered_providers", lambda: (CUDA, "CPUExecutionProvider"))
    monkeypatch.setattr("service.inference.runtime.RuntimeSession", refuse)

    with pytest.raises(ProviderError, match="no GPU of that number"):
        providers.resolve_provider("cuda", providers.CudaOptions(device=3, memory_bytes=2**30))
    options = {"use_tf32": "0", "device_id": "3", "gpu_mem_limit": str(2**30)}
    assert chosen == [((CUDA, options), ("CPUExecutionProvider", {}))]


def test_two_runtimes_in_one_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "version", lambda _distribution: "1.31.1")
    providers._check_one_runtime.cache_clear()

    with pytest.raises(ProviderError, match="onnxruntime and onnxruntime-gpu both are"):
        providers.resolve_provider("cpu")
