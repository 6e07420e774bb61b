"""Kept fits: read back bit by bit, whole or not at all, and nothing but what was asked for."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import TableConfig
from training.errors import TrainingError
from training.kept_fits import NOTHING_KEPT, UNFINISHED, KeptFits, kept_fits, read_value, write_value
from training.tabular.fit import TargetFit, fit_table_model
from training.tabular.network_settings import NetworkSettings
from training.tabular.rows import Rows
from training.tabular.tree_settings import TreeSettings


@dataclass(frozen=True)
class Inner:
    values: NDArray[np.float64]
    name: str | None


@dataclass(frozen=True)
class Outer:
    parts: tuple[Inner, ...]
    by_name: dict[str, float]
    items: list[int]
    flag: bool = True


@dataclass(frozen=True)
class Stranger:
    value: int


VALUE = Outer(
    (Inner(np.array([0.1, np.nan, -0.0, np.inf, 5e-324]), "ä"), Inner(np.zeros((0, 3)), None)),
    {"inf": float("inf"), "third": 1 / 3, "tiny": 5e-324},
    [1, 2**70],
)


def test_reads_back_bit_by_bit() -> None:
    again = read_value(write_value(VALUE), Outer)

    assert (again.by_name, again.items, again.flag) == (VALUE.by_name, VALUE.items, True)
    for one, other in zip(again.parts, VALUE.parts, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
        assert (one.values.shape, one.name) == (other.values.shape, other.name)
    assert read_value(write_value(Stranger(np.int64(3))), Stranger) == Stranger(3)  # type: ignore[arg-type]


def test_a_fitted_model_of_a_table_answers_the_same() -> None:
    rng = np.random.default_rng(0)
    rows = Rows(rng.uniform(1, 2, (50, 2)), rng.integers(0, 2, (50, 1)))
    kept: dict[str, bytes] = {}

    class Kept(KeptFits):
        def keep(self, name: str, value: object) -> None:
            kept[name] = write_value(value)

    targets = rows.numeric[:, :1] / rows.numeric[:, 1:]
    few = TreeSettings(n_trees=10, n_ensembles=2)
    small = NetworkSettings(n_members=2, d_hidden=4, n_steps=30)
    fit = fit_table_model(rows, (2,), targets, objective="inside", trees=few, networks=small, kept=Kept())

    again = read_value(kept["target-0"], TargetFit)
    np.testing.assert_array_equal(again.model.predict(rows), fit.model.targets[0].predict(rows))
    assert again.choice.as_dict() == fit.choices[0].as_dict()
    assert again.choice.kinds == fit.choices[0].kinds


def test_refuses_what_it_cannot_keep_or_was_not_asked_for() -> None:
    for value in ({1, 2}, np.array(["x"], dtype=object), Path("x")):
        with pytest.raises(TypeError, match="a kept"):
            write_value(value)
    with pytest.raises(KeyError):
        read_value(write_value(Stranger(1)), Outer)
    with pytest.raises(ValueError, match="must be a Inner"):
        read_value(write_value((1,)), Inner)
    stream = io.BytesIO()
    np.savez(stream, tree=np.array([Stranger(1)], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        read_value(stream.getvalue(), Stranger)


def test_a_damaged_or_missing_file_counts_as_none(tmp_path: Path) -> None:
    kept = KeptFits(tmp_path / "kept")
    assert kept.recall("a", Stranger) is None
    kept.within("whole").keep("a", Stranger(1))
    assert kept.recall("whole-a", Stranger) == Stranger(1)
    assert kept.recalled == ["whole-a"]
    (file,) = (tmp_path / "kept").iterdir()
    content = file.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"PK" + b"\xff" * 50, content.replace(b"Stranger", b"Strangel")):
        file.write_bytes(damaged)
        assert kept.recall("whole-a", Stranger) is None
    kept.discard()
    assert not (tmp_path / "kept").exists()
    NOTHING_KEPT.keep("a", Stranger(1))
    assert NOTHING_KEPT.recall("a", Stranger) is None
    NOTHING_KEPT.discard()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="must be writable"):
        KeptFits(tmp_path / "file" / "kept").keep("a", Stranger(1))


def test_what_changes_a_fit_changes_the_folder_and_without_resume_it_is_emptied(tmp_path: Path) -> None:
    config = TableConfig(data=Path("d.csv"), targets=("y",), runs=tmp_path)
    kept = kept_fits(config, "model", "0" * 64, resume=False)
    assert kept.folder is not None
    assert kept.folder.parent == tmp_path / UNFINISHED
    kept.keep("a", Stranger(1))

    same = config.model_copy(update={"resume": True, "note": "other", "units": {"y": "mm"}})
    assert kept_fits(same, "model", "0" * 64, resume=True).recall("a", Stranger) == Stranger(1)
    for other, sha256 in ((config.model_copy(update={"seed": 1}), "0" * 64), (config, "1" * 64)):
        assert kept_fits(other, "model", sha256, resume=True).recall("a", Stranger) is None
    assert kept_fits(config, "model", "0" * 64, resume=False).recall("a", Stranger) is None
