"""`nalu train table` by default: trunks and boosted trees in one graph, published, served and predicted alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest

import training.table_fits
import training.tabular.trust
from models.contract.manifest import CategoryColumn, NumberColumn
from models.contract.repository import ModelRepository
from service.inference.session import load_session
from tests.quiet import Quiet
from training.config import TableConfig
from training.parity import GraphRunner, RawRows
from training.table_run import OURS, TableResult, run_table
from training.tabular.fit import WORK_OF_ALL_ROWS
from training.tabular.gains import Fit
from training.tabular.rows import Rows
from training.tabular.trust import Trust, fit_trust


def write(path: Path, n_rows: int = 150) -> Path:
    """Strength by a power law of thickness and time, a shift by grade, gaps in the time."""
    rng = np.random.default_rng(0)
    lines = ["thickness,time,grade,strength,hardness"]
    for _ in range(n_rows):
        thickness, time, grade = rng.uniform(1, 5), rng.uniform(1, 9), rng.choice(["soft", "hard"])
        strength = 100 * thickness**-0.5 * time**0.25 * (1.5 if grade == "hard" else 1) * np.exp(0.01 * rng.normal())
        gap = rng.random() < 0.03
        lines.append(f"{thickness:.4f},{'' if gap else f'{time:.4f}'},{grade},{strength:.4f},{strength / 3 - 5:.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


class Watched(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.plans: list[tuple[str, int, str | None]] = []
        self.steps: list[list[tuple[int, str]]] = []

    def start(self, title: str, n_fits: int, plan: str | None = None) -> None:
        self.plans.append((title, n_fits, plan))
        self.steps.append([])

    def step(self, done: int, what: str) -> None:
        self.steps[-1].append((done, what))


def run(tmp_path: Path, progress: Quiet | None = None, **more: Any) -> TableResult:
    config = {
        "data": write(tmp_path / "data.csv"),
        "targets": ("strength",),
        "drop": ("hardness",),
        "repository": tmp_path / "repository",
        "runs": tmp_path / "runs",
        "outside": False,
        "card": False,
    }
    return run_table(TableConfig.model_validate({**config, **more}), progress or Quiet())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TableResult]:
    folder = tmp_path_factory.mktemp("trunk")
    return folder, run(folder, outside=True, dtype="float32")


def test_a_power_law_with_a_shift_by_level_is_found_inside_and_outside(published: tuple[Path, TableResult]) -> None:
    _, result = published
    for region, board in result.leaderboards.items():
        rmse = {row.model: row.rmse["strength"] for row in board}
        assert rmse[OURS] < 0.6 * min(error for name, error in rmse.items() if name != OURS), region
    assert len(result.leaderboards) == 2


def test_the_report_says_what_was_tried_on_which_rows_held_out(published: tuple[Path, TableResult]) -> None:
    _, result = published
    report = json.loads((result.folder / "report.json").read_text())
    choice = report["choices"]["strength"]
    assert "power law" in choice["trunks"][0]
    assert report["chosen"]["strength"] == ", ".join(choice["trunks"])
    assert {"random", "top of the target", "top of thickness"} <= set(choice["candidates"][0]["error_over_trees"])
    assert sum(report["rows"].values()) == 150
    assert set(result.manifest.parity) == {"numpy"}
    assert result.manifest.parity["numpy"] < 1e-6


def test_the_service_loads_the_graph_and_answers_levels_and_gaps(published: tuple[Path, TableResult]) -> None:
    folder, result = published
    model = ModelRepository(folder / "repository").load(result.manifest.name)
    load_session(model)
    kinds = {column.name: column for column in result.manifest.inputs}
    assert isinstance(kinds["grade"], CategoryColumn)
    assert isinstance(kinds["time"], NumberColumn)
    assert kinds["time"].may_be_missing
    table = pyarrow.csv.read_csv(result.folder / "test.csv").to_pydict()
    numeric = np.array([table["thickness"], [np.nan if t is None else t for t in table["time"]]], dtype=np.float64).T
    text = np.array(table["grade"], dtype=object)[:, None]
    answer = GraphRunner(model.onnx, "float32")(RawRows(numeric, text))[:, 0]
    rmse = float(np.sqrt(np.mean((answer - np.array(table["strength"])) ** 2)))
    assert rmse == pytest.approx(result.leaderboards["inside"][0].rmse["strength"], rel=1e-4)


@pytest.mark.parametrize("family", ["trunk", "network"])
def test_what_is_published_is_fitted_to_all_rows_where_that_is_asked_for(tmp_path: Path, family: str) -> None:
    data = tmp_path / "drift.csv"
    rows = [f"{1 + i % 17 / 8},{'late' if i >= 75 else 'ab'[i % 2]},{i},{2 + i % 17 / 4}" for i in range(80)]
    data.write_text("\n".join(["x,g,t,y", *rows]) + "\n")
    settings: dict[str, Any] = {
        "data": data, "targets": ("y",), "drop": (), "time_column": "t", "family": family, "restarts": 1,
        "max_epochs": 3, "card": True,
    }  # fmt: skip

    judged = run(tmp_path, **settings)
    result = run(tmp_path, **settings, all_rows=True)

    n_validation = 0 if family == "trunk" else 12
    assert judged.manifest.provenance.n_rows == 68 - n_validation
    assert result.manifest.provenance.n_rows == 80 - n_validation
    assert result.manifest.metrics == judged.manifest.metrics
    assert result.leaderboards == judged.leaderboards
    assert result.manifest.importance == judged.manifest.importance
    levels = [column.categories for column in result.manifest.inputs if isinstance(column, CategoryColumn)]
    assert levels == [("a", "b", "late")]
    assert result.manifest.graph.sha256 != judged.manifest.graph.sha256
    note = (
        f"the published model was fitted once more, to {80 - n_validation} rows; errors, coverage and plots are of the "
        f"model fitted to {68 - n_validation}, without those that judge"
    )
    assert result.notes[-1] == note
    card = (tmp_path / "repository" / "drift" / "2" / "model-card.md").read_text()
    assert note in card


def test_what_the_whole_gains_is_measured_once_and_holds_for_the_fit_without_the_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, told = [], []

    def gain(_fit: Fit, rows: Rows, *_rest: object) -> float:
        measured.append(len(rows))
        return 0.75

    def trusted(*given: Any) -> Trust:
        told.append(fit_trust(*given))
        return told[-1]

    monkeypatch.setattr(training.tabular.trust, "gain_of_the_whole", gain)
    monkeypatch.setattr(training.table_fits, "fit_trust", trusted)
    watched = Watched()
    run(tmp_path, watched, data=write(tmp_path / "few.csv", 60), outside=True)
    assert [trust.gains for trust in told] == [(0.75,), (0.75,)]
    assert measured == [told[0].n_rows]
    dones = [[done for done, _ in steps] for steps in watched.steps]
    assert [one == sorted(one) and one[0] == 0 for one in dones] == [True, True]
    assert [plan for _, _, plan in watched.plans] == ["13 kinds of trunk, on up to 9 folds"] * 2
    left_for_trust = [work - done[-1] for (_, work, _), done in zip(watched.plans, dones, strict=True)]
    assert left_for_trust == [1 + 2 * WORK_OF_ALL_ROWS, 1]  # two more fits where the gain is measured


def test_several_targets_share_a_graph(tmp_path: Path) -> None:
    manifest = run(tmp_path, targets=("strength", "hardness"), drop=("thickness",)).manifest
    assert [output.name for output in manifest.outputs] == ["strength", "hardness"]


def test_the_same_seed_gives_the_same_bytes(published: tuple[Path, TableResult], tmp_path: Path) -> None:
    _, first = published
    assert run(tmp_path, dtype="float32").manifest.graph.sha256 == first.manifest.graph.sha256
