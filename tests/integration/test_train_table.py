"""`nalu train table`: from a user's file to a published model, and to the same numbers everywhere."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from models.contract.errors import NaluError
from models.contract.manifest import CategoryColumn, NumberColumn
from models.contract.repository import ModelRepository
from nalu_cli import app
from tests.quiet import Quiet
from training.config import TableConfig
from training.errors import TrainingDataError
from training.named_data import named
from training.splits import random_split
from training.table_run import OURS, TableResult, run_table

QUICK: dict[str, Any] = {
    "family": "network",
    "restarts": 1,
    "max_epochs": 60,
    "residual": 8,
    "outside": False,
    "card": False,
}


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def process_rows(n: int = 400) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    strength = {"S235": 0.0, "S355": 40.0, "S690": 300.0}
    rows: list[dict[str, object]] = []
    for _ in range(n):
        grade = str(rng.choice(list(strength), p=[0.5, 0.4, 0.1]))
        carbon, thickness = rng.uniform(0.05, 0.3), rng.uniform(5, 50)
        missing = rng.random() < 0.1
        rows.append(
            {
                "C": "" if missing else round(carbon, 4),
                "thickness [mm]": round(thickness, 2),
                "grade": grade,
                "yield": 200 + 500 * carbon + strength[grade] - thickness + rng.normal(),
                "tensile": 400 + 700 * carbon + strength[grade],
            }
        )
    return rows


def run(tmp_path: Path, data: Path, targets: tuple[str, ...], **more: object) -> TableResult:
    config = {"data": data, "targets": targets, "repository": tmp_path / "repository", "runs": tmp_path / "runs"}
    return run_table(TableConfig.model_validate({**config, **QUICK, **more}), Quiet())


def test_a_table_with_gaps_and_a_category_becomes_a_model_that_beats_the_mean(tmp_path: Path) -> None:
    data = write(tmp_path / "Process data.csv", process_rows())
    result = run(
        tmp_path,
        data,
        ("yield", "tensile"),
        outside=True,
        units={"thickness [mm]": "mm", "yield": "MPa"},
        note="made up",
    )
    manifest = result.manifest
    assert manifest.name == "process-data"
    columns = {column.name: column for column in manifest.inputs}
    carbon, thickness, grade = columns["C"], columns["thickness [mm]"], columns["grade"]
    assert isinstance(carbon, NumberColumn)
    assert carbon.may_be_missing
    assert isinstance(thickness, NumberColumn)
    assert not thickness.may_be_missing
    assert (thickness.unit, manifest.outputs[0].unit) == ("mm", "MPa")
    assert isinstance(grade, CategoryColumn)
    assert grade.categories == ("S235", "S355", "S690")
    assert manifest.provenance.note == "made up"
    assert manifest.provenance.data_sha256 is not None
    inside = {row.model: row.rmse for row in result.leaderboards["inside"]}
    assert list(inside) == [OURS, "mean", "linear (ridge)", "gradient-boosted trees"]
    assert inside[OURS]["yield"] < 0.3 * inside["mean"]["yield"]
    assert any(region.startswith("outside") for region in result.leaderboards)
    assert {file.name for file in result.folder.iterdir()} == {"report.json", "error.png", "test.csv"}
    report = json.loads((result.folder / "report.json").read_text())
    assert report["rows"] == {"train": 280, "validation": 60, "test": 60}
    assert len((result.folder / "test.csv").read_text().splitlines()) == 61


def test_the_same_seed_gives_the_same_graph_and_another_seed_another(tmp_path: Path) -> None:
    data = write(tmp_path / "data.csv", process_rows(100))
    graphs = [run(tmp_path, data, ("yield",), seed=seed).manifest.graph.sha256 for seed in (5, 5, 6)]
    assert graphs[0] == graphs[1] != graphs[2]


def test_a_level_that_only_held_out_rows_would_have_moves_into_training(tmp_path: Path) -> None:
    rows = process_rows(100)
    for i in (3, 57):
        rows[i]["grade"] = f"rare {i}"
    grade = next(
        column
        for column in run(tmp_path, write(tmp_path / "data.csv", rows), ("yield",)).manifest.inputs
        if column.name == "grade"
    )
    assert isinstance(grade, CategoryColumn)
    assert set(grade.categories) == {"S235", "S355", "S690", "rare 3", "rare 57"}


def test_a_column_whose_few_values_would_all_be_held_out_is_learned_from(tmp_path: Path) -> None:
    """The median of no value was NaN, and so was every prediction."""
    rows = process_rows(100)
    split = random_split(100, seed=0)
    for i, row in enumerate(rows):
        row["rare"] = i if i in split.test[:2] else ""
    result = run(tmp_path, write(tmp_path / "data.csv", rows), ("yield",), outside=True)
    rare = next(column for column in result.manifest.inputs if column.name == "rare")
    assert isinstance(rare, NumberColumn)
    assert (rare.minimum, rare.maximum) == (min(split.test[:2]), max(split.test[:2]))
    assert np.isfinite(result.leaderboards["inside"][0].rmse["yield"])


def test_semicolons_a_byte_order_mark_and_decimal_commas_are_read(tmp_path: Path) -> None:
    lines = ["p;q;y", *(f"{i},5;{i % 7};{2 * i},25" for i in range(60))]
    (tmp_path / "data.csv").write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    manifest = run(tmp_path, tmp_path / "data.csv", ("y",)).manifest
    assert [column.name for column in manifest.inputs] == ["p", "q"]
    assert manifest.outputs[0].maximum > 100


def test_the_command_prints_names_in_brackets_and_colons_as_they_are(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"mass [kg]": i % 9, "path [mm] :x:": i * 0.5} for i in range(60)]
    data = write(tmp_path / "data.csv", rows)
    command = ["train", "table", str(data), "--target", "path [mm] :x:", "--family", "network"]
    command += ["--epochs", "1", "--restarts", "1", "--no-card", "--outside", "--name", "paths"]
    command += ["--repository", str(tmp_path / "[red]"), "--runs", str(tmp_path / "runs")]

    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})

    assert result.exit_code == 0
    _, leaderboard = result.output.split("RMSE inside")
    assert "path [mm] :x:" in leaderboard
    assert "(mass [kg] above" in leaderboard
    assert f"to {tmp_path / '[red]'}; " in leaderboard


@pytest.mark.parametrize(
    ("content", "target", "words"),
    [
        ("a,b\n" + "1,2\n" * 50, "c", "'c' is none"),
        ("a,b\n" + "".join(f"{i},7\n" for i in range(50)), "b", "must vary"),
        ("a,b\n" + "".join(f"{i},x{i % 3}\n" for i in range(50)), "b", "holds 'x0' in line 2"),
        ("a,b\n" + "".join(f"{i},\n" for i in range(50)), "b", "has none|must have"),
        ("a,b\n1,2\n", "b", "at least 20 rows"),
        ("a,a,b\n" + "1,2,3\n" * 50, "b", "'a'"),
        ("", "b", "empty|header"),
        ("a,b\n", "b", "rows"),
        ("a,b\n" + "".join(f"{i},{i}\n" for i in range(50)) + "1,2,3\n", "b", "52"),
        ("a,b\n" + "".join(f"1,{i}\n" for i in range(50)), "b", "column to predict from"),
        ("a,b\n" + "".join(f"{i},{i}\n" for i in range(50)) + "inf,3\n", "b", "(?i)inf"),
    ],
)
def test_a_table_that_nothing_can_be_learned_from_is_told_and_publishes_nothing(
    tmp_path: Path, content: str, target: str, words: str
) -> None:
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(NaluError, match=words):
        run(tmp_path, tmp_path / "data.csv", (target,))
    assert not list(tmp_path.rglob("model.onnx"))
    assert not (tmp_path / "runs").exists()


def test_a_file_name_that_gives_no_model_name_asks_for_one(tmp_path: Path) -> None:
    data = write(tmp_path / "2024 – Übersicht.csv", process_rows(30))
    with pytest.raises(NaluError, match="--name"):
        run(tmp_path, data, ("yield",))


def test_a_table_without_a_tail_says_that_outside_was_not_measured(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"on": i % 2, "kind": "ab"[i % 2], "y": i % 2 + 0.01 * i} for i in range(60)]
    result = run(tmp_path, write(tmp_path / "data.csv", rows), ("y",), outside=True)
    assert list(result.leaderboards) == ["inside"]
    assert any("outside the training range was not measured" in note for note in result.notes)


@pytest.mark.real_data
def test_real_fatigue_strengths_are_predicted_better_than_by_the_baselines(tmp_path: Path) -> None:
    try:
        data = named("steel_fatigue_nims437")
    except TrainingDataError as error:
        pytest.skip(str(error))
    result = run(tmp_path, data, ("Fatigue",), drop=("sl_no",), max_epochs=200, residual=32)
    inside = {row.model: row.rmse["Fatigue"] for row in result.leaderboards["inside"]}
    assert inside[OURS] < inside["linear (ridge)"] < inside["mean"]
    assert len(ModelRepository(tmp_path / "repository").manifest("steel-fatigue-nims437").inputs) == 25


@pytest.mark.real_data
def test_real_plates_give_three_outputs(tmp_path: Path) -> None:
    try:
        data = named("steel_plate_hotrolled")
    except TrainingDataError as error:
        pytest.skip(str(error))
    targets = ("tensile_MPa", "yield_MPa", "elongation_pct")
    left_out = ("slab_id", "test_batch", "source_file", "heat_id", "roll_date")
    result = run(tmp_path, data, targets, drop=left_out, max_epochs=15)
    assert [output.name for output in result.manifest.outputs] == list(targets)
    inside = {row.model: row.rmse for row in result.leaderboards["inside"]}
    assert all(inside[OURS][target] < inside["mean"][target] for target in targets)
