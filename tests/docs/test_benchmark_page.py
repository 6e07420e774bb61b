"""The benchmark's pages show the results kept, and nothing else."""

import re
from pathlib import Path

import pytest
import torch

from models.networks import ArithmeticNetwork
from training.bench.kept import Kept, read_results
from training.bench.report import PAGES as FOLDERS
from training.bench.report import render
from training.bench.task_tables import ABLATIONS, is_hard
from training.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [CHECKOUT / page for page in FOLDERS]
RESULTS = CHECKOUT / "benchmarks" / "results"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_results_kept(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    folder = FOLDERS[path.relative_to(CHECKOUT)]
    assert render(page, read_results(CHECKOUT / folder)) == page, "run `nalu bench report`"


def test_every_marker_has_its_table() -> None:
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        opened = page.count("<!-- table: ")
        assert opened == page.count("<!-- end of table -->") >= (1 if path.name == "trust.md" else 4)
        assert opened == len(re.findall(r"<!-- table: [a-z -]+ -->\n\n\S.*?\n\n<!-- end", page, re.DOTALL))
    with pytest.raises(ConfigError, match="asks for 'nothing'"):
        render("<!-- table: nothing -->\n<!-- end of table -->", Kept({}))


def test_results_kept_are_as_good_as_the_page_asks() -> None:
    """What the summary's last column asks for holds in the files themselves."""
    kept = read_results(RESULTS)
    assert kept.cells("single")
    assert kept.cells("dataset")
    for task in ("single", "dataset"):
        for record in kept.cells(task, methods=("exact", "served")):
            assert record["n_solved"] == record["n_seeds"], record
    for ablation in ABLATIONS:
        records = kept.cells("dataset", ablation=ablation)
        assert records, ablation
        assert all(record["n_solved"] == record["n_seeds"] == 100 for record in records), ablation
    for record in kept.cells("controls"):
        assert is_hard(record) or record["n_found"] == 0, record
        assert record.get("n_false_certificates", 0) == 0, record
    assert all(document["peak_memory_mib"] < 1024 for document in kept.documents.values())


def test_a_folder_without_results_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no JSON file"):
        read_results(tmp_path)
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="format 1"):
        read_results(tmp_path)
    (tmp_path / "other.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="must be a JSON file"):
        read_results(tmp_path)


def test_the_example_of_the_solver_page_runs() -> None:
    page = (CHECKOUT / "docs" / "exact-arithmetic.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    names: dict[str, object] = {}
    exec(compile(block[1], "exact-arithmetic.md", "exec"), names)  # noqa: S102 # our own page
    network = names["network"]
    assert isinstance(network, ArithmeticNetwork)
    rows = torch.tensor([[3.0, 5.0, 2.0], [-3.0, 5.0, 4.0]], dtype=torch.float64)
    assert network(rows)[:, 0].tolist() == pytest.approx([7.5, -3.75], rel=1e-15)


def test_every_row_of_a_table_has_the_cells_of_its_header() -> None:
    """A bar in a control's name, as in sqrt|a|, once split its row."""
    for path in PAGES:
        for block in re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE):
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(counts) == 1, block.splitlines()[0]
