"""Parity of a graph for sequences: it must answer as the torch network does, short or long, alone or in a batch."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract.manifest import SequenceColumn
from models.networks import SequenceNetwork
from training.errors import ExportError
from training.parity import largest_difference, load_graph, running
from training.sequence_export import dtype_of, tensor_of

RTOL = 1e-6
"""Largest difference accepted, relative to the answer and to the targets' magnitude. An LSTM in float64 differs by
2e-15 at length 1,000; what differs by more than this in float32 is to be published in float64."""

LENGTHS = (1, 10, 1000)
"""Lengths compared: one step, those of the field's training sequences, and the longest of its tests."""

BATCH_SIZES = (1, 2, 64)
"""Rows compared at once."""

_MAX_NUMBERS = 4_000_000
"""Numbers of one comparison; 64 sequences of 1,000 images of 28 × 28 would be 50 million, and take a minute."""


def check_sequence_parity(
    onnx: bytes,
    network: SequenceNetwork,
    column: SequenceColumn,
    examples: Sequence[NDArray[np.generic]],
    target_scale: NDArray[np.float64],
) -> dict[str, float]:
    """Compare the graph with torch on examples, and on their steps strung together at every length and batch size.

    Args:
        onnx: The exported graph.
        network: The network it was exported from.
        column: What it takes.
        examples: Sequences as the graph takes them, each of shape (length, *step_shape).
        target_scale: Magnitude of each output, shape (d_outputs,): differences far below it do not count.

    Returns:
        The largest difference relative to max(|answer|, magnitude), as "torch". Beyond the longest sequence seen in
        training the magnitude grows with the length: a sum over ten times as many steps may cancel from numbers ten
        times as large.

    Raises:
        ExportError: When the graph does not run, gives another shape, differs by more than `RTOL`, or answers a row
            otherwise where other rows stand beside it.
    """
    network = copy.deepcopy(network).eval()
    runner = load_graph(onnx, dtype_of(network))
    worst = 0.0
    for batch in _batches(examples):
        scale = target_scale * max(1.0, batch.shape[1] / column.maximum_length)
        where = f"batch {len(batch)} and length {batch.shape[1]}"
        with running(where):
            answer = runner.run({tensor_of(column): batch})
            alone = runner.run({tensor_of(column): batch[:1]})
        if not largest_difference(answer[:1], alone, scale) <= RTOL:
            msg = f"a row must be answered whatever rows stand beside it, however it is not at {where}"
            raise ExportError(msg)
        with torch.no_grad():
            expected = network(torch.as_tensor(batch)).numpy()
        difference = largest_difference(answer, expected, scale)
        worst = max(worst, difference)
        if not difference <= RTOL:
            remedy = "" if dtype_of(network) == "float64" else "; publish it in float64"
            msg = (
                f"an exported graph must answer as torch does, to {RTOL:g}, however it differs by {difference:.3g} at "
                f"{where}; nothing was published{remedy}"
            )
            raise ExportError(msg)
    return {"torch": worst}


def _batches(examples: Sequence[NDArray[np.generic]]) -> Iterator[NDArray[np.generic]]:
    for example in examples:
        yield example[None]
    pool = np.concatenate(examples)
    for length in LENGTHS:
        for size in BATCH_SIZES:
            if size * length * pool[0].size <= _MAX_NUMBERS:
                index = (np.arange(size)[:, None] + np.arange(length)) % len(pool)
                yield np.ascontiguousarray(pool[index])
