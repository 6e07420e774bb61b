"""Rows held out at random, by group, by time and outside: what is kept apart, and what is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.coded_table import CodedTable
from training.config import TableConfig, load_config
from training.datasets import TrainingTable, load_training_table
from training.errors import ConfigError, TrainingDataError
from training.holding_out import HeldOut, hold_out
from training.splits import group_split, random_split, time_split
from training.table_sample import Drawn


def write(path: Path, n_rows: int = 100) -> Path:
    lines = ["a,heat,rolled,grade,y"]
    for i in range(n_rows):
        grade = "new" if i >= 97 else ["C45", "16Mo3"][i % 2]
        lines.append(f"{i % 37},H{i // 6},2026-{1 + i // 28:02d}-{1 + i % 28:02d},{grade},{3 * (i % 37) + i % 5}")
    path.write_text("\n".join(lines) + "\n")
    return path


def held(tmp_path: Path, **options: Any) -> tuple[TrainingTable, HeldOut]:
    path = write(tmp_path / "data.csv")
    config = TableConfig.model_validate({"data": path, "targets": ("y",), "family": "network", **options})
    table = load_training_table(
        path, ["y"], drop=() if config.group else ("heat",), group=config.group, time=config.time_column
    )
    return table, hold_out(config, table)


def test_a_random_split_is_the_default_and_moves_unknown_levels_into_training(tmp_path: Path) -> None:
    table, one = held(tmp_path)

    assert (one.kind, one.region, one.notes) == ("inside", "inside", ())
    assert sum(map(len, (one.split.train, one.split.validation, one.split.test))) == table.n_rows
    assert "new" in table.categorical[one.split.train, 0]


def customers(path: Path, n_rows: int, n_customers: int) -> TrainingTable:
    """Write a table with a column of many levels and one of numbers."""
    path.write_text("customer,x,y\n" + "".join(f"C{i % n_customers},{i * i % 97},{i % 7}\n" for i in range(n_rows)))
    return load_training_table(path, ["y"])


@pytest.mark.parametrize("family", ["trunk", "network"])
def test_a_random_split_whose_rows_all_have_new_levels_is_refused(tmp_path: Path, family: str) -> None:
    """The rows to judge by all moved into training, and scikit-learn failed on none."""
    table = customers(tmp_path / "data.csv", 40, 38)
    config = TableConfig.model_validate({"data": tmp_path / "data.csv", "targets": ("y",), "family": family})

    with pytest.raises(TrainingDataError, match=r"at least 3 rows .* 0 of 6 are \(at random\): .*--unseen other"):
        hold_out(config, table)
    assert len(hold_out(config.model_copy(update={"unseen": "other"}), table).split.test) == 6


def test_rows_that_move_into_training_for_their_levels_are_told(tmp_path: Path) -> None:
    table = customers(tmp_path / "data.csv", 100, 80)
    one = hold_out(TableConfig(data=tmp_path / "data.csv", targets=("y",)), table)

    n_moved = 15 - len(one.split.test)
    assert 0 < n_moved <= 12
    assert len(one.notes) == 1
    assert one.notes[0].startswith(f"{n_moved} of 15 rows held out are fitted on and judge nothing")
    assert {*one.split.train, *one.split.test} == set(range(100))


@pytest.mark.parametrize("unseen", ["refuse", "other"])
def test_the_only_levels_of_a_column_are_fitted_on(tmp_path: Path, unseen: str) -> None:
    """Where any level is answered, a column without one in training ended in a traceback."""
    path, known = tmp_path / "data.csv", random_split(100, seed=0).test[:4].tolist()
    path.write_text("a,alarm,y\n" + "".join(f"{i},{'pq'[i % 2] if i in known else ''},{i % 7}\n" for i in range(100)))
    table = load_training_table(path, ["y"])
    config = TableConfig.model_validate({"data": path, "targets": ("y",), "unseen": unseen})

    one = hold_out(config, table)

    assert set(known) <= set(one.split.train)
    assert one.notes[0].startswith("4 of 15 rows held out are fitted on")


def test_a_column_without_a_level_in_the_rows_to_fit_on_is_coded(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,alarm,y\n" + "".join(f"{i},{'pq'[i % 2] if i > 89 else ''},{i % 7}\n" for i in range(100)))

    coded = CodedTable.of(load_training_table(path, ["y"]), np.arange(80), unseen="other")

    assert (coded.levels, coded.n_codes) == (((),), (1,))
    assert coded.codes[:, 0].tolist() == [0] * 90 + [-1] * 10


def test_rows_that_carry_the_ranges_of_a_longer_table_leave_some_to_judge_by(tmp_path: Path) -> None:
    table = customers(tmp_path / "data.csv", 60, 2)
    pinned = replace(table, drawn=Drawn(np.arange(60), np.arange(58), 1000, ("x", "y")))

    with pytest.raises(TrainingDataError, match=r"however [01] of 9 are .*; draw more rows with --max-rows"):
        hold_out(TableConfig(data=tmp_path / "data.csv", targets=("y",)), pinned)


def test_groups_are_kept_apart(tmp_path: Path) -> None:
    table, one = held(tmp_path, group="heat", unseen="other")

    assert (one.kind, one.region) == ("group", "other groups of heat")
    assert table.groups is not None
    parts = [set(table.groups[part]) for part in (one.split.train, one.split.validation, one.split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 17
    assert 9 <= len(one.split.test) <= 15
    assert held(tmp_path, group="heat", seed=3)[1].split.test.tolist() != one.split.test.tolist()


def test_the_latest_rows_judge_and_levels_first_seen_there_are_told(tmp_path: Path) -> None:
    table, one = held(tmp_path, time_column="rolled")

    assert (one.kind, one.region) == ("time", "later by rolled")
    assert table.times is not None
    assert table.times[one.split.train].max() < table.times[one.split.validation].min()
    assert table.times[one.split.validation].max() < table.times[one.split.test].min()
    assert one.split.test.tolist() == list(range(85, 97))
    assert one.notes[0].startswith("3 of 15 rows held out judge nothing")
    assert held(tmp_path, time_column="rolled", unseen="other")[1].split.test.tolist() == list(range(85, 100))


def test_the_tail_of_the_driving_column_judges(tmp_path: Path) -> None:
    table, one = held(tmp_path, split="outside", group="heat")

    assert (one.kind, one.region) == ("outside", "outside (a above 26.2)")
    assert table.numeric[one.split.train, 0].max() <= 26
    assert table.numeric[one.split.test, 0].min() >= 27


@pytest.mark.parametrize(
    "options", [{}, {"group": "heat", "unseen": "other"}, {"time_column": "rolled"}, {"split": "outside"}]
)
def test_a_trunk_is_fitted_to_the_rows_that_a_network_is_chosen_by(tmp_path: Path, options: dict[str, Any]) -> None:
    network, trunk = (held(tmp_path, family=family, **options)[1].split for family in ("network", "trunk"))

    assert len(network.validation) >= 6
    assert len(trunk.validation) == 0
    assert set(trunk.train) == {*network.train, *network.validation}
    assert trunk.test.tolist() == network.test.tolist()


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="at least 3 groups, however: 2"):
        group_split(np.array([0, 0, 1, 1]), seed=0)
    with pytest.raises(TrainingDataError, match="there are 2 different times"):
        time_split(np.repeat([1.0, 2.0], 50))
    path = tmp_path / "late.csv"
    path.write_text("t,b,g,y\n" + "".join(f"{i},{i if i > 90 else ''},L{i % 50},{i % 7}\n" for i in range(100)))
    config = TableConfig(data=path, targets=("y",), time_column="t")
    table = load_training_table(path, ["y"], drop=["g"], time="t")
    with pytest.raises(TrainingDataError, match="'b' has none when later by t is held out"):
        hold_out(config, table)
    path.write_text("t,b,y\n" + "".join(f"{i},{'pq'[i % 2] if i > 90 else ''},{i % 7}\n" for i in range(100)))
    for unseen in ("refuse", "other"):
        with pytest.raises(TrainingDataError, match="'b' has none when later by t is held out; drop it"):
            hold_out(config.model_copy(update={"unseen": unseen}), load_training_table(path, ["y"], time="t"))
    flat = tmp_path / "flat.csv"
    flat.write_text("g,y\n" + "".join(f"{'xy'[i % 2]},{i % 7}\n" for i in range(100)))
    with pytest.raises(TrainingDataError, match="has none; choose another"):
        hold_out(TableConfig(data=flat, targets=("y",), split="outside"), load_training_table(flat, ["y"]))
    path.write_text("t,g,y\n" + "".join(f"{i},{'new' if i > 84 else 'xy'[i % 2]},{i % 7}\n" for i in range(100)))
    with pytest.raises(TrainingDataError, match=r"0 of 15 are \(later by t\)"):
        hold_out(config, load_training_table(path, ["y"], time="t"))


@pytest.mark.parametrize("split", ["time", "random"])
def test_a_target_that_does_not_vary_in_the_rows_to_fit_on_is_refused(tmp_path: Path, split: str) -> None:
    path = tmp_path / "rare.csv"
    rare = 99 if split == "time" else random_split(100, 0).test[0]
    path.write_text("t,b,y\n" + "".join(f"{i},{i % 7},{7 * (i == rare)}\n" for i in range(100)))
    config = TableConfig.model_validate({"data": path, "targets": ("y",), "time_column": "t", "split": split})
    with pytest.raises(TrainingDataError, match=r"must vary in the rows to fit on, however 'y' is 0 in all of them"):
        hold_out(config, load_training_table(path, ["y"], time="t"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "group"}, "a split by group must have a column, however group names none"),
        ({"split": "time"}, "a split by time must have a column, however time_column names none"),
        ({"group": "a", "time_column": "b"}, "say which with split"),
        ({"split": "alphabetical"}, "split"),
    ],
)
def test_a_split_needs_its_column(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(TableConfig, None, {"data": Path("d.csv"), "targets": ("y",), **options})


def test_one_column_for_each_and_a_word_for_which() -> None:
    config = TableConfig(data=Path("d.csv"), targets=("y",), split="time", group="a", time_column="b")
    assert config.split_kind == "time"
