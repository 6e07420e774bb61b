"""Builds a graph of native operators, each tensor a block of columns, equal expressions once."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.contract.manifest import CATEGORICAL_TENSOR, NUMERIC_TENSOR, PREDICTIONS_TENSOR, Dtype
from training.export import IR_VERSION, OPSET

_ML_OPSET = 5
"""Operator set of ai.onnx.ml, for a TreeEnsemble that answers in float64; onnxruntime reads it since 1.20."""

_ML_DOMAIN = "ai.onnx.ml"

_ELEMENT: dict[Dtype, int] = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}


class GraphBuilder:
    """Collects nodes and constants of one graph on `numeric` and `categorical`.

    Nodes are numbered in the order in which they are asked for, and the same operator on the same tensors is one node,
    so that equal networks give equal bytes.

    Args:
        d_numeric: Columns of `numeric`.
        dtype: Floating-point type that the graph computes in.
        d_categorical: Columns of `categorical`.
        inner: Floating-point type of `numeric`; None for that of the graph. Casting it is left to the caller.
        outer: Floating-point type of the outputs; None for that of the graph.
    """

    def __init__(
        self,
        d_numeric: int,
        dtype: Dtype,
        *,
        d_categorical: int = 0,
        inner: Dtype | None = None,
        outer: Dtype | None = None,
    ) -> None:
        self._d_numeric = d_numeric
        self._d_categorical = d_categorical
        self._dtype = dtype
        self._inner = inner or dtype
        self._outer = outer or dtype
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._known: dict[tuple[object, ...], tuple[str, ...]] = {}

    def column(self, index: int) -> str:
        """Return one column of `numeric`, shape (batch, 1)."""
        return self.columns([index])

    def columns(self, indices: Sequence[int]) -> str:
        """Return columns of `numeric`, shape (batch, len(indices))."""
        return self.node("Gather", NUMERIC_TENSOR, self.integers(indices), axis=1)

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: object) -> str:
        """Return the output of an operator, by default of the standard operator set."""
        return self._add(operator, inputs, 1, attributes, domain)[0]

    def nodes(self, operator: str, n_outputs: int, *inputs: str, **attributes: object) -> tuple[str, ...]:
        """Return the outputs of an operator that has several."""
        return self._add(operator, inputs, n_outputs, attributes)

    def join(self, columns: Sequence[str]) -> str:
        """Return columns side by side; one column is itself."""
        return columns[0] if len(columns) == 1 else self.node("Concat", *columns, axis=1)

    def split(self, block: str, widths: Sequence[int]) -> tuple[str, ...]:
        """Return a block in parts of the widths given."""
        return self.nodes("Split", len(widths), block, self.integers(widths), axis=1)

    def number(self, value: float) -> str:
        """Return a number as a constant of the graph's type, shape (1, 1)."""
        return self._constant(np.array([[value]], dtype=self._dtype))

    def row(self, values: Sequence[float]) -> str:
        """Return a row of numbers as a constant of the graph's type, shape (1, len(values))."""
        return self._constant(np.array([values], dtype=self._dtype))

    def column_of(self, values: Sequence[float]) -> str:
        """Return a column of numbers as a constant of the graph's type, shape (len(values), 1)."""
        return self._constant(np.array(values, dtype=self._dtype)[:, None])

    def matrix(self, values: NDArray[np.float64]) -> str:
        """Return a matrix as a constant of the graph's type, shape as given."""
        return self._constant(values.astype(self._dtype))

    def vector(self, values: Sequence[float]) -> str:
        """Return numbers as a constant of the graph's type, shape (len(values),)."""
        return self._constant(np.array(values, dtype=self._dtype))

    def tensor(self, values: NDArray[np.float64]) -> str:
        """Return an array as a constant of the graph's type and of its own shape."""
        return self._constant(values.astype(self._dtype))

    def flags(self, values: Sequence[bool]) -> str:
        """Return truth values as a constant, shape (1, len(values))."""
        return self._constant(np.array([values], dtype=np.bool_))

    def integers(self, values: Sequence[int]) -> str:
        """Return integers as a constant, shape (len(values),)."""
        return self._constant(np.array(values, dtype=np.int64))

    def filled(self, value: float) -> str:
        """Return a column that holds one number in every row of the batch, shape (batch, 1)."""
        batch = self.node("Shape", NUMERIC_TENSOR if self._d_numeric else CATEGORICAL_TENSOR, start=0, end=1)
        shape = self.node("Concat", batch, self.integers([1]), axis=0)
        return self.node("Expand", self.number(value), shape)

    def finish(self, columns: Sequence[str], more: Mapping[str, tuple[str, int]] | None = None) -> bytes:
        """Return the ONNX file whose `predictions` are the columns given.

        Args:
            columns: Tensors of shape (batch, 1).
            more: Further outputs: name → tensor and its number of columns.
        """
        return self.finish_outputs({PREDICTIONS_TENSOR: (self.join(columns), len(columns)), **(more or {})})

    def finish_outputs(self, outputs: Mapping[str, tuple[str, int]]) -> bytes:
        """Return the ONNX file with outputs of these names, each a tensor of its own and its number of columns."""
        element = _ELEMENT[self._outer]
        tensors = [tensor for tensor, _ in outputs.values()]
        if self._outer != self._dtype:
            tensors = [self.node("Cast", tensor, to=element) for tensor in tensors]
        names = dict(zip(tensors, outputs, strict=True))
        for node in self._nodes:
            for places in (node.input, node.output):
                for position, name in enumerate(places):
                    places[position] = names.get(name, name)
        inputs = []
        if self._d_numeric:
            numeric = _ELEMENT[self._inner]
            inputs.append(helper.make_tensor_value_info(NUMERIC_TENSOR, numeric, ["batch", self._d_numeric]))
        if self._d_categorical:
            inputs.append(
                helper.make_tensor_value_info(CATEGORICAL_TENSOR, TensorProto.STRING, ["batch", self._d_categorical])
            )
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == _ML_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(_ML_DOMAIN, _ML_OPSET))
        graph = helper.make_graph(
            self._nodes,
            "law",
            inputs,
            [helper.make_tensor_value_info(name, element, ["batch", width]) for name, (_, width) in outputs.items()],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nalu-serving")
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def _add(
        self, operator: str, inputs: Sequence[str], n_outputs: int, attributes: dict[str, object], domain: str = ""
    ) -> tuple[str, ...]:
        made = [helper.make_attribute(key, value) for key, value in sorted(attributes.items())]
        content = b"".join(attribute.SerializeToString(deterministic=True) for attribute in made)
        known = (domain, operator, *inputs, n_outputs, content)
        if known not in self._known:
            outputs = tuple(f"t{len(self._nodes)}_{i}" for i in range(n_outputs))
            node = helper.make_node(operator, inputs, outputs, name=f"n{len(self._nodes)}", domain=domain or None)
            node.attribute.extend(made)
            self._nodes.append(node)
            self._known[known] = outputs
        return self._known[known]

    def _constant(self, value: NDArray[np.generic]) -> str:
        key = f"{value.dtype}_{value.shape}_{value.tobytes().hex()}"
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(value, f"c{len(self._constants)}")
        return str(self._constants[key].name)
