"""Whatever is published is loaded back; whatever changes in the file is noticed."""

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.errors import ContractError, IntegrityError
from models.contract.manifest import (
    CategoryColumn,
    Graph,
    ModelManifest,
    NumberColumn,
    OutputColumn,
    Provenance,
    Sample,
    parse_manifest,
)
from models.contract.repository import MANIFEST_FILE, MODEL_FILE, ModelRepository

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
model_names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?", fullmatch=True).filter(
    lambda name: name not in ("con", "prn", "aux", "nul") and not name.startswith(("com", "lpt"))
)


@st.composite
def number_columns(draw: st.DrawFn, name: str) -> NumberColumn:
    low, high = sorted((draw(finite), draw(finite)))
    return NumberColumn(
        name=name, unit=draw(st.none() | texts), minimum=low, maximum=high, may_be_missing=draw(st.booleans())
    )


@st.composite
def category_columns(draw: st.DrawFn, name: str) -> CategoryColumn:
    levels = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    return CategoryColumn(name=name, categories=tuple(levels), may_be_missing=draw(st.booleans()))


@st.composite
def publications(draw: st.DrawFn) -> tuple[ModelManifest, bytes]:
    onnx = draw(st.binary(min_size=1, max_size=500))
    inputs: list[NumberColumn | CategoryColumn] = [
        draw(st.one_of(number_columns(name), category_columns(name)))
        for name in draw(st.lists(names, min_size=1, max_size=5, unique=True))
    ]
    outputs = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    rows = tuple(
        {column.name: draw(finite) if isinstance(column, NumberColumn) else column.categories[0] for column in inputs}
        for _ in range(draw(st.integers(1, 3)))
    )
    manifest = ModelManifest(
        name=draw(model_names),
        version=1,
        kind="tabular",
        description=draw(texts),
        inputs=tuple(inputs),
        outputs=tuple(OutputColumn(name=name, minimum=0, maximum=1) for name in outputs),
        graph=Graph(
            sha256=hashlib.sha256(onnx).hexdigest(), n_bytes=len(onnx), dtype="float64", opset=20, ir_version=10
        ),
        metrics={"inside": {name: {"rmse": draw(finite)} for name in outputs}},
        provenance=Provenance(task=draw(texts), n_rows=1, seed=draw(st.integers(0, 2**31))),
        sample=Sample(
            rows=rows,
            predictions=tuple(tuple(draw(finite) for _ in outputs) for _ in rows),
            rtol=1e-9,
            atol=(0.0,) * len(outputs),
        ),
    )
    return manifest, onnx


@given(publications())
def test_what_is_published_is_loaded_back(publication: tuple[ModelManifest, bytes]) -> None:
    manifest, onnx = publication
    with tempfile.TemporaryDirectory() as folder:
        repository = ModelRepository(folder)
        for version in (1, 2):
            published = repository.publish(manifest, onnx)
            assert published == manifest.model_copy(update={"version": version})
            loaded = repository.load(manifest.name)
            assert (loaded.manifest, loaded.onnx) == (published, onnx)
        assert repository.names() == [manifest.name]


@given(publications())
def test_a_manifest_survives_json(publication: tuple[ModelManifest, bytes]) -> None:
    assert parse_manifest(publication[0].to_json()) == publication[0]


@given(publications(), st.data())
def test_any_changed_byte_of_the_graph_is_noticed(
    publication: tuple[ModelManifest, bytes], data: st.DataObject
) -> None:
    manifest, onnx = publication
    with tempfile.TemporaryDirectory() as folder:
        ModelRepository(folder).publish(manifest, onnx)
        changed = bytearray(onnx)
        changed[data.draw(st.integers(0, len(onnx) - 1))] ^= data.draw(st.integers(1, 255))
        (Path(folder) / manifest.name / "1" / MODEL_FILE).write_bytes(changed)

        with pytest.raises(IntegrityError):
            ModelRepository(folder).load(manifest.name)


@given(st.binary(max_size=300))
def test_any_bytes_for_a_manifest_are_refused_as_the_contract_has_it(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder) / "add" / "1"
        version.mkdir(parents=True)
        (version / MANIFEST_FILE).write_bytes(raw)

        with pytest.raises(ContractError):
            ModelRepository(folder).load("add")
