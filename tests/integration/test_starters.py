"""The starter models in git are those that the code makes."""

from pathlib import Path

import numpy as np
import pytest

from models.contract.repository import ModelRepository
from tests.quiet import Quiet
from training.parity import GraphRunner, RawRows
from training.publish import build, report_json
from training.publish_sequence import build_sequence
from training.reproduce.number_words.serving import fit_unit_model
from training.starters import FORGING, TEXT_MODEL, fit_starter, starter_names
from training.tasks.arithmetic import OPERATIONS

STARTERS = ModelRepository(Path(__file__).parents[2] / "model_repository")


def test_the_repository_in_git_holds_the_starters_and_nothing_else() -> None:
    assert STARTERS.names() == sorted([*starter_names(), TEXT_MODEL])
    assert [fault for _, _, fault in STARTERS.verify() if fault] == []
    assert all(STARTERS.versions(name) == [1] for name in STARTERS.names())
    assert all(STARTERS.manifest(name).provenance.created is None for name in STARTERS.names())


@pytest.mark.parametrize("name", starter_names())
def test_a_starter_can_be_made_again(name: str) -> None:
    kept = STARTERS.load(name)
    model, _ = fit_starter(name, Quiet(), measure_outside=False)
    manifest, graph, _ = build(model, kept.manifest.graph.dtype)
    assert manifest.inputs == kept.manifest.inputs
    assert manifest.outputs == kept.manifest.outputs
    if name != FORGING:
        assert graph == kept.onnx
        assert manifest.formula == kept.manifest.formula
        assert manifest.certificate is not None
        assert kept.manifest.certificate is not None
        assert manifest.certificate.snapped == kept.manifest.certificate.snapped
        assert manifest.certificate.regions == kept.manifest.certificate.regions
    again, before = GraphRunner(graph, "float64"), GraphRunner(kept.onnx, "float64")
    for rows in model.regions.values():
        np.testing.assert_allclose(again(rows), before(rows), rtol=1e-6 if name == FORGING else 1e-9)


def test_the_starter_of_texts_can_be_made_again_byte_for_byte() -> None:
    kept = STARTERS.load(TEXT_MODEL)
    model, report = fit_unit_model()
    manifest, graph = build_sequence(model)
    assert graph == kept.onnx
    versions = {"provenance": manifest.provenance.model_copy(update={"versions": kept.manifest.provenance.versions})}
    assert manifest.model_copy(update=versions) == kept.manifest
    folder = STARTERS.path(TEXT_MODEL)
    assert report_json(report) == (folder / "report.json").read_bytes()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_a_starter_rounds_as_the_machine_does_far_outside_its_range(name: str) -> None:
    operation = OPERATIONS[name]
    rows = operation.sample(-1e7, 1e7, 1000, np.random.default_rng(5))
    answer = GraphRunner(STARTERS.load(name).onnx, "float64")(RawRows(rows))
    np.testing.assert_array_equal(answer[:, 0], operation.compute(rows))


@pytest.mark.parametrize(
    ("name", "formula", "refused"),
    [
        ("add", "a + b", {}),
        ("subtract", "a - b", {}),
        ("multiply", "a * b", {}),
        ("divide", "a / b", {"b": "division by zero has no result"}),
        ("square", "a^2", {}),
        ("sqrt", "sqrt(a)", {"a": "the square root of a negative number is not real"}),
        ("reciprocal", "1 / a", {"a": "division by zero has no result"}),
    ],
)
def test_a_starter_says_its_law_with_proof_and_what_it_refuses(
    name: str, formula: str, refused: dict[str, str]
) -> None:
    manifest = STARTERS.manifest(name)
    assert manifest.formula is not None
    assert manifest.formula.text == formula
    assert {column.name: column.domain.reason for column in manifest.numbers if column.domain} == refused
    assert manifest.certificate is not None
    assert [region.factor for region in manifest.certificate.regions] == [1, 10, 1e3, 1e6]
    assert max(region.max_relative_error or 0 for region in manifest.certificate.regions) <= np.finfo(float).eps / 2


def test_the_examples_that_everybody_tries_are_exact() -> None:
    def answer(name: str, *row: float) -> float:
        return float(GraphRunner(STARTERS.load(name).onnx, "float64")(RawRows(np.array([row])))[0, 0])

    assert answer("multiply", 3, 5) == 15
    assert answer("multiply", 1e6, 1e6) == 1e12
    assert answer("divide", -7, 2) == -3.5
    assert answer("square", -3) == 9
    assert answer("sqrt", 2) == 2**0.5
