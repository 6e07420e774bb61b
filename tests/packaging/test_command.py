"""The installed command as a shell sees it: exit codes 0 done, 1 failed, 2 wrong use."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

NALU = Path(sys.executable).parent / "nalu"
CHECKOUT = Path(__file__).resolve().parents[2]


def nalu(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NALU, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_version_is_the_distribution_s(tmp_path: Path) -> None:
    done = nalu("--version", folder=tmp_path)

    assert (done.returncode, done.stdout.strip()) == (0, version("nalu-serving"))


def test_help_names_every_subcommand(tmp_path: Path) -> None:
    done = nalu("--help", folder=tmp_path)

    assert done.returncode == 0
    for subcommand in ("serve", "predict", "models", "train", "data"):
        assert f" {subcommand} " in done.stdout


def test_listing_the_starter_models_is_done(tmp_path: Path) -> None:
    done = nalu("models", "list", "--repository", str(CHECKOUT / "model_repository"), folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "multiply" in done.stdout


def test_a_model_that_is_not_there_is_a_failure_with_one_clear_message(tmp_path: Path) -> None:
    done = nalu("models", "show", "nothere", "--repository", str(tmp_path), folder=tmp_path)

    assert done.returncode == 1
    assert "nothere" in done.stderr
    assert "Traceback" not in done.stderr


def test_packages_that_are_missing_are_installed_from_the_checkout(tmp_path: Path) -> None:
    """No index has this project; whoever took its name there would be installed by advice to ask one."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')", encoding="utf-8")
    table = tmp_path / "table.csv"
    table.write_text("a,y\n" + "1,2\n" * 30, encoding="utf-8")
    done = subprocess.run(
        [NALU, "train", "law", table, "--target", "y"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{CHECKOUT}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "pip install --constraint constraints.txt '.[train]'" in done.stderr
    assert "nalu-serving[" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("--nonsense",), ("models", "list", "--nonsense"), ("serve", "--port", "eighty"), ("predict",)],
)
def test_wrong_use_is_told_apart_from_failure(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = nalu(*arguments, folder=tmp_path)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
