"""The page on installing names every extra that there is."""

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_table_has_every_extra() -> None:
    page = (CHECKOUT / "docs" / "install.md").read_text(encoding="utf-8")
    _before, _heading, after = page.partition("| Extra | For | Brings |\n|---|---|---|\n")
    table, _blank, _rest = after.partition("\n\n")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(re.findall(r"^\| `([a-z-]+)`", table, flags=re.MULTILINE)) == set(project["optional-dependencies"])
