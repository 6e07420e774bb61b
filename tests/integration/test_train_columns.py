"""Dates, levels never seen and units: from the table through the published model to the service's answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from models.contract.manifest import CategoryColumn, DateColumn, ModelManifest
from models.contract.repository import ModelRepository
from nalu_cli import app
from service.errors import InvalidRequestError
from service.inference.encoding import encode_records
from service.inference.predictor import predict
from service.inference.quick_rows import QuickReader
from service.inference.registry import load_registry
from service.inference.session import ModelSession, load_session
from service.inventory import model_card
from service.offline import predict_file
from tests.quiet import Quiet
from training.coded_table import CodedTable
from training.column_table import columns_table
from training.config import TableConfig
from training.datasets import load_training_table
from training.errors import TrainingDataError
from training.feature_columns import ColumnUse
from training.table_run import TableResult, run_table


def write(path: Path, n_rows: int = 120) -> Path:
    """Strength falls from month to month and depends on the grade, of which three are rare."""
    rng = np.random.default_rng(0)
    lines = ["width,rolled,grade,strength"]
    for i in range(n_rows):
        grade = f"rare{i}" if i % 40 == 7 else "hard" if rng.random() < 0.5 else "soft"
        month, day = 1 + i % 6, 1 + i % 27
        date = "" if i == 11 else f"{day:02d}.{month:02d}.2025 {i % 24:02d}:15"
        strength = 300 - 10 * month + {"hard": 50, "soft": -50}.get(grade, 0) + rng.normal()
        lines.append(f"{rng.uniform(1, 2):.3f},{date},{grade},{strength:.3f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSession, TableResult, Path]:
    folder = tmp_path_factory.mktemp("columns")
    seen: list[str] = []
    config: dict[str, Any] = {
        "data": write(folder / "data.csv"),
        "targets": ("strength",),
        "dates": ("rolled",),
        "unseen": "other",
        "units": {"width": "mm"},
        "repository": folder / "repository",
        "runs": folder / "runs",
        "outside": False,
        "objective": "inside",
    }
    settings = TableConfig.model_validate(config)
    result = run_table(settings, Quiet(), lambda table: seen.extend(use.role for use in table.uses))
    assert seen == ["number", "date", "category", "target"]
    return load_session(ModelRepository(folder / "repository").load("data")), result, folder


def row(**more: object) -> dict[str, object]:
    return {"width": 1.5, "rolled": "2025-03-04T12:15", "grade": "hard", **more}


def answer(session: ModelSession, *rows: dict[str, object]) -> tuple[list[float], list[bool]]:
    prediction = predict(session, encode_records(session.manifest, rows))
    return prediction.values[:, 0].tolist(), prediction.in_range.tolist()


def test_the_manifest_says_what_a_date_becomes_and_which_levels_count_as_other(
    published: tuple[ModelSession, TableResult, Path],
) -> None:
    manifest: ModelManifest = published[0].manifest
    width, rolled, grade = manifest.inputs
    assert manifest.format_version >= 3
    assert width.kind == "number"
    assert width.unit == "mm"
    assert isinstance(rolled, DateColumn)
    assert rolled.may_be_missing
    assert [part.name for part in rolled.parts] == ["elapsed_days", "month", "weekday", "hour"]
    assert isinstance(grade, CategoryColumn)
    assert (grade.categories, grade.unseen) == (("hard", "soft"), "other")
    assert manifest.sample.rows[0]["rolled"] is not None
    report = json.loads((published[1].folder / "report.json").read_text())
    assert {use["name"]: use["role"] for use in report["columns"]}["rolled"] == "date"
    assert (published[1].folder / "test.csv").read_text().startswith("width,rolled,grade,strength\n")


def test_the_service_takes_dates_as_text_in_any_form_and_levels_never_seen(
    published: tuple[ModelSession, TableResult, Path],
) -> None:
    session = published[0]
    values, in_range = answer(
        session,
        row(),
        row(rolled="04.03.2025 12:15"),
        row(rolled="2025-03-04T14:15:00+02:00"),
        row(rolled=None),
        row(rolled="2027-03-04 12:15"),
        row(grade="brand new"),
        row(grade="another 💡" * 100),
        row(grade="rare7"),
        row(grade="soft"),
    )
    assert values[0] == values[1] == values[2]
    assert values[5] == values[6] == values[7]
    assert values[8] + 20 < values[5] < values[0] - 20
    assert in_range == [True, True, True, True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"rolled": "03/04/2025"}, "such as 2026-03-01, 2026-03-01T14:30 or 01.03.2026, however: '03/04/2025'"),
        ({"rolled": 20250304}, "a date must be text such as 2026-03-01, however it is a number"),
        ({"grade": None}, "a value must be given"),
        ({"grade": 5}, "a value must be text"),
    ],
)
def test_what_is_no_date_and_no_level_is_refused(
    published: tuple[ModelSession, TableResult, Path], faulty: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        answer(published[0], row(**faulty))
    assert message in str(refused.value.faults[0].message)


def test_a_file_is_predicted_as_rows_are_and_the_short_path_leaves_such_models_alone(
    published: tuple[ModelSession, TableResult, Path], tmp_path: Path
) -> None:
    session, result, folder = published
    summary = predict_file(session, result.folder / "test.csv", tmp_path / "out.arrow")
    assert summary.n_empty == 0
    registry = load_registry(ModelRepository(folder / "repository"))
    body = json.dumps({"model": "data", "rows": [row()]}).encode()
    assert QuickReader(registry, 10).read(body) is None


def test_models_show_tells_dates_and_open_levels(published: tuple[ModelSession, TableResult, Path]) -> None:
    console = Console(width=200)
    with console.capture() as told:
        console.print(model_card(published[0].manifest, Path("folder")))
    assert "2025-01-01T00:15:00 to 2025-06-" in told.get()
    assert "rolled: month" in told.get()
    assert "any other is answered as one" in told.get()


def test_levels_of_few_rows_are_coded_as_never_seen_only_where_that_is_asked_for(tmp_path: Path) -> None:
    table = load_training_table(write(tmp_path / "data.csv"), ["strength"])
    rows = np.arange(table.n_rows)

    assert CodedTable.of(table, rows).levels == (("hard", "rare47", "rare7", "rare87", "soft"),)
    coded = CodedTable.of(table, rows, "other")
    assert coded.levels == (("hard", "soft"),)
    assert (coded.codes < 0).sum() == 3
    assert CodedTable.of(table, np.array([7, 47]), "other").levels == (("rare47", "rare7"),)


def test_a_unit_without_its_column_is_told(tmp_path: Path) -> None:
    data = str(write(tmp_path / "d.csv"))
    result = CliRunner().invoke(app, ["train", "table", data, "--target", "y", "--unit", "mm"])
    assert result.exit_code == 2
    assert "a unit is given as COLUMN=UNIT" in result.output


@pytest.mark.parametrize("family", ["trunk", "network"])
def test_weights_and_groups_shape_the_run_and_are_no_inputs(tmp_path: Path, family: str) -> None:
    rng = np.random.default_rng(0)
    lines = ["a,b,heat,trusted,y"]
    for i in range(80):
        a, b, wrong = rng.uniform(1, 2), rng.uniform(1, 2), i % 4 == 0
        lines.append(f"{a:.4f},{b:.4f},H{i // 4},{1e-6 if wrong else 2},{500 if wrong else 10 * a - 5 * b:.4f}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    config = {
        "data": tmp_path / "data.csv",
        "targets": ("y",),
        "weight": "trusted",
        "group": "heat",
        "repository": tmp_path / "repository",
        "runs": tmp_path / "runs",
        "outside": False,
        "family": family,
        "restarts": 1,
        "max_epochs": 60,
        "power_terms": 0,
        "residual": 0,
    }
    result = run_table(TableConfig.model_validate(config), Quiet())

    assert [column.name for column in result.manifest.inputs] == ["a", "b"]
    assert list(result.leaderboards) == ["other groups of heat"]
    assert set(result.manifest.metrics) == {"group"}
    rmse = {row.model: row.rmse["y"] for row in result.leaderboards["other groups of heat"]}
    assert rmse["this model"] < rmse["mean"] < 10  # unweighted, the mean would be off by hundreds
    report = json.loads((result.folder / "report.json").read_text())
    assert report["split"] == {"kind": "group", "judged_on": "other groups of heat"}


def test_what_columns_are_taken_for_is_shown_before_anything_is_fitted(tmp_path: Path) -> None:
    lines = [f"{i % 7},{i % 7},{'xy'[i % 2]},{i % 5}" for i in range(30)]
    (tmp_path / "data.csv").write_text("\n".join(["width,twin,line,strength", *lines]) + "\n")
    command = ["train", "table", str(tmp_path / "data.csv"), "--target", "strength", "--group", "line"]
    command += ["--unit", "width=mm", "--repository", str(tmp_path / "r"), "--runs", str(tmp_path / "runs")]

    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})

    assert isinstance(result.exception, TrainingDataError)  # two groups are too few, which is told after the table
    told = " ".join(result.output.replace("│", " ").split())  # however narrow its columns are drawn
    assert "columns of data.csv" in told
    assert "0 to 6 mm" in told
    assert "line group 2 different texts" in told
    assert "it equals column 'width' in every row" in told


def test_a_wide_table_is_shown_in_part() -> None:
    uses = [ColumnUse(f"c{i}", "number", i, "0 to 1") for i in range(250)]
    console = Console(width=100)
    with console.capture() as told:
        console.print(columns_table("wide.csv", uses, {}))
    assert "and 50 more" in told.get()
    assert "c199" in told.get()
    assert "c200" not in told.get()
