"""`make help`, and the set-up's refusal of an interpreter that does not fit."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = CHECKOUT / ".ci" / "environment"


def interpreter(folder: Path, name: str) -> Path:
    """Lay a stand-in that says it is Python 3.9 and fails every test of its version."""
    path = folder / name
    path.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.18" && exit 0\nexit 1\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def set_up(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(ENVIRONMENT), str(folder / "venv"), "serve"]
    environment = {**os.environ, "PYTHON": "", **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_make_alone_lists_every_target() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (\w+)$", makefile, flags=re.MULTILINE)
    shown = subprocess.run(["make", "--no-print-directory"], cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert {"help", "serve", "test"} <= set(targets)
    assert [line.split()[1] for line in shown.stdout.splitlines()] == targets


def test_every_target_that_a_page_shows_is_there() -> None:
    """Training needed an environment that only the run of all tests made, as far as a reader could know."""
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "docs/install.md"):
        shown = re.findall(r"^make (\w+)", (CHECKOUT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert {"serve", "train", "test"} <= set(shown)
        assert set(shown) <= set(re.findall(r"^\.PHONY: (\w+)$", makefile, flags=re.MULTILINE))
    dry = ["make", "--no-print-directory", "--dry-run", "--always-make", "train"]
    steps = subprocess.run(dry, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert steps.splitlines() == [".ci/environment .venv dev", ".venv/bin/nalu train --help"]


def test_an_interpreter_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    done = set_up(tmp_path, PYTHON=str(interpreter(tmp_path, "old")))

    assert done.returncode == 1
    assert "PYTHON must be Python 3.11, 3.12 or 3.13" in done.stderr
    assert "Python 3.9.18" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("present", [("python3",), ()])
def test_a_machine_without_one_is_told_what_to_install(tmp_path: Path, present: tuple[str, ...]) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in present:
        interpreter(tools, name)
    for tool in ("bash", "dirname", "env", "sed"):
        (tools / tool).symlink_to(next(p for d in ("/bin", "/usr/bin") if (p := Path(d) / tool).exists()))

    done = set_up(tmp_path, PATH=str(tools))

    assert done.returncode == 1
    assert "install it, or name it: make PYTHON=" in done.stderr


def test_the_stock_script_runs_what_everybody_runs() -> None:
    """Continuous integration and a developer's own run must not drift apart."""
    script = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")

    assert script.splitlines()[-1] == "exec make test"
