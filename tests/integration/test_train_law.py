"""`nalu train law`: the law of a table's column, published with proof, or the word that there is none."""

import json
from math import pi
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient
from typer.testing import CliRunner

import training.commands
from models.contract.repository import ModelRepository
from service.app import create_app
from service.settings import Settings
from tests.quiet import Quiet
from training.config import LawConfig
from training.errors import NotFoundError, TrainingDataError, UnprovenError
from training.law_run import run_law

ROWS = np.random.default_rng(0).uniform(0.5, 3, (300, 4))
A, B, C, D = ROWS.T


def table(path: Path, target: NDArray[np.float64], *, columns: str = "a,b,c,speed [m/s]") -> Path:
    values = np.column_stack([ROWS, target])
    path.write_text(f"{columns},y\n" + "\n".join(",".join(repr(float(v)) for v in row) for row in values))
    return path


def config(tmp_path: Path, target: NDArray[np.float64], **more: object) -> LawConfig:
    places = {"repository": tmp_path / "repository", "runs": tmp_path / "runs"}
    data = table(tmp_path / "Drop test.csv", target)
    return LawConfig.model_validate({"data": data, "target": "y", **places, **more})


LAWS = {
    "a * b / c": A * B / C,
    "sqrt(a^2 + b^2)": np.sqrt(A**2 + B**2),
    "(a + b) * (c - `speed [m/s]`)": (A + B) * (C - D),
    "a * b + c": A * B + C,
    "0.5 * a * `speed [m/s]`^2": 0.5 * A * D**2,
}


@pytest.mark.parametrize("text", LAWS)
def test_a_law_is_found_and_its_model_takes_only_what_it_uses(tmp_path: Path, text: str) -> None:
    result = run_law(config(tmp_path, LAWS[text], units={"a": "kg"}), Quiet())
    manifest = ModelRepository(tmp_path / "repository").manifest("drop-test")
    assert manifest == result.manifest
    assert manifest.formula is not None
    assert manifest.formula.text == text
    assert manifest.formula.terms
    assert manifest.certificate is not None
    worst = max(region.max_relative_error or 0 for region in manifest.certificate.regions)
    assert worst < 1e-12
    assert [one.name for one in manifest.certificate.inputs] == [
        name for name in ("a", "b", "c", "speed [m/s]") if name in text
    ] == [column.name for column in manifest.inputs]  # fmt: skip
    assert [column.unit for column in manifest.numbers if column.name == "a"] == ["kg"]
    assert manifest.provenance.data_sha256 is not None
    assert manifest.metrics["inside"]["y"]["rmse"] < 1e-14
    report = json.loads((result.folder / "report.json").read_text())
    assert report["inputs"] == ["a", "b", "c", "speed [m/s]"]
    assert report["certificate"]["snapped"]
    assert report["seconds"]["search"] > 0


def test_raw_weights_are_kept_whole_in_the_report_and_for_the_inputs_kept_in_the_certificate(tmp_path: Path) -> None:
    result = run_law(config(tmp_path, A * B + C), Quiet())
    assert result.manifest.certificate is not None
    raw = result.manifest.certificate.raw
    assert len(raw[0].weight) == len(raw[1].weight[0]) == 9  # inputs, squares and products of three
    assert len(result.report["raw"][0]["weight"]) == 14  # and of four
    assert sorted(sum(row) for row in raw[0].weight) == [1] * 3 + [2] * 6  # none has lost a factor
    assert result.manifest.certificate.snapped[0].weight == ((1, 1, 0), (0, 0, 1))


def test_a_law_found_through_noise_is_published_without_a_certificate(tmp_path: Path) -> None:
    """Under noise, targets outside the family were taken for a law and certified."""
    noise = 1 + 0.01 * np.random.default_rng(1).normal(size=len(A))
    result = run_law(config(tmp_path, A * B / C * noise), Quiet())
    manifest = result.manifest
    assert manifest.formula is not None
    assert manifest.formula.text == "a * b / c"
    assert manifest.certificate is None
    assert "only within noise of 0.0" in result.report["remark"]
    assert "through noise of 0.0" in manifest.description


def test_no_law_is_made_up(tmp_path: Path) -> None:
    for target in (np.sin(A), np.random.default_rng(3).permutation(A * B)):
        with pytest.raises(NotFoundError, match=r"none was found among 225 rows .* --allow-inexact"):
            run_law(config(tmp_path, target), Quiet())
    assert not (tmp_path / "repository" / "drop-test").exists()
    assert not (tmp_path / "runs").exists()


def test_what_is_told_of_other_formulas_names_columns_and_what_finds_them(tmp_path: Path) -> None:
    """It called a column x3, whose name nobody could know, and never named the option that finds the law."""
    settings = config(tmp_path, 16.628 * A / D)
    with pytest.raises(
        NotFoundError, match=r"likelier, 16\.63 \* a \* `speed \[m/s\]`\^-1 most .* --factored, .*`nalu t"
    ):
        run_law(settings, Quiet())
    with pytest.raises(NotFoundError) as refused:
        run_law(config(tmp_path, np.sin(A), factored=True), Quiet())
    assert "--factored" not in str(refused.value)
    assert "look through noise with `nalu train table`" in str(refused.value)

    told = run_law(config(tmp_path, 16.628 * A / D, allow_inexact=True), Quiet()).manifest.description
    assert "16.63 * a * `speed [m/s]`^-1 most of all" in told
    found = run_law(config(tmp_path, 16.628 * A / D, factored=True), Quiet()).manifest
    assert found.formula is not None
    assert found.formula.text == "16.63 * a / `speed [m/s]`"


def test_an_approximation_is_published_when_asked_and_says_that_it_is_one(tmp_path: Path) -> None:
    manifest = run_law(config(tmp_path, np.sin(A), allow_inexact=True, dtype="float32"), Quiet()).manifest
    assert manifest.description.startswith("An approximation of y, not an exact law:")
    assert (manifest.formula, manifest.certificate) == (None, None)
    assert [column.name for column in manifest.inputs] == ["a", "b", "c", "speed [m/s]"]
    assert manifest.metrics["inside"]["y"]["rmse"] < 0.1


def test_a_law_that_overflows_the_type_is_not_published(tmp_path: Path) -> None:
    settings = config(tmp_path, A)
    data = table(tmp_path / "huge.csv", A)
    data.write_text(
        "a,b,y\n" + "\n".join(f"{a * 1e30},{b * 1e30},{a * 1e30 * (b * 1e30)}" for a, b, *_ in ROWS.tolist())
    )
    huge = settings.model_copy(update={"data": data})
    with pytest.raises(UnprovenError, match="--dtype float64"):
        run_law(huge.model_copy(update={"dtype": "float32", "allow_inexact": True}), Quiet())
    assert run_law(huge, Quiet()).manifest.certificate is not None


def test_text_columns_and_rows_with_gaps_take_no_part(tmp_path: Path) -> None:
    data = tmp_path / "gaps.csv"
    lines = [f"{'xy'[i % 2]},{a},{'' if i % 10 == 0 else b},{a * b}" for i, (a, b) in enumerate(zip(A, B, strict=True))]
    data.write_text("grade,a,b,y\n" + "\n".join(lines))
    settings = config(tmp_path, A).model_copy(update={"data": data})
    result = run_law(settings, Quiet())
    assert result.manifest.formula is not None
    assert result.manifest.formula.text == "a * b"
    assert result.manifest.provenance.n_rows == 270
    assert "column 'grade' holds text and takes no part" in result.report["notes"]
    assert "30 of 300 rows take no part: a number is missing" in result.report["notes"]
    with pytest.raises(TrainingDataError, match="has none beside 'y'"):
        run_law(settings.model_copy(update={"drop": ("a", "b")}), Quiet())
    few = table(tmp_path / "few.csv", A)
    few.write_text("\n".join("a,b,y" if i == 0 else f"{i},{i if i < 9 else ''},{i * i}" for i in range(40)))
    with pytest.raises(TrainingDataError, match="at least 20 rows without a missing number"):
        run_law(settings.model_copy(update={"data": few}), Quiet())


def test_what_has_no_real_result_is_refused_by_the_service(tmp_path: Path) -> None:
    run_law(config(tmp_path, np.sqrt(A) / B, name="single"), Quiet())
    positive = ROWS[:, 0] > ROWS[:, 1]
    data = tmp_path / "difference.csv"
    data.write_text("a,b,y\n" + "\n".join(f"{a},{b},{(a - b) ** 0.5}" for a, b, *_ in ROWS[positive].tolist()))
    run_law(config(tmp_path, A).model_copy(update={"data": data, "name": "composite"}), Quiet())
    with TestClient(create_app(Settings(model_repository=tmp_path / "repository"))) as client:

        def ask(model: str, **row: float) -> tuple[int, str | float]:
            answer = client.post("/predict", json={"model": model, "rows": [row]})
            content = answer.json()
            return answer.status_code, content["type"] if answer.status_code != 200 else content["predictions"][0]["y"]

        assert ask("single", a=9, b=-2) == (200, -1.5)
        assert ask("single", a=-9, b=2) == (422, "input-out-of-domain")
        assert ask("single", a=9, b=0) == (422, "input-out-of-domain")
        assert ask("composite", a=5, b=-4) == (200, 3.0)
        assert ask("composite", a=-5, b=4) == (422, "non-finite-prediction")
        assert client.get("/models/composite/versions/1").json()["certificate"]["conditions"] == ["a - b >= 0"]


def told_by_command(tmp_path: Path, target: NDArray[np.float64]) -> str:
    data = table(tmp_path / "gas.csv", target)
    words = ["law", data, "--target", "y", "--structures", "power", "--structures", "sum", "--repository"]
    result = CliRunner().invoke(
        training.commands.train_app,
        [*map(str, words), str(tmp_path / "r"), "--runs", str(tmp_path / "u")],
        catch_exceptions=False,
        env={"COLUMNS": "200"},
    )
    assert result.exit_code == 0
    return result.output


def test_the_command_tells_the_law_and_its_proof(tmp_path: Path) -> None:
    told = told_by_command(tmp_path, A * B / C)
    assert "find the law of y: chose power after 1 fit" in told
    assert "y = a * b / c\n" in told
    assert "certified: within " in told
    assert "published gas version 1" in told
    assert "inputs" not in told


def test_the_command_tells_where_a_version_takes_other_columns_than_the_one_before(tmp_path: Path) -> None:
    told_by_command(tmp_path, A * B / C)
    told = told_by_command(tmp_path, A * D)
    assert "its inputs are not those of version 1 (+ speed [m/s], - b, - c): requests must follow" in told
    (tmp_path / "r" / "gas" / "2" / "manifest.json").write_text("{}")
    assert "inputs" not in told_by_command(tmp_path, A * B / C)


FACTORED_LAWS = {
    "0.2387 * a * (b - c) / `speed [m/s]`": (3 / (4 * pi) * A * (B - C) / D, 3 / (4 * pi) * 8 * 2 / 4),
    "a * c / (b * c + 9.81 * `speed [m/s]`^2)": (A / (B + 9.81 * D**2 / C), 8 * 5 / (7 * 5 + 9.81 * 16)),
    "a * c^0.75": (A * C**0.75, 8 * 5**0.75),
    "a^(5/6) * c^(1/6)": (A ** (5 / 6) * C ** (1 / 6), 8 ** (5 / 6) * 5 ** (1 / 6)),
}


@pytest.mark.parametrize("text", FACTORED_LAWS)
def test_a_factored_law_is_certified_published_and_served(tmp_path: Path, text: str) -> None:
    targets, expected = FACTORED_LAWS[text]
    result = run_law(config(tmp_path, targets, factored=True, noise=False), Quiet())
    assert result.report["chosen"] == "product of sums of products"
    assert result.manifest.formula is not None
    assert result.manifest.formula.text == text
    assert result.manifest.certificate is not None
    assert max(region.max_relative_error or 0 for region in result.manifest.certificate.regions) < 1e-9
    with TestClient(create_app(Settings(model_repository=tmp_path / "repository"))) as client:
        values = {"a": 8.0, "b": 7.0, "c": 5.0, "speed [m/s]": 4.0}
        row = {one.name: values[one.name] for one in result.manifest.inputs}
        answer = client.post("/predict", json={"model": "drop-test", "rows": [row]}).json()
    assert answer["predictions"][0]["y"] == pytest.approx(expected, rel=1e-12)
    assert answer["in_range"] == [False]
