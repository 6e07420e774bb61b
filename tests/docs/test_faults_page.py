"""The page on faults shows the results kept, and nothing else."""

from dataclasses import replace

from benchmarks.faults.report import PAGE, read_results, render


def test_tables_are_those_of_the_results_kept() -> None:
    page, results = PAGE.read_text(encoding="utf-8"), read_results()

    assert results
    assert page.count("<!-- table: ") == page.count("<!-- end of table -->") == 2
    assert render(page, results) == page, "run `python -m benchmarks.faults.report`"


def test_what_does_not_hold_is_said() -> None:
    page, results = PAGE.read_text(encoding="utf-8"), read_results()
    name, result = next(iter(results.items()))
    worse = replace(result, figures=tuple(replace(figure, holds=not figure.holds) for figure in result.figures))

    assert render(page, {**results, name: worse}) != page
