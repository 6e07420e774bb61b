"""The exported graph against torch and NumPy, and what happens where it does not agree."""

import hashlib
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from models.contract.manifest import Dtype
from models.networks import ArithmeticNetwork, TabularNetwork
from models.preprocessing import TablePreprocessing
from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU
from training.errors import ExportError
from training.export import CategoryCodes, Signature, export_network
from training.parity import GraphRunner, RawRows, check_parity

DTYPES: tuple[Dtype, ...] = ("float64", "float32")
LEVELS = (CategoryCodes(("a", "b"), may_be_missing=False), CategoryCodes(("x", "y", "z"), may_be_missing=True))


def stack(kind: str) -> ArithmeticNetwork:
    torch.manual_seed(0)
    units: dict[str, list[ArithmeticUnit]] = {
        "nac": [NAC(3, 1, dtype=torch.float64)],
        "nalu": [
            NALU(3, 2, dtype=torch.float64),
            NALU(2, 1, separate_weights=True, gate="independent", dtype=torch.float64),
        ],
        "nau_nmu": [NAU(3, 2, dtype=torch.float64), NMU(2, 1, dtype=torch.float64)],
        "real_npu": [RealNPU(3, 2, dtype=torch.float64), RealNPU(2, 1, clip_weights=True, dtype=torch.float64)],
    }
    return ArithmeticNetwork(units[kind])


def table_rows(n: int = 40) -> RawRows:
    rng = np.random.default_rng(0)
    numeric = np.exp(rng.normal(size=(n, 3)))
    numeric[:, 1] -= 2
    numeric[::5, 2] = np.nan
    codes = np.stack([rng.integers(0, 2, n), rng.integers(-1, 4, n)], axis=1)
    names = [["a", "b"], ["x", "y", "z", "", "never seen"]]
    text = np.array([[names[j][code] for j, code in enumerate(row)] for row in codes], dtype=object)
    return RawRows(numeric, text, codes)


def tabular(n_power_terms: int = 2, d_residual: int = 4) -> TabularNetwork:
    rows = table_rows()
    assert rows.numeric is not None
    network = TabularNetwork(
        TablePreprocessing.fit(rows.numeric, tuple(column.n_codes for column in LEVELS)),
        target_mean=np.array([100.0, -3.0]),
        target_scale=np.array([10.0, 0.5]),
        n_power_terms=n_power_terms,
        d_residual=d_residual,
        generator=torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        for parameter in network.parameters():  # no zeros left that would hide a fault
            noise = torch.Generator().manual_seed(2)
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise, dtype=torch.float64))
    return network


@pytest.mark.parametrize(("kind", "dtype"), [*product(("nac", "nalu", "nau_nmu", "real_npu"), DTYPES)])
def test_an_arithmetic_graph_answers_as_torch_and_numpy_do(kind: str, dtype: Dtype) -> None:
    network, signature = stack(kind), Signature(3)
    rng = np.random.default_rng(1)
    inside = rng.uniform(-2, 2, (1000, 3))
    graph = export_network(network, signature, dtype)
    worst = check_parity(
        graph, network, signature, dtype, {"inside": RawRows(inside), "outside": RawRows(100 * inside)}, np.array([1.0])
    )
    assert max(worst.values()) < (1e-12 if dtype == "float64" else 1e-3)
    assert GraphRunner(graph, dtype)(RawRows(inside)).dtype == np.dtype(dtype)


@pytest.mark.parametrize(("powers", "residual", "dtype"), [(2, 4, "float64"), (0, 4, "float64"), (2, 0, "float32")])
def test_a_table_graph_imputes_scales_and_encodes_by_itself(powers: int, residual: int, dtype: Dtype) -> None:
    network, signature, rows = tabular(powers, residual), Signature(3, LEVELS), table_rows()
    graph = export_network(network, signature, dtype)
    worst = check_parity(graph, network, signature, dtype, {"inside": rows}, np.array([100.0, 3.0]))
    assert max(worst.values()) < (1e-13 if dtype == "float64" else 1e-4)
    inputs = {
        tensor.name: tensor.type.tensor_type.elem_type for tensor in onnx.load_model_from_string(graph).graph.input
    }
    assert inputs["categorical"] == onnx.TensorProto.STRING
    assert set(inputs) == {"numeric", "categorical"}


def test_a_table_of_categories_alone_exports() -> None:
    network = TabularNetwork(
        TablePreprocessing.fit(np.zeros((4, 0)), (2, 4)),
        target_mean=np.zeros(1),
        target_scale=np.ones(1),
        n_power_terms=0,
        d_residual=3,
        generator=torch.Generator().manual_seed(0),
    )
    signature, rows = Signature(0, LEVELS), table_rows()
    rows = RawRows(None, rows.text, rows.codes)
    graph = export_network(network, signature, "float64")
    check_parity(graph, network, signature, "float64", {"inside": rows}, np.array([1.0]))


def test_parity_fails_loudly_when_a_weight_of_the_graph_is_off() -> None:
    network, signature = stack("nau_nmu"), Signature(3)
    model = onnx.load_model_from_string(export_network(network, signature, "float64"))
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype == np.float64 and values.size > 1:
            initializer.CopyFrom(numpy_helper.from_array(values * (1 + 1e-7), initializer.name))
    rows = RawRows(np.random.default_rng(0).uniform(1, 2, (10, 3)))
    with pytest.raises(ExportError, match="must answer as torch does"):
        check_parity(model.SerializeToString(), network, signature, "float64", {"inside": rows}, np.array([1.0]))


def test_parity_fails_loudly_when_torch_itself_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in a unit reaches graph and torch alike; only the oracle, written from the formula, sees it."""
    monkeypatch.setattr(NAU, "forward", lambda self, x: x @ (1.5 * self.effective_weight()).T)
    network, signature = ArithmeticNetwork([NAU(3, 1, dtype=torch.float64)]), Signature(3)
    graph = export_network(network, signature, "float64")
    rows = RawRows(np.random.default_rng(0).uniform(1, 2, (10, 3)))
    with pytest.raises(ExportError, match="must answer as numpy does"):
        check_parity(graph, network, signature, "float64", {"inside": rows}, np.array([1.0]))


def test_a_graph_that_does_not_load_is_told() -> None:
    with pytest.raises(ExportError, match="must load in onnxruntime"):
        check_parity(b"no graph", stack("nac"), Signature(3), "float64", {}, np.array([1.0]))


def test_a_network_that_onnx_cannot_express_is_told() -> None:
    class Branching(torch.nn.Module):
        def forward(self, numeric: torch.Tensor) -> torch.Tensor:
            return numeric if float(numeric.sum()) > 0 else -numeric

    with pytest.raises(ExportError, match="must be expressible in ONNX"):
        export_network(Branching(), Signature(3), "float64")


def test_equal_weights_give_equal_bytes_without_a_trace_of_the_machine(tmp_path: Path) -> None:
    graph = export_network(tabular(), Signature(3, LEVELS), "float64")
    assert graph == export_network(tabular(), Signature(3, LEVELS), "float64")
    assert str(Path.cwd()).encode() not in graph
    assert b".py" not in graph
    script = (
        "import hashlib\n"
        "from tests.parity.test_networks_export import LEVELS, Signature, export_network, tabular\n"
        "print(hashlib.sha256(export_network(tabular(), Signature(3, LEVELS), 'float64')).hexdigest())\n"
    )
    root = Path(__file__).parents[2]
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )  # another process in another folder
    assert elsewhere.stdout.strip() == hashlib.sha256(graph).hexdigest()
