"""Tables: what a user's file may look like, and what is refused with which words."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models.contract.errors import TableError
from models.contract.table_values import MISSING
from models.contract.tables import column_names, file_sha256, iter_batches, place_of_row, read_table

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: str | bytes, name: str = "steel.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def as_lists(path: Path, **options: Any) -> dict[str, list[Any]]:
    table = read_table(path, **options)
    return {
        name: [None if value != value else value for value in column.tolist()] for name, column in table.columns.items()
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("a,b\n1.5,x\n-2e3,y\n", {"a": [1.5, -2000.0], "b": ["x", "y"]}, id="comma"),
        pytest.param("a;b\n1,5;x\n-2;y\n", {"a": [1.5, -2.0], "b": ["x", "y"]}, id="semicolon, decimal comma"),
        pytest.param("a;b\n1.5;x,1\n-2.5;y\n", {"a": [1.5, -2.5], "b": ["x,1", "y"]}, id="semicolon, decimal point"),
        pytest.param("a\tb\n1\tx\n2\ty\n", {"a": [1.0, 2.0], "b": ["x", "y"]}, id="tab"),
        pytest.param("a|b\n1|x\n2|y\n", {"a": [1.0, 2.0], "b": ["x", "y"]}, id="pipe"),
        pytest.param("\ufeffa,b\n1,x\n", {"a": [1.0], "b": ["x"]}, id="byte-order mark"),
        pytest.param("\ufeffa;b\n1,5;x\n", {"a": [1.5], "b": ["x"]}, id="byte-order mark, semicolon"),
        pytest.param("a,b\r\n1,x\r\n", {"a": [1.0], "b": ["x"]}, id="CRLF"),
        pytest.param("a,b\n1,x\n2,y", {"a": [1.0, 2.0], "b": ["x", "y"]}, id="no newline at the end"),
        pytest.param("\n a , b \n\n 1 , x \n\n", {"a": [1.0], "b": ["x"]}, id="blanks"),
        pytest.param('a,b\n1,"x, ""y""\nz"\n', {"a": [1.0], "b": ['x, "y"\nz']}, id="quotes"),
        pytest.param('"a;1";b\n1,5;x\n', {"a;1": [1.5], "b": ["x"]}, id="delimiter in a quoted name"),
        pytest.param("a\n1\n2\n", {"a": [1.0, 2.0]}, id="one column"),
        pytest.param("a,b\n1,x\u2028y\u0085z\n", {"a": [1.0], "b": ["x\u2028y\u0085z"]}, id="Unicode line separators"),
        pytest.param("größe;b\n1,5;ä\n", {"größe": [1.5], "b": ["ä"]}, id="umlauts"),
        pytest.param("a,b\n+1.,x\n.5,y\n", {"a": [1.0, 0.5], "b": ["x", "y"]}, id="number forms"),
        pytest.param("a,b\n1,1_0\n2,0x1\n", {"a": [1.0, 2.0], "b": ["1_0", "0x1"]}, id="no numbers"),
        pytest.param("a;b\n1.234,5;1,5\n2;2,5\n", {"a": ["1.234,5", "2"], "b": [1.5, 2.5]}, id="thousands are text"),
        pytest.param("a,b\nTrue,1\nfalse,2\n", {"a": ["True", "false"], "b": [1.0, 2.0]}, id="booleans are text"),
        pytest.param(
            "a,b\n2026-01-02,None\n2026-01-03,-\n", {"a": ["2026-01-02", "2026-01-03"], "b": ["None", "-"]}, id="text"
        ),
    ],
)
def test_reads_delimited_text(write: Write, content: str, expected: dict[str, list[Any]]) -> None:
    assert as_lists(write(content)) == expected


@pytest.mark.parametrize("token", MISSING)
def test_missing_values_are_the_same_in_every_column(write: Write, token: str) -> None:
    path = write(f"a,b,c\n1,x,1\n{token},{token},2\n")

    assert as_lists(path) == {"a": [1.0, None], "b": ["x", None], "c": [1.0, 2.0]}
    batch = next(iter_batches(path, numbers=["a"], texts=["b"]))
    assert np.isnan(batch.columns["a"][1])
    assert batch.columns["b"].tolist() == ["x", None]


def test_a_column_of_missing_values_only_is_numbers(write: Write) -> None:
    assert np.isnan(read_table(write("a,b\n,1\nNA,2\n")).columns["a"]).all()


def test_skipped_forced_text_and_forced_numbers(write: Write) -> None:
    path = write("a,b,c\n8.0,1,inf\n4,n.d.,2\n")

    table = read_table(path, skip=["c"], as_text=["a"], as_numbers=["b"])

    assert table.names == ("a", "b")
    assert table.columns["a"].tolist() == ["8.0", "4"]
    assert table.columns["b"][0] == 1.0
    assert np.isnan(table.columns["b"][1])
    assert table.notes == ("column 'b': 1 of 2 values are no numbers and count as missing",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b" \n\n", "is empty", id="blank"),
        pytest.param(b"a,b\n", "header only", id="header only"),
        pytest.param(b"a,b,a,b\n1,2,3,4\n", "repeats 'a', 'b'", id="duplicates"),
        pytest.param(b"a, a\n1,2\n", "repeats 'a'", id="duplicates once trimmed"),
        pytest.param(b",a\n0,1\n", "column 1 of steel.csv has none", id="no name"),
        pytest.param(b"1,2.5\n3,4\n", "add a header", id="no header"),
        pytest.param(b"a,b\n1,2\n\n3\n", r"line 4 of steel.csv has 1;", id="short row"),
        pytest.param(b'a,b\n"1\n",2\n3,4,5\n', r"line 4 of steel.csv has 3;", id="long row after a quoted line break"),
        pytest.param(b"a,b\n1,2\n3,\xff\xfe\n", "line 3 of steel.csv is not", id="not UTF-8"),
        pytest.param("a,b\n1,2\n".encode("utf-16"), "is UTF-16", id="UTF-16"),
        pytest.param(b"\x00\x01\x02PK\x00", "binary data", id="binary"),
        pytest.param(b"a,b\n1,2\n3,inf\n", "column 'b' has 1 infinite, the first at line 3 of steel.csv", id="inf"),
        pytest.param(b"a,b\n1,-Infinity\n3,4\n", "column 'b' has 1 infinite, the first at line 2", id="-Infinity"),
        pytest.param(b"a,b\n1e999,2\n", "column 'a' has 1 infinite, the first at line 2", id="1e999"),
        pytest.param(b'a,b\n1,2\n"3,4\n' + b"5,6\n" * 100, "line 3 of steel.csv has 1;", id="open quote"),
        pytest.param(
            b'a,b\n1,2\n"3,4\n' + b"5,6\n" * 100_000, "check the quotes there", id="open quote far from the end"
        ),
    ],
)
def test_refuses_delimited_text(write: Write, content: bytes, message: str) -> None:
    path = write(content)

    with pytest.raises(TableError, match=message):
        read_table(path)


def test_finds_what_is_no_utf8_far_into_the_file(write: Write) -> None:
    path = write(b"a,b\n" + b"1,2\n" * 300_000 + b"3,\xff\n")

    with pytest.raises(TableError, match="line 300002 of"):
        read_table(path)


def test_an_unknown_extension_a_folder_and_a_missing_file_are_refused(tmp_path: Path, write: Write) -> None:
    (tmp_path / "folder.csv").mkdir()

    for path in (write("a\n1\n", "steel.xlsx"), tmp_path / "folder.csv", tmp_path / "none.csv"):
        with pytest.raises(TableError, match="a table must be"):
            read_table(path)


def test_reads_compressed_text_and_refuses_a_truncated_one(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n1,x\n" + b"2,y\n" * 1000)
    (tmp_path / "a.csv.gz").write_bytes(whole)
    (tmp_path / "b.csv.gz").write_bytes(whole[:-20])

    assert read_table(tmp_path / "a.csv.gz").n_rows == 1001
    with pytest.raises(TableError, match=r"b\.csv\.gz"):
        read_table(tmp_path / "b.csv.gz")


def parquet_file(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def test_reads_parquet_with_its_types(tmp_path: Path) -> None:
    path = parquet_file(
        tmp_path / "steel.parquet",
        i=pa.array([1, None], pa.int32()),
        d=pa.array([1.5, float("nan")]),
        t=pa.array(["x", "NA"]),
        c=pa.array(["x", None]).dictionary_encode(),
        b=pa.array([True, False]),
        s=pa.array([0, 86_400], pa.timestamp("s")),
        n=pa.nulls(2),
        digits=pa.array(["1", "2"]),
    )

    assert as_lists(path) == {
        "i": [1.0, None],
        "d": [1.5, None],
        "t": ["x", None],
        "c": ["x", None],
        "b": ["true", "false"],
        "s": ["1970-01-01 00:00:00.000", "1970-01-02 00:00:00.000"],
        "n": [None, None],
        "digits": [1.0, 2.0],
    }


def test_refuses_parquet_that_is_truncated_no_parquet_empty_or_nested(tmp_path: Path, write: Write) -> None:
    whole = parquet_file(tmp_path / "whole.parquet", a=np.arange(1000.0)).read_bytes()

    for content in (whole[:-10], whole[: len(whole) // 2], b"", b"a,b\n1,2\n", b"PAR1" + b"\xff" * 100 + b"PAR1"):
        with pytest.raises(TableError, match="must be whole"):
            read_table(write(content, "broken.parquet"))
    with pytest.raises(TableError, match="header only"):
        read_table(parquet_file(tmp_path / "empty.pq", a=pa.array([], pa.float64())))
    with pytest.raises(TableError, match=r"'a' of nested.pq holds list"):
        read_table(parquet_file(tmp_path / "nested.pq", a=pa.array([[1], [2]])))
    with pytest.raises(TableError, match=r"column 'a' has 2 infinite, the first at row 2 of inf.pq"):
        read_table(parquet_file(tmp_path / "inf.pq", a=[1.0, float("inf"), float("-inf")]))


def test_refuses_parquet_with_a_repeated_name(tmp_path: Path) -> None:
    columns = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    parquet.write_table(columns, tmp_path / "twice.parquet")

    with pytest.raises(TableError, match="repeats 'a'"):
        read_table(tmp_path / "twice.parquet")


def test_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "pages.parquet", a=np.random.default_rng(0).normal(size=5000))
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)

    with pytest.raises(TableError, match="must be whole"):
        read_table(path)


@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_batches_are_the_table_cut_in_pieces(tmp_path: Path, extension: str) -> None:
    generator = np.random.default_rng(1)
    a, g = generator.normal(size=1000), generator.choice(["x", "y"], size=1000)
    path = tmp_path / f"steel.{extension}"
    if extension == "parquet":
        parquet_file(path, a=a, g=g, extra=np.arange(1000))
    else:
        path.write_text(
            "a,g,extra\n" + "".join(f"{u!r},{v},{i}\n" for i, (u, v) in enumerate(zip(a.tolist(), g, strict=True)))
        )

    batches = list(iter_batches(path, numbers=["a"], texts=["g"], n_rows=64))

    assert [batch.first_row for batch in batches] == list(range(0, 1000, 64))
    assert np.concatenate([batch.columns["a"] for batch in batches]).tolist() == a.tolist()
    assert np.concatenate([batch.columns["g"] for batch in batches]).tolist() == g.tolist()
    assert [int(value) for batch in batches for value in batch.raw.column("extra").to_pylist()] == list(range(1000))


def test_batches_name_every_missing_column_and_the_line_of_text_among_numbers(write: Write) -> None:
    path = write("a,b\n1,2\n\n2,x\n")

    with pytest.raises(
        TableError, match=r"must have the columns 'c', 'd', however steel.csv lacks them; it has 'a', 'b'"
    ):
        next(iter_batches(path, numbers=["a", "c"], texts=["d"]))
    with pytest.raises(TableError, match=r"column 'b' must hold numbers, however line 4 of steel.csv holds 'x'"):
        list(iter_batches(path, numbers=["b"], texts=[]))
    with pytest.raises(TableError, match="header only"):
        list(iter_batches(write("a,b\n"), numbers=["a"], texts=[]))
    with pytest.raises(TableError, match="the first at line 3 of"):
        list(iter_batches(write("a\n1\n1e999\n"), numbers=["a"], texts=[], n_rows=1))


def test_a_number_column_may_be_read_as_text_verbatim(write: Write) -> None:
    batch = next(iter_batches(write("a\n8.0\n4\n"), numbers=[], texts=["a"]))

    assert batch.columns["a"].tolist() == ["8.0", "4"]


def test_memory_of_batches_does_not_grow_with_the_file(write: Write) -> None:
    path = write("a,b\n" + "1.25,2.5\n" * 2_000_000)
    before = pa.total_allocated_bytes()
    highest = 0

    for _ in iter_batches(path, numbers=["a", "b"], texts=[]):
        highest = max(highest, pa.total_allocated_bytes() - before)

    assert 0 < highest < 64 * 1024 * 1024  # two of the parser's blocks and what they become


def test_names_places_and_checksum(write: Write, tmp_path: Path) -> None:
    path = write('a,b\n"1\n",2\n\n3,4\n')

    assert column_names(path) == ("a", "b")
    assert [place_of_row(path, row) for row in (0, 1)] == ["line 2", "line 5"]
    assert place_of_row(parquet_file(tmp_path / "a.pq", a=[1]), 4) == "row 5"
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(TableError, match="readable"):
        file_sha256(tmp_path / "none.csv")
