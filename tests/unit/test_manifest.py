"""The manifest: what it holds together, and what is refused with which words."""

import json
from typing import Any

import pytest

from models.contract.errors import ManifestError, ManifestVersionError
from models.contract.formula import Formula, Term
from models.contract.manifest import (
    MAX_MANIFEST_BYTES,
    TRUST_FORMAT_VERSION,
    CategoryColumn,
    NumberColumn,
    parse_manifest,
)
from tests.published import arithmetic_graph, arithmetic_manifest, certificate, graded_graph, graded_manifest


@pytest.fixture
def content() -> dict[str, Any]:
    """Return the JSON of a manifest with a number and a category column."""
    parsed: dict[str, Any] = json.loads(graded_manifest(graded_graph()).to_json())
    return parsed


def put(content: dict[str, Any], path: str, value: object) -> bytes:
    """Return the manifest's JSON with the value at a dotted path replaced."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = content
    for part in parents:
        place = place[part]
    place[last] = value
    return json.dumps(content).encode()


def test_reads_back_what_was_written() -> None:
    for manifest in (graded_manifest(graded_graph()), arithmetic_manifest("divide", arithmetic_graph("divide"))):
        assert parse_manifest(manifest.to_json()) == manifest
        assert manifest.to_json().endswith(b"}\n")


def test_numbers_and_categories_keep_their_order(content: dict[str, Any]) -> None:
    number, category = content["inputs"]
    inputs = [{**category, "name": "z"}, {**number, "name": "y"}, {**category, "name": "b"}, {**number, "name": "a"}]

    manifest = parse_manifest(put(content, "inputs", inputs))

    assert [column.name for column in manifest.numbers] == ["y", "a"]
    assert [column.name for column in manifest.categories] == ["z", "b"]
    assert isinstance(manifest.inputs[0], CategoryColumn)
    assert isinstance(manifest.inputs[1], NumberColumn)


def test_is_frozen() -> None:
    manifest = graded_manifest(graded_graph())

    with pytest.raises(ValueError, match="frozen"):
        manifest.version = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(b"", "must be JSON", id="empty"),
        pytest.param(b"{", "must be JSON", id="truncated"),
        pytest.param(b"\xff\xfe", "must be JSON", id="binary"),
        pytest.param(b"[" * 100_000, "must be JSON", id="nested 100,000 deep"),
        pytest.param(b'{"format_version": ' + b"9" * 5000 + b"}", "must be JSON", id="a giant integer"),
        pytest.param(b"[]", "integer format_version", id="a list"),
        pytest.param(b"{}", "integer format_version", id="no version"),
        pytest.param(b'{"format_version": "1"}', "integer format_version", id="a version as text"),
        pytest.param(b'{"format_version": true}', "integer format_version", id="a version as a boolean"),
        pytest.param(b'{"format_version": 0}', "format_version: Input should be 1", id="version 0"),
        pytest.param(b" " * (MAX_MANIFEST_BYTES + 1), "must not exceed", id="too large"),
    ],
)
def test_refuses_what_is_no_manifest(raw: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(raw)


@pytest.mark.parametrize("version", [TRUST_FORMAT_VERSION + 1, 10**6])
def test_a_newer_format_names_the_remedy(content: dict[str, Any], version: int) -> None:
    with pytest.raises(ManifestVersionError, match=f"this one has {version}; serve it with a newer release"):
        parse_manifest(put(content, "format_version", version))


def test_a_newer_format_is_told_before_anything_else() -> None:
    with pytest.raises(ManifestVersionError):
        parse_manifest(b'{"format_version": 5, "all": "different"}')


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("extra", 1, "extra: Extra inputs are not permitted"),
        ("kind", "spreadsheet", "kind"),
        ("version", 0, "version"),
        ("inputs", [], "inputs"),
        ("outputs", [], "outputs"),
        ("inputs.0.name", "", r"inputs\.0"),
        ("inputs.0.name", "x" * 201, r"inputs\.0"),
        ("inputs.0.name", "grade", "input names must be distinct"),
        ("inputs.0.kind", "date", r"inputs\.0"),
        ("inputs.0.minimum", 1e9, "minimum must not exceed maximum"),
        ("inputs.0.minimum", float("nan"), r"inputs\.0"),
        ("inputs.0.maximum", float("inf"), r"inputs\.0"),
        ("inputs.0.may_be_absent", True, r"inputs\.0"),
        ("inputs.1.categories", [], r"inputs\.1"),
        ("inputs.1.categories", ["A", "A"], "categories must be distinct"),
        ("inputs.1.categories", [""], r"inputs\.1"),
        ("inputs.1.categories", ["x" * 501], r"inputs\.1"),
        ("inputs.1.categories", [str(i) for i in range(10_001)], r"inputs\.1"),
        ("outputs.0.minimum", "low", r"outputs\.0"),
        ("graph.sha256", "0" * 63, r"graph\.sha256"),
        ("graph.sha256", "G" * 64, r"graph\.sha256"),
        ("graph.n_bytes", 0, r"graph\.n_bytes"),
        ("graph.dtype", "float16", r"graph\.dtype"),
        ("metrics", {"inside": {"y": {"rmse": float("nan")}}}, "metrics"),
        ("sample.rows", [], r"sample\.rows"),
        ("sample.predictions", [], "one prediction per row"),
        ("sample.predictions", [[1.0, 2.0]], "must have 1 outputs"),
        ("sample.predictions", [[float("inf")]], r"sample\.predictions"),
        ("sample.rows", [{"mass": float("nan"), "grade": "A"}], r"sample\.rows"),
        ("sample.atol", [], "must have 1 outputs"),
        ("sample.rtol", 0, r"sample\.rtol"),
        ("provenance.data_sha256", "?", r"provenance\.data_sha256"),
    ],
)
def test_refuses_what_does_not_hold_together(content: dict[str, Any], path: str, value: object, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(put(content, path, value))


@pytest.mark.parametrize("path", ["name", "version", "kind", "inputs", "outputs", "graph", "provenance", "sample"])
def test_refuses_a_missing_part(content: dict[str, Any], path: str) -> None:
    del content[path]

    with pytest.raises(ManifestError, match=f"{path}: Field required"):
        parse_manifest(json.dumps(content).encode())


def test_a_message_lists_few_faults_and_echoes_no_input(content: dict[str, Any]) -> None:
    content.update({f"secret{i}": "hunter2" * 1000 for i in range(50)})

    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(content).encode())

    assert "hunter2" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.fixture
def certified() -> dict[str, Any]:
    """Return the JSON of a manifest with a formula in terms and a certificate."""
    manifest = arithmetic_manifest("multiply", arithmetic_graph("multiply"))
    terms = (Term(coefficient=1, powers={"a": 1, "b": 1}),)
    manifest = manifest.model_copy(
        update={"formula": Formula(text="a * b", terms=terms), "certificate": certificate()},
    )
    assert parse_manifest(manifest.to_json()) == manifest
    parsed: dict[str, Any] = json.loads(manifest.to_json())
    return parsed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("certificate.inputs.1.name", "c", "must speak for the model's inputs, in order"),
        ("certificate.dtype", "float32", "must be of the graph's type, however: float32 and float64"),
        ("certificate.regions.0.n_rows", 0, "must have been measured inside the training range"),
        ("certificate.regions.1.max_share_of_bound", 1.5, "less than or equal to 1"),
        ("certificate.regions.1.max_relative_error", -1.0, "greater than or equal to 0"),
        ("certificate.magnitudes", [2.0, 1.0], "magnitudes must go up"),
        ("certificate.snapped", [], "at least 1 item"),
        ("certificate.proof", "trust me", "Extra inputs are not permitted"),
        ("formula.text", "", "at least 1 character"),
        ("formula.terms.0.coefficient", "x", "valid number"),
    ],
)
def test_a_certificate_that_proves_nothing_is_refused(
    certified: dict[str, Any], path: str, value: object, words: str
) -> None:
    with pytest.raises(ManifestError, match=words):
        parse_manifest(put(certified, path, value))


@pytest.mark.parametrize("depth", [9, 300, 3000])
def test_a_formula_nested_without_end_is_refused(certified: dict[str, Any], depth: int) -> None:
    opening, closing = '{"coefficient": 1, "sums": [{"power": 1, "terms": [', "]}]}"
    nested = opening * depth + '{"coefficient": 1}' + closing * depth
    raw = json.dumps(certified).replace('"terms": [{', '"terms": [' + nested + ", {")
    with pytest.raises(ManifestError):
        parse_manifest(raw.encode())
