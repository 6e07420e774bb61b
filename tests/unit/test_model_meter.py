"""Values predicted, counted by parts of the range seen in training; NumPy's histogram is the oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.contract.columns import OutputColumn
from service.metrics import Counts
from service.model_meter import MAX_OUTPUTS, N_PARTS, ModelMeter, value_bounds
from tests.unit.test_service_metrics import samples, value

FINITE = st.floats(-1.7e308, 1.7e308)


@given(FINITE, FINITE)
def test_bounds_rise_from_one_end_of_the_range_to_the_other(one: float, other: float) -> None:
    minimum, maximum = sorted((one, other))
    bounds = value_bounds(minimum, maximum)

    assert (bounds[0], bounds[-1]) == (minimum, maximum)
    assert list(bounds) == sorted(set(bounds))
    if maximum / 2 - minimum / 2 > 1e-9 * max(abs(minimum), abs(maximum)):
        assert len(bounds) == N_PARTS + 1
        steps = np.diff(np.array(bounds) / 2)
        assert steps.max() <= 1.05 * steps.min()


def buckets(text: str, output: str) -> dict[float, float]:
    """Return upper bound → values up to it."""
    found = {}
    for (name, labels), number in samples(text).items():
        told = dict(labels)
        if name == "nalu_prediction_values_bucket" and told["output"] == output:
            found[float(told["le"])] = number
    return found


@pytest.mark.parametrize("n_rows", [1, 16, 40, 1000])
@pytest.mark.parametrize("d_outputs", [1, 3])
def test_values_are_counted_however_many_come_at_once(n_rows: int, d_outputs: int) -> None:
    counts = Counts()
    outputs = [OutputColumn(name=f"y{j}", minimum=-1.0, maximum=j + 1.0) for j in range(d_outputs)]
    meter = ModelMeter(counts.slot(0), "m", 1, outputs)
    predicted: NDArray[np.float64] = np.random.default_rng(n_rows).normal(size=(n_rows, d_outputs)) * 2
    predicted[0] = -1.0  # the end of the range belongs to it
    meter.answered(predicted, n_outside=0, seconds=1e-5, n_requests=2)
    meter.answered(predicted, n_outside=1, seconds=1e-5)
    text = counts.exposition()

    assert value(text, "nalu_predictions_total", model="m", version="1", outcome="answered") == 3
    assert value(text, "nalu_rows_total", model="m", version="1") == 2 * n_rows
    for j in range(d_outputs):
        column = predicted[:, j]
        for bound, n_below in buckets(text, f"y{j}").items():
            assert n_below == 2 * np.count_nonzero(column <= bound)
        labels = {"model": "m", "version": "1", "output": f"y{j}"}
        assert value(text, "nalu_prediction_values_count", **labels) == 2 * n_rows
        assert value(text, "nalu_prediction_values_sum", **labels) == pytest.approx(2 * column.sum())


def test_only_the_first_outputs_of_a_wide_model_are_counted() -> None:
    counts = Counts()
    outputs = [OutputColumn(name=f"y{j}", minimum=0, maximum=1) for j in range(MAX_OUTPUTS + 1)]
    meter = ModelMeter(counts.slot(0), "m", 1, outputs)
    meter.answered(np.ones((1, MAX_OUTPUTS + 1)), 0, 1e-5)
    meter.answered(np.ones((50, MAX_OUTPUTS + 1)), 0, 1e-5)
    text = counts.exposition()

    assert f"y{MAX_OUTPUTS - 1}" in text
    assert f"y{MAX_OUTPUTS}" not in text
    assert value(text, "nalu_rows_total", model="m", version="1") == 51


def test_a_sum_too_large_for_a_float_is_told_and_breaks_nothing() -> None:
    counts = Counts()
    meter = ModelMeter(counts.slot(0), "m", 1, [OutputColumn(name="y", minimum=2, maximum=2)])
    for _ in range(2):
        meter.answered(np.array([[1.5e308]]), 0, 1e-5)
    meter.answered(np.full((50, 1), -1.5e308), 0, 1e-5)
    text = counts.exposition()

    assert np.isnan(value(text, "nalu_prediction_values_sum", model="m", version="1", output="y"))
    assert buckets(text, "y") == {2.0: 50.0, float("inf"): 52.0}


def test_two_models_with_other_ranges_under_one_name_stay_readable() -> None:
    """A version removed and published again by hand has other buckets; those of both are told, in order."""
    counts = Counts(2)
    for worker, maximum in enumerate((1.0, 4.0)):
        output = OutputColumn(name="y", minimum=0, maximum=maximum)
        ModelMeter(counts.slot(worker), "m", 1, [output]).answered(np.array([[0.7]]), 0, 1e-5)
    found = buckets(counts.exposition(), "y")

    assert list(found) == sorted(found)
    assert list(found.values()) == sorted(found.values())
    assert found[float("inf")] == 2
