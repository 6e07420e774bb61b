"""Every attack of the page on security has tests, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_attack_names_tests_that_are_there() -> None:
    section = PAGE.partition("\n## Attacks\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|(?! Attack|---)(.*)\|$", section, flags=re.MULTILINE)

    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(tests/\w+/test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for path, test in named:
            assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"


def test_every_file_of_attacks_stands_on_the_page() -> None:
    """One that was written and never told would be found by nobody who asks what is held."""
    told = {path.name for path in (ROOT / "tests" / "security").glob("test_*.py") if path.name in PAGE}

    assert {path.name for path in (ROOT / "tests" / "security").glob("test_*.py")} == told
