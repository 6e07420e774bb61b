"""What a user's `pip install` of the wheel brings."""

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "service", "training")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def metadata(wheel: zipfile.ZipFile, file: str) -> str:
    (name,) = [name for name in wheel.namelist() if name.endswith(f".dist-info/{file}")]
    return wheel.read(name).decode()


def test_the_top_level_holds_the_packages_and_the_command_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """The package names are generic; a stray `tests` or `deploy` at the top level would shadow somebody's own."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    own = {top for top in tops if not top.endswith(".dist-info")}

    assert own == {*PACKAGES, "nalu_cli.py"}
    assert len(tops - own) == 1


def test_every_file_of_the_packages_is_in_it(wheel: zipfile.ZipFile) -> None:
    """Templates and vendored assets are no Python files, and a build that drops them still imports."""
    names = set(wheel.namelist())
    wanted = {
        path.relative_to(CHECKOUT).as_posix()
        for package in PACKAGES
        for path in (CHECKOUT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert wanted <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_it_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    scripts = ConfigParser()
    scripts.read_string(metadata(wheel, "entry_points.txt"))

    assert dict(scripts["console_scripts"]) == {"nalu": "nalu_cli:main"}
    assert "Apache License" in metadata(wheel, "licenses/LICENSE")


def test_no_index_would_take_it_by_mistake(wheel: zipfile.ZipFile) -> None:
    assert "Classifier: Private :: Do Not Upload" in metadata(wheel, "METADATA").splitlines()
