"""Intervals, explanations and the joint range, from a table through the published model to the answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from models.contract.errors import IntegrityError
from models.contract.manifest import TRUST_FORMAT_VERSION, ModelManifest, parse_manifest
from models.contract.repository import CARD_PAGE, COMPANION_FILE, ModelRepository
from nalu_cli import app
from service.api.cards import card_path, read_card
from service.app import create_app
from service.errors import CardNotFoundError, InferenceError, InvalidRequestError, ModelLoadError, UnsafeModelError
from service.inference.encoding import encode_columns
from service.inference.session import load_session
from service.inference.trust import Asked
from service.offline import OnError, predict_file
from service.settings import Settings
from tests.published import publish_arithmetic
from tests.quiet import Quiet
from training.config import TableConfig
from training.table_run import TableResult, run_table


def rows_of(n_rows: int, seed: int) -> list[dict[str, Any]]:
    """Strength by a power law of thickness and time, which rise together, and grade; noise of a hundredth."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_rows):
        thickness, grade = rng.uniform(1, 5), str(rng.choice(["soft", "hard"]))
        time = thickness * rng.uniform(0.9, 1.1)
        strength = 100 * thickness**-0.5 * time**0.25 * (1.5 if grade == "hard" else 1) * np.exp(0.01 * rng.normal())
        rows.append(
            {"thickness": round(thickness, 4), "time": round(time, 4), "grade": grade, "strength": round(strength, 4)}
        )
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module", name="result")
def _result(tmp_path_factory: pytest.TempPathFactory) -> TableResult:
    folder = tmp_path_factory.mktemp("trust")
    config = {
        "data": write(folder / "steel.csv", rows_of(300, 0)),
        "targets": ("strength",),
        "repository": folder / "repository",
        "runs": folder / "runs",
    }
    return run_table(TableConfig.model_validate(config), Quiet())


@pytest.fixture(scope="module", name="repository")
def _repository(result: TableResult) -> Path:
    root = result.folder.parents[1] / "repository"
    publish_arithmetic(root, "multiply")
    return root


@pytest.fixture(scope="module", name="client")
def _client(repository: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(model_repository=repository))) as client:
        yield client


def inputs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "strength"} for row in rows]


def test_the_manifest_carries_what_the_answers_need(result: TableResult) -> None:
    manifest = result.manifest
    assert manifest.format_version == TRUST_FORMAT_VERSION
    assert parse_manifest(manifest.to_json()) == manifest
    assert manifest.joint_range is not None
    assert manifest.intervals is not None
    assert manifest.terms is not None
    assert manifest.intervals.n_rows == manifest.provenance.n_rows == 255
    assert {part for name in manifest.terms[0].names for part in name.split(" × ")} <= {"thickness", "time", "grade"}


def test_intervals_hold_nine_tenths_of_new_rows_in_both_forms(client: TestClient) -> None:
    rows = rows_of(1000, 1)
    answer = client.post("/predict", json={"model": "steel", "interval": 0.9, "rows": inputs(rows)}).json()
    assert list(answer) == ["model", "version", "predictions", "in_range", "interval", "lower", "upper"]
    lower, value, upper = (
        np.array([row["strength"] for row in answer[part]]) for part in ("lower", "predictions", "upper")
    )
    truth = np.array([row["strength"] for row in rows])
    assert 0.85 <= np.mean((lower <= truth) & (truth <= upper)) <= 0.96
    np.testing.assert_allclose(upper - value, value - lower)
    assert 0.9 <= np.mean(answer["in_range"]) < 1
    split = {"columns": ["thickness", "time", "grade"], "data": [list(row.values()) for row in inputs(rows[:3])]}
    again = client.post("/predict", json={"model": "steel", "interval": 0.9, **split}).json()
    assert again["lower"] == [[row["strength"]] for row in answer["lower"][:3]]
    assert again["columns"] == ["strength"]


def test_a_row_whose_columns_do_not_belong_together_is_outside(client: TestClient) -> None:
    rows = [
        {"thickness": 3.0, "time": 3.0, "grade": "soft"},
        {"thickness": 1.5, "time": 4.5, "grade": "soft"},
        {"thickness": 30.0, "time": 30.0, "grade": "soft"},
    ]
    answer = client.post("/predict", json={"model": "steel", "interval": 0.9, "rows": rows}).json()
    assert answer["in_range"] == [True, False, False]
    plain = client.post("/predict", json={"model": "steel", "rows": rows}).json()
    assert plain["in_range"] == answer["in_range"]
    assert plain["predictions"] == answer["predictions"]


def test_terms_and_residual_add_up_to_the_prediction(client: TestClient) -> None:
    rows = [*inputs(rows_of(50, 2)), {"thickness": 500.0, "time": 0.01, "grade": "hard"}]
    answer = client.post("/predict", json={"model": "steel", "explain": True, "rows": rows}).json()
    assert "lower" not in answer
    for prediction, explanation in zip(answer["predictions"], answer["explanations"], strict=True):
        parts = explanation["strength"]
        total = parts["constant"] + sum(parts["terms"].values()) + parts["held"] + parts["residual"]
        assert total == pytest.approx(prediction["strength"], rel=1e-9)
    inside = [explanation["strength"] for explanation in answer["explanations"][:50]]
    assert [parts["held"] for parts in inside] == [0.0] * 50
    split = {"columns": ["time", "thickness", "grade"], "data": [[3.0, 3.0, "hard"]]}
    both = client.post("/predict", json={"model": "steel", "explain": True, "interval": 0.8, **split}).json()
    assert list(both) == [
        "model",
        "version",
        "columns",
        "data",
        "in_range",
        "interval",
        "lower",
        "upper",
        "explanations",
    ]


@pytest.mark.parametrize("asked", [{"interval": 0.9}, {"explain": True}])
def test_a_model_without_is_told_and_nothing_asked_is_answered(client: TestClient, asked: dict[str, Any]) -> None:
    request = {"model": "multiply", "rows": [{"a": 3, "b": 5}]}
    refused = client.post("/predict", json=request | asked)
    assert refused.status_code == 422
    assert refused.json()["type"] == "not-offered"
    assert "nalu train table" in refused.json()["detail"]
    plain = client.post("/predict", json=request | {"interval": None, "explain": False})
    assert plain.json()["predictions"] == [{"y": 15.0}]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"interval": 1}, "less than 1"),
        ({"interval": 0}, "greater than 0"),
        ({"interval": "0.9"}, "valid number"),
        ({"interval": True}, "valid number"),
        ({"explain": 1}, "valid boolean"),
        ({"interval": 0.9999}, "must be at most 0.995 for this model, calibrated on 255 rows, however it is 0.9999"),
    ],
)
def test_a_level_that_is_none_is_refused(client: TestClient, asked: dict[str, Any], words: str) -> None:
    refused = client.post("/predict", json={"model": "steel", "rows": inputs(rows_of(1, 0)), **asked})
    assert refused.status_code == 422
    assert refused.json()["type"] == "invalid-request"
    assert words in refused.json()["detail"]


def test_the_catalogue_and_openapi_tell_of_them(client: TestClient) -> None:
    detail = client.get("/models/steel/versions/1").json()
    assert detail["joint_range"]["limit"] > 0
    assert 0.9 in detail["intervals"]["outputs"][0]["levels"]
    assert detail["terms"][0]["names"]
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"interval", "explain"} <= schemas["PredictRecordsRequest"]["properties"].keys()
    assert {"lower", "upper", "explanations"} <= schemas["PredictSplitAnswer"]["properties"].keys()


def test_the_manifest_tells_formula_importance_and_leaderboard(result: TableResult) -> None:
    manifest = result.manifest
    assert manifest.formula is not None
    assert "thickness" in manifest.formula.text
    order = [one.column for one in manifest.importance]
    assert sorted(order) == ["grade", "thickness", "time"]
    assert manifest.importance[0].rise[0] > 0.3
    inside = manifest.leaderboard["inside"]
    assert inside["this model"]["strength"] == manifest.metrics["inside"]["strength"]["rmse"]
    assert inside["mean"]["strength"] is not None
    assert any(region.startswith("outside") for region in manifest.leaderboard)
    for region in ("inside", "outside"):
        assert 0.6 < manifest.metrics[region]["strength"]["coverage_90"] <= 1
        assert manifest.metrics[region]["strength"]["width_90"] > 0


def test_the_model_card_is_one_page_that_loads_nothing(client: TestClient, repository: Path) -> None:
    path = client.get("/models/steel").json()["card"]
    assert path == client.get("/models/steel/versions/1").json()["card"] == "/models/steel/versions/1/card"
    page = client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.text.count("<img ") == page.text.count('src="data:image/png;base64,') == 5
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page.text)  # where any four letters may stand
    assert "http" not in without_images.replace("http-equiv", "")
    for title in ("Errors", "Beside other models", "How far to trust it", "Beyond the training range", "Importance"):
        assert f"<h2>{title}</h2>" in page.text
    folder = ModelRepository(repository).path("steel")
    card = (folder / "model-card.md").read_text()
    for file in re.findall(r"!\[.*?\]\((.*?)\)", card):
        assert (folder / file).read_bytes().startswith(b"\x89PNG")
    assert card.count("![") == 5
    assert client.get("/models/multiply").json()["card"] is None
    missing = client.get("/models/multiply/versions/1/card")
    assert (missing.status_code, missing.json()["type"]) == (404, "card-not-found")
    shown = CliRunner().invoke(
        app, ["models", "show", "steel", "--repository", str(repository)], env={"COLUMNS": "300"}
    )
    assert "model-card.html" in shown.output
    assert "importance" in shown.output
    assert "calibrated on 255 rows" in shown.output


def test_a_card_that_is_a_link_or_went_away_is_none(repository: Path, tmp_path: Path) -> None:
    published = ModelRepository(repository).load("multiply")
    ModelRepository(tmp_path).publish(published.manifest, published.onnx, {CARD_PAGE: b"<p>card</p>"})
    assert read_card(tmp_path, "multiply", 1) == b"<p>card</p>"
    page = tmp_path / "multiply" / "1" / CARD_PAGE
    page.rename(tmp_path / "elsewhere.html")
    page.symlink_to(tmp_path / "elsewhere.html")
    for name in ("multiply", "gone"):
        assert card_path(tmp_path, name, 1) is None
        with pytest.raises(CardNotFoundError, match="nalu train table"):
            read_card(tmp_path, name, 1)


def test_a_file_is_predicted_with_them(repository: Path, tmp_path: Path) -> None:
    rows = inputs(rows_of(20, 3))
    options = ["--repository", str(repository), "--interval", "0.9", "--explain", "--on-error", "null"]
    rows[4]["grade"] = "never seen"
    source = tmp_path / "new.csv"
    lines = tmp_path / "new.jsonl"
    write(source, rows)
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file, out in ((source, tmp_path / "out.csv"), (lines, tmp_path / "out.jsonl")):
        run = CliRunner().invoke(app, ["predict", "steel", str(file), "--out", str(out), *options])
        assert run.exit_code == 0, run.output
    answered = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answered[4]["strength_lower"] is None
    parts = [name for name in answered[0] if name.startswith("strength: ")]
    assert parts[0] == "strength: (constant)"
    assert parts[-2:] == ["strength: (held)", "strength: (residual)"]
    assert sum(answered[0][name] for name in parts) == pytest.approx(answered[0]["strength"], rel=1e-9)
    assert answered[0]["strength_lower"] < answered[0]["strength"] < answered[0]["strength_upper"]
    header = (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert header == [name.replace(",", "") for name in answered[0]]
    wrong = CliRunner().invoke(
        app, ["predict", "steel", str(source), "--repository", str(repository), "--interval", "2"]
    )
    assert wrong.exit_code == 2


@pytest.mark.parametrize("on_error", ["refuse", "null"])
def test_a_level_beyond_the_model_is_told_and_not_blamed_on_a_row(
    on_error: OnError, repository: Path, tmp_path: Path
) -> None:
    rows = inputs(rows_of(3, 3))
    write(tmp_path / "new.csv", rows)
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    session = load_session(ModelRepository(repository).load("steel"))
    for file in ("new.csv", "new.jsonl"):
        with pytest.raises(
            InvalidRequestError, match=r"is not valid: `interval` must be at most 0\.995 .* it is 0\.9999$"
        ):
            predict_file(session, tmp_path / file, None, on_error=on_error, asked=Asked(0.9999))


def test_a_companion_that_is_not_the_manifest_s_is_refused(repository: Path, tmp_path: Path) -> None:
    published = ModelRepository(repository).load("steel")
    assert published.companion is not None
    with pytest.raises(IntegrityError, match="checksums in their manifest"):
        ModelRepository(tmp_path).publish(published.manifest, published.onnx)
    with pytest.raises(ModelLoadError, match="outputs must be those"):
        load_session(type(published)(published.manifest, published.onnx, published.onnx))
    with pytest.raises(UnsafeModelError):
        load_session(type(published)(published.manifest, published.onnx, b"\x08"))
    ModelRepository(tmp_path).publish(published.manifest, published.onnx, companion=published.companion)
    (tmp_path / "steel" / "1" / COMPANION_FILE).write_bytes(published.companion[:-1])
    with pytest.raises(IntegrityError, match=r"companion\.onnx of steel/1"):
        ModelRepository(tmp_path).load("steel")


def test_a_session_without_a_companion_says_so(repository: Path) -> None:
    session = load_session(ModelRepository(repository).load("multiply"))
    with pytest.raises(InferenceError, match="must have a companion"):
        session.run_companion(encode_columns(session.manifest, {"a": [1.0], "b": [2.0]}), ["terms"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 1}, "must stand in format version 4 or later, however: 1"),
        ({"companion": None}, "a companion must be there"),
        ({"terms": []}, "terms must speak of all 1 outputs, however of 0"),
        ({"joint_range": {"limit": 1, "answers": [[0, 1], [0, 1]], "n_landmarks": 1, "share": 0.1}}, "of 2"),
        ({"intervals": {"outputs": [{"levels": [0.9], "scores": []}], "n_rows": 5}}, "1 levels and 0 scores"),
        ({"intervals": {"outputs": [{"levels": [0.9, 0.8], "scores": [1, 2]}], "n_rows": 5}}, "must ascend"),
    ],
)
def test_a_manifest_whose_parts_do_not_fit_is_refused(result: TableResult, change: dict[str, Any], words: str) -> None:
    content = json.loads(result.manifest.to_json())
    with pytest.raises(ValueError, match=words):
        ModelManifest.model_validate(content | change)
