"""What one version of a model answers: requests, rows, time, rows out of range, and the values predicted.

The distribution of predicted values tells of drift: its buckets are tenths of the range that the output had in
training, so that a share above or below that range, or one that moves between the tenths, is seen without knowing the
model. Counting is done once for each run, with the row's share of it a fraction of a microsecond.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract.columns import OutputColumn
from service.metrics import Histogram, Slot

N_PARTS: Final = 10
"""Parts of the range seen in training: tenths are what people read off a histogram."""

MAX_OUTPUTS: Final = 8
"""Outputs of a model whose values are counted: each costs 0.2 µs a row, and a series for each bucket."""

_FEW: Final = 32
"""Up to so many values of an output are counted faster one by one (0.2 µs each) than with array functions (6 µs)."""


def value_bounds(minimum: float, maximum: float) -> tuple[float, ...]:
    """Return the upper bounds of the buckets of an output's values, the last one, infinity, left out.

    Args:
        minimum: Smallest value seen in training.
        maximum: Largest.

    Returns:
        Ends of `N_PARTS` equal parts of the range, told in few digits; its one end where the range is empty.

    Example:
        >>> value_bounds(0.0, 5.0)
        (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)
    """
    if minimum == maximum:
        return (minimum,)
    places = [k / N_PARTS for k in range(N_PARTS + 1)]
    bounds = [(1 - place) * minimum + place * maximum for place in places]
    few = [float(format(bound, ".4g")) for bound in bounds[1:-1]]
    step = maximum / N_PARTS - minimum / N_PARTS
    if all(abs(told - bound) < step / 100 for told, bound in zip(few, bounds[1:-1], strict=True)):
        bounds[1:-1] = few
    return tuple(sorted({minimum, *bounds[1:-1], maximum}))


class ValueHistogram:
    """How often an output's values fell into each part of the range seen in training.

    Args:
        slot: Where it is kept.
        output: The output.
        labels: The model's labels.
    """

    def __init__(self, slot: Slot, output: OutputColumn, **labels: str) -> None:
        self._bounds = value_bounds(output.minimum, output.maximum)
        self._array = np.array(self._bounds)
        named = {**labels, "output": output.name}
        told = [*map(repr, self._bounds), "+Inf"]
        self._buckets = [slot.cell("nalu_prediction_values_bucket", **named, le=bound).at for bound in told]
        total = slot.cell("nalu_prediction_values_sum", **named)
        self._values, self._sum = total.values, total.at

    def count(self, value: float) -> None:
        """Count a value."""
        values = self._values
        values[self._buckets[bisect_left(self._bounds, value)]] += 1.0
        values[self._sum] += value

    def count_few(self, column: Sequence[float]) -> None:
        """Count some values."""
        values, bounds, buckets = self._values, self._bounds, self._buckets
        for value in column:
            values[buckets[bisect_left(bounds, value)]] += 1.0
        values[self._sum] += sum(column)

    def count_all(self, column: NDArray[np.float64]) -> None:
        """Count many values, of shape (n,)."""
        values = self._values
        counted = np.bincount(self._array.searchsorted(column), minlength=len(self._buckets))
        for at, n in zip(self._buckets, counted.tolist(), strict=True):
            if n:
                values[at] += n
        with np.errstate(over="ignore", invalid="ignore"):
            values[self._sum] += float(column.sum())


class ModelMeter:
    """Counts what one version of a model answers; called from any thread.

    Args:
        slot: The worker's series.
        model: Name of the model.
        version: Its version.
        outputs: Its outputs, of which the values of the first `MAX_OUTPUTS` are counted.
    """

    def __init__(self, slot: Slot, model: str, version: int, outputs: Sequence[OutputColumn] = ()) -> None:
        self._slot = slot
        self._labels = {"model": model, "version": str(version)}
        answered = slot.cell("nalu_predictions_total", **self._labels, outcome="answered")
        self._values, self._answered = answered.values, answered.at
        self._durations = Histogram(slot, "nalu_prediction_duration_seconds", **self._labels, outcome="answered")
        self._rows = slot.cell("nalu_rows_total", **self._labels).at
        self._outside = slot.cell("nalu_rows_out_of_range_total", **self._labels).at
        self._outputs = [ValueHistogram(slot, output, **self._labels) for output in outputs[:MAX_OUTPUTS]]
        self._only = self._outputs[0] if len(self._outputs) == 1 else None
        self._lock = threading.Lock()
        self._on_run = slot.on_run

    def answered(self, predicted: NDArray[np.float64], n_outside: int, seconds: float, n_requests: int = 1) -> None:
        """Count a run that was answered.

        Args:
            predicted: What was predicted, shape (n_rows, d_outputs).
            n_outside: Rows out of range.
            seconds: What the run took.
            n_requests: Requests whose rows it answered.
        """
        values = self._values
        with self._lock:
            values[self._answered] += n_requests
            values[self._rows] += len(predicted)
            if n_outside:
                values[self._outside] += n_outside
            self._durations.observe(seconds)
            if predicted.size == 1 and self._only is not None:
                self._only.count(predicted.item())
            elif len(predicted) <= _FEW:
                for output, column in zip(self._outputs, predicted.T.tolist(), strict=False):
                    output.count_few(column)
            else:
                for j, output in enumerate(self._outputs):
                    output.count_all(predicted[:, j])
        if self._on_run is not None:
            told = {"rows": len(predicted), "rows_out_of_range": n_outside, "requests": n_requests}
            self._on_run({**self._labels, "outcome": "answered", **told}, seconds)

    def failed(self, outcome: str, seconds: float) -> None:
        """Count a run that was not; `outcome` says why."""
        with self._lock:
            self._slot.cell("nalu_predictions_total", **self._labels, outcome=outcome).add()
            Histogram(self._slot, "nalu_prediction_duration_seconds", **self._labels, outcome=outcome).observe(seconds)
        if self._on_run is not None:
            self._on_run({**self._labels, "outcome": outcome}, seconds)
