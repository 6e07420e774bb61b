"""torch → ONNX: a graph that takes raw columns, carries no trace of the machine it was built on, and is portable.

The exporter's example batch has two rows (a batch of one risks being specialised), weights are inside the file, and
build traces are cleared, so that equal weights give equal bytes.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir
import torch
from onnx import TensorProto, helper
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from models.contract.manifest import CATEGORICAL_TENSOR, NUMERIC_TENSOR, PREDICTIONS_TENSOR, Dtype
from training.errors import ExportError, first_line

OPSET = 20
"""Operator set of exported graphs: the exporter's own default in torch 2.13, IR version 10, read by onnxruntime 1.17
and later."""

IR_VERSION = 10
"""IR version that belongs to it."""

_ML_OPSET = 3
"""Operator set of ai.onnx.ml, for LabelEncoder with several key types; onnxruntime has read it since 2021."""

_CODES_TENSOR = "codes"

TORCH_DTYPES: dict[Dtype, torch.dtype] = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class CategoryCodes:
    """How the text levels of one category column become codes.

    Attributes:
        levels: Level → code is its position.
        may_be_missing: Whether the code after the last level stands for a missing value.
    """

    levels: tuple[str, ...]
    may_be_missing: bool

    @property
    def n_codes(self) -> int:
        """Number of codes."""
        return len(self.levels) + self.may_be_missing


@dataclass(frozen=True)
class Signature:
    """What a network takes.

    Attributes:
        d_numeric: Number columns; 0 for none.
        categories: Category columns; empty for none.
    """

    d_numeric: int
    categories: tuple[CategoryCodes, ...] = ()


def export_network(network: nn.Module, signature: Signature, dtype: Dtype) -> bytes:
    """Export a network in evaluation mode.

    Args:
        network: Takes `numeric` (batch, d_numeric) and, where there are category columns, `codes` (batch,
            d_categorical) int64; gives (batch, d_outputs).
        signature: What it takes.
        dtype: Floating-point type of the graph; the network itself is left as it is.

    Returns:
        The ONNX file, with tensors named as in `models.contract.manifest`.

    Raises:
        ExportError: When the exporter cannot express the network or the checker refuses the result.
    """
    target = TORCH_DTYPES[dtype]
    module = _Entry(copy.deepcopy(network).to(target), signature)
    example = _example(signature, target)
    names = [
        name for name, there in ((NUMERIC_TENSOR, signature.d_numeric), (_CODES_TENSOR, signature.categories)) if there
    ]
    model = trace(module, example, names, PREDICTIONS_TENSOR)
    if signature.categories:
        _take_text(model, signature.categories)
    return as_file(model)


def trace(module: nn.Module, example: Sequence[Tensor], inputs: Sequence[str], output: str) -> onnx.ModelProto:
    """Return the graph of a module in evaluation mode, free of build traces.

    Args:
        module: The module.
        example: One tensor per input, whose first axis is the batch and becomes a free axis.
        inputs: Names of the inputs.
        output: Name of the output.

    Raises:
        ExportError: When the exporter cannot express the module.
    """
    batch = torch.export.Dim("batch")
    with _refusal(), _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            tuple(example),
            dynamo=True,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            external_data=False,
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
        if program is None:
            msg = "the exporter returned no program"
            raise ExportError(msg)
        ClearMetadataAndDocStringPass()(program.model)
        return onnx_ir.to_proto(program.model)


def as_file(model: onnx.ModelProto) -> bytes:
    """Return the ONNX file of a graph; equal graphs give equal bytes.

    Raises:
        ExportError: When the checker refuses the graph.
    """
    with _refusal():
        onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _refusal() -> Iterator[None]:
    """Turn what the exporter and the checker raise, which share no base class, into an ExportError."""
    try:
        yield
    except Exception as error:
        msg = f"a network must be expressible in ONNX operator set {OPSET}, however: {first_line(error)}"
        raise ExportError(msg) from error


class _Entry(nn.Module):
    """Calls a network with the tensors that its signature has."""

    def __init__(self, network: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.network = network
        self.signature = signature

    def forward(self, *tensors: Tensor) -> Tensor:
        numeric = tensors[0] if self.signature.d_numeric else None
        if not self.signature.categories:
            return self.network(numeric)  # type: ignore[no-any-return]
        return self.network(numeric, tensors[-1])  # type: ignore[no-any-return]


def _example(signature: Signature, dtype: torch.dtype) -> tuple[Tensor, ...]:
    tensors = []
    if signature.d_numeric:
        tensors.append(torch.ones((2, signature.d_numeric), dtype=dtype))
    if signature.categories:
        tensors.append(torch.zeros((2, len(signature.categories)), dtype=torch.int64))
    return tuple(tensors)


def _take_text(model: onnx.ModelProto, categories: Sequence[CategoryCodes]) -> None:
    """Put label encoders before the graph: text levels in, codes inside."""
    graph = model.graph
    nodes, columns = [], []
    for j, column in enumerate(categories):
        index = f"category_{j}_index"
        graph.initializer.append(helper.make_tensor(index, TensorProto.INT64, [1], [j]))
        keys = list(column.levels) + ([""] if column.may_be_missing else [])
        nodes.append(helper.make_node("Gather", [CATEGORICAL_TENSOR, index], [f"category_{j}_text"], axis=1))
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                [f"category_{j}_text"],
                [f"category_{j}_code"],
                domain="ai.onnx.ml",
                keys_strings=keys,
                values_int64s=list(range(len(keys))),
                default_int64=-1,
            )
        )
        columns.append(f"category_{j}_code")
    nodes.append(helper.make_node("Concat", columns, [_CODES_TENSOR], axis=1))
    for position, node in enumerate(nodes):
        graph.node.insert(position, node)
    codes = next(tensor for tensor in graph.input if tensor.name == _CODES_TENSOR)
    batch = codes.type.tensor_type.shape.dim[0].dim_param
    graph.input.remove(codes)
    graph.input.append(helper.make_tensor_value_info(CATEGORICAL_TENSOR, TensorProto.STRING, [batch, len(categories)]))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", _ML_OPSET))


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says about packages it does not need and about its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", category=UserWarning, message=".*axis name: batch will not be used.*")
            yield
    finally:
        logger.setLevel(level)
