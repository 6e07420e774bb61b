"""What the service tells about itself: models, health, documentation, and errors in one shape."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from models.contract.repository import ModelRepository
from service.api.problems import FOREIGN_PREFIXES, PROBLEMS
from service.app import create_app
from service.inference.session import ModelSession
from service.settings import Settings
from tests.published import arithmetic_graph, arithmetic_manifest, certificate, publish_all, publish_arithmetic

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "service" / "web" / "static"


@pytest.fixture(name="repository", scope="module")
def _repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = publish_all(tmp_path_factory.mktemp("repository"))
    publish_arithmetic(root, "add")
    (root / "add" / "1" / "manifest.json").write_text("{}")
    return root


@pytest.fixture(name="client", scope="module")
def _client(repository: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(model_repository=repository))) as client:
        yield client


def test_the_list_tells_versions_and_those_that_failed(client: TestClient) -> None:
    models = {model["name"]: model for model in client.get("/models").json()["models"]}

    assert list(models) == ["add", "divide", "graded", "multiply", "subtract"]
    assert (models["add"]["latest"], models["add"]["versions"]) == (2, [2])
    assert "format_version" in models["add"]["failed"]["1"]
    assert models["graded"]["description"] == "Test model graded."
    shown = client.get("/models/add").json()
    assert models["add"].items() <= shown.items()
    newest = client.get("/models/add/versions/2").json()
    assert all(shown[part] == newest[part] for part in ("inputs", "outputs", "example"))


def test_a_reason_does_not_tell_where_the_repository_lies(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path, "add")
    (tmp_path / "add" / "1" / "model.onnx").unlink()
    with TestClient(create_app(Settings(model_repository=tmp_path))) as client:
        listed = client.get("/models").text
        ready = client.get("/health/ready").text

    assert "No such file or directory at add/1/model.onnx" in listed
    assert "add/1/model.onnx" in ready
    assert str(tmp_path) not in listed + ready


def test_a_version_tells_signature_ranges_units_formula_and_metrics(client: TestClient, repository: Path) -> None:
    detail = client.get("/models/graded/versions/1").json()
    manifest = ModelRepository(repository).manifest("graded", 1)

    assert detail["inputs"][0] == {
        "kind": "number",
        "name": "mass",
        "unit": "kg",
        "minimum": 0.0,
        "maximum": 100.0,
        "may_be_missing": True,
        "domain": None,
    }
    assert detail["inputs"][1]["categories"] == ["A", "B", "C"]
    assert [output["name"] for output in detail["outputs"]] == ["strength"]
    assert detail["sha256"] == manifest.graph.sha256
    assert detail["metrics"] == {"inside": {"y": {"rmse": 0.0}}}
    assert detail["provider"] == "cpu"
    assert detail["formula"] == {"text": "y = graded(a, b)", "latex": None, "terms": None}
    assert detail["certificate"] is None


def test_a_certificate_is_told_as_it_stands_in_the_manifest(tmp_path: Path) -> None:
    graph = arithmetic_graph("multiply")
    manifest = arithmetic_manifest("multiply", graph).model_copy(update={"certificate": certificate()})
    ModelRepository(tmp_path).publish(manifest, graph)
    with TestClient(create_app(Settings(model_repository=tmp_path))) as client:
        detail = client.get("/models/multiply/versions/1").json()
    assert detail["certificate"] == json.loads(manifest.to_json())["certificate"]
    assert detail["certificate"]["snapped"] == [{"kind": "power", "weight": [[1.0, 1.0]], "bias": None}]


@pytest.mark.parametrize("name", ["add", "divide", "graded", "multiply", "subtract"])
def test_every_example_is_answered(client: TestClient, name: str) -> None:
    latest = client.get(f"/models/{name}").json()["latest"]
    example = client.get(f"/models/{name}/versions/{latest}").json()["example"]

    assert client.post("/predict", json=example).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/models/nothere", 404, "model-not-found"),
        ("/models/add/versions/7", 404, "model-not-found"),
        ("/models/add/versions/1", 503, "model-not-ready"),
        ("/models/add/versions/0", 422, "invalid-request"),
        ("/models/add/versions/one", 422, "invalid-request"),
        ("/models/add/versions/99999999999999999999", 422, "invalid-request"),
        ("/models/%2e%2e%2fsecret", 404, "not-found"),
        ("/models/%2e%2e", 404, "model-not-found"),
        ("/models/a%00b", 404, "model-not-found"),
        ("/models/%ff%fe", 404, "model-not-found"),
        (f"/models/{'x' * 300}", 422, "invalid-request"),
        ("/models/", 404, "not-found"),
        ("/nowhere", 404, "not-found"),
        ("/static/../app.py", 404, "not-found"),
        ("/static/%2e%2e/%2e%2e/app.py", 404, "not-found"),
        ("/static/", 404, "not-found"),
    ],
)
def test_every_refusal_is_a_problem(client: TestClient, path: str, status: int, kind: str) -> None:
    answer = client.get(path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["status"]) == (kind, status)
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_wrong_method_names_those_allowed(client: TestClient) -> None:
    answer = client.get("/predict")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["type"] == "method-not-allowed"


def test_live_and_ready(client: TestClient) -> None:
    live, ready = client.get("/health/live"), client.get("/health/ready")

    for answer in (live, ready):
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
    assert live.json() == {"status": "live"}
    assert (ready.json()["status"], ready.json()["reasons"]) == ("ready", [])
    (notice,) = ready.json()["notices"]
    assert notice.startswith("add/1 could not be loaded: ")


def test_an_empty_repository_is_live_and_not_ready_and_says_why(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(model_repository=tmp_path / "empty"))) as client:
        live, ready = client.get("/health/live"), client.get("/health/ready")
        prediction = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]})

    assert live.status_code == 200
    assert ready.status_code == 503
    assert "retry-after" in ready.headers
    assert "holds no published model" in ready.json()["reasons"][0]
    assert prediction.status_code == 404
    assert "available: none" in prediction.json()["detail"]


def test_a_model_whose_only_version_is_broken_is_not_ready_and_the_others_answer(tmp_path: Path) -> None:
    publish_all(tmp_path)
    model = tmp_path / "multiply" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-10])
    with TestClient(create_app(Settings(model_repository=tmp_path))) as client:
        ready = client.get("/health/ready")
        broken = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]})
        other = client.post("/predict", json={"model": "add", "rows": [{"a": 3, "b": 5}]})

    assert ready.status_code == 503
    assert "multiply/1" in ready.json()["reasons"][0]
    assert (broken.status_code, broken.json()["type"]) == (503, "model-not-ready")
    assert broken.headers["retry-after"]
    assert other.json()["predictions"] == [{"y": 8.0}]


def test_an_unexpected_failure_is_a_fixed_text_and_its_details_are_logged_with_the_id(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("inner secret")

    with monkeypatch.context() as broken:
        broken.setattr(ModelSession, "run", fail)
        answer = client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]})

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "internal-error"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "ZeroDivisionError: inner secret" in caplog.text
    assert client.post("/predict", json={"model": "multiply", "rows": [{"a": 3, "b": 5}]}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_elsewhere_and_nothing_inline(client: TestClient, path: str) -> None:
    page = client.get(path)

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=|https?://", page.text)
    for file in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        asset = client.get(f"/{file}")
        assert asset.status_code == 200, file
        assert asset.headers["x-content-type-options"] == "nosniff"
    assert client.get("/favicon.ico").headers["content-type"].startswith("image/svg+xml")


def test_vendored_files_are_those_of_the_notice() -> None:
    folder = STATIC / "vendor" / "swagger-ui"
    lines = (folder / "NOTICE").read_text().splitlines()
    told = {name: checksum for checksum, separator, name in (line.partition("  ") for line in lines) if separator}

    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.name != "NOTICE"
    }

    assert told == found


def test_the_openapi_document_describes_both_forms_and_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    operation = document["paths"]["/predict"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    assert [schema["$ref"] for schema in body["schema"]["anyOf"]] == [
        "#/components/schemas/PredictRecordsRequest",
        "#/components/schemas/PredictSplitRequest",
    ]
    documented = set()
    for path, methods in document["paths"].items():
        for method in methods.values():
            for status, response in method["responses"].items():
                if int(status) >= 400 and "Not ready" not in response["description"]:
                    wanted = "application/json" if path.startswith(FOREIGN_PREFIXES) else "application/problem+json"
                    assert list(response["content"]) == [wanted]
                    documented |= set(re.findall(r"`([a-z-]+)`", response["description"]))
    assert documented == {problem.type for problem in PROBLEMS.values()}


def test_every_reference_of_the_openapi_document_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)))

    assert references
    assert references <= document["components"]["schemas"].keys()
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_documented_examples_are_answered_as_documented(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    requests = operation["requestBody"]["content"]["application/json"]["examples"]
    answers = operation["responses"]["200"]["content"]["application/json"]["examples"]

    for form in ("records", "split"):
        answer = client.post("/predict", json=requests[form]["value"])
        assert answer.json() == answers[form]["value"]


def test_the_api_page_names_every_path_and_every_type_of_problem(client: TestClient) -> None:
    page = (ROOT / "docs" / "api.md").read_text() + (ROOT / "docs" / "open-inference.md").read_text()

    for path in client.get("/openapi.json").json()["paths"]:
        assert re.search(rf"^\| `[A-Z]+ {re.escape(path)}` \|", page, flags=re.MULTILINE), path
    for problem in PROBLEMS.values():
        assert re.search(rf"^\| {problem.status} \| `{problem.type}` \|", page, flags=re.MULTILINE), problem
