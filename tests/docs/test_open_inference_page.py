"""The page on protocols lists the deviations that the drive of the protocol's document allows, and no other."""

from benchmarks.faults.open_inference_schema import read_deviations
from benchmarks.faults.report import CHECKOUT, read_results


def test_the_deviations_are_those_that_are_allowed() -> None:
    page = (CHECKOUT / "docs" / "open-inference.md").read_text(encoding="utf-8")
    _before, _heading, after = page.partition("| schemathesis says | Reason |\n|---|---|\n")
    table, _blank, _rest = after.partition("\n\n")

    assert table.splitlines() == [f"| {one.told} | {one.reason} |" for one in read_deviations()]


def test_each_of_them_was_found() -> None:
    deviations = read_results()["open-inference"].facts["deviations"]
    assert isinstance(deviations, dict)
    assert set(deviations) == {one.told for one in read_deviations()}
