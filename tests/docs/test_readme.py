"""What the README shows is what a user gets."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import serve

CHECKOUT = Path(__file__).resolve().parents[2]


def test_every_curl_of_the_readme_gets_the_answer_beside_it() -> None:
    block = re.search(r"```console\n(.*?)```", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    pairs = re.findall(r"^\$ (curl .*)\n(.*)$", block[1], flags=re.MULTILINE)
    assert len(pairs) == 4
    with serve(CHECKOUT / "model_repository") as served:
        served.wait_until_ready()
        for command, expected in pairs:
            words = shlex.split(command.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{served.port}"))
            answer = subprocess.run(words, capture_output=True, check=True, timeout=30).stdout
            assert json.loads(answer) == json.loads(expected)


@pytest.mark.parametrize("page", ["README.md", "docs/training.md"])
def test_every_option_that_a_page_names_exists(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    commands = re.findall(r"^(?:\.venv/bin/)?nalu ((?:[a-z]+ ?)+).*$", text, flags=re.MULTILINE)
    lines = re.findall(r"^(?:\.venv/bin/)?(nalu .*)$", text, flags=re.MULTILINE)
    assert commands
    for line in lines:
        words = shlex.split(line)[1:]
        subcommand = (
            words[:2] if words[0] in ("train", "models", "bench") else words[:3] if words[0] == "data" else words[:1]
        )
        shown = subprocess.run(
            [Path(sys.executable).parent / "nalu", *subcommand, "--help"],
            capture_output=True, text=True, check=True,
            env={"COLUMNS": "200", "TERM": "dumb", "PYTHONPATH": str(CHECKOUT)},
        ).stdout  # fmt: skip
        for option in [word for word in words if word.startswith("--")]:
            assert option in shown, line
