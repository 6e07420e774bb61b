"""What `nalu train` says on a terminal and elsewhere."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import training.commands
from models.contract.errors import SignatureError
from models.contract.formula import Formula
from models.contract.repository import ModelRepository
from models.contract.signing import TrustedKeys, make_key_pair
from tests.published import publish_arithmetic
from training.command_options import tell_formula
from training.progress import SearchProgress

LEFT_OUT = ["--restarts", "1", "--no-outside"]


def train(*words: str | Path) -> Result:
    return CliRunner().invoke(
        training.commands.train_app, [str(word) for word in words], catch_exceptions=False, env={"COLUMNS": "200"}
    )


def table(path: Path) -> Path:
    rows = np.random.default_rng(0).uniform(1, 2, (120, 2))
    path.write_text("id,p,q,y\n" + "\n".join(f"{i},{p},{q},{p * q}" for i, (p, q) in enumerate(rows)))
    return path


def test_an_operation_is_trained_and_the_result_told(tmp_path: Path) -> None:
    told = train("arithmetic", "add", "--range", "1", "2", "--name", "sum", "--repository", tmp_path / "r", "--runs",
                 tmp_path / "u", "--seed", "4")  # fmt: skip
    assert told.exit_code == 0
    assert "y = a + b\n" in told.output
    assert "certified: within 1.1e-16 of arbitrary precision up to 1e+06 times the training range" in told.output
    assert "sum: largest relative error 0 inside" in told.output
    assert "published sum version 1" in told.output
    manifest = ModelRepository(tmp_path / "r").manifest("sum")
    assert manifest.provenance.seed == 4
    assert manifest.inputs[0].kind == "number"
    assert 1 <= manifest.inputs[0].minimum < manifest.inputs[0].maximum <= 2


def test_a_chosen_version_stays_and_what_is_published_is_signed(tmp_path: Path) -> None:
    publish_arithmetic(tmp_path / "r", "add")
    repository = ModelRepository(tmp_path / "r")
    repository.change_activation("add", lambda now, there: now.activated("add", 1, there))
    public = make_key_pair(tmp_path / "key")
    told = train("arithmetic", "add", "--range", "1", "2", "--repository", tmp_path / "r", "--runs", tmp_path / "u",
                 "--sign-key", tmp_path / "key")  # fmt: skip
    assert told.exit_code == 0
    assert "version 1 stays active; let this one answer: nalu models activate add 2" in told.output
    trusting = ModelRepository(tmp_path / "r", trusted=TrustedKeys(public))
    assert trusting.load("add", 2).manifest.provenance.task == "arithmetic add"
    with pytest.raises(SignatureError):
        trusting.load("add", 1)


def test_the_published_recipes_are_a_solver_to_ask_for(tmp_path: Path) -> None:
    told = train("arithmetic", "add", "--range", "1", "2", "--solver", "adam", "--repository", tmp_path / "r", "--runs",
                 tmp_path / "u")  # fmt: skip
    assert told.exit_code == 0
    assert "no exactness certificate: first-order steps prove nothing" in told.output
    assert "nau: largest relative error" in told.output


def test_a_table_is_trained_with_a_leaderboard_and_its_notes(tmp_path: Path) -> None:
    data = table(tmp_path / "boxes.csv")
    places: list[str | Path] = ["--repository", tmp_path / "r", "--runs", tmp_path / "u"]
    told = train("table", data, "--target", "y", *places, "--epochs", "5", "--batch-size", "30", "--dtype", "float32",
                 *LEFT_OUT)  # fmt: skip
    assert told.exit_code == 0
    output = told.output
    assert "counts the rows; drop it" in " ".join(output.replace("│", " ").split())
    assert "RMSE inside" in output
    assert "gradient-boosted trees" in output
    assert "published boxes version 1" in output
    assert ModelRepository(tmp_path / "r").manifest("boxes").graph.dtype == "float32"


def test_a_law_that_was_learned_is_printed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "beams.csv").write_text(
        "mass [kg],length,grade,sag\n"
        + "".join(
            f"{m},{length},{'xy'[i % 2]},{0.3 * m * length**2.7 * rng.normal(1, 0.02) / (1 + i % 2)}\n"
            for i, (m, length) in enumerate(rng.uniform(1, 9, (150, 2)))
        )
    )
    told = train("table", tmp_path / "beams.csv", "--target", "sag", "--repository", tmp_path / "r", "--runs",
                 tmp_path / "u", "--no-outside", "--no-card")  # fmt: skip
    assert told.exit_code == 0
    printed = re.search(r"^sag = 0\.\d+ \* length\^(2\.\d+) \* `mass \[kg\]`\^?(\d\S*)? \* exp", told.output, re.M)
    assert printed is not None
    assert float(printed[1]) == pytest.approx(2.7, abs=0.02)
    assert float(printed[2] or 1) == pytest.approx(1, abs=0.02)


def test_formulas_of_several_outputs_stand_for_themselves_and_long_ones_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_arithmetic(tmp_path / "r", "add")
    manifest = ModelRepository(tmp_path / "r").manifest("add").model_copy(update={"formula": Formula(text="y = a + b")})
    twice = manifest.model_copy(update={"outputs": manifest.outputs * 2})
    for one, longest in ((manifest, 9), (twice, None), (manifest, 8)):
        tell_formula(one, longest)
    assert capsys.readouterr().out == "y = y = a + b\ny = a + b\n"


def test_a_dry_run_shows_the_columns_and_fits_nothing(tmp_path: Path) -> None:
    data = table(tmp_path / "boxes.csv")
    with data.open("a") as file:
        file.write("\n120,1,1,\n")
    places: list[str | Path] = ["--repository", tmp_path / "r", "--runs", tmp_path / "u"]

    told = train("table", data, "--target", "y", "--unit", "p=mm", *places, "--dry-run")
    assert told.exit_code == 0

    rows = [[cell.strip() for cell in line.split("│")[1:4]] for line in told.output.splitlines() if "│" in line]
    columns = [row for row in rows if row[0]]  # the others go on where a cell is too narrow
    assert columns == [["id", "number", ""], ["p", "number", ""], ["q", "number", ""], ["y", "target", "1"]]
    assert told.output.count(" mm ") == 1
    assert told.output.endswith("note: 1 of 121 rows were left out: a target is missing\n")
    assert [path.name for path in tmp_path.iterdir()] == ["boxes.csv"]


def test_a_file_gives_the_settings_and_the_command_line_wins(tmp_path: Path) -> None:
    data = table(tmp_path / "boxes.csv")
    (tmp_path / "run.toml").write_text(
        f'targets = ["y"]\ndrop = ["id"]\nname = "from-file"\nmax_epochs = 3\nrepository = "{tmp_path / "r"}"\n'
        f'runs = "{tmp_path / "u"}"\n'
    )
    told = train("table", data, "--config", tmp_path / "run.toml", "--name", "from-line", *LEFT_OUT)
    assert told.exit_code == 0
    assert [column.name for column in ModelRepository(tmp_path / "r").manifest("from-line").inputs] == ["p", "q"]
    assert "counts the rows" not in told.output


@pytest.mark.parametrize(
    "words", [["table", "x.csv"], ["law", "x.csv"], ["table"], ["arithmetic"], ["arithmetic", "add", "--range", "1"]]
)
def test_wrong_use_exits_with_2(words: list[str]) -> None:
    assert train(*words).exit_code == 2


def test_on_a_terminal_a_bar_shows_loss_and_time_left() -> None:
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=120, highlight=False, markup=False)
    with SearchProgress(terminal) as progress:
        progress.start("fit sum [mm]", 4)
        progress.epoch(1, "nau [#1]", 0.5, 0.25, 0.125)
        progress.finish("nau of 2 fits")
    assert "fit sum [mm]" in stream.getvalue()
    assert "nau [#1] loss 0.25 validation 0.125" in stream.getvalue()
    assert "left" in stream.getvalue()
    assert "chose nau of 2 fits" in stream.getvalue()


def test_elsewhere_lines_come_every_few_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("training.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with SearchProgress(Console(file=stream, width=200)) as progress:
        progress.start("fit sum", 4)
        for step in range(1, 101):
            now[0] = step / 10
            progress.epoch(1, "nau #1", step / 100, 0.25, 0.125)
        progress.finish("nau of 2 fits")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4  # begin, 5 s, 10 s, end
    assert "fit 2/4 nau #1 loss 0.25 validation 0.125, at most 8 s left" in lines[1]
