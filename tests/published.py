"""Tiny published models for tests, built with the ONNX helper rather than with our exporter."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.contract.manifest import (
    CATEGORICAL_TENSOR,
    NUMERIC_TENSOR,
    PREDICTIONS_TENSOR,
    CategoryColumn,
    Certificate,
    Column,
    Domain,
    Dtype,
    Formula,
    Graph,
    ModelManifest,
    NumberColumn,
    OutputColumn,
    Provenance,
    Sample,
    Value,
)
from models.contract.repository import ModelRepository

OPSET = 20
IR_VERSION = 10

TRUTH: dict[str, Callable[[float, float], float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
}
"""Operation → Python's own answer, the oracle of these graphs."""

_OPERATOR = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
_TENSOR_TYPE = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}

GRADES = {"A": 1.0, "B": 10.0, "C": 100.0}
"""Level → the factor by which the `graded` model multiplies."""


def arithmetic_graph(operation: str, dtype: Dtype = "float64") -> bytes:
    """Return a graph of one operation on the two columns of `numeric`."""
    nodes = [
        helper.make_node("Gather", [NUMERIC_TENSOR, "first"], ["a"], axis=1),
        helper.make_node("Gather", [NUMERIC_TENSOR, "second"], ["b"], axis=1),
        helper.make_node(_OPERATOR[operation], ["a", "b"], [PREDICTIONS_TENSOR]),
    ]
    return model_bytes(
        nodes,
        {"first": np.array([0], dtype=np.int64), "second": np.array([1], dtype=np.int64)},
        d_numeric=2,
        dtype=dtype,
    )


def graded_graph() -> bytes:
    """Return a graph that multiplies a number (0 where missing) by the factor of its grade (7 where missing)."""
    nodes = [
        helper.make_node("IsNaN", [NUMERIC_TENSOR], ["missing"]),
        helper.make_node("Where", ["missing", "fill", NUMERIC_TENSOR], ["filled"]),
        helper.make_node(
            "LabelEncoder",
            [CATEGORICAL_TENSOR],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=[*GRADES, ""],
            values_int64s=list(range(len(GRADES) + 1)),
            default_int64=len(GRADES),
        ),
        helper.make_node("Gather", ["factors", "code"], ["factor"]),
        helper.make_node("Mul", ["filled", "factor"], [PREDICTIONS_TENSOR]),
    ]
    constants = {"fill": np.array(0.0), "factors": np.array([*GRADES.values(), 7.0])}
    return model_bytes(nodes, constants, d_numeric=1, d_categorical=1)


def model_bytes(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, NDArray[np.generic]],
    *,
    d_numeric: int,
    d_categorical: int = 0,
    d_outputs: int = 1,
    dtype: Dtype = "float64",
    domains: Mapping[str, int] | None = None,
) -> bytes:
    """Return an ONNX file with the tensors of the contract."""
    element = _TENSOR_TYPE[dtype]
    inputs = []
    if d_numeric:
        inputs.append(helper.make_tensor_value_info(NUMERIC_TENSOR, element, ["batch", d_numeric]))
    if d_categorical:
        inputs.append(
            helper.make_tensor_value_info(CATEGORICAL_TENSOR, TensorProto.STRING, ["batch", d_categorical]),
        )
    graph = helper.make_graph(
        list(nodes),
        "test",
        inputs,
        [helper.make_tensor_value_info(PREDICTIONS_TENSOR, element, ["batch", d_outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = {"": OPSET, "ai.onnx.ml": 3, **(domains or {})}
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
        ir_version=IR_VERSION,
    )
    return bytes(model.SerializeToString())


def describe(
    name: str,
    graph: bytes,
    inputs: Sequence[Column],
    sample: Mapping[str, Value],
    predictions: Sequence[float],
    *,
    outputs: Sequence[str] = ("y",),
    dtype: Dtype = "float64",
) -> ModelManifest:
    """Return the manifest of a graph with one sample row."""
    return ModelManifest(
        name=name,
        version=1,
        kind="arithmetic" if all(isinstance(column, NumberColumn) for column in inputs) else "tabular",
        description=f"Test model {name}.",
        inputs=tuple(inputs),
        outputs=tuple(OutputColumn(name=output, minimum=-1e6, maximum=1e6) for output in outputs),
        graph=Graph(
            sha256=hashlib.sha256(graph).hexdigest(),
            n_bytes=len(graph),
            dtype=dtype,
            opset=OPSET,
            ir_version=IR_VERSION,
        ),
        formula=Formula(text=f"y = {name}(a, b)"),
        metrics={"inside": {"y": {"rmse": 0.0}}},
        parity={"numpy": 0.0},
        provenance=Provenance(task=f"test {name}", n_rows=1, seed=0),
        sample=Sample(
            rows=(dict(sample),), predictions=(tuple(predictions),), rtol=1e-6, atol=(1e-9,) * len(predictions)
        ),
    )


def arithmetic_manifest(operation: str, graph: bytes, dtype: Dtype = "float64") -> ModelManifest:
    """Return the manifest of an arithmetic graph, trained on [-10, 10]; the divisor must not be zero."""
    domain = Domain(nonzero=True, reason="division by zero has no answer") if operation == "divide" else None
    return describe(
        operation,
        graph,
        [
            NumberColumn(name="a", unit="m", minimum=-10, maximum=10),
            NumberColumn(name="b", minimum=-10, maximum=10, domain=domain),
        ],
        {"a": 3.0, "b": 5.0},
        [TRUTH[operation](3.0, 5.0)],
        dtype=dtype,
    )


def certificate(dtype: Dtype = "float64") -> Certificate:
    """Return a certificate of the arithmetic model `multiply`."""
    layer = {"kind": "power", "weight": [[1.0, 1.0]]}
    region = {"factor": 1, "n_rows": 100, "max_relative_error": 1e-16, "max_share_of_bound": 0.5}
    return Certificate.model_validate(
        {
            "dtype": dtype,
            "seed": 0,
            "raw": [{"kind": "power", "weight": [[0.999, 1.001]]}],
            "snapped": [layer],
            "sparsity_error_before": 0.001,
            "sparsity_error_after": 0.0,
            "regions": [region, {**region, "factor": 10}],
            "bound": "four roundings",
            "evidence": {"n_rows": 100, "noise": 0.01, "outlier_share": 0.0},
            "inputs": [{"name": name, "seen": "both", "holds_for": "all numbers"} for name in ("a", "b")],
            "conditions": ["a - b != 0"],
            "magnitudes": [1e-153, 1e153],
        }
    )


def graded_manifest(graph: bytes) -> ModelManifest:
    """Return the manifest of the `graded` graph; both of its columns may be missing."""
    return describe(
        "graded",
        graph,
        [
            NumberColumn(name="mass", unit="kg", minimum=0, maximum=100, may_be_missing=True),
            CategoryColumn(name="grade", categories=tuple(GRADES), may_be_missing=True),
        ],
        {"mass": 2.0, "grade": "B"},
        [20.0],
        outputs=["strength"],
    )


def publish_arithmetic(root: Path, operation: str, dtype: Dtype = "float64") -> ModelManifest:
    """Publish one arithmetic model."""
    graph = arithmetic_graph(operation, dtype)
    return ModelRepository(root).publish(arithmetic_manifest(operation, graph, dtype), graph)


def publish_graded(root: Path) -> ModelManifest:
    """Publish the model with a category column."""
    graph = graded_graph()
    return ModelRepository(root).publish(graded_manifest(graph), graph)


def publish_all(root: Path) -> Path:
    """Publish every model of this file and return the repository's root."""
    for operation in TRUTH:
        publish_arithmetic(root, operation)
    publish_graded(root)
    return root
