"""A table longer than what is fitted on: rows are drawn, ranges and levels are those of all, errors are of all."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet
from torch import nn

from models.contract.errors import TableError
from models.contract.manifest import CategoryColumn, DateColumn, NumberColumn
from models.contract.repository import ModelRepository
from models.contract.tables import Text, has_more_rows, iter_batches, judge_columns, read_table
from service.inference.encoding import encode_columns
from service.inference.predictor import predict
from service.inference.session import load_session
from tests.quiet import Quiet
from training.all_rows import RunningErrors, judge_all_rows
from training.coded_table import CodedTable
from training.config import TableConfig
from training.datasets import load_training_table, table_of
from training.errors import TrainingDataError
from training.evaluation.metrics import regression_metrics
from training.holding_out import hold_out
from training.table_fits import FittedTable
from training.table_run import TableResult, run_table

N = 3000


def columns() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=N), rng.uniform(1, 2, N)
    a[17], a[2500] = 6.0, -6.0
    b[77] = np.nan
    grade = np.where(rng.random(N) < 0.5, "hard", "soft").astype(object)
    grade[1234] = "once"
    days = np.datetime64("2020-01-01") + np.arange(N)
    y = 3 * a + np.nan_to_num(b) + (grade == "hard") + 0.1 * rng.normal(size=N)
    y[5] = np.nan
    return {
        "a": a,
        "b": pa.array(b, from_pandas=True),
        "grade": grade,
        "day": days.astype(str),
        "heat": np.arange(N) // 10,
        "w": rng.uniform(0, 2, N),
        "y": pa.array(y, from_pandas=True),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long")
    parquet.write_table(pa.table(columns()), path / "long.parquet")
    return path


def config(folder: Path, **more: Any) -> TableConfig:
    return TableConfig.model_validate(
        {
            "data": folder / "long.parquet",
            "targets": ("y",),
            "drop": () if "group" in more or "weight" in more else ("heat", "w"),
            "dates": ("day",),
            "max_rows": 200,
            "objective": "inside",
            "outside": False,
            "repository": folder / "repository",
            "runs": folder / "runs",
            **more,
        }
    )


@pytest.fixture(scope="module")
def result(folder: Path) -> TableResult:
    return run_table(config(folder), Quiet())


def test_ranges_levels_and_gaps_are_those_of_all_rows(result: TableResult) -> None:
    a, b, grade, day = result.manifest.inputs
    whole_b = columns()["b"].to_numpy(zero_copy_only=False)
    assert isinstance(a, NumberColumn)
    assert (a.minimum, a.maximum) == (-6.0, 6.0)
    assert isinstance(b, NumberColumn)
    assert b.may_be_missing
    assert (b.minimum, b.maximum) == (np.nanmin(whole_b), np.nanmax(whole_b))
    assert isinstance(grade, CategoryColumn)
    assert grade.categories == ("hard", "once", "soft")
    assert isinstance(day, DateColumn)
    assert day.span == ("2020-01-01T00:00:00", "2028-03-18T00:00:00")
    assert " of 3000 rows were drawn" in result.notes[0]
    report = json.loads((result.folder / "report.json").read_text())
    assert {use["name"]: use["n_missing"] for use in report["columns"]}["y"] == 1
    assert sum(report["rows"].values()) <= 220


def test_errors_in_the_manifest_are_of_all_rows_that_were_not_fitted_on(folder: Path, result: TableResult) -> None:
    report = json.loads((result.folder / "report.json").read_text())
    n_used = report["rows"]["train"] + report["rows"]["validation"]
    assert report["all_rows"]["n_rows"] == N - 1 - n_used
    whole = columns()
    model = load_session(ModelRepository(folder / "repository").load("long"))
    values = {
        name: whole[name].tolist() if name != "b" else whole[name].to_pylist() for name in ("a", "b", "grade", "day")
    }
    answers = predict(model, encode_columns(model.manifest, values)).values
    y = whole["y"].to_numpy(zero_copy_only=False)[:, None]
    known = ~np.isnan(y[:, 0])
    error = regression_metrics(y[known], answers[known], ("y",))["y"]["rmse"]
    told = result.manifest.metrics["inside"]["y"]["rmse"]
    assert told == pytest.approx(error, rel=0.1)  # of 2,800 rows instead of 2,999
    assert result.notes[-1].startswith(f"the model's errors in the manifest are of {N - 1 - n_used} of 3000 rows")


class Truth(FittedTable):
    """Answers what was drawn, but for the noise of 0.1."""

    def predict(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        table = self.coded.table
        a, b = (table.numeric[index, table.number_names.index(name)] for name in ("a", "b"))
        hard = table.categorical[index, table.category_names.index("grade")] == "hard"
        return np.asarray(3 * a + np.nan_to_num(b) + hard)[:, None]


@pytest.mark.parametrize(
    ("options", "n_least", "n_most"),
    [
        ({"group": "heat", "drop": ("w",)}, 1000, 2999),
        ({"time_column": "day", "dates": ()}, 400, 600),
        ({"split": "outside"}, 500, 650),
        ({"weight": "w", "drop": ("heat",)}, 2750, 2850),
    ],
)
def test_each_split_is_kept_on_all_rows(folder: Path, options: dict[str, Any], n_least: int, n_most: int) -> None:
    settings = config(folder, **options)
    table = load_training_table(
        settings.data,
        settings.targets,
        drop=settings.drop,
        dates=settings.dates,
        weight=settings.weight,
        group=settings.group,
        time=settings.time_column,
        max_rows=200,
    )
    held_out = hold_out(settings, table)
    truth = Truth(CodedTable.of(table, held_out.split.train), nn.Identity(), {})

    everywhere = judge_all_rows(settings, truth, held_out)

    assert n_least <= everywhere.n_rows <= n_most
    assert everywhere.metrics["y"]["rmse"] == pytest.approx(0.1, rel=0.15)
    assert everywhere.metrics["y"]["r2"] > 0.95


def test_running_errors_are_those_of_whole_arrays() -> None:
    rng = np.random.default_rng(0)
    targets, weights = 1e6 + rng.normal(size=(500, 2)), rng.uniform(0, 2, 500)
    predictions = targets + rng.normal(size=(500, 2))
    running = RunningErrors(targets[:50].mean(axis=0))
    for part in np.array_split(np.arange(500), 7):
        running.add(targets[part], predictions[part], weights[part])

    whole = regression_metrics(targets, predictions, ("p", "q"), weights)
    for name, values in running.metrics(("p", "q")).items():
        assert values == pytest.approx(whole[name], rel=1e-6)
    heavy = RunningErrors(targets[:50].mean(axis=0))
    for part in np.array_split(np.arange(500), 7):
        heavy.add(targets[part], predictions[part], 8e307 * weights[part])
    assert heavy.metrics(("p", "q"))["q"] == pytest.approx(whole["q"], rel=1e-6)


def test_the_draw_is_uniform_seeded_and_of_rows_with_a_target(folder: Path) -> None:
    tables = [load_training_table(folder / "long.parquet", ["y"], max_rows=500, seed=seed) for seed in (1, 1, 2)]
    numbers = [table.drawn.numbers for table in tables if table.drawn is not None]
    assert numbers[0].tolist() == numbers[1].tolist() != numbers[2].tolist()
    assert len(set(numbers[0])) == len(numbers[0])
    assert 500 <= len(numbers[0]) <= 520  # a day in every row is no level, and carries no row
    assert [use.role for use in tables[0].uses if use.name == "day"] == ["left out"]
    assert 5 not in numbers[0]
    assert np.ptp(np.histogram(numbers[0], bins=5, range=(0, N))[0]) < 60
    assert {17, 77, 1234, 2500} <= set(numbers[0].tolist())
    whole = load_training_table(folder / "long.parquet", ["y"])
    short = load_training_table(folder / "long.parquet", ["y"], max_rows=N)
    assert whole.drawn is short.drawn is None
    at = np.searchsorted(np.delete(np.arange(N), 5), numbers[0])
    np.testing.assert_array_equal(tables[0].numeric, whole.numeric[at])
    np.testing.assert_array_equal(tables[0].categorical, whole.categorical[at])


def weighted(path: Path, n_rows: int, weight: Any, **more: Any) -> Path:
    rng = np.random.default_rng(0)
    a = rng.uniform(1, 10, n_rows)
    parquet.write_table(pa.table({"a": a, "w": weight, "y": 2 * a + rng.normal(size=n_rows)} | more), path)
    return path


def test_rows_of_weight_0_are_neither_drawn_nor_carry_ranges_and_levels(tmp_path: Path) -> None:
    weight, b = np.ones(N), np.linspace(0, 1, N)
    grade = np.where(np.arange(N) % 2, "hard", "soft").astype(object)
    weight[[100, 200]] = 0
    grade[[100, 2000]] = "rare"
    b[[200, 2500]] = 50, 30
    path = weighted(tmp_path / "data.parquet", N, weight, b=b, grade=grade)

    table = load_training_table(path, ["y"], weight="w", max_rows=200)

    assert table.drawn is not None
    assert {2000, 2500} <= set(table.drawn.numbers.tolist())
    assert not {100, 200} & set(table.drawn.numbers.tolist())
    assert table.numeric[:, table.number_names.index("b")].max() == 30
    assert "rare" in table.categorical[:, 0]


def test_as_many_rows_are_drawn_where_few_have_weight(tmp_path: Path) -> None:
    path = weighted(tmp_path / "data.parquet", 20_000, (np.arange(20_000) % 50 == 0).astype(float))

    table = load_training_table(path, ["y"], weight="w", max_rows=300)

    assert 300 <= table.n_rows <= 306
    assert table.drawn is not None
    assert not np.any(table.drawn.numbers % 50)
    assert np.ptp(np.histogram(table.drawn.numbers, bins=4, range=(0, 20_000))[0]) < 30
    few = weighted(tmp_path / "few.parquet", 1000, (np.arange(1000) < 14).astype(float))
    with pytest.raises(TrainingDataError, match=r"20 rows .* a positive weight in 'w' .* few\.parquet has 14"):
        load_training_table(few, ["y"], weight="w", max_rows=300)
    none = weighted(tmp_path / "none.parquet", 1000, np.zeros(1000))
    with pytest.raises(TrainingDataError, match=r"20 rows .* a positive weight in 'w' .* none\.parquet has 0"):
        load_training_table(none, ["y"], weight="w", max_rows=300)


@pytest.mark.parametrize(("wrong", "holds"), [(np.nan, "no value"), (-2.0, "-2")])
def test_a_wrong_weight_anywhere_in_a_long_table_is_refused(tmp_path: Path, wrong: float, holds: str) -> None:
    weight = np.ones(N)
    weight[2345] = wrong
    path = weighted(tmp_path / "data.parquet", N, pa.array(weight, from_pandas=True))

    with pytest.raises(TrainingDataError, match=f"'w' of data.parquet holds {holds} in row 2346; correct it"):
        load_training_table(path, ["y"], weight="w", max_rows=200)


def dated(path: Path, missing: int) -> Path:
    """Write a table whose time is missing in row 5, which has no target, and in another one."""
    when: list[str | None] = np.datetime_as_string(np.datetime64("2020-01-01") + np.arange(N)).tolist()
    when[5] = when[missing] = None
    parquet.write_table(pa.table(columns() | {"when": when}), path)
    return path


def test_a_time_may_be_missing_where_the_target_is(tmp_path: Path) -> None:
    """The rows that judge were looked for among those too, and refused after the whole fit."""
    settings = config(tmp_path, data=dated(tmp_path / "data.parquet", 5), time_column="when", drop=("heat", "w"))
    table = table_of(settings)
    held_out = hold_out(settings, table)
    truth = Truth(CodedTable.of(table, held_out.split.train), nn.Identity(), {})

    assert 400 <= judge_all_rows(settings, truth, held_out).n_rows <= 600


def test_a_missing_time_anywhere_in_a_long_table_is_refused_before_the_fit(tmp_path: Path) -> None:
    path = dated(tmp_path / "data.parquet", 2345)

    with pytest.raises(TrainingDataError, match=r"'when' of data\.parquet has none in row 2346; complete it"):
        load_training_table(path, ["y"], time="when", max_rows=200)


def test_columns_are_judged_as_they_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    rows = [f"{i},{'x' if i == 900 else i},{'?' if i == 3 else 1},g{i}," for i in range(1000)]
    path.write_text("\n".join(["n,late,typo,g,e", *rows]) + "\n")

    kinds = judge_columns(path, as_numbers=["typo"], skip=["e"])

    whole = read_table(path, as_numbers=["typo"], skip=["e"])
    assert kinds.numbers == tuple(name for name in whole.names if whole.is_number(name)) == ("n", "typo")
    assert (kinds.texts, kinds.n_rows, kinds.notes) == (whole.texts, 1000, whole.notes)
    assert kinds.n_missing == {"n": 0, "late": 0, "typo": 1, "g": 0}
    assert has_more_rows(path, 999)
    assert not has_more_rows(path, 1000)
    lenient = next(iter_batches(path, numbers=["typo"], texts=[], lenient=["typo"], whole=False))
    assert np.flatnonzero(np.isnan(lenient.columns["typo"])).tolist() == [3]
    assert lenient.raw.schema.names == ["typo"]
    empty = tmp_path / "empty.csv"
    empty.write_text("a,b\n")
    with pytest.raises(TableError, match="header only"):
        judge_columns(empty)
    assert kinds.texts == {"late": Text("x", 900, mostly_numbers=True), "g": Text("g0", 0, mostly_numbers=False)}
    for target, weight in (("late", None), ("n", "late")):
        with pytest.raises(TrainingDataError, match=r"'late' of mixed\.csv holds 'x' in line 902"):
            load_training_table(path, [target], weight=weight, max_rows=100)


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    def batches(n: int) -> Iterator[pa.RecordBatch]:
        rng = np.random.default_rng(0)
        for _ in range(n):
            yield pa.record_batch({"a": rng.normal(size=20_000), "y": rng.normal(size=20_000)})

    peaks = []
    for n in (5, 25):
        path = tmp_path / f"{n}.arrow"
        schema = pa.schema([("a", pa.float64()), ("y", pa.float64())])
        with path.open("wb") as out, pa.ipc.new_file(out, schema) as writer:
            for batch in batches(n):
                writer.write_batch(batch)
        tracemalloc.start()
        load_training_table(path, ["y"], max_rows=1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
