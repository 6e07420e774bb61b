"""`nalu bench` as its user runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def nalu(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nalu_cli", "bench", *words],
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_run_is_a_table_a_json_file_and_a_picture(tmp_path: Path) -> None:
    results, picture = tmp_path / "some" / "results.json", tmp_path / "rates.png"
    said = nalu(
        *("arithmetic", "--task", "single", "--inputs", "2", "--ranges", "-2:2", "--operations", "add,divide"),
        *("--seeds", "3", "--jobs", "2", "--units", "nau", "--iterations", "1000"),
        *("--json", str(results), "--plot", str(picture)),
    )
    assert "6 of 6 solved by the search" in said
    assert re.search(r"│ ÷ +│ U\[-2,2\] .* exact .* 3/3", said)
    document = json.loads(results.read_text(encoding="utf-8"))
    assert {(cell["operation"], cell["method"]) for cell in document["cells"]} == {
        (operation, method) for operation in ("add", "divide") for method in ("exact", "nau")
    }
    ours = next(cell for cell in document["cells"] if cell["operation"] == "divide" and cell["method"] == "exact")
    assert (ours["n_solved"], ours["n_seeds"], ours["n_found"], ours["misses"]) == (3, 3, 3, [])
    assert ours["error"] < 1e-15
    assert ours["threshold"] == pytest.approx(5.78e-10, rel=0.02)
    assert document["machine"]["n_cores"] >= 1
    assert 50 < document["peak_memory_mib"] < 1024
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_served_answers_are_as_exact_as_our_own(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    nalu(
        *("arithmetic", "--task", "single", "--inputs", "2", "--ranges", "0:0.0001", "--operations", "divide"),
        *("--seeds", "3", "--through-http", "--json", str(results)),
    )
    (cell,) = json.loads(results.read_text(encoding="utf-8"))["cells"]
    assert (cell["method"], cell["n_solved"]) == ("served", 3)
    assert cell["error"] <= 1e-12
    assert cell["error_inside"] <= 1e-12


@pytest.mark.parametrize("words", [("--ranges", "3:4"), ("--units", "gnu")])
def test_wrong_use_is_told_in_a_line(words: tuple[str, str]) -> None:
    said = nalu("arithmetic", *words, code=1)
    assert said.startswith("error: ")
    assert f"however: {words[1]}" in said


def test_the_page_is_made_from_the_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: summary -->\nold\n<!-- end of table -->\nafter\n", encoding="utf-8")
    assert "differs" in nalu("report", "--page", str(page), "--check", code=1)
    nalu("report", "--page", str(page))
    text = page.read_text(encoding="utf-8")
    assert re.fullmatch(
        r"before\n<!-- table: summary -->\n\n\| What .*\n\n<!-- end of table -->\nafter\n", text, re.DOTALL
    )
    assert "old" not in text
    nalu("report", "--page", str(page), "--check")
