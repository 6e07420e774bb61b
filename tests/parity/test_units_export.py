"""Every unit answers in onnxruntime what it answers in torch, in float64."""

import logging
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from models.units import NAC, NALU, NAU, NMU, ArithmeticUnit, RealNPU

# ε = 0.1 shows what 1e-7 and 2^-23 would hide: a literal rounded to float32 is off by 1.5e-8 then
UNITS: dict[str, Callable[[], ArithmeticUnit]] = {
    "NAC": lambda: NAC(4, 3, dtype=torch.float64),
    "NALU": lambda: NALU(4, 3, epsilon=0.1, dtype=torch.float64),
    "NALU, separate weights, independent gate": lambda: NALU(
        4, 3, epsilon=0.1, separate_weights=True, gate="independent", dtype=torch.float64
    ),
    "NAU": lambda: NAU(4, 3, dtype=torch.float64),
    "NMU": lambda: NMU(4, 3, dtype=torch.float64),
    "Real NPU": lambda: RealNPU(4, 3, epsilon=0.1, dtype=torch.float64),
    "Real NPU, modified": lambda: RealNPU(
        4, 3, clip_weights=True, penalty="discrete", initialisation="nau", dtype=torch.float64
    ),
}


@pytest.fixture(scope="module", params=UNITS)
def exported(request: pytest.FixtureRequest) -> tuple[ArithmeticUnit, bytes]:
    torch.manual_seed(0)
    unit = UNITS[request.param]().eval()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of torchvision's absence
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
        program = torch.onnx.export(
            unit,
            (torch.ones(2, 4, dtype=torch.float64),),
            dynamo=True,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: "batch"},),
            external_data=False,
            opset_version=20,
            optimize=True,
            verbose=False,
        )
    logger.setLevel(level)
    assert program is not None
    return unit, program.model_proto.SerializeToString()


def _inputs(n_rows: int) -> NDArray[np.float64]:
    """Rows inside and outside a usual range, of both signs, with zeros and huge and tiny numbers."""
    rng = np.random.default_rng(n_rows)
    x = rng.uniform(-2, 2, size=(n_rows, 4))
    x[::3] *= 10.0 ** rng.integers(-6, 7, size=x[::3].shape)
    x[1::7, 0] = 0.0
    x[2::7] = np.abs(x[2::7])
    x[3::50, 1] = 1e30
    x[4::50, 2] = -1e-30
    return x


@pytest.mark.parametrize("n_rows", [1, 2, 1000])
def test_runtime_agrees_with_torch(exported: tuple[ArithmeticUnit, bytes], n_rows: int) -> None:
    unit, onnx_bytes = exported
    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    x = _inputs(n_rows)
    with torch.no_grad():
        expected = unit(torch.from_numpy(x)).numpy()
    (y,) = session.run(None, {"x": x})
    assert y.dtype == np.float64
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-13)


def test_nan_passes_through_the_graph(exported: tuple[ArithmeticUnit, bytes]) -> None:
    session = onnxruntime.InferenceSession(exported[1], providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.array([[1.0, np.nan, 2.0, 3.0], [1.0, 1.0, 2.0, 3.0]])})
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


def test_graph_is_float64_throughout(exported: tuple[ArithmeticUnit, bytes]) -> None:
    model = onnx.load_model_from_string(exported[1])
    onnx.checker.check_model(model, full_check=True)
    floats = {tensor.data_type for tensor in model.graph.initializer} & {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
    assert not floats
    casts = {attribute.i for node in model.graph.node if node.op_type == "Cast" for attribute in node.attribute}
    assert onnx.TensorProto.FLOAT not in casts
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == 20
