"""Arrow IPC files and streams: read like any other table, in batches, and refused when they are not whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, ipc

from models.contract.errors import TableError
from models.contract.tables import column_names, iter_batches, place_of_row, read_table

COLUMNS: dict[str, Any] = {
    "i": pa.array([1, None, 3], pa.int32()),
    "t": pa.array(["x", "NA", " y "]),
    "c": pa.array(["x", None, "z"]).dictionary_encode(),
    "b": pa.array([True, False, None]),
    "s": pa.array([0, 86_400, None], pa.timestamp("s")),
}


def write(path: Path, table: pa.Table, *, stream: bool = False) -> Path:
    make = ipc.new_stream if stream else ipc.new_file
    with path.open("wb") as out, make(out, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("kind", ["file", "stream", "feather"])
def test_reads_arrow_with_its_types(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "steel.arrow"
    table = pa.table(COLUMNS)
    if kind == "feather":
        path = tmp_path / "steel.feather"
        feather.write_feather(table, path, compression="zstd")
    else:
        write(path, table, stream=kind == "stream")

    read = read_table(path, skip=["b"])

    assert column_names(path) == tuple(COLUMNS)
    np.testing.assert_array_equal(read.columns["i"], [1.0, np.nan, 3.0])
    assert read.columns["t"].tolist() == ["x", None, "y"]
    assert read.columns["c"].tolist() == ["x", None, "z"]
    assert read.columns["s"].tolist() == ["1970-01-01 00:00:00", "1970-01-02 00:00:00", None]
    assert read.names == ("i", "t", "c", "s")
    assert place_of_row(path, 1) == "row 2"


@pytest.mark.parametrize("stream", [False, True])
def test_batches_are_the_table_cut_in_pieces(tmp_path: Path, stream: bool) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    path = write(tmp_path / "t.ipc", pa.table({"a": values, "g": ["x"] * 1000}), stream=stream)

    batches = list(iter_batches(path, numbers=["a"], texts=["g"], n_rows=300))

    assert [batch.first_row for batch in batches] == [0, 300, 600, 900]
    assert np.concatenate([batch.columns["a"] for batch in batches]).tolist() == values.tolist()
    assert batches[-1].raw.schema.names == ["a", "g"]


def test_refuses_arrow_that_is_not_whole_or_empty_or_repeats_a_name(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.arrow", pa.table({"a": np.arange(1000.0)})).read_bytes()

    for content in (whole[:-10], whole[:500], b"", b"a,b\n1,2\n", b"ARROW1" + b"\xff" * 100, b"\xff" * 64):
        (tmp_path / "broken.arrow").write_bytes(content)
        with pytest.raises(TableError, match="must be a whole IPC file or stream, however broken"):
            read_table(tmp_path / "broken.arrow")
    with pytest.raises(TableError, match="header only"):
        read_table(write(tmp_path / "empty.arrow", pa.table({"a": pa.array([], pa.float64())})))
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    with pytest.raises(TableError, match="repeats 'a'"):
        read_table(write(tmp_path / "twice.arrow", twice))


def test_offsets_that_point_out_of_their_buffer_are_refused(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 2**30, 2], dtype=np.int32).tobytes())
    text = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"ab")])
    path = tmp_path / "offsets.arrow"
    with path.open("wb") as out, ipc.new_file(out, pa.schema([("t", pa.string())])) as writer:
        writer.write_batch(pa.record_batch([text], ["t"]))

    with pytest.raises(TableError, match="whole IPC file"):
        read_table(path)


def test_a_damaged_stream_is_refused_while_it_is_read(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.arrow", pa.table({"a": np.arange(100_000.0)}), stream=True).read_bytes()
    (tmp_path / "cut.arrow").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(TableError, match="whole"):
        list(iter_batches(tmp_path / "cut.arrow", numbers=["a"], texts=[]))
