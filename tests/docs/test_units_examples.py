"""The examples of docs/units.md run, in order, and each training lowers its loss."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import models.units

PAGE = Path(__file__).parents[2] / "docs" / "units.md"
_BLOCK = re.compile(r"^(?:### (?P<title>[^\n]+)|```python\n(?P<code>.*?)^```)$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks this small are slower on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_examples_run_and_learn() -> None:
    names: dict[str, Any] = {}
    title, improvement = "", {}
    for block in _BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["title"]:
            title = block["title"]
            continue
        names.pop("losses", None)
        exec(compile(block["code"], f"{PAGE.name}: {title}", "exec"), names)  # noqa: S102 # our own page
        if title:
            improvement[title] = names["losses"][-1] / names["losses"][0]
    assert set(improvement) == {"A linear layer and an NMU", "An LSTM and a NAC", "A small CNN and an NAU"}
    assert max(improvement.values()) < 0.5, improvement


def test_page_names_every_unit_in_both_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for unit in set(models.units.__all__) - {"ArithmeticUnit", "UnitError"}:
        assert len(re.findall(rf"^\| `{unit}` \|", page, re.MULTILINE)) == 2, unit
