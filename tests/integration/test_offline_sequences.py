"""`nalu predict` with models of sequences: texts from any file, the others from JSON lines."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet

from models.contract.errors import TableError
from models.contract.repository import ModelRepository
from nalu_cli import main
from service import offline_lines
from service.inference.session import ModelSession, load_session
from service.offline import predict_file
from service.offline_rows import RowsRefusedError
from tests.published import publish_all
from tests.sequences import built, publish_sequences


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_sequences(publish_all(tmp_path_factory.mktemp("repository")))


@pytest.fixture(scope="module")
def load(repository: Path) -> Callable[[str], ModelSession]:
    return lambda name: load_session(ModelRepository(repository).load(name), "cpu")


def of_words(text: str) -> float:
    column = built("number-words")[0].input
    tokens = [column.vocabulary.index(token) for token in column.tokens(text)]  # type: ignore[union-attr]
    with torch.no_grad():
        return float(built("number-words")[0].network(torch.tensor([tokens]))[0, 0])


def of_steps(steps: list[list[float]]) -> list[float]:
    with torch.no_grad():
        answer: list[float] = built("recurrent")[0].network(torch.tensor([steps]))[0].tolist()
    return answer


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_a_table_with_a_column_of_texts_is_predicted(
    load: Callable[[str], ModelSession], tmp_path: Path, out: str
) -> None:
    given = ["three hundred and twelve", "Forty-five", "five " * 6]
    (tmp_path / "in.csv").write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(given, start=1)))
    summary = predict_file(load("number-words"), tmp_path / "in.csv", tmp_path / out)
    if out.endswith(".csv"):
        with (tmp_path / out).open(newline="", encoding="utf-8") as stream:
            rows = [(row["id"], float(row["y"]), row["in_range"]) for row in csv.DictReader(stream)]
    else:
        table = parquet.read_table(tmp_path / out).to_pylist()
        rows = [(row["id"], row["y"], str(row["in_range"]).lower()) for row in table]
    expected = [of_words(text) for text in given]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[1] for row in rows] == pytest.approx(expected, rel=1e-12)
    assert [row[2] for row in rows] == ["true", "true", "false"]
    assert (summary.n_rows, summary.n_outside, summary.n_empty) == (3, 1, 0)


def test_texts_without_an_answer_are_named_or_left_empty(load: Callable[[str], ModelSession], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nfive\nfive milion\nthree\n")
    with pytest.raises(RowsRefusedError, match=r"line 3, column 'text': .* token 1 is 'milion'; correct the rows"):
        predict_file(load("number-words"), tmp_path / "in.csv", tmp_path / "out.csv")
    (tmp_path / "in.csv").write_text("text\nfive\nfive milion\nNA\nthree\n")
    with pytest.raises(RowsRefusedError, match="line 4, column 'text': a value must be text, however it is missing"):
        predict_file(load("number-words"), tmp_path / "in.csv", tmp_path / "out.csv")
    summary = predict_file(load("number-words"), tmp_path / "in.csv", tmp_path / "out.csv", on_error="null")
    assert (summary.n_rows, summary.n_empty) == (4, 2)
    assert [row.split(",")[1:] for row in (tmp_path / "out.csv").read_text().splitlines()[2:4]] == [["", ""]] * 2


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_json_lines_are_predicted_in_order(
    load: Callable[[str], ModelSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(offline_lines, "_BATCH_BYTES", at_once)
    rows: list[dict[str, Any]] = [
        {"steps": [[0.5, 1.0], [0.0, 2.0], [1.0, 0.5]], "note": "ä", "y": 7},
        {"note": None, "steps": [[9.0, 1.0]], "y": None},
        {"steps": [{"b": 1.0, "a": 0.25}, [0.0, 0.0]], "note": [1], "y": {}},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")

    summary = predict_file(load("recurrent"), source, tmp_path / "out.jsonl")

    written = lines(tmp_path / "out.jsonl")
    assert [list(row) for row in written] == [[*row, "y_predicted", "y1", "in_range"] for row in rows]
    assert [{key: row[key] for key in ("steps", "note", "y")} for row in written] == rows
    expected = [of_steps(steps) for steps in (rows[0]["steps"], rows[1]["steps"], [[0.25, 1.0], [0.0, 0.0]])]
    for row, values in zip(written, expected, strict=True):
        assert [row["y_predicted"], row["y1"]] == pytest.approx(values, rel=1e-6)
    assert [row["in_range"] for row in written] == [True, False, True]
    assert (summary.n_rows, summary.n_outside, summary.n_empty) == (3, 1, 0)


def test_lines_without_an_answer_are_named_or_null(load: Callable[[str], ModelSession], tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"steps": [[1, 2]]}\n\n{"steps": []}\n{"steps": [[1]]}\n{"steps": [[1, 2]]}\n')
    with pytest.raises(
        RowsRefusedError, match=r"line 3, column 'steps': a sequence must not be empty.*--on-error null"
    ):
        predict_file(load("recurrent"), source, tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]

    summary = predict_file(load("recurrent"), source, tmp_path / "out.jsonl", keep=[], on_error="null")

    first, *empty, last = lines(tmp_path / "out.jsonl")
    assert first == last
    assert empty == [{"y": None, "y1": None, "in_range": None}] * 2
    assert (summary.n_rows, summary.n_empty) == (4, 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "at least one line"),
        ("\n\n", "at least one line"),
        ('{"steps": [[1, 2]]}\n{"steps"', r"of line 2 of in\.jsonl: a body must be JSON"),
        ('{"steps": [[NaN, 2]]}', "of line 1 of .* must be finite"),
        ('{"steps": [], "steps": []}', "given once per object"),
        ("[[1, 2]]", r"line 1 of in\.jsonl is none"),
        ('{"step": [[1, 2]]}', r"line 1 of in\.jsonl lacks 'steps'"),
    ],
)
def test_what_is_no_json_line_is_refused(
    load: Callable[[str], ModelSession], tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    with pytest.raises(TableError, match=told):
        predict_file(load("recurrent"), tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_files_of_the_wrong_kind_are_refused_with_the_right_one(
    load: Callable[[str], ModelSession], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("steps\n1\n")
    (tmp_path / "in.jsonl").write_text('{"steps": [[1, 2]]}\n')
    for name in ("recurrent", "digit-sum"):
        with pytest.raises(TableError, match=r"as JSON lines, however 'in\.csv' is not named \.jsonl"):
            predict_file(load(name), tmp_path / "in.csv", tmp_path / "out.csv")
    with pytest.raises(TableError, match=r"a file named \.jsonl, however"):
        predict_file(load("recurrent"), tmp_path / "in.jsonl", tmp_path / "out.csv")
    with pytest.raises(TableError, match="must be another file"):
        predict_file(load("recurrent"), tmp_path / "in.jsonl", tmp_path / "in.jsonl")
    with pytest.raises(TableError, match="lacks 'id'"):
        predict_file(load("recurrent"), tmp_path / "in.jsonl", tmp_path / "out.jsonl", keep=["id"])


def test_rows_and_texts_may_be_json_lines_too(load: Callable[[str], ModelSession], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"a": 3, "b": 5, "text": "five"}\n')
    predict_file(load("multiply"), tmp_path / "in.jsonl", tmp_path / "product.jsonl", keep=["a"])
    assert lines(tmp_path / "product.jsonl") == [{"a": 3, "y": 15.0, "in_range": True}]
    predict_file(load("number-words"), tmp_path / "in.jsonl", tmp_path / "words.jsonl", keep=["text"])
    assert lines(tmp_path / "words.jsonl")[0]["y"] == pytest.approx(of_words("five"), rel=1e-12)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["nalu", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0


def test_the_command_predicts_lines_and_shows_signatures(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("NALU_MODEL_REPOSITORY", str(repository))
    monkeypatch.setenv("COLUMNS", "200")
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(built("digit-sum")[1].sample.rows[0]) + "\n")
    run(monkeypatch, "predict", "digit-sum", source, "--keep", "images")
    captured = capfdbinary.readouterr()
    record = json.loads(captured.out)
    assert record["y"] == pytest.approx(built("digit-sum")[1].sample.predictions[0][0], rel=1e-6)
    assert b"predicted 1 rows with digit-sum" in captured.err

    for name, told in (
        ("number-words", ["1 to 5 words, of these: and, five, forty"]),
        ("recurrent", ["2 to 10 steps", "-1 to 1", "0 to 2"]),
        ("digit-sum", ["1 to 3 images of 28 × 28 pixels"]),
    ):
        run(monkeypatch, "models", "show", name)
        shown = capfdbinary.readouterr().out.decode()
        assert "sequence, float64" in shown
        assert all(text in shown for text in told), shown
    run(monkeypatch, "models", "list")
    assert "recurrent" in capfdbinary.readouterr().out.decode()
    run(monkeypatch, "models", "verify")
