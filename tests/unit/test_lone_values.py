"""Values far from all others of their column: found, and no long tail, mixture or handful of levels taken for one."""

from pathlib import Path

import numpy as np
import pytest

from training.datasets import TrainingTable, load_training_table
from training.lone_values import lone_values

_ORDINARY = np.linspace(162.0, 830.0, 200)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param([*_ORDINARY, 6661.0], [6661.0], id="a digit too many"),
        pytest.param([16.62, *_ORDINARY], [16.62], id="a decimal point too far left"),
        pytest.param([*_ORDINARY, -999.0, -999.0], [-999.0, -999.0], id="a sentinel"),
        pytest.param([*-_ORDINARY, -6661.0], [-6661.0], id="negative"),
        pytest.param([*_ORDINARY, 1e9, 6661.0], [1e9, 6661.0], id="two, of different sizes"),
        pytest.param([*np.linspace(-1, 1, 200), 5.0, -50.0], [-50.0, 5.0], id="one hidden by a farther one"),
        pytest.param([0.001, *_ORDINARY, 9e6], [0.001, 9e6], id="on either side"),
        pytest.param([*_ORDINARY, np.nan, 6661.0, np.nan], [6661.0], id="beside missing values"),
        pytest.param([*_ORDINARY, 1.7e308, -1.7e308], [], id="a range beyond what floats hold"),
        pytest.param(_ORDINARY, [], id="none"),
        pytest.param([*_ORDINARY, *[6661.0] * 10], [], id="too many to be slips"),
        pytest.param(np.random.default_rng(0).lognormal(0, 3, 2000), [], id="a long tail"),
        pytest.param(np.random.default_rng(0).standard_normal(2000), [], id="a normal distribution"),
        pytest.param([*[0.0] * 300, *range(1, 5), 40.0], [], id="few different values"),
        pytest.param([*[7.0] * 300, 7000.0], [], id="all others the same"),
        pytest.param([np.nan] * 5, [], id="nothing but missing values"),
        pytest.param([3.0], [], id="one row"),
        pytest.param([], [], id="no row"),
    ],
)
def test_values_far_from_all_others_are_found(values: list[float], found: list[float]) -> None:
    column = np.array(values, dtype=np.float64)

    lone = lone_values(column)

    assert (lone.values.tolist() if lone else []) == found
    assert lone is None or column[lone.rows].tolist() == found


def _table(folder: Path, slip: str, max_rows: int | None = None) -> TrainingTable:
    lines = [f"{i % 50 + 1}.5,{i % 40},{20 + i % 30}" for i in range(200)]
    lines[120] = slip
    path = folder / "t.csv"
    path.write_text("\n".join(["width,load,temperature", *lines, ""]))
    return load_training_table(path, ["load"], max_rows=max_rows)


def test_a_slip_of_a_target_or_an_input_is_told_with_its_row(tmp_path: Path) -> None:
    table = _table(tmp_path, "2500.5,390,-999")

    assert table.notes == (
        "column 'width' has a value far from all others, which are 1.5 to 50.5: 2500.5 in row 121; correct a slip, or "
        "leave its cell empty",
        "column 'load' has a value far from all others, which are 0 to 39: 390 in row 121; correct a slip, or leave "
        "its cell empty",
        "column 'temperature' has a value far from all others, which are 20 to 49: -999 in row 121; correct a slip, or "
        "leave its cell empty",
    )
    assert [use.why[:11] for use in table.uses] == ["has a value"] * 3


def test_cells_left_empty_settle_it(tmp_path: Path) -> None:
    assert _table(tmp_path, ",,").notes == ("1 of 200 rows were left out: a target is missing",)


def test_a_slip_in_a_row_that_is_left_out_is_not_told(tmp_path: Path) -> None:
    assert _table(tmp_path, "2500.5,,-999").notes == ("1 of 200 rows were left out: a target is missing",)


def test_a_slip_is_told_with_its_row_of_the_file_where_rows_are_drawn(tmp_path: Path) -> None:
    assert "2500.5 in row 121" in "\n".join(_table(tmp_path, "2500.5,12,21", max_rows=60).notes)


def test_many_are_told_by_the_farthest() -> None:
    lone = lone_values(np.array([*np.linspace(10, 20, 600), 91.0, 90.0, 93.0, 92.0, 95.0]))

    assert lone is not None
    assert lone.told(None) == (
        "has 5 values far from all others, which are 10 to 20: 95 in row 605 and 93 in row 603 and 92 in row 604 and "
        "2 more; correct a slip, or leave its cell empty"
    )
