"""Models that are sound when they are published and go wrong on some rows: one fails in the runtime, one takes long."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.contract.manifest import (
    NUMERIC_TENSOR,
    PREDICTIONS_TENSOR,
    Graph,
    ModelManifest,
    NumberColumn,
    OutputColumn,
    Provenance,
    Sample,
)
from models.contract.repository import ModelRepository

FRAGILE: Final = "fragile"
SLOW: Final = "slow"

N_ENTRIES: Final = 4
"""Entries of the table that `fragile` looks its answer up in; any other place makes its run fail."""

_OPSET, _IR_VERSION = 20, 10
_D_HIDDEN, _N_LAYERS = 256, 48


def publish_fragile(root: Path) -> None:
    """Publish a model that answers 10 · place for places 0 to 3, and whose run fails for any other."""
    nodes = [
        helper.make_node("Cast", [NUMERIC_TENSOR], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], [PREDICTIONS_TENSOR], axis=0),
    ]
    table = 10.0 * np.arange(N_ENTRIES)
    _publish(root, FRAGILE, nodes, {"table": table}, float(table[1]), N_ENTRIES - 1)


def publish_slow(root: Path) -> None:
    """Publish a model that answers 0 after 48 layers of 256 units: 6 million multiplications a row."""
    nodes = [helper.make_node("MatMul", [NUMERIC_TENSOR, "first"], ["x0"])]
    for i in range(_N_LAYERS):
        nodes += [
            helper.make_node("MatMul", [f"x{i}", "weights"], [f"z{i}"]),
            helper.make_node("Tanh", [f"z{i}"], [f"x{i + 1}"]),
        ]
    nodes.append(helper.make_node("MatMul", [f"x{_N_LAYERS}", "last"], [PREDICTIONS_TENSOR]))
    random = np.random.default_rng(0)
    constants = {
        "first": random.normal(size=(1, _D_HIDDEN)),
        "weights": random.normal(size=(_D_HIDDEN, _D_HIDDEN)) / np.sqrt(_D_HIDDEN),
        "last": np.zeros((_D_HIDDEN, 1)),
    }
    _publish(root, SLOW, nodes, constants, 0.0, 1e6)


def _publish(
    root: Path,
    name: str,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, NDArray[np.float64]],
    answer: float,
    maximum: float,
) -> None:
    """Publish a model of one number, whose sample is its answer to 1."""
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(NUMERIC_TENSOR, TensorProto.DOUBLE, ["batch", 1])],
        [helper.make_tensor_value_info(PREDICTIONS_TENSOR, TensorProto.DOUBLE, ["batch", 1])],
        [numpy_helper.from_array(value, constant) for constant, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx_bytes = bytes(model.SerializeToString())
    manifest = ModelManifest(
        name=name,
        version=1,
        kind="arithmetic",
        description="Goes wrong on purpose.",
        inputs=(NumberColumn(name="x", minimum=0, maximum=maximum),),
        outputs=(OutputColumn(name="y", minimum=0, maximum=100),),
        graph=Graph(
            sha256=hashlib.sha256(onnx_bytes).hexdigest(),
            n_bytes=len(onnx_bytes),
            dtype="float64",
            opset=_OPSET,
            ir_version=_IR_VERSION,
        ),
        provenance=Provenance(task="faults", n_rows=1, seed=0),
        sample=Sample(rows=({"x": 1.0},), predictions=((answer,),), rtol=1e-9, atol=(1e-9,)),
    )
    ModelRepository(root).publish(manifest, onnx_bytes)
