"""A model whose every version answers something else: y = a · b + its version, so that an answer tells who gave it."""

import hashlib
from pathlib import Path

import numpy as np
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

NAME = "numbered"
OPSET, IR_VERSION = 20, 10


def answer(a: float, b: float, version: int) -> float:
    """Return what a version answers."""
    return a * b + version


def publish_next(root: Path, version: int, *, ballast: int = 0, broken: bool = False) -> ModelManifest:
    """Publish the next version, which must turn out to be `version`.

    Args:
        root: The repository.
        version: Its number, which its graph adds.
        ballast: Bytes of a further file, which make writing last.
        broken: Whether its sample says what the graph does not answer, so that no service takes it.
    """
    graph = _graph(version)
    manifest = ModelManifest(
        name=NAME,
        version=1,
        kind="arithmetic",
        description="A product, plus the number of the version.",
        inputs=tuple(NumberColumn(name=name, minimum=-10, maximum=10) for name in ("a", "b")),
        outputs=(OutputColumn(name="y", minimum=-100, maximum=1e9),),
        graph=Graph(
            sha256=hashlib.sha256(graph).hexdigest(),
            n_bytes=len(graph),
            dtype="float64",
            opset=OPSET,
            ir_version=IR_VERSION,
        ),
        provenance=Provenance(task="faults", n_rows=1, seed=0),
        sample=Sample(
            rows=({"a": 3.0, "b": 5.0},),
            predictions=((answer(3.0, 5.0, version) + broken,),),
            rtol=1e-9,
            atol=(1e-9,),
        ),
    )
    files = {"ballast.bin": bytes(ballast)} if ballast else {}
    published = ModelRepository(root).publish(manifest, graph, files)
    if published.version != version:
        msg = f"the version published must be {version}, however it is {published.version}"
        raise RuntimeError(msg)
    return published


def _graph(version: int) -> bytes:
    nodes = [
        helper.make_node("Gather", [NUMERIC_TENSOR, "first"], ["a"], axis=1),
        helper.make_node("Gather", [NUMERIC_TENSOR, "second"], ["b"], axis=1),
        helper.make_node("Mul", ["a", "b"], ["product"]),
        helper.make_node("Add", ["product", "version"], [PREDICTIONS_TENSOR]),
    ]
    constants = {"first": np.array([0]), "second": np.array([1]), "version": np.array(float(version))}
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info(NUMERIC_TENSOR, TensorProto.DOUBLE, ["batch", 2])],
        [helper.make_tensor_value_info(PREDICTIONS_TENSOR, TensorProto.DOUBLE, ["batch", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())
