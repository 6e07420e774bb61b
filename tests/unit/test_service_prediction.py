"""Sessions, prediction and the registry, against Python's own arithmetic."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from models.contract.errors import ModelNotFoundError
from models.contract.manifest import NUMERIC_TENSOR, PREDICTIONS_TENSOR, ModelManifest
from models.contract.repository import ModelRepository, PublishedModel
from service.errors import (
    MAX_FAULTS,
    InferenceError,
    InputOutOfDomainError,
    ModelLoadError,
    ModelNotReadyError,
    NonFinitePredictionError,
)
from service.inference.encoding import encode_columns, encode_split
from service.inference.loading import warm_up
from service.inference.predictor import predict
from service.inference.registry import load_registry
from service.inference.session import ModelSession, load_session
from tests.published import (
    GRADES,
    TRUTH,
    arithmetic_graph,
    arithmetic_manifest,
    graded_graph,
    graded_manifest,
    model_bytes,
    publish_all,
    publish_arithmetic,
)


def session(operation: str) -> ModelSession:
    graph = arithmetic_graph(operation)
    return load_session(PublishedModel(arithmetic_manifest(operation, graph), graph), "cpu")


@pytest.mark.parametrize("operation", TRUTH)
def test_a_graph_answers_as_python_does_in_and_out_of_range(operation: str) -> None:
    rng = np.random.default_rng(7)
    a, b = rng.uniform(-1e6, 1e6, (2, 500))

    prediction = predict(session(operation), encode_columns(arithmetic_manifest(operation, b"x"), {"a": a, "b": b}))

    truth = [TRUTH[operation](float(x), float(y)) for x, y in zip(a, b, strict=True)]
    assert prediction.values.dtype == np.float64
    assert prediction.values[:, 0].tolist() == truth
    assert prediction.in_range.tolist() == [abs(x) <= 10 and abs(y) <= 10 for x, y in zip(a, b, strict=True)]


def test_categories_and_missing_values_go_through_the_graph() -> None:
    graph = graded_graph()
    manifest = graded_manifest(graph)
    rows: list[tuple[float | None, str | None]] = [(2.0, "A"), (2.0, "C"), (None, "B"), (3.0, None), (200.0, "A")]

    prediction = predict(
        load_session(PublishedModel(manifest, graph), "cpu"), encode_split(manifest, ["mass", "grade"], rows)
    )

    truth = [(mass or 0.0) * (GRADES[grade] if grade else 7.0) for mass, grade in rows]
    assert prediction.values[:, 0].tolist() == truth
    assert prediction.in_range.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_a_division_by_zero_is_refused_with_its_row(zero: float) -> None:
    divide = session("divide")

    with pytest.raises(InputOutOfDomainError, match="division by zero") as caught:
        predict(divide, encode_split(divide.manifest, ["a", "b"], [[1, 2], [1, zero]]))

    assert [(fault.row, fault.column) for fault in caught.value.faults] == [(1, "b")]


def test_a_divisor_that_float32_rounds_to_zero_is_refused() -> None:
    graph = arithmetic_graph("divide", "float32")
    divide = load_session(PublishedModel(arithmetic_manifest("divide", graph, "float32"), graph), "cpu")

    with pytest.raises(InputOutOfDomainError):
        predict(divide, encode_split(divide.manifest, ["a", "b"], [[1, 1e-50]]))


def test_values_below_a_domain_s_minimum_are_refused() -> None:
    graph = arithmetic_graph("divide")
    manifest = arithmetic_manifest("divide", graph)
    divisor = manifest.numbers[1]
    assert divisor.domain is not None
    positive = divisor.model_copy(update={"domain": divisor.domain.model_copy(update={"minimum": 0.5})})
    manifest = manifest.model_copy(update={"inputs": (manifest.inputs[0], positive)})
    divide = load_session(PublishedModel(manifest, graph), "cpu")

    assert predict(divide, encode_split(manifest, ["a", "b"], [[1, 0.5]])).values.tolist() == [[2.0]]
    with pytest.raises(InputOutOfDomainError):
        predict(divide, encode_split(manifest, ["a", "b"], [[1, 0.25]]))


def test_an_overflowing_answer_lists_its_rows_and_is_never_given() -> None:
    multiply = session("multiply")
    rows = [[1, 1]] + [[1e200, 1e200]] * 30

    with pytest.raises(NonFinitePredictionError) as caught:
        predict(multiply, encode_split(multiply.manifest, ["a", "b"], rows))

    assert [fault.row for fault in caught.value.faults] == list(range(1, MAX_FAULTS + 1))
    assert caught.value.n_faults == 30
    assert caught.value.faults[0].column == "y"


def _changed(manifest: ModelManifest, **update: object) -> ModelManifest:
    return manifest.model_copy(update=update)


def test_a_graph_that_is_not_the_manifest_s_is_refused() -> None:
    graph = arithmetic_graph("add")
    manifest = arithmetic_manifest("add", graph)
    column = manifest.numbers[0]
    wrong = {
        "dtype": _changed(manifest, graph=manifest.graph.model_copy(update={"dtype": "float32"})),
        "width": _changed(manifest, inputs=(*manifest.inputs, column.model_copy(update={"name": "c"}))),
        "category": graded_manifest(graph),
        "outputs": _changed(manifest, outputs=(*manifest.outputs, manifest.outputs[0])),
    }

    for other in wrong.values():
        with pytest.raises(ModelLoadError, match="must be those of its manifest"):
            load_session(PublishedModel(other, graph), "cpu")


def test_a_graph_with_a_fixed_batch_is_refused() -> None:
    nodes = [helper.make_node("ReduceSum", [NUMERIC_TENSOR, "axis"], [PREDICTIONS_TENSOR])]
    model = onnx.load_from_string(model_bytes(nodes, {"axis": np.array([1], dtype=np.int64)}, d_numeric=2))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 11

    with pytest.raises(ModelLoadError, match="must be those of its manifest"):
        load_session(PublishedModel(arithmetic_manifest("add", b"x"), model.SerializeToString()), "cpu")


def test_an_answer_of_another_shape_is_an_error_and_no_prediction() -> None:
    nodes = [
        helper.make_node("Slice", [NUMERIC_TENSOR, "from", "to", "rows"], ["first"]),
        helper.make_node("ReduceSum", ["first", "to"], [PREDICTIONS_TENSOR]),
    ]
    numbers = {"from": np.array([0]), "to": np.array([1]), "rows": np.array([0])}
    graph = model_bytes(nodes, numbers, d_numeric=2)
    broken = load_session(PublishedModel(arithmetic_manifest("add", graph), graph), "cpu")

    with pytest.raises(InferenceError, match="must answer in shape"):
        predict(broken, encode_split(broken.manifest, ["a", "b"], [[1, 2], [3, 4]]))


def test_warm_up_refuses_a_model_that_answers_its_sample_otherwise() -> None:
    graph = arithmetic_graph("add")
    manifest = arithmetic_manifest("add", graph)
    sample = manifest.sample.model_copy(update={"predictions": ((8.1,),)})

    warm_up(load_session(PublishedModel(manifest, graph), "cpu"))
    with pytest.raises(ModelLoadError, match=r"within the tolerance of its manifest, however the largest .* 0\.1"):
        warm_up(load_session(PublishedModel(_changed(manifest, sample=sample), graph), "cpu"))


def test_the_registry_knows_every_version_and_takes_the_newest(tmp_path: Path) -> None:
    publish_all(tmp_path)
    publish_arithmetic(tmp_path, "add", "float32")

    registry = load_registry(ModelRepository(tmp_path), provider="cpu")

    assert registry.names == ("add", "divide", "graded", "multiply", "subtract")
    assert registry.faults() == []
    assert registry.get("add").manifest.version == 2
    assert registry.get("add", 1).manifest.graph.dtype == "float64"
    with pytest.raises(ModelNotFoundError, match="available: 1, 2"):
        registry.get("add", 3)
    with pytest.raises(ModelNotFoundError, match="available: add, divide"):
        registry.get("ad")


def test_a_broken_version_stops_no_other_and_the_one_before_it_answers(tmp_path: Path) -> None:
    publish_all(tmp_path)
    publish_arithmetic(tmp_path, "add")
    (tmp_path / "add" / "2" / "model.onnx").write_bytes(b"edited")

    registry = load_registry(ModelRepository(tmp_path), provider="cpu")

    assert registry.faults() == []
    (notice,) = registry.notices()
    assert notice.startswith("add/2 could not be loaded: ")
    assert "checksum" in notice
    assert registry.get("add").manifest.version == 1
    assert registry.get("multiply").manifest.name == "multiply"
    with pytest.raises(ModelNotReadyError, match="could not be loaded"):
        registry.get("add", 2)


def test_a_model_without_a_version_that_loads_is_not_ready(tmp_path: Path) -> None:
    publish_all(tmp_path)
    (tmp_path / "add" / "1" / "model.onnx").write_bytes(b"edited")

    registry = load_registry(ModelRepository(tmp_path), provider="cpu")

    (fault,) = registry.faults()
    assert fault.startswith("add/1: ")
    with pytest.raises(ModelNotReadyError, match=r"however none is: .*checksum"):
        registry.get("add")


def test_an_older_broken_version_does_not_make_the_service_unready(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "add")
    publish_arithmetic(tmp_path, "add")
    (tmp_path / "add" / "1" / "model.onnx").write_bytes(b"edited")

    registry = load_registry(ModelRepository(tmp_path), provider="cpu")

    assert registry.faults() == []
    assert registry.get("add").manifest.version == 2


def test_an_empty_repository_is_not_ready_and_says_why(tmp_path: Path) -> None:
    registry = load_registry(ModelRepository(tmp_path / "nothing"), provider="cpu")

    (fault,) = registry.faults()
    assert "holds no published model" in fault
