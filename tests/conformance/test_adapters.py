"""What TensorFlow Serving's, KServe's, MLflow's and SageMaker's clients send, against Python's own arithmetic."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.published import GRADES, publish_all, publish_arithmetic
from tests.sequences import publish_sequences


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_sequences(root)
    return root


@pytest.fixture(name="client", scope="module")
def _client(root: Path) -> Iterator[TestClient]:
    settings = Settings(model_repository=root, max_rows=20_000, default_model="graded")
    with TestClient(create_app(settings)) as client:
        yield client


def predicted(client: TestClient, path: str, content: object, status: int = 200) -> Any:
    answer = client.post(path, content=json.dumps(content))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.mark.parametrize(
    "instances",
    [
        [[-7, 2], [20, 4]],
        [{"a": -7, "b": 2}, {"b": 4, "a": 20}],
        [{"numeric": [-7, 2]}, {"numeric": [20, 4]}],
    ],
)
def test_instances_are_answered_row_by_row(client: TestClient, instances: object) -> None:
    for path in ("divide", "divide/versions/1", "divide/versions/0"):
        answer = predicted(client, f"/v1/models/{path}:predict", {"instances": instances, "signature_name": "x"})
        assert answer == {"predictions": [-3.5, 5.0]}


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": [-7, 20], "b": [[2], [4]]},
        {"numeric": [[-7, 2], [20, 4]]},
        [[-7, 2], [20, 4]],
    ],
)
def test_inputs_are_answered_output_by_output(client: TestClient, inputs: object) -> None:
    assert predicted(client, "/v1/models/divide:predict", {"inputs": inputs}) == {"outputs": [-3.5, 5.0]}


def test_categories_and_missing_values_are_taken_in_every_form(client: TestClient) -> None:
    wanted = [2 * GRADES["B"], 0.0, 3 * 7.0]
    rows: list[list[Any]] = [[2, "B"], [None, "C"], [3, None]]

    for content in (
        {"instances": rows},
        {"instances": [dict(zip(("mass", "grade"), row, strict=True)) for row in rows]},
        {"instances": [{"numeric": [row[0]], "categorical": [row[1]]} for row in rows]},
        {"instances": [{"numeric": row[0], "categorical": row[1]} for row in rows]},
    ):
        assert predicted(client, "/v1/models/graded:predict", content) == {"predictions": wanted}
    by_name = {"numeric": [[row[0]] for row in rows], "categorical": [[row[1]] for row in rows]}
    assert predicted(client, "/v1/models/graded:predict", {"inputs": by_name}) == {"outputs": wanted}


def test_sequences_are_answered_as_predict_answers_them(client: TestClient) -> None:
    texts, steps = ["three hundred", "twelve"], [[[1.0, 2.0], [3.0, 4.0]], [[0.5, -1.0]]]
    for model, column, values, forms in (
        ("number-words", "text", texts, [texts, [[text] for text in texts]]),
        ("recurrent", "steps", steps, [steps]),
    ):
        rows = [{column: value} for value in values]
        by_predict = client.post("/predict", json={"model": model, "rows": rows}).json()["predictions"]
        single = len(by_predict[0]) == 1
        wanted = [next(iter(row.values())) for row in by_predict] if single else by_predict
        columns = {name: [row[name] for row in by_predict] for name in by_predict[0]}
        for form in (*forms, rows):
            assert predicted(client, f"/v1/models/{model}:predict", {"instances": form}) == {"predictions": wanted}
        inputs = {"inputs": {column: values}}
        outputs = wanted if single else columns
        assert predicted(client, f"/v1/models/{model}:predict", inputs) == {"outputs": outputs}


def test_text_may_be_in_base64(client: TestClient) -> None:
    texts = ["three hundred", "twelve"]
    packed = [{"b64": base64.b64encode(text.encode()).decode()} for text in texts]
    wanted = predicted(client, "/v1/models/number-words:predict", {"instances": texts})["predictions"]

    for instances in (packed, [[one] for one in packed], [{"text": one} for one in packed]):
        answer = predicted(client, "/v1/models/number-words:predict", {"instances": instances})
        assert answer == {"predictions": wanted}
    assert predicted(client, "/v1/models/number-words:predict", {"inputs": {"text": packed}}) == {"outputs": wanted}
    for wrong in ("?", "////", 7):
        content = {"instances": [{"b64": wrong}]}
        assert "base64" in predicted(client, "/v1/models/number-words:predict", content, 400)["error"]


def test_text_in_base64_may_be_in_a_tensor(client: TestClient) -> None:
    grade = {"b64": base64.b64encode(b"B").decode()}

    for content, answers in (
        ({"instances": [[2, grade]]}, "predictions"),
        ({"instances": [{"numeric": [2], "categorical": [grade]}]}, "predictions"),
        ({"inputs": {"numeric": [[2]], "categorical": [[grade]]}}, "outputs"),
    ):
        assert predicted(client, "/v1/models/graded:predict", content) == {answers: [2 * GRADES["B"]]}


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("path", ["/v1/models/number-words:predict", "/v1/models/graded:predict", "/invocations"])
def test_what_is_nested_deep_is_no_text(client: TestClient, path: str, start: str, end: str) -> None:
    nested = start * 500 + "1" + end * 500

    for content in (nested, f"[{nested}]", f"[[{nested}]]"):
        for form in ("instances", "inputs"):
            answer = client.post(path, content=f'{{"{form}": {content}}}')
            assert (answer.status_code, len(answer.content) < 1000) == (400, True), answer.text


def test_the_state_of_a_model_is_told_in_both_words(client: TestClient) -> None:
    available = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}

    assert set(client.get("/v1/models").json()["models"]) >= {"divide", "graded", "number-words"}
    for path in ("divide", "divide/versions/1", "divide/versions/0"):
        told = client.get(f"/v1/models/{path}").json()
        assert told == {"name": "divide", "ready": True, "model_version_status": [available]}


def test_a_version_that_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "add")
    (tmp_path / "add" / "2").mkdir()
    (tmp_path / "add" / "2" / "manifest.json").write_text("{")
    with TestClient(create_app(Settings(model_repository=tmp_path))) as client:
        (_one, two) = client.get("/v1/models/add").json()["model_version_status"]
        told = client.get("/v1/models/add/versions/2").json()

    assert (two["state"], two["status"]["error_code"]) == ("END", "UNAVAILABLE")
    assert "could not be loaded" in two["status"]["error_message"]
    assert not told["ready"]
    assert told["model_version_status"][0]["state"] == "END"


def test_a_signature_is_told(client: TestClient) -> None:
    told = client.get("/v1/models/divide/metadata").json()

    assert told == client.get("/v1/models/divide/versions/1/metadata").json()
    assert told["model_spec"] == {"name": "divide", "signature_name": "", "version": "1"}
    signature = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
    axes = [{"size": "-1", "name": ""}, {"size": "2", "name": ""}]
    shape = {"dim": axes, "unknown_rank": False}
    assert signature["inputs"] == {
        "numeric": {"dtype": "DT_DOUBLE", "tensor_shape": shape, "tensorShape": shape, "name": "numeric"}
    }
    assert told["modelSpec"] == told["model_spec"]
    assert told["metadata"]["signature_def"]["signatureDef"]["serving_default"] == signature
    assert signature["outputs"]["in_range"]["dtype"] == "DT_BOOL"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ([], "must be an object"),
        ({}, "exactly one of instances, inputs"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "however it has instances, inputs"),
        ({"instances": [[1, 2]], "other": 1}, "no other members, however it has 'other'"),
        ({"instances": 7}, "must be a list"),
        ({"instances": []}, "at least one row"),
        ({"instances": [[1, 2], {"a": 1, "b": 2}]}, "all be objects or none"),
        ({"instances": [[1]]}, "one value per column"),
        ({"instances": [7]}, "one value per column"),
        ({"instances": [[1, "2"]]}, "number"),
        ({"instances": [{"a": 1}]}, "missing"),
        ({"instances": [{"numeric": [1, 2, 3]}]}, "must have 2 values, however it has 3"),
        ({"instances": [[1, 0]]}, "no answer"),
        ({"instances": [[1, 2]] * 20_001}, "at most 20000 rows"),
        ({"inputs": {"numeric": [[1, 2], [1]]}}, "row 1, column 'numeric': a row must be a list of 2"),
        ({"inputs": {"numeric": [7]}}, "row 0, column 'numeric': a row must be a list of 2"),
        ({"inputs": {"a": 1, "b": [2]}}, "lists of values"),
        ({"inputs": {"a": [1], "b": [2, 3]}}, "column"),
        ({"inputs": {"a": [[1, 2]], "b": [2]}}, "number"),
        ({"inputs": 7}, "must be a list"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_reason(client: TestClient, content: Any, rule: str) -> None:
    assert rule in predicted(client, "/v1/models/divide:predict", content, 400)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/unknown", 404),
        ("GET", "/v1/models/divide/versions/9", 404),
        ("GET", "/v1/models/divide/versions/one", 404),
        ("GET", "/v1/models/divide/versions/9999999999", 400),
        ("GET", "/v1/models/divide/versions/1:predict", 405),
        ("GET", "/v1/models/unknown/metadata", 404),
        ("POST", "/v1/models/unknown:predict", 404),
        ("GET", "/v1/models/divide:predict", 404),
        ("GET", "/v1/other", 404),
    ],
)
def test_errors_are_plain_json(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json()["error"]


def test_the_methods_of_predictions_are_told(client: TestClient) -> None:
    for path in ("/v1/models/divide:predict", "/v1/models/divide/versions/1:predict"):
        answer = client.options(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


_FRAME = {"columns": ["grade", "mass"], "data": [["B", 2], ["C", None]]}
_WANTED = [{"strength": 2 * GRADES["B"]}, {"strength": 0.0}]


@pytest.mark.parametrize(
    "content",
    [
        {"dataframe_split": _FRAME},
        {"dataframe_split": {**_FRAME, "index": [0, 1]}, "params": {}},
        {"dataframe_records": [{"grade": "B", "mass": 2}, {"grade": "C", "mass": None}]},
    ],
)
def test_data_frames_are_answered_by_name(client: TestClient, content: object) -> None:
    answer = client.post("/invocations", json=content)

    assert answer.json() == {"predictions": _WANTED}
    assert (answer.headers["nalu-model"], answer.headers["nalu-version"]) == ("graded", "1")


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_arrays_are_answered_row_by_row(client: TestClient, form: str) -> None:
    answer = predicted(client, "/invocations", {form: [[2, "B"], [None, "C"]]})

    assert answer == {"predictions": [row["strength"] for row in _WANTED]}


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/csv"])
def test_csv_is_answered_as_wanted(client: TestClient, accept: str) -> None:
    headers = {"Content-Type": "text/csv", "Accept": accept}

    answer = client.post("/invocations", content=b"grade,mass\nB,2\nC,\n", headers=headers)

    if accept == "text/csv":
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.text.splitlines()[1:] == ["20,true", "0,true"]
    else:
        assert answer.json() == {"predictions": _WANTED}


def test_a_bare_nan_is_a_missing_value_as_clients_write_it(client: TestClient) -> None:
    answer = client.post("/invocations", content=b'{"instances": [[2, "B"], [NaN, "C"]]}')

    assert answer.json() == {"predictions": [row["strength"] for row in _WANTED]}


def test_large_and_compressed_bodies_are_answered(client: TestClient) -> None:
    rows = [[float(i), "B"] for i in range(10_000)]

    assert predicted(client, "/invocations", {"instances": rows})["predictions"] == [10.0 * i for i in range(10_000)]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"instances": [[1, "A"]], "dataframe_records": []}, "exactly one of"),
        ({"dataframe_split": []}, "with columns and data"),
        ({"dataframe_split": {"columns": ["mass"]}}, "with columns and data"),
        ({"dataframe_split": {**_FRAME, "more": 1}}, "with columns and data"),
        ({"dataframe_split": {"columns": [1], "data": []}}, "list of names"),
        ({"dataframe_split": {"columns": ["mass"], "data": [1]}}, "list of rows"),
        ({"dataframe_split": {"columns": ["mass"], "data": [[1]]}}, "missing"),
        ({"dataframe_split": {"columns": ["mass"], "data": [[1]] * 20_001}}, "at most 20000 rows"),
        ({"dataframe_records": [1]}, "list of objects"),
        ({"dataframe_records": 1}, "list of objects"),
    ],
)
def test_frames_that_are_not_valid_are_refused_with_their_reason(client: TestClient, content: Any, rule: str) -> None:
    assert rule in predicted(client, "/invocations", content, 400)["error"]


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"mass,grade\n1,Z\n", "text/csv", 400),
        (b"", "text/csv", 400),
        (b"mass\n1\n", "text/csv", 400),
        (b"x", "application/vnd.apache.arrow.stream", 400),
        (b"x", "image/png", 400),
        (b"{", "application/json", 400),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(
    client: TestClient, content: bytes, media_type: str, status: int
) -> None:
    answer = client.post("/invocations", content=content, headers={"Content-Type": media_type})

    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)


def test_probes_of_other_platforms_are_answered(client: TestClient) -> None:
    assert [client.get(path).status_code for path in ("/ping", "/health")] == [200, 200]
    assert client.get("/version").text


def test_without_a_choice_the_only_model_answers(tmp_path: Path, root: Path) -> None:
    publish_arithmetic(tmp_path, "multiply")
    with TestClient(create_app(Settings(model_repository=tmp_path))) as client:
        assert predicted(client, "/invocations", {"instances": [[3, 5]]}) == {"predictions": [15.0]}
    with TestClient(create_app(Settings(model_repository=root))) as client:
        error = predicted(client, "/invocations", {"instances": [[3, 5]]}, 400)["error"]
        assert "NALU_DEFAULT_MODEL" in error
    with TestClient(create_app(Settings(model_repository=root, default_model="unknown"))) as client:
        predicted(client, "/invocations", {"instances": [[3, 5]]}, 404)
    with TestClient(create_app(Settings(model_repository=tmp_path / "nothing"))) as client:
        assert client.get("/ping").status_code == 503
