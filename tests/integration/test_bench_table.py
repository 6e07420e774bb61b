"""`nalu bench table`: tasks from a folder's descriptions, splits, peers, results kept and summed up."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from training.bench.table.data_sets import load_task, tasks_of
from training.bench.table.peers import METHODS, available, revision
from training.bench.table.protocols import PROTOCOLS, split
from training.bench.table.results import OURS, REFERENCE, Kept, Result
from training.bench.table.summary import errors_by_task, geometric_means, ratios, seeds_by_task
from training.bench_commands import bench_app
from training.errors import ConfigError, MissingExtraError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = ["heat,day,load,kind,y,z"]
    for i in range(120):
        load, kind = rng.uniform(1, 5), "ab"[i % 2]
        y = 3 * load**2 + (kind == "b") + 0.1 * rng.normal()
        lines.append(f"h{i // 6},2020-01-{1 + i % 28:02d},{load:.4f},{kind},{y:.4f},{-y:.4f}")
    (folder / "load.csv").write_text("\n".join(lines) + "\n")
    described = {
        "load": {
            "file": "load.csv",
            "targets": ["y", "z"],
            "driver": "load",
            "groups": "heat",
            "time": "day",
            "drop": ["heat", "day"],
        },
        "pictures": {"file": "pictures.npz"},
    }
    (folder / "META.json").write_text(json.dumps(described))
    return folder


def test_each_protocol_holds_out_what_it_says(data: Path) -> None:
    table = load_task(tasks_of(data)[0])
    assert table.table.number_names == ("load",)
    assert table.driver is not None
    assert table.groups is not None
    assert table.order is not None
    for protocol in PROTOCOLS:
        parts = split(protocol, table, 0)
        assert parts is not None
        train, test = parts
        assert sorted([*train, *test]) == list(range(120))
        match protocol:
            case "driver":
                assert table.driver[train].max() < table.driver[test].min()
            case "target":
                assert table.table.targets[train].max() < table.table.targets[test].min()
            case "group":
                assert not set(table.groups[train]) & set(table.groups[test])
            case "time":
                assert set(test) == set(table.order[-24:])


def test_a_driver_of_few_values_is_split_before_its_largest(data: Path) -> None:
    table = load_task(tasks_of(data)[0])
    few = replace(table, driver=np.repeat([1.0, 2.0, 3.0], 40))
    parts = split("driver", few, 0)
    assert parts is not None
    assert sorted(parts[1]) == list(range(80, 120))
    assert split("driver", replace(table, driver=np.repeat([1.0, 2.0], [5, 115])), 0) is None


def test_a_folder_that_describes_nothing_or_not_that_set_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"META\.json"):
        tasks_of(tmp_path)
    with pytest.raises(ConfigError, match="there are load"):
        tasks_of(data, ["pictures"])
    assert [task.name for task in tasks_of(data, ["load"])] == ["load: y", "load: z"]


def test_the_command_runs_every_method_once_and_keeps_what_it_gave(data: Path, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept" / "results.jsonl", tmp_path / "table.json"
    arguments = ["table", "--data", str(data), "--split", "driver", "--keep", str(kept), "--json", str(out)]
    first = CliRunner().invoke(bench_app, arguments)
    assert first.exit_code == 0, first.output
    lines = kept.read_text().splitlines()
    assert len(lines) == 2 * len(available())
    second = CliRunner().invoke(bench_app, arguments)
    assert second.exit_code == 0
    assert kept.read_text().splitlines() == lines
    picture = tmp_path / "table.svg"
    only = CliRunner().invoke(
        bench_app, ["table", "--data", str(data), "--keep", str(kept), "--only-kept", "--plot", str(picture)]
    )
    assert only.exit_code == 0, only.output
    assert kept.read_text().splitlines() == lines
    assert "load: y" in picture.read_text()
    content = json.loads(out.read_text())
    assert len(content["results"]) == len(lines)
    means = content["geometric_means"]["driver"]
    assert means[REFERENCE] == 1
    assert means[OURS] < 0.2
    assert means["best peer of each"] <= min(value for name, value in means.items() if name in METHODS and name != OURS)
    assert "geometric mean" in second.output


def test_a_method_or_a_split_that_is_none_is_told(data: Path) -> None:
    for option, name in (("--method", "oracle"), ("--split", "sideways")):
        result = CliRunner().invoke(bench_app, ["table", "--data", str(data), option, name])
        assert isinstance(result.exception, ConfigError)
        assert name in str(result.exception)


def test_a_peer_that_is_not_installed_is_left_out_and_told_when_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.bench.table.optional_peers.find_spec", {}.get)
    assert set(METHODS) - set(available()) == {"XGBoost", "CatBoost", "RealMLP", "TabM"}
    arguments = ["table", "--data", str(data), "--split", "driver", "--method", "CatBoost"]
    result = CliRunner().invoke(bench_app, arguments)
    assert isinstance(result.exception, MissingExtraError)
    assert "--constraint constraints.txt '.[peers]'" in str(result.exception)


def test_kept_results_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "kept.jsonl").write_text('{"rmse": 1}\n')
    with pytest.raises(ConfigError, match="remove it"):
        Kept(tmp_path / "kept.jsonl", Result)


def test_ours_is_run_again_when_its_code_changes() -> None:
    assert revision(OURS) != revision(REFERENCE) == "1"
    assert len(revision(OURS)) == 12


def result(method: str, seed: int, rmse: float | None) -> Result:
    return Result("set", "y", "inside", seed, method, "1", rmse, rmse, 10, 5, 0.1)


def test_ratios_are_means_over_seeds_over_the_reference_and_an_overflow_counts_as_a_thousand() -> None:
    results = [result(REFERENCE, 0, 1.0), result(REFERENCE, 1, 3.0), result("ridge", 0, 4.0), result("ridge", 1, 12.0)]
    results += [result(OURS, 0, 1.0), result(OURS, 1, 1.0), result("MLP", 0, None), result("MLP", 1, 1.0)]
    by_task = ratios(results)
    assert by_task == {("inside", "set", "y"): {REFERENCE: 1.0, "ridge": 4.0, OURS: 0.5, "MLP": 1000.0}}
    assert geometric_means(by_task)["inside"]["best peer of each"] == pytest.approx(1.0)


def test_methods_are_compared_on_the_seeds_that_ours_ran_on() -> None:
    task = ("inside", "set", "y")
    peers = [result(REFERENCE, 0, 1.0), result(REFERENCE, 1, 3.0), result(REFERENCE, 2, 50.0)]
    peers += [result("ridge", 1, 6.0), result("ridge", 2, 5.0), result("MLP", 2, 1.0)]
    assert seeds_by_task(peers) == {task: [0, 1, 2]}
    assert ratios(peers)[task] == {REFERENCE: 1.0, "ridge": 11 / 53, "MLP": 1 / 50}
    both = [*peers, result(OURS, 0, 1.0), result(OURS, 1, 1.0)]
    assert seeds_by_task(both) == {task: [0, 1]}
    assert ratios(both)[task] == {REFERENCE: 1.0, "ridge": 2.0, OURS: 0.5}
    assert errors_by_task(both)[task] == {REFERENCE: 2.0, "ridge": 6.0, OURS: 1.0}
