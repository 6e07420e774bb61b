"""Tables written: read back as they were, and whole or not at all."""

import csv
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.errors import TableError
from models.contract.table_writer import check_output, open_table_writer, write_table
from models.contract.tables import Column, read_table


def columns() -> dict[str, Column]:
    return {
        "x": np.array([1.0, np.nan, -2.5e-7, 1e22, 0.1]),
        "g": np.array(["plain", None, 'quo"te', "a,b;c", "two\nlines"], dtype=object),
    }


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.pq", "t.arrow"])
def test_reads_back_as_written(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, columns())

    table = read_table(tmp_path / name)
    np.testing.assert_array_equal(table.columns["x"], columns()["x"])
    assert table.columns["g"].tolist() == columns()["g"].tolist()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_semicolons_and_decimal_commas_are_kept(tmp_path: Path) -> None:
    with open_table_writer(tmp_path / "t.csv", delimiter=";", decimal=",") as writer:
        writer.write(pa.record_batch({"x": pa.array([1.5, 2.25]), "raw": ["1,5", "a;b"]}))

    assert (tmp_path / "t.csv").read_text() == 'x;raw\n1,5;1,5\n2,25;"a;b"\n'


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_any_text_is_read_by_the_csv_module_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"

    with open_table_writer(path, delimiter=delimiter) as writer:
        writer.write(pa.record_batch({"a": [a for a, _ in rows], "b": [b for _, b in rows]}))

    with path.open(newline="", encoding="utf-8") as stream:
        assert [tuple(row) for row in csv.reader(stream, delimiter=delimiter)] == [("a", "b"), *rows]


def test_one_column_has_no_blank_lines(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", {"x": np.array([1.0, np.nan, 2.0])})

    assert read_table(tmp_path / "t.csv").n_rows == 3


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_an_interruption_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, name: str, failure: type[BaseException]
) -> None:
    (tmp_path / name).write_text("old")

    def write_half() -> None:
        with open_table_writer(tmp_path / name) as writer:
            writer.write(pa.record_batch({"x": [1.0]}))
            raise failure

    with pytest.raises(failure):
        write_half()

    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [(name, "old")]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(TableError, match=r"No space left on device at .*; nothing was written there"):
        write_table(tmp_path / "t.csv", columns())
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()

    for path in (tmp_path / "t.xlsx", tmp_path / "t.csv.gz", tmp_path / "none" / "t.csv", tmp_path / "folder.csv"):
        with pytest.raises(TableError, match="an output must be a file"):
            check_output(path)


def test_standard_output_takes_csv(capfdbinary: Any) -> None:
    with open_table_writer(None) as writer:
        writer.write(pa.record_batch({"x": [1.5, None]}))
        writer.write(pa.record_batch({"x": [2.0, 3.0]}))

    assert capfdbinary.readouterr().out == b'x\n1.5\n""\n2\n3\n'
