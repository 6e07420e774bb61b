"""A network for sequences → ONNX: encoder, cell and head are exported each, and stitched around a `Scan`.

Exported whole, the loop over the steps would be unrolled and its length fixed. Here the encoder takes all steps of all
rows at once, `Scan` runs the cell's graph from step to step, and the head takes the last state; batch and length are
free axes.
"""

import copy

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from models.contract.manifest import (
    IMAGES_TENSOR,
    PREDICTIONS_TENSOR,
    STEPS_TENSOR,
    TOKENS_TENSOR,
    Dtype,
    SequenceColumn,
    StepsColumn,
    TextColumn,
)
from models.networks import SequenceNetwork
from training.errors import ExportError, first_line
from training.export import IR_VERSION, OPSET, TORCH_DTYPES, as_file, trace

_ELEMENT = {torch.float64: TensorProto.DOUBLE, torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64}


def dtype_of(network: SequenceNetwork) -> Dtype:
    """Return the floating-point type of the network's state, which is that of its graph.

    Raises:
        ExportError: When it is neither float64 nor float32.
    """
    for name, dtype in TORCH_DTYPES.items():
        if network.initial.dtype == dtype:
            return name
    msg = f"a network for sequences must be of float64 or float32, however: {network.initial.dtype}; cast it"
    raise ExportError(msg)


def tensor_of(column: SequenceColumn) -> str:
    """Return the name of the graph's input."""
    if isinstance(column, TextColumn):
        return TOKENS_TENSOR
    return STEPS_TENSOR if isinstance(column, StepsColumn) else IMAGES_TENSOR


def step_shape(column: SequenceColumn) -> tuple[int, ...]:
    """Return the shape of one step: () for a token, (d_numbers,), or (height, width)."""
    if isinstance(column, TextColumn):
        return ()
    return (len(column.columns),) if isinstance(column, StepsColumn) else (column.height, column.width)


def input_dtype(column: SequenceColumn, network: SequenceNetwork) -> torch.dtype:
    """Return the type of the graph's input."""
    if isinstance(column, TextColumn):
        return torch.int64
    return network.initial.dtype if isinstance(column, StepsColumn) else torch.float32


def export_sequence(network: SequenceNetwork, column: SequenceColumn) -> bytes:
    """Export a network for sequences in evaluation mode, in the type that it has.

    Args:
        network: The network; its encoder takes what the column gives.
        column: What it takes.

    Returns:
        The ONNX file, with tensors named as in `models.contract.manifest`.

    Raises:
        ExportError: When a part cannot be exported or does not give the shape that the next one takes, or the checker
            refuses the result.
    """
    dtype = TORCH_DTYPES[dtype_of(network)]
    network = copy.deepcopy(network).eval()
    d_outputs = check_parts(network, column)
    given = torch.zeros((2, *step_shape(column)), dtype=input_dtype(column, network))
    state, step = network.initial.expand(2, -1), network.encode_steps(given).detach()
    plain = isinstance(network.encoder, nn.Identity) and given.dtype == dtype
    encoder = _part("encoder", nn.Identity() if plain else _Encoder(network), (given,), ["given"])
    cell = _part("cell", network.cell, (step, state), ["step", "state"])
    head = _part("head", network.head, (state,), ["state"])

    name, d_step = tensor_of(column), step.shape[1]
    integers = {
        "flat": [-1, *step_shape(column)],
        "d_step": [d_step],
        "d_state": [network.d_state],
    }
    constants = [numpy_helper.from_array(np.array(value, dtype=np.int64), key) for key, value in integers.items()]
    constants.append(numpy_helper.from_array(network.initial[None].cpu().numpy(), "initial"))
    nodes = [
        helper.make_node("Reshape", [name, "flat"], ["encoder/given"]),
        *encoder.node,
        helper.make_node("Shape", [name], ["batch_and_length"], start=0, end=2),
        helper.make_node("Concat", ["batch_and_length", "d_step"], ["encoded_shape"], axis=0),
        helper.make_node("Reshape", ["encoder/result", "encoded_shape"], ["encoded"]),
        helper.make_node("Shape", [name], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "d_state"], ["state_shape"], axis=0),
        helper.make_node("Expand", ["initial", "state_shape"], ["first_state"]),
        _scan(cell, _ELEMENT[dtype], d_step, network.d_state),
        *head.node,
        helper.make_node("Identity", ["head/result"], [PREDICTIONS_TENSOR]),
    ]
    graph = helper.make_graph(
        nodes,
        "sequence",
        [helper.make_tensor_value_info(name, _ELEMENT[given.dtype], ["batch", "length", *step_shape(column)])],
        [helper.make_tensor_value_info(PREDICTIONS_TENSOR, _ELEMENT[dtype], ["batch", d_outputs])],
        [*constants, *encoder.initializer, *head.initializer],
    )
    return as_file(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="nalu-serving"
        )
    )


def check_parts(network: SequenceNetwork, column: SequenceColumn) -> int:
    """Return the network's number of outputs.

    Raises:
        ExportError: When a part does not give the shape that the next one takes.
    """
    network = copy.deepcopy(network).eval()
    given = torch.zeros((2, *step_shape(column)), dtype=input_dtype(column, network))
    state = network.initial.expand(2, -1)
    step = _checked("encoder", _Encoder(network), (given,), None)
    _checked("cell", network.cell, (step, state), network.d_state)
    return _checked("head", network.head, (state,), None).shape[1]


class _Encoder(nn.Module):
    """The encoder with the casts that the network makes."""

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, given: Tensor) -> Tensor:
        return self.network.encode_steps(given)


class _Part(nn.Module):
    """A module called with positional arguments, whatever their names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Tensor) -> Tensor:
        return self.module(*given)  # type: ignore[no-any-return]


def _checked(what: str, part: nn.Module, given: tuple[Tensor, ...], width: int | None) -> Tensor:
    """Return what a part gives, which must be a row of numbers for each row."""
    try:
        with torch.no_grad():
            found: Tensor = part(*given)
    except Exception as error:  # whatever a module raises
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given)
        msg = f"the {what} must take what comes before it, {shapes}, however: {first_line(error)}"
        raise ExportError(msg) from error
    if found.dim() != 2 or found.shape[0] != len(given[0]) or (width is not None and found.shape[1] != width):
        msg = (
            f"the {what} must give one row of {width or 'any number of'} numbers for each row, however it gives shape "
            f"{tuple(found.shape)} for {len(given[0])} rows"
        )
        raise ExportError(msg)
    return found


def _part(what: str, part: nn.Module, given: tuple[Tensor, ...], names: list[str]) -> onnx.GraphProto:
    """Return the graph of a part; its tensors have its name before theirs, and its result is called "result"."""
    if isinstance(part, nn.Identity):
        return helper.make_graph(
            [helper.make_node("Identity", [f"{what}/{names[0]}"], [f"{what}/result"])], what, [], []
        )
    model = trace(_Part(part), given, names, "result")
    graph = compose.add_prefix(model, f"{what}/").graph
    del graph.value_info[:]
    return graph


def _scan(cell: onnx.GraphProto, element: int, d_step: int, d_state: int) -> onnx.NodeProto:
    """Return the loop: the cell's graph for every step along axis 1, the state handed on."""
    body = helper.make_graph(
        list(cell.node),
        "cell",
        [
            helper.make_tensor_value_info("cell/state", element, ["batch", d_state]),
            helper.make_tensor_value_info("cell/step", element, ["batch", d_step]),
        ],
        [helper.make_tensor_value_info("cell/result", element, ["batch", d_state])],
        list(cell.initializer),
    )
    return helper.make_node(
        "Scan", ["first_state", "encoded"], ["head/state"], body=body, num_scan_inputs=1, scan_input_axes=[1]
    )
