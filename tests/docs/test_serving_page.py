"""The page on serving shows the results kept, and nothing else."""

from benchmarks.serving.report import ASGI, PAGE, read_results, render


def test_tables_are_those_of_the_results_kept() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page.count("<!-- table: ") == page.count("<!-- end of table -->") == 9
    assert render(page, read_results()) == page, "run `python -m benchmarks.serving.report`"


def test_other_results_make_another_page() -> None:
    page, results = PAGE.read_text(encoding="utf-8"), read_results()
    title, servers = next(iter(results["loads"]["loads"].items()))
    servers[ASGI]["best_per_second"] = 1.0

    changed = render(page, results)

    assert changed != page
    assert title in changed
    assert changed.count("**not met**") > page.count("**not met**")
