"""Rows and columns become arrays, or are refused with the fault's place."""

from collections.abc import Sequence

import numpy as np
import pytest

from models.contract.manifest import ModelManifest, NumberColumn
from service.errors import MAX_FAULTS, FaultyInputError, InputShapeError, InvalidRequestError
from service.inference.encoding import encode_columns, encode_records, encode_split
from tests.published import arithmetic_graph, arithmetic_manifest, describe, graded_graph, graded_manifest


@pytest.fixture(name="product", scope="module")
def _product() -> ModelManifest:
    return arithmetic_manifest("multiply", arithmetic_graph("multiply"))


@pytest.fixture(name="product32", scope="module")
def _product32() -> ModelManifest:
    return arithmetic_manifest("multiply", arithmetic_graph("multiply", "float32"), "float32")


@pytest.fixture(name="graded", scope="module")
def _graded() -> ModelManifest:
    return graded_manifest(graded_graph())


def test_columns_stand_in_the_manifest_s_order_whatever_the_request_s(product: ModelManifest) -> None:
    encoded = encode_split(product, ["b", "a"], [[5, 3], [7, 2]])

    np.testing.assert_array_equal(encoded.numeric, [[3.0, 5.0], [2.0, 7.0]])
    assert encoded.numeric.dtype == np.float64
    assert encoded.categorical.shape == (2, 0)


def test_records_split_lists_and_arrays_say_the_same(graded: ModelManifest) -> None:
    records = encode_records(graded, [{"mass": 1, "grade": "A"}, {"grade": None, "mass": None}])
    split = encode_split(graded, ["grade", "mass"], [["A", 1], [None, None]])
    arrays = encode_columns(graded, {"mass": np.array([1.0, np.nan]), "grade": np.array(["A", ""])})

    for encoded in (records, split, arrays):
        np.testing.assert_array_equal(encoded.numeric, [[1.0], [np.nan]])
        assert encoded.categorical.tolist() == [["A"], [""]]
        assert encoded.in_range.tolist() == [True, True]


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64, np.float16])
def test_any_array_of_numbers_is_taken(product: ModelManifest, dtype: type[np.generic]) -> None:
    encoded = encode_columns(product, {"a": np.array([3], dtype=dtype), "b": np.array([5], dtype=dtype)})

    np.testing.assert_array_equal(encoded.numeric, [[3.0, 5.0]])


def test_an_object_array_with_a_nan_from_a_data_frame_is_a_missing_level(graded: ModelManifest) -> None:
    encoded = encode_columns(graded, {"mass": [1.0, 2.0], "grade": np.array(["A", float("nan")], dtype=object)})

    assert encoded.categorical.tolist() == [["A"], [""]]


@pytest.mark.parametrize(("value", "inside"), [(-10, True), (10, True), (10.0001, False), (-1e300, False)])
def test_a_row_is_in_range_between_the_extremes_seen_in_training(
    product: ModelManifest, value: float, inside: bool
) -> None:
    assert encode_split(product, ["a", "b"], [[value, 1], [1, 1]]).in_range.tolist() == [inside, True]


def test_rounding_to_float32_puts_no_extreme_of_training_out_of_range(product32: ModelManifest) -> None:
    column = product32.numbers[0].model_copy(update={"minimum": -0.1, "maximum": 0.1})
    manifest = product32.model_copy(update={"inputs": (column, product32.inputs[1])})

    encoded = encode_split(manifest, ["a", "b"], [[0.1, 1], [-0.1, 1]])

    assert encoded.numeric.dtype == np.float32
    assert encoded.in_range.all()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("1", "text"),
        (True, "a boolean"),
        ([1], "a list"),
        ({"x": 1}, "an object"),
        (None, "missing"),
        (float("nan"), "missing"),
        (float("inf"), "infinite"),
        (1e999, "infinite"),
        (-(10**400), "infinite"),
        (np.True_, "a boolean"),
        (b"1", "of type bytes"),
    ],
)
def test_what_is_no_finite_number_is_refused_with_its_place(product: ModelManifest, value: object, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode_split(product, ["a", "b"], [[1, 1], [value, 1]])

    (fault,) = caught.value.faults
    assert (fault.row, fault.column) == (1, "a")
    assert told in fault.message


def test_an_array_of_booleans_is_no_column_of_numbers(product: ModelManifest) -> None:
    with pytest.raises(InvalidRequestError, match="a boolean"):
        encode_columns(product, {"a": np.array([True]), "b": np.array([1.0])})


def test_an_array_with_an_infinity_is_refused(product: ModelManifest) -> None:
    with pytest.raises(InvalidRequestError, match=r"row 1, column 'b': a number must be finite"):
        encode_columns(product, {"a": np.array([1.0, 1.0]), "b": np.array([1.0, -np.inf])})


def test_a_number_too_large_for_a_float32_graph_is_refused_and_not_made_infinite(product32: ModelManifest) -> None:
    with pytest.raises(InvalidRequestError, match="float32"):
        encode_split(product32, ["a", "b"], [[1e300, 1]])


@pytest.mark.parametrize("value", ["D", "a", " A", "\ud800", "x" * 1000, 1, True, ["A"]])
def test_a_level_never_seen_is_refused_and_not_echoed_in_full(graded: ModelManifest, value: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode_split(graded, ["mass", "grade"], [[1, value]])

    (fault,) = caught.value.faults
    assert (fault.row, fault.column) == (0, "grade")
    assert len(fault.message) < 200
    assert fault.message.isascii() or "…" in fault.message
    if isinstance(value, str):
        assert "'A', 'B', 'C'" in fault.message


def test_a_missing_value_is_refused_where_the_model_has_no_answer_for_it(graded: ModelManifest) -> None:
    strict = graded.model_copy(
        update={"inputs": tuple(column.model_copy(update={"may_be_missing": False}) for column in graded.inputs)}
    )

    with pytest.raises(InvalidRequestError) as caught:
        encode_split(strict, ["mass", "grade"], [[None, ""]])

    assert [(fault.row, fault.column) for fault in caught.value.faults] == [(0, "mass"), (0, "grade")]


@pytest.mark.parametrize(
    ("columns", "data", "told"),
    [
        (["a"], [[1]], "column 'b': the column is missing"),
        (["a", "b", "c"], [[1, 2, 3]], "column 'c': the model does not know this column; it takes: 'a', 'b'"),
        (["a", "b", "a"], [[1, 2, 3]], "column 'a': a column must be named once, however it is named 2 times"),
        (["a", "b"], [[1, 2], [1]], r"row 1: a row must have one value per column \(2\), however it has 1"),
        (["a", "b"], [[1, 2, 3]], "however it has 3"),
        (["a", "b"], [], "at least one row"),
        ([], [], "column 'a': the column is missing"),
    ],
)
def test_a_wrong_shape_is_refused(
    product: ModelManifest, columns: Sequence[str], data: Sequence[Sequence[object]], told: str
) -> None:
    with pytest.raises(InputShapeError, match=told):
        encode_split(product, columns, data)


@pytest.mark.parametrize(
    ("row", "told"),
    [({"a": 1}, "column 'b': the column is missing"), ({"a": 1, "b": 2, "\ud800": 3}, "does not know this column")],
)
def test_a_record_with_other_keys_than_the_model_s_is_refused(
    product: ModelManifest, row: dict[str, object], told: str
) -> None:
    with pytest.raises(InputShapeError, match=f"row 1, column .*{told.partition(': ')[2]}"):
        encode_records(product, [{"a": 1, "b": 2}, row])


def test_no_records_and_columns_of_unequal_length_are_refused(product: ModelManifest) -> None:
    with pytest.raises(InputShapeError, match="at least one row"):
        encode_records(product, [])
    with pytest.raises(InputShapeError, match="lengths run from 1 to 2"):
        encode_columns(product, {"a": [1], "b": [1, 2]})


def test_faults_are_capped_and_counted(product: ModelManifest) -> None:
    with pytest.raises(FaultyInputError) as caught:
        encode_columns(product, {"a": np.full(1000, np.nan), "b": ["x"] * 1000})

    assert len(caught.value.faults) == MAX_FAULTS
    assert caught.value.n_faults == 2000


def test_a_hundred_thousand_empty_records_are_refused_without_listing_each(product: ModelManifest) -> None:
    with pytest.raises(InputShapeError) as caught:
        encode_records(product, [{}] * 100_000)

    assert caught.value.n_faults == MAX_FAULTS


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_an_array_is_judged_as_its_values_one_by_one(dtype: type[np.floating]) -> None:
    """Range limits are float64: the float32 next to 0.1 lies above 0.1."""
    columns = [NumberColumn(name=name, minimum=0.1, maximum=0.3) for name in ("a", "b")]
    manifest = describe("add", b"graph", columns, {"a": 0.2, "b": 0.2}, [0.4])
    for values in ([0.2, 0.25], [0.2, 0.1], [0.3, 0.2], [0.2, 9.0], [-1.0, 0.2]):
        array = np.array(values, dtype=dtype)
        fast = encode_columns(manifest, {"a": array, "b": array})
        slow = encode_columns(manifest, {"a": array.tolist(), "b": array.tolist()})

        assert fast.in_range.tolist() == slow.in_range.tolist()
        assert fast.numeric.tobytes() == slow.numeric.tobytes()
