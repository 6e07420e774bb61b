"""`nalu bench trust`: marks and coverage on splits, kept and summed up."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.bench.kept import Kept
from training.bench.trust_tables import claims, trust_table
from training.bench_commands import bench_app
from training.errors import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = ["load,speed,y"]
    for _ in range(150):
        load, speed = rng.uniform(1, 5), rng.uniform(1, 5)
        lines.append(f"{load:.4f},{speed:.4f},{3 * load**2 + speed + rng.normal():.4f}")
    (folder / "load.csv").write_text("\n".join(lines) + "\n")
    described = {"load": {"file": "load.csv", "targets": ["y"], "driver": "load"}}
    (folder / "META.json").write_text(json.dumps(described))
    return folder


def test_rows_beyond_the_driver_are_marked_and_results_are_kept(data: Path, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept.jsonl", tmp_path / "trust.json"
    arguments = ["trust", "--data", str(data), "--split", "driver", "--keep", str(kept), "--json", str(out)]
    first = CliRunner().invoke(bench_app, arguments)
    assert first.exit_code == 0, first.output
    (record,) = json.loads(out.read_text())["trust"]
    assert record["marked"] == record["by_range"] == 1
    assert record["n_train"] == 120
    assert 0 <= record["coverage"]["0.5"] <= record["coverage"]["0.9"] <= 1
    assert record["width"] > 0
    assert "100.0% marked" in first.output
    again = CliRunner().invoke(bench_app, arguments)
    assert len(kept.read_text().splitlines()) == 1
    assert "| load: y | 120 | – | 100.0 % | – |" in again.output
    summed = CliRunner().invoke(bench_app, ["trust", "--data", str(data), "--keep", str(kept), "--only-kept"])
    assert len(kept.read_text().splitlines()) == 1
    assert "| load: y | 120 | – | 100.0 % | – |" in summed.output
    with pytest.raises(ConfigError, match="sideways"):
        CliRunner().invoke(bench_app, ["trust", "--data", str(data), "--split", "sideways"], catch_exceptions=False)


def test_the_table_s_means_count_every_task_once() -> None:
    def record(name: str, protocol: str, marked: float) -> dict[str, object]:
        return {
            "data_set": name,
            "target": "y",
            "protocol": protocol,
            "n_train": 10,
            "marked": marked,
            "coverage": {"0.9": 0.9},
            "width": 1.0,
        }

    lines = trust_table(
        [record("p", "inside", 0.0), record("p", "inside", 0.02), record("q", "inside", 0.05)]
    ).splitlines()
    assert lines[2].startswith("| p: y | 10 | 1.0 % | – |")
    assert "| 3.0 % |" in lines[-1]
    assert trust_table([]).count("\n") == 1


def test_what_was_asked_of_trust_is_met_or_not_task_by_task() -> None:
    def record(name: str, protocol: str, marked: float, covered: float, n_test: int) -> dict[str, object]:
        return {
            "data_set": name,
            "target": "y",
            "protocol": protocol,
            "n_train": 4 * n_test,
            "n_test": n_test,
            "marked": marked,
            "coverage": {"0.9": covered},
        }

    inside = [record("p", "inside", 0.04, 0.9, 1000), record("q", "inside", 0.06, 0.93, 200)]
    told = claims(Kept({"trust": {"trust": [*inside, record("few", "inside", 0.0, 0.5, 100)]}})).splitlines()
    assert told[2] == (
        "| within 90 %, inside, sets of 1,000 rows and more | 88 … 92 % | 90.0 … 93.0 %, 1 of 2 tasks; "
        "1 more within the sampling error of their test rows | **no** |"
    )
    assert told[3] == (
        "| marked, inside | ≤ 5 % | 0.0 … 6.0 %, mean 3.3 %, 2 of 3 tasks; "
        "1 more within the sampling error of their test rows | **no** |"
    )
    many = claims(Kept({"trust": {"trust": [record("q", "inside", 0.06, 0.9, 2000)]}})).splitlines()
    assert many[3] == "| marked, inside | ≤ 5 % | 6.0 … 6.0 %, mean 6.0 %, 0 of 1 tasks | **no** |"
    tails = [record("p", "driver", 1.0, 0.9, 99), record("p", "target", 0.6, 0.9, 99)]
    told = claims(Kept({"trust": {"trust": [inside[0], *tails]}})).splitlines()
    assert told[2].endswith("| 90.0 … 90.0 %, 1 of 1 tasks | yes |")
    assert told[3] == "| marked, outside by driver | ≥ 95 % | 100.0 … 100.0 %, mean 100.0 %, 1 of 1 tasks | yes |"
    assert told[4] == "| marked, outside by target | ≥ 95 % | 60.0 … 60.0 %, mean 60.0 %, 0 of 1 tasks | **no** |"
    assert claims(Kept({})).count("\n") == 1
