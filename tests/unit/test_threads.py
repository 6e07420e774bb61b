"""Commands that fit hold linear algebra to one thread, unless the user said otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nalu_cli import app

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

FAILING = {
    "train": ["train", "law", "no-such-file.csv"],
    "bench": ["bench", "report", "--results", "no-such-folder"],
}
"""Group → a command of it that ends before it has loaded anything."""


@pytest.mark.parametrize("group", FAILING)
@pytest.mark.parametrize("said", [None, "3"])
def test_commands_that_fit_are_held_to_one_thread(
    group: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if said is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", said)
    assert CliRunner().invoke(app, FAILING[group]).exit_code != 0
    assert {name: os.environ.get(name) for name in VARIABLES} == {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": said or "1",
        "MKL_NUM_THREADS": "1",
    }


def test_the_command_line_loads_no_numpy_before_a_command_runs() -> None:
    """The libraries read the variables when NumPy is imported; later they say nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, nalu_cli; print('numpy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
