"""Parity: the published graph must answer as what was fitted does, and as an oracle in NumPy, in its own type."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from models.contract.manifest import CATEGORICAL_TENSOR, NUMERIC_TENSOR, PREDICTIONS_TENSOR, Dtype
from training import oracle
from training.errors import ExportError, first_line
from training.export import TORCH_DTYPES, Signature

RTOL: dict[Dtype, float] = {"float64": 1e-10, "float32": 1e-3}
"""Largest difference accepted, relative to the answer and to the targets' magnitude. A NALU in float64 differs by
1e-11 at most and one in float32 by 2e-4 (exp after log amplifies rounding): measured over 1,000 rows on two cores."""

BATCH_SIZES = (1, 2, 1000)
"""Batches compared: one row, two, and more than any block size of the runtime."""


@dataclass(frozen=True)
class RawRows:
    """Raw rows in the three forms that the comparison needs.

    Attributes:
        numeric: Shape (n_rows, d_numeric), float64, missing values as NaN; None where there are no number columns.
        text: Shape (n_rows, d_categorical), str, missing values as ""; None where there are no category columns.
        codes: Shape (n_rows, d_categorical), int64: the same levels as codes, −1 for a level never seen.
    """

    numeric: NDArray[np.float64] | None
    text: NDArray[np.object_] | None = None
    codes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        columns = self.numeric if self.numeric is not None else self.text
        return 0 if columns is None else len(columns)

    def take(self, index: NDArray[np.int64]) -> "RawRows":
        """Return the rows at `index`."""
        return RawRows(
            None if self.numeric is None else self.numeric[index],
            None if self.text is None else self.text[index],
            None if self.codes is None else self.codes[index],
        )


Reference = Callable[[RawRows], NDArray[np.floating]]
"""What a graph must answer, shape (n_rows, d_outputs)."""


class GraphRunner:
    """Runs an exported graph on the CPU, one thread.

    Args:
        onnx: The ONNX file.
        dtype: Floating-point type of its numeric tensors.
    """

    def __init__(self, onnx: bytes, dtype: Dtype) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors reach the user as exceptions, not as lines of the runtime
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._dtype = np.dtype(dtype)

    def __call__(self, rows: RawRows) -> NDArray[np.floating]:
        """Return predictions, shape (n_rows, d_outputs), in the graph's type."""
        feed: dict[str, NDArray[np.generic]] = {}
        if rows.numeric is not None:
            feed[NUMERIC_TENSOR] = rows.numeric.astype(self._dtype)
        if rows.text is not None:
            feed[CATEGORICAL_TENSOR] = rows.text
        return self.run(feed)

    def run(self, feed: Mapping[str, NDArray[np.generic]], output: str = PREDICTIONS_TENSOR) -> NDArray[np.floating]:
        """Return one output for the graph's tensors by name."""
        return np.asarray(self._session.run([output], dict(feed))[0])


def load_graph(onnx: bytes, dtype: Dtype) -> GraphRunner:
    """Return a runner of a graph that was just exported.

    Raises:
        ExportError: When the runtime refuses the graph.
    """
    try:
        return GraphRunner(onnx, dtype)
    except Exception as error:  # the runtime's exceptions share no base class
        msg = f"an exported graph must load in onnxruntime, however: {first_line(error)}"
        raise ExportError(msg) from error


@contextmanager
def running(where: str) -> Iterator[None]:
    """Turn what a run raises into an ExportError that says where."""
    try:
        yield
    except Exception as error:  # the runtime's exceptions share no base class
        msg = f"an exported graph must run at {where}, however: {first_line(error)}"
        raise ExportError(msg) from error


def check_parity(
    onnx: bytes,
    network: nn.Module,
    signature: Signature,
    dtype: Dtype,
    regions: dict[str, RawRows],
    target_scale: NDArray[np.float64],
) -> dict[str, float]:
    """Compare the graph with torch and with the oracle at batches of 1, 2 and 1,000 rows.

    Args:
        onnx: The exported graph.
        network: The network it was exported from.
        signature: What the network takes.
        dtype: Floating-point type of the graph.
        regions: Rows to compare on by region, such as "inside" and "outside" of the training range.
        target_scale: Magnitude of each output, shape (d_outputs,): differences far below it do not count.

    Returns:
        The largest difference relative to max(|answer|, magnitude) by comparison ("torch", "numpy").

    Raises:
        ExportError: When the graph does not run, gives another shape, or differs by more than `RTOL`.
    """
    reference = copy.deepcopy(network).to(TORCH_DTYPES[dtype]).eval()
    references: dict[str, Reference] = {
        "torch": lambda rows: _torch(reference, signature, rows, dtype),
        "numpy": lambda rows: _oracle(reference, rows, dtype),
    }
    return compare(onnx, references, dtype, regions, target_scale, RTOL[dtype])


def compare(
    onnx: bytes,
    references: Mapping[str, Reference],
    dtype: Dtype,
    regions: Mapping[str, RawRows],
    target_scale: NDArray[np.float64],
    rtol: float,
) -> dict[str, float]:
    """Compare a graph with what must answer alike, at batches of 1, 2 and 1,000 rows.

    Args:
        onnx: The exported graph.
        references: Name → answers for raw rows, shape (n_rows, d_outputs).
        dtype: Floating-point type of the graph.
        regions: Rows to compare on by region, such as "inside" and "outside" of the training range.
        target_scale: Magnitude of each output, shape (d_outputs,): differences far below it do not count.
        rtol: Largest difference accepted.

    Returns:
        The largest difference relative to max(|answer|, magnitude) by reference.

    Raises:
        ExportError: When the graph does not run, gives another shape, or differs by more than `rtol`.
    """
    runner = load_graph(onnx, dtype)
    worst = dict.fromkeys(references, 0.0)
    for region, rows in regions.items():
        for size in BATCH_SIZES:
            batch = rows.take(np.arange(size) % len(rows))
            with running(f"batch {size}"):
                answer = runner(batch)
            for name, reference in references.items():
                difference = largest_difference(answer, reference(batch), target_scale)
                worst[name] = max(worst[name], difference)
                if not difference <= rtol:
                    msg = (
                        f"an exported graph must answer as {name} does, to {rtol:g} in {dtype}, however it "
                        f"differs by {difference:.3g} at batch {size} {region} the training range; "
                        "nothing was published"
                    )
                    raise ExportError(msg)
    return worst


def _torch(network: nn.Module, signature: Signature, rows: RawRows, dtype: Dtype) -> NDArray[np.floating]:
    numeric = None if rows.numeric is None else torch.as_tensor(rows.numeric, dtype=TORCH_DTYPES[dtype])
    with torch.no_grad():
        if not signature.categories:
            return np.asarray(network(numeric).numpy())
        return np.asarray(network(numeric, torch.as_tensor(rows.codes)).numpy())


def _oracle(network: nn.Module, rows: RawRows, dtype: Dtype) -> NDArray[np.floating]:
    numeric = None if rows.numeric is None else rows.numeric.astype(np.dtype(dtype))
    return oracle.answer(network, numeric, rows.codes)


def largest_difference(a: NDArray[np.floating], b: NDArray[np.floating], scale: NDArray[np.float64]) -> float:
    """Return the largest difference over max(|b|, scale); equal infinities and two NaN do not differ."""
    if a.shape != b.shape:
        msg = f"an exported graph must give shape {b.shape}, however: {a.shape}"
        raise ExportError(msg)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        relative = np.abs(a.astype(np.float64) - b) / np.maximum(np.abs(b), scale)
        relative = np.where(same, 0.0, np.where(np.isnan(relative), np.inf, relative))
    return float(relative.max(initial=0.0))
