"""Columns of sequences in a manifest: how a text is split, and what does not hold together."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.contract.errors import ManifestError
from models.contract.manifest import ImagesColumn, StepsColumn, TextColumn, parse_manifest
from tests.published import arithmetic_graph, arithmetic_manifest

ROOT = Path(__file__).parents[2]
LENGTHS = {"minimum_length": 1, "maximum_length": 5}


def text(*vocabulary: str, **how: Any) -> TextColumn:
    return TextColumn.model_validate({"name": "text", **LENGTHS, "vocabulary": vocabulary, **how})


@pytest.mark.parametrize(
    ("how", "given", "tokens"),
    [
        ({}, "Three hundred AND twelve", ["three", "hundred", "and", "twelve"]),
        ({}, " twenty-one\t\n\u00a0two ", ["twenty", "one", "two"]),
        ({}, "", []),
        ({}, " - \n", []),
        ({"hyphens": "kept"}, "twenty-one", ["twenty-one"]),
        ({"lower_case": False}, "One", ["One"]),
        ({"split": "characters"}, "3 + 4", ["3", "+", "4"]),
        ({"split": "characters", "hyphens": "kept"}, "3-4", ["3", "-", "4"]),
        ({"split": "characters", "spaces": "kept"}, "a B", ["a", " ", "b"]),
        ({"split": "characters"}, "e\u0301🙂", ["e", "\u0301", "🙂"]),
    ],
)
def test_a_text_is_split_as_the_column_says(how: dict[str, Any], given: str, tokens: list[str]) -> None:
    assert text("x", **how).tokens(given) == tokens


@pytest.mark.parametrize(
    ("vocabulary", "how"),
    [
        (["One"], {}),
        (["twenty-one"], {}),
        (["and so"], {}),
        (["ab"], {"split": "characters"}),
        (["-"], {"split": "characters"}),
        ([" "], {"split": "characters"}),
    ],
)
def test_a_token_that_no_text_is_split_into_is_refused(vocabulary: list[str], how: dict[str, Any]) -> None:
    """A minus sign that is taken for a space would silently turn 3-4 into 34."""
    with pytest.raises(ValidationError, match="a token must be what a text is split into"):
        text(*vocabulary, **how)


def number(**changes: Any) -> dict[str, Any]:
    return {"kind": "number", "name": "x", "minimum": 0, "maximum": 1, **changes}


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"kind": "text", "vocabulary": ["a", "a"]}, "must not repeat a token"),
        ({"kind": "text", "vocabulary": []}, "at least 1 item"),
        ({"kind": "text", "vocabulary": [""]}, "at least 1 character"),
        ({"kind": "text", "vocabulary": ["a"], "minimum_length": 0}, "greater than or equal to 1"),
        ({"kind": "text", "vocabulary": ["a"], "minimum_length": 9}, "minimum_length must not exceed maximum_length"),
        ({"kind": "text", "vocabulary": ["a"], "split": "sentences"}, "'words' or 'characters'"),
        ({"kind": "sequence", "columns": []}, "at least 1 item"),
        ({"kind": "sequence", "columns": [number(), number()]}, "must have distinct names"),
        ({"kind": "sequence", "columns": [number(may_be_missing=True)]}, "must be given and has no domain"),
        ({"kind": "sequence", "columns": [number(domain={"nonzero": True, "reason": "no"})]}, "has no domain"),
        ({"kind": "images", "height": 0, "width": 8}, "greater than or equal to 1"),
        ({"kind": "images", "height": 8, "width": 100_000}, "less than or equal to 1024"),
        ({"kind": "images", "height": 8, "width": 8, "white": 16}, "1 or 255"),
    ],
)
def test_a_column_that_does_not_hold_together_is_refused(column: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        parse_manifest(manifest_of({"name": "s", **LENGTHS, **column}))


def manifest_of(*inputs: dict[str, Any], kind: str = "sequence", format_version: int = 2) -> bytes:
    content = json.loads(arithmetic_manifest("multiply", arithmetic_graph("multiply")).to_json())
    content |= {"kind": kind, "format_version": format_version, "inputs": list(inputs)}
    return json.dumps(content).encode()


WORDS = {"kind": "text", "name": "text", **LENGTHS, "vocabulary": ["one", "two"]}


def test_a_column_of_each_kind_is_read() -> None:
    steps = {"kind": "sequence", "name": "steps", **LENGTHS, "columns": [number()]}
    images = {"kind": "images", "name": "images", **LENGTHS, "height": 28, "width": 28}
    for column, kind in ((WORDS, TextColumn), (steps, StepsColumn), (images, ImagesColumn)):
        manifest = parse_manifest(manifest_of(column))
        assert isinstance(manifest.sequence, kind)
        assert (manifest.numbers, manifest.categories) == ((), ())
        assert parse_manifest(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (manifest_of(WORDS, number()), "must be the only input, however there are 2"),
        (manifest_of(WORDS, kind="tabular"), "of kind 'sequence', and only there"),
        (manifest_of(number(name="a"), number(name="b")), "of kind 'sequence', and only there"),
        (manifest_of(WORDS, format_version=1), "must have format version 2 or later, however: 1"),
    ],
)
def test_sequences_stand_alone_and_are_told_by_kind_and_format(raw: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        parse_manifest(raw)


def test_a_certificate_speaks_for_no_sequence() -> None:
    content = json.loads(manifest_of({**WORDS, "name": "a"}))
    square = next(ROOT.glob("model_repository/square/*/manifest.json"))
    content["certificate"] = json.loads(square.read_bytes())["certificate"]
    with pytest.raises(ManifestError, match="must speak for a law of numbers"):
        parse_manifest(json.dumps(content).encode())


def test_published_models_of_rows_keep_format_1_and_their_content() -> None:
    """Releases that know nothing of sequences go on reading them."""
    manifests = list(ROOT.glob("model_repository/*/*/manifest.json"))
    assert len(manifests) >= 8
    for path in manifests:
        manifest = parse_manifest(path.read_bytes())
        if manifest.sequence is None:
            assert manifest.format_version == 1
        assert manifest.model_dump(mode="json", exclude_unset=True) == json.loads(path.read_bytes())
