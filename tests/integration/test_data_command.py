"""`nalu data` as its user runs it."""

import hashlib
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.contract.tables import read_table
from nalu_cli import app, main
from training.digit_images import RemoteFile, download_mnist


def test_makes_a_file_and_says_that_it_is_synthetic(tmp_path: Path) -> None:
    out = tmp_path / "forging.csv"

    result = CliRunner().invoke(app, ["data", "make", "forging", "--rows", "50", "--seed", "1", "--out", str(out)])

    assert result.exit_code == 0
    assert "not measured on any real forging" in result.output
    assert "tensile_strength_MPa 14.362" in result.output
    assert read_table(out).n_rows == 50


def test_an_unknown_extension_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["nalu", "data", "make", "forging", "--out", str(tmp_path / "forging.xlsx")])

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: an output must be a file named .csv, .parquet, .pq")
    assert list(tmp_path.iterdir()) == []


def test_no_rows_are_wrong_use(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "make", "forging", "--rows", "0", "--out", str(tmp_path / "f.csv")])

    assert result.exit_code == 2


def test_mnist_is_downloaded_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"made-up bytes"
    (tmp_path / "digits.gz").write_bytes(content)
    files = {"digits.gz": RemoteFile(len(content), hashlib.sha256(content).hexdigest())}
    download = partial(download_mnist, url=tmp_path.as_uri() + "/", files=files)
    monkeypatch.setattr("training.digit_images.download_mnist", download)

    result = CliRunner().invoke(app, ["data", "download", "mnist", "--out", str(tmp_path / "data")])

    assert result.exit_code == 0
    assert "1 of them new" in result.output
    assert (tmp_path / "data" / "digits.gz").read_bytes() == content
