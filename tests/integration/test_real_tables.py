"""The real data sets as training tables; facts from their descriptions."""

import os

import numpy as np
import pytest

from training.datasets import load_training_table
from training.named_data import named

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not os.environ.get("NALU_DATA_DIR"), reason="NALU_DATA_DIR is not set"),
]


def test_steel_fatigue() -> None:
    table = load_training_table(named("steel_fatigue_nims437"), ["Fatigue"], drop=["sl_no"])

    assert table.numeric.shape == (437, 25)
    assert table.categorical.shape == (437, 0)
    assert table.notes == ()
    assert np.isfinite(table.numeric).all()
    assert table.targets.min() == 225
    assert table.targets.max() == 1190


def test_hot_rolled_plate() -> None:
    targets = ["tensile_MPa", "yield_MPa", "elongation_pct"]
    identifiers = ["slab_id", "test_batch", "source_file", "heat_id", "roll_date"]

    table = load_training_table(named("steel_plate_hotrolled"), targets, drop=identifiers)

    assert table.targets.shape == (6555, 3)
    assert table.category_names == ("grade", "steel_type")
    assert len(table.number_names) == 26
    assert table.notes == (
        "column 'furnace_exit_T_C' has 6 values far from all others, which are 1121 to 1268: 0 in row 1658 and 0 in "
        "row 1659 and 0 in row 1660 and 3 more; correct a slip, or leave its cell empty",
    )


def test_hot_rolled_plate_without_drops_leaves_its_identifiers_out() -> None:
    table = load_training_table(named("steel_plate_hotrolled"), ["yield_MPa"], drop=["source_file"])

    left_out = [note.split("'")[1] for note in table.notes if "was left out" in note]
    assert left_out == ["slab_id", "test_batch", "heat_id", "roll_date"]
