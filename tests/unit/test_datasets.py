"""Training tables: what is taken, what is left out with a note, and what is refused."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract.errors import TableError
from training.datasets import MIN_ROWS, check_units, load_training_table
from training.errors import TrainingDataError
from training.named_data import data_dir, named

N = 30


def csv(tmp_path: Path, name: str = "steel.csv", **columns: object) -> Path:
    """Write a table of N rows; a column is a function of the row number, or one value for all."""
    rows = [[str(make(i) if callable(make) else make) for make in columns.values()] for i in range(N)]
    path = tmp_path / name
    path.write_text("\n".join([",".join(columns), *(",".join(row) for row in rows)]) + "\n")
    return path


def test_takes_numbers_categories_and_targets_in_order(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        y=lambda i: 3 * i,
        a=lambda i: "" if i == 2 else i % 7,
        g=lambda i: ["C45", "42CrMo4", ""][i % 3],
        z=lambda i: -i,
        b=lambda i: i * i,
    )

    table = load_training_table(path, ["z", "y"])

    assert table.target_names == ("z", "y")
    np.testing.assert_array_equal(table.targets, np.stack([-np.arange(N), 3 * np.arange(N)], axis=1))
    assert [(f.name, f.kind, f.may_be_missing, f.levels) for f in table.features] == [
        ("a", "number", True, ()),
        ("g", "category", True, ("42CrMo4", "C45")),
        ("b", "number", False, ()),
    ]
    assert table.number_names == ("a", "b")
    assert table.category_names == ("g",)
    expected = np.stack([np.arange(N) % 7, np.arange(N) ** 2], axis=1).astype(float)
    expected[2, 0] = np.nan
    np.testing.assert_array_equal(table.numeric, expected)
    assert table.categorical[:4, 0].tolist() == ["C45", "42CrMo4", "", "C45"]
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (table.source, table.n_rows, table.notes) == ("steel.csv", N, ())


def test_leaves_out_what_teaches_nothing_and_says_so(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        y=lambda i: i % 5,
        a=lambda i: i % 3,
        sl_no=lambda i: i + 1,
        empty="NA",
        flat=7,
        flat_or_missing=lambda i: 7 if i else "",
        flat_text="x",
        slab=lambda i: f"S{i}",
        typo=lambda i: "n.d." if i == 4 else i,
        essay=lambda i: "x" * (501 + i % 2),
        vast=lambda i: (i + 1) * 1e300,
    )

    table = load_training_table(path, ["y"])

    assert [feature.name for feature in table.features] == ["a", "sl_no"]
    notes = "\n".join(table.notes)
    for note in (
        "column 'sl_no' counts the rows; drop it",
        "column 'empty' was left out: it has no value",
        "column 'flat' was left out: it is 7 wherever",
        "column 'flat_or_missing' was left out: it is 7 wherever",
        "column 'flat_text' was left out: it is 'x' wherever",
        "column 'slab' was left out: it is text of 30 levels in 30 rows; --category 'slab' keeps it\n",
        "'typo' was left out: it is text of 30 levels in 30 rows; --category 'typo' keeps it, --number 'typo' counts "
        "'n.d.' and the like as missing",
        "column 'vast' was left out: it reaches 3e+301, and squares beyond 1e+150 overflow; take a larger unit",
        "column 'essay' was left out: a category has at most 10000 levels of at most 500 characters, and it has 2, the "
        "longest of 502 characters",
    ):
        assert note in notes + "\n"


def test_what_is_named_is_kept(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        y=lambda i: i % 5,
        cylinders=lambda i: f"{i % 3}.0",
        slab=lambda i: f"S{i}",
        typo=lambda i: "n.d." if i == 4 else i * i,
        gone=lambda i: i % 2,
    )

    table = load_training_table(path, ["y"], drop=["gone"], categories=["cylinders", "slab"], numbers=["typo"])

    assert [(f.name, f.kind, len(f.levels)) for f in table.features] == [
        ("cylinders", "category", 3),
        ("slab", "category", 30),
        ("typo", "number", 0),
    ]
    assert table.features[0].levels == ("0.0", "1.0", "2.0")
    assert np.flatnonzero(np.isnan(table.numeric[:, 0])).tolist() == [4]
    assert table.notes == ("column 'typo': 1 of 30 values are no numbers and count as missing",)


def test_more_than_a_hundred_levels_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "levels.csv"

    for n_levels, kept in ((100, ["a", "g"]), (101, ["a"])):
        path.write_text("y,a,g\n" + "".join(f"{i},{i % 3},L{i % n_levels}\n" for i in range(300)))
        assert [feature.name for feature in load_training_table(path, ["y"]).features] == kept


def test_rows_without_a_target_are_left_out(tmp_path: Path) -> None:
    path = csv(tmp_path, y=lambda i: "" if i in (3, 9) else i, z=lambda i: "NaN" if i == 4 else i, a=lambda i: i % 4)

    table = load_training_table(path, ["y", "z"])

    kept = [i for i in range(N) if i not in (3, 4, 9)]
    assert table.targets[:, 0].tolist() == kept
    assert table.numeric[:, 0].tolist() == [i % 4 for i in kept]
    assert table.notes == ("3 of 30 rows were left out: a target is missing",)


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["Fatique"], {}, r"however 'Fatique' is none; did you mean 'Fatigue'\?"),
        (["fatigue"], {}, r"did you mean 'Fatigue'\?"),
        (["unlike"], {}, "there are 'Fatigue', 'flat', 'grade', 'empty', 'a'"),
        ([], {}, "none is named; name one of: 'Fatigue'"),
        (["flat"], {}, "'flat' is 7 in every row"),
        (["grade"], {}, "a target must hold numbers, however 'grade' of steel.csv holds 'C45' in line 2; correct it$"),
        (["empty"], {}, "'empty' of steel.csv has none"),
        (["vast"], {}, r"magnitude that can be squared, however 'vast' reaches 2\.9e\+301, .*; take a larger unit"),
        (["faint"], {}, "magnitude that can be squared, however 'faint' varies by 2.9e-199, .*; take a smaller unit"),
        (["Fatigue"], {"drop": ["b"]}, "a column to drop must be a column of steel.csv, however 'b' is none"),
        (["Fatigue"], {"categories": ["b"]}, "a category must be a column"),
        (["Fatigue"], {"numbers": ["b"]}, "a number column must be a column"),
        (["Fatigue", "Fatigue"], {}, "named twice: 'Fatigue'"),
        (["Fatigue"], {"drop": ["Fatigue"]}, "named twice: 'Fatigue'"),
        (["Fatigue"], {"categories": ["a"], "numbers": ["a"]}, "named twice: 'a'"),
        (["Fatigue"], {"dates": ["b"]}, "a date column must be a column"),
        (["Fatigue"], {"weight": "b"}, "a weight column must be a column"),
        (["Fatigue"], {"dates": ["a"], "categories": ["a"]}, "named twice: 'a'"),
        (["Fatigue"], {"weight": "a", "group": "a"}, "named twice: 'a'"),
        (["Fatigue"], {"dates": ["grade"]}, "a date must look like .* 'grade' holds 'C45' and 29 more"),
        (
            ["Fatigue"],
            {"weight": "grade"},
            "a weight must hold numbers, however 'grade' of steel.csv holds 'C45' in line 2; correct it$",
        ),
        (["Fatigue"], {"weight": "empty"}, "'empty' of steel.csv holds no value in line 2"),
        (["a"], {"weight": "Fatigue", "time": "empty"}, "'empty' of steel.csv has none in line 3;"),
        (
            ["Fatigue"],
            {"drop": ["a", "grade", "vast", "faint"]},
            "none of steel.csv is left: column 'flat' was left out",
        ),
        (
            ["Fatigue"],
            {"drop": ["a", "grade", "vast", "faint", "flat", "empty"]},
            "none of steel.csv is left: all others are dropped, .*; keep one",
        ),
    ],
)
def test_refuses(tmp_path: Path, targets: list[str], options: dict[str, Any], message: str) -> None:
    path = csv(
        tmp_path,
        Fatigue=lambda i: i,
        flat=7,
        grade=lambda i: ["C45", "16Mo3"][i % 2],
        empty="",
        a=lambda i: i % 4,
        vast=lambda i: i * 1e300,
        faint=lambda i: i * 1e-200,
    )

    with pytest.raises(TrainingDataError, match=message):
        load_training_table(path, targets, **options)


def test_a_target_with_a_few_texts_can_be_forced_to_numbers(tmp_path: Path) -> None:
    path = csv(tmp_path, y=lambda i: "lost" if i == 1 else i, a=lambda i: i % 4)

    with pytest.raises(
        TrainingDataError,
        match=r"holds 'lost' in line 3; correct it \(--number 'y' counts 'lost' and the like as missing\)",
    ):
        load_training_table(path, ["y"])
    assert load_training_table(path, ["y"], numbers=["y"]).n_rows == N - 1


@pytest.mark.parametrize(
    ("wrong", "way"),
    [
        ("-", "--number {!r} counts '-' and the like as missing"),
        ("1_0", "--number {!r} counts '1_0' and the like as missing"),
        ("1.928,5", "numbers such as '1.928,5' must be written without thousands separators"),
        ("1 928", "numbers such as '1 928' must be written without thousands separators"),
    ],
)
def test_what_is_no_number_is_named_among_decimal_commas(tmp_path: Path, wrong: str, way: str) -> None:
    path = tmp_path / "cast.csv"
    rows = [f"{wrong if i == 10 else f'{i},25'};{wrong if i == 10 else f'{i},5'};{i % 7}" for i in range(N)]
    path.write_text("\n".join(["y;x;a", *rows]) + "\n")

    with pytest.raises(TrainingDataError) as refused:
        load_training_table(path, ["y"])
    assert f"'y' of cast.csv holds {wrong!r} in line 12; correct it ({way.format('y')})" in str(refused.value)
    with pytest.raises(TrainingDataError, match=r"none of cast\.csv is left") as refused:
        load_training_table(path, ["a"], drop=["y"])
    assert f"it is text of 30 levels in 30 rows; --category 'x' keeps it, {way.format('x')}" in str(refused.value)


@pytest.mark.parametrize("n_rows", [1, MIN_ROWS - 1])
def test_refuses_too_few_rows(tmp_path: Path, n_rows: int) -> None:
    path = tmp_path / "small.csv"
    path.write_text("a,y\n" + "".join(f"{i % 3},{i}\n" for i in range(n_rows)))

    with pytest.raises(TrainingDataError, match=f"at least {MIN_ROWS} rows .* has {n_rows}; add rows"):
        load_training_table(path, ["y"])


def test_refuses_names_that_a_manifest_cannot_hold(tmp_path: Path) -> None:
    path = csv(tmp_path, "long.csv", y=lambda i: i, a=lambda i: i % 4)
    path.write_text(path.read_text().replace("y,a", "y," + "x" * 201))

    with pytest.raises(TrainingDataError, match="at most 200 characters"):
        load_training_table(path, ["y"])
    with pytest.raises(TrainingDataError, match=r"none of long.csv is left"):
        load_training_table(path, ["y"], drop=["x" * 201])


def test_duplicate_columns_and_infinities_are_refused_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"

    for content, message in (("a,y,a\n" + "1,2,3\n" * N, "repeats 'a'"), ("a,y\n" + "1,inf\n" * N, "'y' has 30 inf")):
        path.write_text(content)
        with pytest.raises(TableError, match=message):
            load_training_table(path, ["y"])


def test_named_data_sets_lie_under_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NALU_DATA_DIR", raising=False)
    with pytest.raises(TrainingDataError, match="NALU_DATA_DIR names, however it is not set"):
        data_dir()
    monkeypatch.setenv("NALU_DATA_DIR", str(tmp_path / "none"))
    with pytest.raises(TrainingDataError, match="must name a folder"):
        data_dir()
    monkeypatch.setenv("NALU_DATA_DIR", str(tmp_path))
    (tmp_path / "steel.csv").touch()
    (tmp_path / "steel.parquet").touch()
    (tmp_path / "plates.pq").touch()
    (tmp_path / "META.json").touch()

    assert named("steel") == tmp_path / "steel.csv"
    assert named("plates") == tmp_path / "plates.pq"
    for wrong in ("steels", "META", "../steel"):
        with pytest.raises(TrainingDataError, match=r"does not; (did you mean|there are)"):
            named(wrong)


def test_dates_become_the_numbers_that_vary(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        y=lambda i: i % 5,
        rolled=lambda i: "" if i == 1 else f"2026-0{1 + i % 2}-{1 + i % 28:02d}",
        tapped=lambda i: f"{1 + i % 28:02d}.03.2026 06:00",
        always="2026-01-01",
    )

    table = load_training_table(path, ["y"], dates=["rolled", "tapped", "always"])

    assert table.number_names == (
        "rolled: elapsed days",
        "rolled: month",
        "rolled: weekday",
        "tapped: elapsed days",
        "tapped: weekday",
    )
    assert [feature.may_be_missing for feature in table.features] == [True] * 3 + [False] * 2
    assert np.isnan(table.numeric[1, :3]).all()
    assert table.numeric[2].tolist() == [2.0, 1.0, 5.0, 2.0, 1.0]  # 3 January and 3 March 2026: a Saturday, a Tuesday
    assert table.uses[1].role == "date"
    assert table.uses[1].holds.startswith("2026-01-01T00:00:00 to 2026-02-28T00:00:00, taken as elapsed days, month")
    assert "column 'always' was left out: it is 2026-01-01T00:00:00 wherever it has a value" in table.notes


def test_equal_columns_are_named_and_left_out(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        y=lambda i: i % 5,
        a=lambda i: "" if i == 3 else i % 4,
        also_a=lambda i: "" if i == 3 else f"{i % 4}.0",
        nearly_a=lambda i: i % 4,
        g=lambda i: ["x", "z"][i % 2],
        also_g=lambda i: ["x", "z"][i % 2],
    )

    table = load_training_table(path, ["y"])

    assert [feature.name for feature in table.features] == ["a", "nearly_a", "g"]
    assert "column 'also_a' was left out: it equals column 'a' in every row" in table.notes
    assert "column 'also_g' was left out: it equals column 'g' in every row" in table.notes
    roles = {use.name: (use.role, use.n_missing, use.holds) for use in table.uses}
    assert roles["y"] == ("target", 0, "0 to 4")
    assert roles["a"] == ("number", 1, "0 to 3")
    assert roles["also_a"][0] == "left out"
    assert roles["g"] == ("category", 0, "2 levels: 'x', 'z'")


def test_weight_group_and_time_are_no_features_unless_they_are_asked_for(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        y=lambda i: i % 5,
        a=lambda i: i % 7,
        w=lambda i: i % 3,
        heat=lambda i: "" if i < 2 else f"H{i // 4}",
        rolled=lambda i: f"2026-01-{30 - i:02d}",
    )

    table = load_training_table(path, ["y"], weight="w", group="heat", time="rolled")

    assert [feature.name for feature in table.features] == ["a"]
    assert table.weights is not None
    assert table.weights.mean() == pytest.approx(1)
    assert table.weights[:3].tolist() == pytest.approx([2 / 3, 4 / 3, 2 / 3])
    assert table.notes == ("10 rows were left out: their weight in 'w' is 0",)
    assert table.groups is not None
    assert table.groups.tolist()[:5] == [0, 1, 2, 2, 2]  # rows 1, 2, 4, 5, 7
    assert table.times is not None
    assert np.argsort(table.times).tolist() == list(range(20))[::-1]
    assert [use.role for use in table.uses] == ["target", "number", "weight", "group", "time"]

    table = load_training_table(path, ["y"], categories=["heat"], dates=["rolled"], group="heat", time="rolled")

    assert table.category_names == ("heat",)
    assert "rolled: elapsed days" in table.number_names


def test_a_unit_must_be_that_of_a_number_or_target(tmp_path: Path) -> None:
    table = load_training_table(csv(tmp_path, y=lambda i: i % 5, a=lambda i: i % 7, flat=1), ["y"])

    check_units({"y": "MPa", "a": "mm"}, table)
    with pytest.raises(TrainingDataError, match="'A' is none; did you mean 'a'"):
        check_units({"A": "mm"}, table)
    with pytest.raises(TrainingDataError, match="'flat' is none"):
        check_units({"flat": "mm"}, table)


def test_dates_that_cannot_be_taken_are_told(tmp_path: Path) -> None:
    made: dict[str, Any] = {
        "y": lambda i: i % 5,
        "a": lambda i: i % 7,
        "never": "",
        "day": lambda i: f"2026-01-{1 + i % 28:02d}",
        "day: weekday": lambda i: i % 3,
        "d" * 190: lambda i: f"2026-01-{1 + i % 28:02d}",
    }
    path = csv(tmp_path, **made)

    table = load_training_table(path, ["y"], dates=["never"], drop=["day: weekday"])
    assert "column 'never' was left out: it has no value" in table.notes
    with pytest.raises(TrainingDataError, match="however 'day: weekday' is a column too; rename it"):
        load_training_table(path, ["y"], dates=["day"])
    with pytest.raises(TrainingDataError, match="at most 180 characters"):
        load_training_table(path, ["y"], dates=["d" * 190])


def test_text_that_could_be_dates_is_told_how_to_take_it(tmp_path: Path) -> None:
    path = csv(tmp_path, y=lambda i: i % 5, a=lambda i: i % 7, day=lambda i: f"2026-01-{1 + i:02d}")

    (note,) = load_training_table(path, ["y"]).notes
    assert note.endswith("--category 'day' keeps it, --date 'day' takes its dates as numbers")


def test_weights_need_enough_rows(tmp_path: Path) -> None:
    path = csv(tmp_path, y=lambda i: i % 5, a=lambda i: i % 7, w=lambda i: int(i < 5), minus=lambda i: i - 1)

    with pytest.raises(TrainingDataError, match=r"at least 20 rows .* and a positive weight in 'w' .* has 5;"):
        load_training_table(path, ["y"], weight="w")
    with pytest.raises(TrainingDataError, match=r"'minus' of steel\.csv holds -1 in line 2; correct it"):
        load_training_table(path, ["y"], weight="minus")


def test_weights_near_the_largest_float_count_like_any_others(tmp_path: Path) -> None:
    """Their mean overflowed, and all rows were left out."""
    path = csv(tmp_path, y=lambda i: i % 5, a=lambda i: i % 7, w=lambda i: (i % 3) * 8e307, v=lambda i: i % 3)

    huge, small = (load_training_table(path, ["y"], weight=weight, drop=[other]) for weight, other in ("wv", "vw"))

    assert huge.weights is not None
    assert small.weights is not None
    np.testing.assert_allclose(huge.weights, small.weights)
