"""The synthetic forging data: shape, determinism, gaps, scatter, and what the named formulas promise."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.contract.errors import NaluError
from models.contract.tables import Column, read_table
from training.tasks import forging_metallurgy as metallurgy
from training.tasks.forging import (
    FORGING_TARGETS,
    FORGING_UNITS,
    GRADES,
    forging_noise_mae,
    forging_properties,
    forging_table,
    make_forging,
)

Floats = NDArray[np.float64]

N_ROWS = 20_000

INPUTS = [
    *("time_days", "grade", "ingot_weight_t", "forging_weight_t", "minimum_vacuum_Pa", "working_time_min"),
    *("C", "Si", "Mn", "P", "S", "Cr", "Ni", "Mo", "V", "Cu", "Al", "Sn", "H", "N", "O"),
    *("forging_ratio", "section_size_mm", "austenitizing_temperature_C", "austenitizing_time_h", "cooling_medium"),
    *("tempering_temperature_C", "tempering_time_h"),
]


@pytest.fixture(scope="module")
def table() -> dict[str, Column]:
    return forging_table(N_ROWS, seed=7)


def numbers(table: dict[str, Column], name: str) -> Floats:
    return table[name].astype(np.float64)


def test_has_28_inputs_and_3_targets_each_with_its_unit(table: dict[str, Column]) -> None:
    assert list(table) == [*INPUTS, *FORGING_TARGETS]
    assert len(INPUTS) == 28
    assert set(FORGING_UNITS) == set(table) - {"grade", "cooling_medium"}
    assert {len(column) for column in table.values()} == {N_ROWS}
    assert set(table["grade"]) == set(GRADES)
    assert set(table["cooling_medium"]) == {"air", "oil", "polymer", "water"}
    assert (np.diff(numbers(table, "time_days")) >= 0).all()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("time_days", 0, 3650),
        ("ingot_weight_t", 0.8, 120),
        ("minimum_vacuum_Pa", 15, 400),
        ("working_time_min", 10, 45),
        ("C", 0.08, 0.6),
        ("S", 0.0003, 0.03),
        ("Sn", 0.001, 0.05),
        ("H", 0.3, 6),
        ("N", 20, 160),
        ("O", 2, 60),
        ("forging_ratio", 1.3, 14),
        ("section_size_mm", 50, 3000),
        ("austenitizing_temperature_C", 800, 1000),
        ("tempering_temperature_C", 500, 760),
        ("tensile_strength_MPa", 350, 1700),
        ("yield_strength_MPa", 150, 1400),
        ("impact_energy_J", 1, 300),
    ],
)
def test_values_are_plausible(table: dict[str, Column], name: str, low: float, high: float) -> None:
    present = numbers(table, name)[~np.isnan(numbers(table, name))]

    assert low <= present.min() < present.max() <= high


def test_yield_is_below_tensile_strength_and_forgings_below_ingots(table: dict[str, Column]) -> None:
    assert (numbers(table, "yield_strength_MPa") < numbers(table, "tensile_strength_MPa")).mean() > 0.999
    assert (numbers(table, "forging_weight_t") < numbers(table, "ingot_weight_t")).all()


def test_missing_values_come_as_documented(table: dict[str, Column]) -> None:
    missing = {name: np.isnan(numbers(table, name)) for name in FORGING_UNITS}
    days, weight = numbers(table, "time_days"), numbers(table, "forging_weight_t")
    plain = np.isin(table["grade"].astype(str), ["C45", "20Mn5"])

    shares = {name: values.mean() for name, values in missing.items() if values.any()}
    expected = {
        "minimum_vacuum_Pa": (0.005, 0.04),
        "working_time_min": (0.005, 0.04),
        "H": (0.23, 0.27),
        "O": (0.11, 0.13),
        "N": (0.03, 0.05),
        "Al": (0.02, 0.04),
        "V": (0.15, 0.30),
        "Sn": (0.06, 0.11),
        "forging_ratio": (0.11, 0.18),
        "austenitizing_time_h": (0.015, 0.025),
        "tempering_time_h": (0.015, 0.025),
    }
    assert shares.keys() == expected.keys()
    for name, (low, high) in expected.items():
        assert low < shares[name] < high, name
    assert (missing["minimum_vacuum_Pa"] == missing["working_time_min"]).all()
    assert (missing["austenitizing_time_h"] == missing["tempering_time_h"]).all()
    assert missing["H"][days < 365].mean() > 3 * missing["H"][days > 3285].mean()
    np.testing.assert_array_equal(missing["Sn"], plain & (days < 1200))
    assert not missing["forging_ratio"][weight >= 5].any()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a.csv", 3), ("b.csv", 3), ("c.csv", 4), ("a.parquet", 3), ("b.parquet", 3)):
        make_forging(tmp_path / name, 500, seed)
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())

    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    assert digests[3] == digests[4]


def test_a_file_reads_back_as_what_was_drawn(tmp_path: Path) -> None:
    drawn = forging_table(300, seed=1)

    for name in ("forging.csv", "forging.parquet"):
        make_forging(tmp_path / name, 300, 1)
        read = read_table(tmp_path / name)
        assert list(read.names) == list(drawn)
        for column, values in drawn.items():
            np.testing.assert_array_equal(read.columns[column], values)


@pytest.mark.parametrize(("n_rows", "seed"), [(0, 0), (-1, 0), (10_000_001, 0), (5, -1)])
def test_refuses_rows_and_seeds_out_of_bounds(n_rows: int, seed: int) -> None:
    with pytest.raises(NaluError, match=f"however: rows={n_rows}, seed={seed}"):
        forging_table(n_rows, seed)


def test_scatter_leaves_the_error_that_is_stated() -> None:
    """Where nothing is missing the formulas give the mean, and what remains is the stated error."""
    table = forging_table(N_ROWS, seed=11)
    complete = ~np.logical_or.reduce([np.isnan(numbers(table, name)) for name in FORGING_UNITS])
    rows = {name: table[name][complete] for name in INPUTS}
    mean = forging_properties(rows)
    assert complete.sum() > 4000

    deviations = (18.0, 17.0, 3.0 + 0.05 * mean.impact)
    for name, expected, deviation in zip(
        FORGING_TARGETS, (mean.tensile, mean.yielding, mean.impact), deviations, strict=True
    ):
        scores = (numbers(table, name)[complete] - expected) / deviation
        assert np.abs(scores).mean() == pytest.approx(math.sqrt(2 / math.pi), rel=0.03)
        assert abs(scores.mean()) < 0.03
        assert scores.std() == pytest.approx(1.0, rel=0.03)


def test_the_stated_error_is_near_the_published_one() -> None:
    stated = forging_noise_mae(N_ROWS, seed=11)

    assert stated["tensile_strength_MPa"] == pytest.approx(18 * math.sqrt(2 / math.pi))
    assert stated["yield_strength_MPa"] == pytest.approx(17 * math.sqrt(2 / math.pi))
    for name, published in zip(FORGING_TARGETS, (16.467, 15.583, 8.900), strict=True):
        assert 0.75 * published < stated[name] < published


def base(**changes: float) -> dict[str, Column]:
    """Return one plausible row of a chromium-molybdenum steel, with changes."""
    row: dict[str, float | str] = {
        "time_days": 0.0, "grade": "42CrMo4", "ingot_weight_t": 8.0, "forging_weight_t": 5.0, "minimum_vacuum_Pa": 60.0,
        "working_time_min": 24.0, "C": 0.41, "Si": 0.27, "Mn": 0.75, "P": 0.009, "S": 0.004, "Cr": 1.05, "Ni": 0.2,
        "Mo": 0.22, "V": 0.006, "Cu": 0.12, "Al": 0.021, "Sn": 0.008, "H": 1.2, "N": 65.0, "O": 16.0,
        "forging_ratio": 4.0, "section_size_mm": 350.0, "austenitizing_temperature_C": 860.0,
        "austenitizing_time_h": 7.0, "cooling_medium": "oil", "tempering_temperature_C": 620.0,
        "tempering_time_h": 12.0,
    }  # fmt: skip
    row.update(changes)
    return {
        name: np.array([value], dtype=object if isinstance(value, str) else np.float64) for name, value in row.items()
    }


@pytest.mark.parametrize(
    ("change", "target", "sign"),
    [
        pytest.param({"tempering_temperature_C": 660.0}, "tensile", -1, id="tempering hotter softens"),
        pytest.param({"tempering_time_h": 24.0}, "yielding", -1, id="tempering longer softens"),
        pytest.param({"section_size_mm": 700.0}, "tensile", -1, id="a thicker section hardens less"),
        pytest.param({"C": 0.45}, "tensile", 1, id="carbon"),
        pytest.param({"Mo": 0.35}, "tensile", 1, id="molybdenum"),
        pytest.param({"Cu": 0.3}, "yielding", 1, id="copper dissolves"),
        pytest.param({"S": 0.012}, "impact", -1, id="sulphides"),
        pytest.param({"O": 35.0}, "impact", -1, id="oxides"),
        pytest.param({"P": 0.018}, "impact", -1, id="phosphorus embrittles"),
        pytest.param({"Sn": 0.02}, "impact", -1, id="tin embrittles"),
        pytest.param({"H": 3.5}, "impact", -1, id="flakes"),
        pytest.param({"Ni": 0.6}, "impact", 1, id="nickel"),
        pytest.param({"forging_ratio": 8.0}, "impact", 1, id="forging closes pores"),
        pytest.param({"austenitizing_temperature_C": 920.0}, "yielding", -1, id="coarser grain"),
        pytest.param({"N": 35.0, "Ni": 1.5}, "yielding", -1, id="less nitride pins less (hardened through)"),
        pytest.param({"time_days": 225.0}, "tensile", -1, id="the furnace drifts up"),
        pytest.param({"ingot_weight_t": 80.0}, "tensile", 1, id="segregation"),
    ],
)
def test_the_properties_move_as_metallurgy_has_it(change: dict[str, float], target: str, sign: int) -> None:
    rest = {"Ni": change["Ni"]} if "N" in change else {}
    before, after = (getattr(forging_properties(base(**changes)), target)[0] for changes in (rest, change))

    assert sign * (after - before) > 0.5


def test_a_stronger_medium_hardens_more() -> None:
    strengths = []
    for medium in ("air", "oil", "polymer", "water"):
        row = base(section_size_mm=150.0)
        row["cooling_medium"] = np.array([medium], dtype=object)
        strengths.append(forging_properties(row).tensile[0])

    assert strengths == sorted(strengths)
    assert strengths[-1] > strengths[0] + 50


def test_formulas_against_values_worked_by_hand() -> None:
    one = np.ones(1)
    # 600 °C for 10 h: 873.15 · 21 / 1000
    assert metallurgy.hollomon_jaffe(600.0 * one, 10.0 * one)[0] == pytest.approx(18.33615)
    # Sieverts at 1 atm, long treated: the equilibrium itself
    assert metallurgy.dissolved_hydrogen(5.0 * one, 101_325.0 * one, 1e4 * one)[0] == pytest.approx(24.7)
    # untreated: as tapped
    assert metallurgy.dissolved_hydrogen(5.0 * one, 60.0 * one, 0.0 * one)[0] == pytest.approx(5.0)
    plain = dict.fromkeys(("C", "Si", "Mn", "Ni", "Cr", "Mo", "V", "N", "Al", "P", "Cu", "Sn"), 0.0 * one)
    # Maynier: 127 + 949 · 0.4 + 21 · 3 and −323 + 185 · 0.4 + (89 + 53 · 0.4) · 3
    assert metallurgy.hardness_martensite({**plain, "C": 0.4 * one}, 1000.0 * one)[0] == pytest.approx(569.6)
    assert metallurgy.hardness_bainite({**plain, "C": 0.4 * one}, 1000.0 * one)[0] == pytest.approx(81.6)
    # Pickering, iron of 0.01 mm grain: 15.4 (3.5 + 11.3), 15.4 (19.1 + 5), −19 − 115
    soft = metallurgy.ferrite_pearlite(plain, 0.01 * one)
    assert [float(value[0]) for value in soft] == pytest.approx([227.92, 371.14, -134.0])
    # 678 · 0.01 + 39 · 0.1 + 120 · 0.01
    residuals = {**plain, "P": 0.01 * one, "Cu": 0.1 * one, "Sn": 0.01 * one}
    assert metallurgy.residual_strengthening(residuals)[0] == pytest.approx(11.88)
    # halfway between the shelves where the transition is at room temperature
    assert metallurgy.absorbed_energy(20.0 * one, 112.0 * one)[0] == pytest.approx(62.0)


def test_the_process_drifts_with_time(table: dict[str, Column]) -> None:
    days = numbers(table, "time_days")
    early, late = days < 600, days > 3050

    for name in ("Cu", "Sn", "P"):
        assert np.nanmean(numbers(table, name)[late]) > 1.08 * np.nanmean(numbers(table, name)[early])
    assert metallurgy.furnace_offset(np.array([225.0]))[0] > 5
