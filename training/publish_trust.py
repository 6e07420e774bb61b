"""What a published tabular model says of itself → the companion graph, checked, and its parts of the manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.contract.manifest import (
    CATEGORICAL_TENSOR,
    NUMERIC_TENSOR,
    CategoryColumn,
    Column,
    Dtype,
    Graph,
    tensor_numbers,
)
from models.contract.trust import Intervals, JointRange, OutputIntervals, OutputTerms
from training.errors import ExportError
from training.export import Signature
from training.parity import GraphRunner, RawRows, largest_difference, load_graph, running
from training.tabular.companion import companion_reference, lower_companion
from training.tabular.explaining import Terms
from training.tabular.model import TabularModel
from training.tabular.rows import Rows
from training.tabular.trust import MARKED_SHARE, Trust

_RTOL = 1e-9
"""Largest difference accepted between the companion, which computes in float64, and what was fitted."""

_MOST_ROWS = 1000


@dataclass(frozen=True)
class TrustParts:
    """Parts of a manifest; all None for a model that has none of them."""

    joint_range: JointRange | None = None
    companion: Graph | None = None
    intervals: Intervals | None = None
    terms: tuple[OutputTerms, ...] | None = None


def trust_parts(trust: Trust, terms: Sequence[Terms], companion: Graph) -> TrustParts:
    """Return the parts of a manifest."""
    return TrustParts(
        JointRange(
            limit=trust.limit, answers=trust.answers, n_landmarks=len(trust.landmarks.points), share=MARKED_SHARE
        ),
        companion,
        Intervals(
            outputs=tuple(OutputIntervals(levels=one.levels, scores=one.scores) for one in trust.intervals),
            n_rows=trust.n_rows,
        ),
        tuple(OutputTerms(names=one.names) for one in terms),
    )


def build_companion(
    model: TabularModel,
    trust: Trust,
    inputs: Sequence[Column],
    signature: Signature,
    dtype: Dtype,
    regions: Mapping[str, RawRows],
) -> tuple[bytes, list[Terms]]:
    """Export the companion and check that it answers as what was fitted.

    Returns:
        The ONNX file, and the terms that it gives for each target.

    Raises:
        ExportError: When it does not.
    """
    names = [one.name for one in tensor_numbers(inputs)]
    names += [one.name for one in inputs if isinstance(one, CategoryColumn)]
    terms = [Terms.of(target, names) for target in model.targets]
    onnx = lower_companion(model, trust, terms, signature, dtype)
    runner = load_graph(onnx, dtype)
    for region, rows in regions.items():
        sample = rows.take(np.arange(min(_MOST_ROWS, len(rows))))
        _check(runner, sample, companion_reference(model, trust, terms, as_received(sample, dtype)), region, dtype)
    return onnx, terms


def as_received(rows: RawRows, dtype: Dtype) -> Rows:
    """Return rows as a graph of the type receives them."""
    nothing = np.zeros((len(rows), 0))
    numeric = nothing if rows.numeric is None else rows.numeric.astype(dtype).astype(np.float64)
    return Rows(numeric, nothing.astype(np.int64) if rows.codes is None else rows.codes)


def _check(runner: GraphRunner, rows: RawRows, expected: Mapping[str, np.ndarray], region: str, dtype: Dtype) -> None:
    feed: dict[str, np.ndarray] = {}
    if rows.numeric is not None:
        feed[NUMERIC_TENSOR] = rows.numeric.astype(dtype)
    if rows.text is not None:
        feed[CATEGORICAL_TENSOR] = rows.text
    for name, reference in expected.items():
        with running(f"batch {len(rows)}"):
            answer = runner.run(feed, name)
        scale = np.full(reference.shape[1], max(float(np.abs(reference).max(initial=0.0)), 1e-12))
        difference = largest_difference(answer, reference, scale)
        if not difference <= _RTOL:
            msg = (
                f"a companion must answer {name} as what was fitted does, to {_RTOL:g}, however it differs by "
                f"{difference:.3g} {region} the training range; nothing was published"
            )
            raise ExportError(msg)
