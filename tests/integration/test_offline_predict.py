"""`nalu predict`: files in, files out, in order, whole or not at all."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models.contract.errors import ModelNotFoundError, TableError
from models.contract.repository import ModelRepository
from nalu_cli import main
from service.inference.session import ModelSession, load_session
from service.offline import predict_file
from service.offline_rows import RowsRefusedError
from tests.published import GRADES, TRUTH, publish_all


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_all(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def load(repository: Path) -> Callable[[str], ModelSession]:
    return lambda name: load_session(ModelRepository(repository).load(name), "cpu")


def rows_of(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream, delimiter=delimiter))


def nalu(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr("sys.argv", ["nalu", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_many_batches_keep_their_order(load: Callable[[str], ModelSession], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.uniform(-20, 20, (2, 50_000)).round(3)
    (tmp_path / "in.csv").write_text(
        "id,a,b\n" + "".join(f"r{i},{x},{y}\n" for i, (x, y) in enumerate(zip(a, b, strict=True)))
    )

    summary = predict_file(load("multiply"), tmp_path / "in.csv", tmp_path / "out.csv")

    header, *rows = rows_of(tmp_path / "out.csv")
    assert header == ["id", "a", "b", "y", "in_range"]
    assert [row[0] for row in rows] == [f"r{i}" for i in range(50_000)]
    np.testing.assert_array_equal(
        [float(row[3]) for row in rows], [TRUTH["multiply"](x, y) for x, y in zip(a, b, strict=True)]
    )
    inside = (np.abs(a) <= 10) & (np.abs(b) <= 10)
    assert [row[4] == "true" for row in rows] == inside.tolist()
    assert (summary.n_rows, summary.n_outside, summary.n_empty) == (50_000, int((~inside).sum()), 0)


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_every_format_goes_into_every_other(
    load: Callable[[str], ModelSession], tmp_path: Path, source: str, out: str
) -> None:
    columns = {"note": ["x, y", "", "z"], "grade": ["A", "C", None], "mass": [1.5, None, 3.0], "extra": [1, 2, 3]}
    if source == "in.parquet":
        parquet.write_table(pa.table(columns), tmp_path / source)
    else:
        (tmp_path / source).write_text('note,grade,mass,extra\n"x, y",A,1.5,1\n,C,NA,2\nz,,3,3\n')

    predict_file(load("graded"), tmp_path / source, tmp_path / out)

    expected = [1.5 * GRADES["A"], 0.0, 21.0]
    if out == "out.parquet":
        written = parquet.read_table(tmp_path / out)
        assert written.column_names == [*columns, "strength", "in_range"]
        assert written.column("strength").to_pylist() == expected
        assert written.column("in_range").to_pylist() == [True] * 3
        assert written.column("note").to_pylist() == columns["note"]
        assert written.column("mass").to_pylist() == columns["mass"]
        assert written.column("grade").to_pylist() == columns["grade"]
        assert written.column("extra").to_pylist() == (["1", "2", "3"] if source == "in.csv" else [1, 2, 3])
    else:
        header, *rows = rows_of(tmp_path / out)
        assert header == [*columns, "strength", "in_range"]
        assert [float(row[4]) for row in rows] == expected
        assert [row[0] for row in rows] == columns["note"]


def test_semicolons_and_decimal_commas_come_back_as_they_were(
    load: Callable[[str], ModelSession], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("\ufeffa;b\n1,5;2\n-0,25;2\n", encoding="utf-8")

    predict_file(load("divide"), tmp_path / "in.csv", tmp_path / "out.csv")

    assert rows_of(tmp_path / "out.csv", ";") == [
        ["a", "b", "y", "in_range"],
        ["1,5", "2", "0,75", "true"],
        ["-0,25", "2", "-0,125", "true"],
    ]


def test_the_target_may_be_in_the_file_and_columns_may_be_chosen(
    load: Callable[[str], ModelSession], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("y,in_range,b,a,y_predicted\n0,?,2,1,7\n")

    predict_file(load("add"), tmp_path / "in.csv", tmp_path / "all.csv")
    predict_file(load("add"), tmp_path / "in.csv", tmp_path / "some.csv", keep=["y", "b"])
    predict_file(load("add"), tmp_path / "in.csv", tmp_path / "none.csv", keep=[])

    assert rows_of(tmp_path / "all.csv") == [
        ["y", "in_range", "b", "a", "y_predicted", "y_predicted_predicted", "in_range_predicted"],
        ["0", "?", "2", "1", "7", "3", "true"],
    ]
    assert rows_of(tmp_path / "some.csv") == [["y", "b", "y_predicted", "in_range"], ["0", "2", "3", "true"]]
    assert rows_of(tmp_path / "none.csv") == [["y", "in_range"], ["3", "true"]]


def test_rows_without_an_answer_are_named_by_their_lines(load: Callable[[str], ModelSession], tmp_path: Path) -> None:
    lines = ["1,2"] * 40_000
    for line in (30_002, 30_007):
        lines[line - 2] = "1,0"
    (tmp_path / "in.csv").write_text("a,b\n" + "\n".join(lines))

    with pytest.raises(
        RowsRefusedError, match=r"however line 30002, column 'b': division by zero .*; line 30007, .*null"
    ):
        predict_file(load("divide"), tmp_path / "in.csv", tmp_path / "out.csv")

    assert [entry.name for entry in tmp_path.iterdir()] == ["in.csv"]


def test_rows_without_an_answer_may_be_left_empty(load: Callable[[str], ModelSession], tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    b = np.where(generator.random(20_000) < 0.01, 0.0, 4.0)
    parquet.write_table(pa.table({"a": np.full(20_000, 2.0), "b": b}), tmp_path / "in.parquet")

    summary = predict_file(load("divide"), tmp_path / "in.parquet", tmp_path / "out.parquet", on_error="null")

    written = parquet.read_table(tmp_path / "out.parquet")
    assert written.column("y").to_pylist() == [None if divisor == 0 else 0.5 for divisor in b]
    assert written.column("in_range").to_pylist() == [None if divisor == 0 else True for divisor in b]
    assert summary.n_empty == int((b == 0).sum()) > 100


def test_unseen_levels_missing_values_and_overflow_count_as_no_answer(
    load: Callable[[str], ModelSession], tmp_path: Path
) -> None:
    (tmp_path / "graded.csv").write_text("mass,grade\n1,A\n1,D\n")
    (tmp_path / "multiply.csv").write_text("a,b\n1,2\n1,\n1e200,1e200\n")

    for name, faults in (("graded", "line 3, column 'grade'"), ("multiply", "line 3, column 'b'")):
        with pytest.raises(RowsRefusedError, match=faults):
            predict_file(load(name), tmp_path / f"{name}.csv", None)
    predict_file(load("multiply"), tmp_path / "multiply.csv", tmp_path / "out.csv", on_error="null")
    assert [row[2] for row in rows_of(tmp_path / "out.csv")] == ["y", "2", "", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,a\n1,2\n", r"must have the columns 'b', however in\.csv lacks them; it has 'id', 'a'"),
        ("x,z\n1,2\n", r"must have the columns 'a', 'b'"),
        ("a,b\n1,2\n1,x\n", r"column 'b' must hold numbers, however line 3 of in\.csv holds 'x'"),
        ("a,b\n1,2\n1,inf\n", r"column 'b' has 1 infinite, the first at line 3"),
        ("a,b\n", "header only"),
        ("a,b\n1,2\n3\n", r"line 3 of in\.csv has 1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_written(
    load: Callable[[str], ModelSession], tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "in.csv").write_text(content)
    (tmp_path / "out.csv").write_text("old")

    with pytest.raises(TableError, match=message):
        predict_file(load("add"), tmp_path / "in.csv", tmp_path / "out.csv", on_error="null")

    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == "old"


def test_outputs_that_cannot_be_are_refused_first(load: Callable[[str], ModelSession], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")

    with pytest.raises(TableError, match="however both are"):
        predict_file(load("add"), tmp_path / "in.csv", tmp_path / "in.csv")
    with pytest.raises(TableError, match="an output must be a file named"):
        predict_file(load("add"), tmp_path / "in.csv", tmp_path / "out.xlsx")
    with pytest.raises(TableError, match=r"in\.csv has no 'c'; correct --keep"):
        predict_file(load("add"), tmp_path / "in.csv", tmp_path / "out.csv", keep=["c"])


def test_the_command_writes_csv_to_standard_output(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("a,b\n3,5\n-7,200\n")

    code = nalu(monkeypatch, "predict", "multiply", tmp_path / "in.csv", "--repository", repository)

    captured = capfd.readouterr()
    assert code == 0
    assert captured.out == "a,b,y,in_range\n3,5,15,true\n-7,200,-1400,false\n"
    assert captured.err == "predicted 2 rows with multiply version 1; 1 outside the range seen in training\n"


def test_the_command_takes_its_options(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("id,a,b\nx,3,0\ny,3,2\n")
    out = tmp_path / "out.csv"
    monkeypatch.setenv("NALU_MODEL_REPOSITORY", str(repository))

    options: Sequence[str | Path] = ["--out", out, "--keep", "id", "--on-error", "null", "--version", "1"]
    code = nalu(monkeypatch, "predict", "divide", tmp_path / "in.csv", *options, "--provider", "cpu")

    assert code == 0
    assert rows_of(out) == [["id", "y", "in_range"], ["x", "", ""], ["y", "1.5", "true"]]
    assert capfd.readouterr().err == f"predicted 1 rows with divide version 1; 1 left empty; wrote {out}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope", "in.csv"], 1, "error: model 'nope' is not published here; available: add, divide"),
        (["add", "in.csv", "--version", "9"], 1, "error: version 9 of model 'add' is not published here; available: 1"),
        (["add", "none.csv"], 1, "error: a table must be a readable file"),
        (["../add", "in.csv"], 1, "error: a model name must be"),
        (["add", "in.csv", "--version", "0"], 2, "Invalid value for '--version'"),
        (["add"], 2, "Missing argument"),
    ],
)
def test_the_command_says_what_is_wrong(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NALU_MODEL_REPOSITORY", str(repository))

    assert nalu(monkeypatch, "predict", *arguments) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_an_unknown_model_is_the_error_it_should_be(repository: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        ModelRepository(repository).load("nope")


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_nothing(repository: Path, tmp_path: Path, number: signal.Signals) -> None:
    """The model is made to hang, so that the command is surely interrupted while its output is half-written."""
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    script = (
        "import sys, time, service.offline\n"
        "def hang(*_, **__):\n"
        "    print('hanging', flush=True)\n"
        "    time.sleep(60)\n"
        "service.offline.answer_rows = hang\n"
        "from nalu_cli import main\n"
        "main()\n"
    )
    source.write_text("a,b\n1,2\n")
    command = [sys.executable, "-c", script, "predict", "add", str(source), "--out", str(out)]
    environment = {**os.environ, "NALU_MODEL_REPOSITORY": str(repository)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        half_written = [entry.name for entry in tmp_path.iterdir() if entry.name != "in.csv"]
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)

    assert len(half_written) == 1
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.csv"]
