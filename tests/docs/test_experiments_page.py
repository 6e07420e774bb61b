"""The page of the experiments and its figures show the results kept, and nothing else."""

from pathlib import Path

import pytest

from training.reproduce.outcome import NAMES, Outcome
from training.reproduce.page import read_records, write_report

CHECKOUT = Path(__file__).resolve().parents[2]
RESULTS = CHECKOUT / "benchmarks" / "results" / "reproduce"
RECORDS = read_records(RESULTS)


def test_page_and_figures_are_those_of_the_results_kept() -> None:
    write_report(RESULTS, CHECKOUT / "docs", check=True)


def test_every_figure_is_of_a_result() -> None:
    figures = {path.stem for path in (CHECKOUT / "docs" / "figures").glob("*.svg")}
    assert figures & set(NAMES) == {record.outcome.name for record in RECORDS}


@pytest.mark.parametrize("outcome", [record.outcome for record in RECORDS], ids=lambda outcome: outcome.name)
def test_a_kept_result_is_of_the_full_size_and_every_claim_holds_or_says_why_not(outcome: Outcome) -> None:
    assert outcome.size == "full"
    assert outcome.seeds >= 5
    assert outcome.claims
    assert [claim.what for claim in outcome.claims if not (claim.met or claim.note)] == []
    for table in outcome.tables:
        assert any(row.kind == "ours" for row in table.rows), table.title
