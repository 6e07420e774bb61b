"""Models of sequences over HTTP, in process, against the torch networks that they were made from."""

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from service.app import create_app
from service.inference import sequence_encoding
from service.settings import Settings
from tests.sequences import MODELS, SIDE, WORDS, built, publish_sequences


@pytest.fixture(name="client", scope="module")
def _client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = publish_sequences(tmp_path_factory.mktemp("repository"))
    with TestClient(create_app(Settings(model_repository=root))) as client:
        yield client


def ask(client: TestClient, name: str, values: list[Any]) -> Any:
    column = built(name)[1].inputs[0].name
    answer = client.post("/predict", json={"model": name, "rows": [{column: value} for value in values]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def expected(name: str, sequence: NDArray[np.generic]) -> list[float]:
    """Return what torch answers for one sequence as the graph takes it."""
    with torch.no_grad():
        answer: list[float] = built(name)[0].network(torch.as_tensor(sequence[None]))[0].tolist()
    return answer


def png(image: NDArray[np.generic]) -> str:
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def drawn(name: str, length: int, seed: int) -> tuple[Any, NDArray[np.generic]]:
    """Return a sequence as a caller sends it, and as the graph takes it."""
    rng = np.random.default_rng(seed)
    if name == "number-words":
        tokens = rng.integers(0, len(WORDS.vocabulary), length)
        return " ".join(WORDS.vocabulary[token] for token in tokens), tokens
    if name == "recurrent":
        steps = rng.normal(size=(length, 2))
        return steps.tolist(), steps
    images = rng.integers(0, 256, (length, SIDE, SIDE)).astype(np.uint8)
    return [png(image) for image in images], (images / 255).astype(np.float32)


@pytest.mark.parametrize("length", [1, 10, 1000])
@pytest.mark.parametrize("name", MODELS)
def test_every_answer_is_torch_s_to_a_millionth(client: TestClient, name: str, length: int) -> None:
    given, array = drawn(name, length, seed=length)
    answer = ask(client, name, [given])
    names = [output.name for output in built(name)[1].outputs]
    assert answer["predictions"][0] == pytest.approx(
        dict(zip(names, expected(name, array), strict=True)), rel=1e-6, abs=1e-12
    )


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_different_lengths_come_back_in_their_order(client: TestClient, name: str) -> None:
    rows = [drawn(name, length, seed) for seed, length in enumerate([3, 1, 5, 3, 2, 1, 3])]
    answer = ask(client, name, [given for given, _ in rows])
    alone = [ask(client, name, [given])["predictions"][0] for given, _ in rows]
    for one, apart, (_, array) in zip(answer["predictions"], alone, rows, strict=True):
        assert list(one.values()) == pytest.approx(expected(name, array), rel=1e-6, abs=1e-12)
        assert one == pytest.approx(apart, rel=1e-6, abs=1e-12)


def test_many_rows_of_one_length_are_run_in_parts(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [drawn("recurrent", 4, seed) for seed in range(10)]
    at_once = ask(client, "recurrent", [given for given, _ in rows])
    monkeypatch.setattr(sequence_encoding, "MAX_NUMBERS_PER_RUN", 24)
    in_parts = ask(client, "recurrent", [given for given, _ in rows])
    monkeypatch.setattr(sequence_encoding, "MAX_NUMBERS_PER_RUN", 1)
    one_by_one = ask(client, "recurrent", [given for given, _ in rows])
    for answer in (in_parts, one_by_one):
        for one, other in zip(answer["predictions"], at_once["predictions"], strict=True):
            assert one == pytest.approx(other, rel=1e-12)


def test_a_text_may_be_written_as_people_write(client: TestClient) -> None:
    plain, written = ask(client, "number-words", ["forty five", "  Forty-FIVE\n"])["predictions"]
    assert plain == written


def test_the_split_form_is_answered_in_the_split_form(client: TestClient) -> None:
    body = {"model": "number-words", "columns": ["text"], "data": [["five"], ["three hundred"]]}
    answer = client.post("/predict", json=body).json()
    assert answer["columns"] == ["y"]
    rows = ask(client, "number-words", ["five", "three hundred"])["predictions"]
    assert answer["data"] == [[row["y"]] for row in rows]
    assert answer["in_range"] == [True, True]


def test_steps_may_be_objects_in_any_order(client: TestClient) -> None:
    lists, records, mixed = ask(
        client,
        "recurrent",
        [[[0.5, 1], [2, 0]], [{"b": 1, "a": 0.5}, {"a": 2, "b": 0}], [{"a": 0.5, "b": 1}, [2, 0]]],
    )["predictions"]
    assert lists == records == mixed


def test_images_may_be_rows_of_pixels(client: TestClient) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    as_png, as_rows, mixed = ask(
        client, "digit-sum", [[png(image)] * 2, [image.tolist()] * 2, [png(image), image.astype(float).tolist()]]
    )["predictions"]
    assert as_png == as_rows == mixed


@pytest.mark.parametrize(
    ("name", "values", "inside"),
    [
        ("number-words", ["five", "five " * 5, "five " * 6], [True, True, False]),
        (
            "recurrent",
            [[[0, 0]], [[0, 0]] * 2, [[0, 0]] * 10, [[0, 0]] * 11, [[0, 0], [1.5, 0]], [[1, 2], [-1, 0]]],
            [False, True, True, False, False, True],
        ),
        ("digit-sum", [[[[0] * SIDE] * SIDE] * 3, [[[0] * SIDE] * SIDE] * 4], [True, False]),
    ],
)
def test_in_range_speaks_of_length_and_numbers(
    client: TestClient, name: str, values: list[Any], inside: list[bool]
) -> None:
    assert ask(client, name, values)["in_range"] == inside


@pytest.mark.parametrize("name", MODELS)
def test_signature_and_example_are_told_and_the_example_is_answered(client: TestClient, name: str) -> None:
    manifest = built(name)[1]
    shown = client.get(f"/models/{name}").json()
    detail = client.get(f"/models/{name}/versions/1").json()
    (column,) = shown["inputs"]
    assert column == manifest.inputs[0].model_dump(mode="json")
    assert [output["name"] for output in shown["outputs"]] == [output.name for output in manifest.outputs]
    assert (detail["kind"], detail["inputs"], detail["example"]) == ("sequence", [column], shown["example"])
    answer = client.post("/predict", json=shown["example"]).json()
    assert list(answer["predictions"][0].values()) == pytest.approx(manifest.sample.predictions[0], rel=1e-6)
    assert client.get("/health/ready").status_code == 200


def test_the_openapi_document_describes_each_kind_of_column_and_its_examples_are_answered(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    kinds = {
        schema["properties"]["kind"].get("const")
        for name, schema in document["components"]["schemas"].items()
        if name.endswith("Column") and "kind" in schema["properties"]
    }
    assert kinds == {"number", "category", "date", "text", "sequence", "images"}
    examples = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for form in ("text", "steps", "images"):
        answer = client.post("/predict", json=examples[form]["value"])
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["predictions"]) == len(examples[form]["value"]["rows"])


def test_sequences_are_answered_beside_the_event_loop(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of a kilobyte can be a thousand steps, or a PNG to inflate: nobody else must wait for it."""
    seen: list[str] = []
    inner = sequence_encoding.encode_sequences

    def spy(*arguments: Any) -> Any:
        seen.append(threading.current_thread().name)
        return inner(*arguments)

    monkeypatch.setattr("service.inference.encoding.encode_sequences", spy)
    ask(client, "number-words", ["five"])
    assert len(seen) == 1
    assert seen[0].startswith("nalu-json")


def test_a_wrong_answer_to_the_sample_keeps_the_model_from_being_ready(tmp_path: Path) -> None:
    publish_sequences(tmp_path)
    manifest = tmp_path / "number-words" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"text": "five"', '"text": "twelve"'))
    with TestClient(create_app(Settings(model_repository=tmp_path))) as client:
        ready = client.get("/health/ready")
    assert ready.status_code == 503
    (reason,) = ready.json()["reasons"]
    assert reason.startswith("number-words/1: a model must answer its sample within the tolerance")
