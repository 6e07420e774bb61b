"""A model's tensors where a column is a date, which `numeric` cannot hold."""

import numpy as np
import pytest

from models.contract.dates import DateColumn, DatePart
from service.errors import InputShapeError
from service.inference.batches import UNLIMITED
from service.inference.encoding import encode_columns
from service.inference.tensors import encode_tensors, input_signatures
from tests.published import graded_graph, graded_manifest

_ROLLED = DateColumn(
    name="rolled", origin="2026-01-01T00:00:00", parts=(DatePart(name="elapsed_days", minimum=0, maximum=9.5),)
)


def test_a_model_with_dates_takes_one_tensor_for_each_column() -> None:
    graded = graded_manifest(graded_graph())
    manifest = graded.model_copy(update={"inputs": (*graded.inputs, _ROLLED), "format_version": 3})
    number, category = (column.name for column in graded.inputs)
    tensors = {
        number: np.array([[2.0], [np.nan]]),
        category: np.array(["B", "C"], dtype=object),
        "rolled": np.array([["2026-01-03"], ["2026-02-01"]], dtype=object),
    }

    told = [(one.name, one.element, one.shape) for one in input_signatures(manifest)]
    encoded = encode_tensors(manifest, tensors, UNLIMITED)

    assert told == [(number, "float64", (-1, 1)), (category, "text", (-1, 1)), ("rolled", "text", (-1, 1))]
    wanted = encode_columns(manifest, {name: array.reshape(-1) for name, array in tensors.items()})
    np.testing.assert_array_equal(encoded.numeric, wanted.numeric)
    assert encoded.numeric[:, 1].tolist() == [2.0, 31.0]
    assert encoded.in_range.tolist() == [True, False]
    with pytest.raises(InputShapeError, match="missing"):
        encode_tensors(manifest, {number: np.zeros(1)}, UNLIMITED)
