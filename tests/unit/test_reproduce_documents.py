"""Outcomes as documents: what they refuse, what JSON keeps, and what a figure and the page show of them."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from training.errors import ConfigError
from training.reproduce.experiment import Progress, Result
from training.reproduce.figures import figure_png, figure_svg
from training.reproduce.outcome import (
    Cell,
    Claim,
    Curve,
    Outcome,
    Panel,
    Record,
    Row,
    Served,
    Size,
    Table,
    at_least,
    at_most,
    measured,
    published,
    read_record,
    seeds_curve,
    write_record,
)
from training.reproduce.page import read_records, render, write_report
from training.reproduce.running import run_experiment
from training.reproduce.showing import cell_text, number_text


def panel(**other: object) -> Panel:
    content: dict[str, object] = {
        "title": "error in $",
        "x_label": "x",
        "y_label": "error",
        "curves": (
            seeds_curve("NAC", [1, 2, 3], [[0.0, 0.1, 0.2], [0.0, float("inf"), 0.4]]),
            Curve(label="paper", x=(1, 2, 3), y=(1, 2, 3), kind="published"),
            Curve(label="dots", x=(1, 2, 3), y=(1, 2, 3), style="points"),
        ),
        "trained": (1.0, 2.0),
    }
    return Panel.model_validate(content | other)


BARS = Panel(
    title="by operation",
    x_label="operation",
    y_label="score",
    curves=(
        Curve(label="NAC", x=(0, 1), y=(1, 2), low=(0, 1), high=(2, 3), style="bars"),
        Curve(label="ours", x=(0, 1), y=(0, 0), style="bars", kind="ours"),
    ),
    y_scale="symlog",
    y_ceiling=10,
    ticks=("a very long name of an operation", "another very long name"),
)


def outcome(name: str = "static", **other: object) -> Outcome:
    content: dict[str, object] = {
        "name": name,
        "title": "Sums & products",
        "about": ("Learns something.", "Judged outside."),
        "size": "quick",
        "seeds": 2,
        "setup": ("Fewer steps.",),
        "tables": (
            Table(
                title="Score",
                columns=("a|b", "a − b"),
                rows=(
                    Row(kind="published", label="NALU", cells=(published(5.3), published("> 999"))),
                    Row(kind="ours", label="fit", cells=(measured([0.0, 0.0]), published(None))),
                ),
                notes=("Table 1.",),
                decimals=1,
            ),
        ),
        "claims": (at_most("error", 1.0, 0.5), at_least("accuracy", 0.9, 0.5, "too few steps")),
        "panels": (panel(), panel(y_scale="log", y_floor=1e-3), BARS, panel(trained=None)),
        "served": (Served(model="static-divide", request='{"model": "static-divide"}'),),
    }
    return Outcome.model_validate(content | other)


def record(**other: object) -> Record:
    return Record(
        created="2026-01-01T00:00:00+00:00",
        command="nalu reproduce static",
        seconds=1.0,
        cpu_seconds=0.9,
        machine={"processor": "an abacus", "versions": {"torch": "2"}},
        outcome=outcome(**other),  # type: ignore[arg-type]
    )


def test_a_mean_is_never_taken_over_the_seeds_that_went_well() -> None:
    assert measured([1.0, float("nan"), float("inf")]).text == "not finite in 2 of 3 seeds"
    assert measured([1.0, float("nan")]).mean is None
    assert measured([4.0]) == Cell(mean=4.0, worst=4.0)
    assert measured([1.0, 3.0], better="higher").worst == 1.0


def test_a_bound_is_not_met_by_nan() -> None:
    assert at_most("x", 1.0, 1.0).met
    assert not at_most("x", 1.0, float("nan")).met
    assert not at_least("x", 1.0, float("nan")).met
    assert at_least("x", 1.0, 1.0).met


@pytest.mark.parametrize(
    ("cell", "decimals", "text"),
    [
        (Cell(mean=0.0, spread=0.0, worst=0.0), 1, "0.0 ± 0.0 (0.0)"),
        (Cell(mean=1e-9), 1, "1e-09"),
        (Cell(mean=2.5e7), 1, "2.50e+07"),
        (Cell(mean=-1.25, text="chosen of 10"), 2, "-1.25, chosen of 10"),
        (Cell(mean=1e-15, spread=3e-16, worst=2e-15), 1, "≤ 2e-15"),
        (Cell(mean=1e-15, spread=3e-16, worst=2e-15), None, "1e-15 ± 3e-16 (2e-15)"),
        (Cell(text="> 999"), 1, "> 999"),
        (Cell(), 1, ""),
    ],
)
def test_zero_is_said_of_zeros_only(cell: Cell, decimals: int, text: str) -> None:
    assert cell_text(cell, decimals) == text


def test_a_number_without_decimals_has_three_digits() -> None:
    assert number_text(0.123456, None) == "0.123"


@pytest.mark.parametrize(
    "build",
    [
        lambda: Table(title="t", columns=("a",), rows=(Row(kind="ours", label="x", cells=()),)),
        lambda: Curve(label="c", x=(1, 2), y=(1,)),
        lambda: Curve(label="c", x=(1,), y=(1,), low=(1,)),
        lambda: panel(y_scale="log"),
        lambda: outcome("unknown"),
        lambda: outcome(seeds=0),
        lambda: Cell(mean=float("nan")),
    ],
)
def test_what_cannot_be_shown_is_refused(build: object) -> None:
    with pytest.raises(ValidationError):
        build()  # type: ignore[operator]


def test_json_keeps_a_record_whole(tmp_path: Path) -> None:
    path = tmp_path / "some" / "static.json"
    write_record(path, record())
    assert read_record(path) == record()
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["format"] == 1
    assert '"y": [ 1.0, 2.0, 3.0 ]' in text
    assert [one.name for one in path.parent.iterdir()] == ["static.json"]


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[1]"])
def test_a_file_that_is_no_record_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"JSON file of `nalu reproduce`"):
        read_records(tmp_path)
    with pytest.raises(ConfigError, match="must be readable"):
        read_record(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="no JSON file"):
        read_records(tmp_path / "nowhere")


def test_a_figure_is_the_same_every_time() -> None:
    first = figure_svg(outcome())
    assert first == figure_svg(outcome())
    assert b"<svg" in first
    assert b"<dc:date>" not in first
    assert first != figure_svg(outcome(panels=(BARS,)))
    assert figure_png(outcome()).startswith(b"\x89PNG")


def test_more_curves_than_colours_can_still_be_told_apart() -> None:
    curves = tuple(Curve(label=f"curve {i}", x=(0, 1), y=(i, i)) for i in range(14))
    svg = figure_svg(outcome(panels=(panel(curves=curves),))).decode()
    assert svg.count("stroke-dasharray") >= 4


def test_the_page_shows_tables_claims_and_requests() -> None:
    page = render([record()])
    assert "| published |  | 5.3 | > 999 |" not in page
    assert "| published | NALU | 5.3 | > 999 |" in page
    assert "| **ours** | fit | 0.0 ± 0.0 (0.0) | not published |" in page
    assert r"|  |  | a\|b | a − b |" in page
    assert "| accuracy | ≥ 0.9 | 0.5 | **no** | too few steps |" in page
    assert "[`static`](#static-sums--products)" in page
    assert '-d \'{"model": "static-divide"}\'' in page
    assert "an abacus, torch 2." in page
    plain = render([record(claims=(Claim(what="x", bound="0", measured="0", met=True),), panels=(), served=())])
    assert "Remark" not in plain
    assert "![" not in plain


def test_a_table_of_single_numbers_says_so() -> None:
    table = Table(title="t", columns=("a",), rows=(Row(kind="ours", label="fit", cells=(measured([1.0]),)),))
    assert "One number a cell: no spread." in render([record(tables=(table,))])


def test_a_report_is_written_and_checked(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    write_record(results / "static.json", record())
    write_record(results / "identity.json", record(name="identity", panels=()))
    with pytest.raises(ConfigError, match="differs"):
        write_report(results, docs, check=True)
    files = write_report(results, docs)
    assert [path.relative_to(docs).as_posix() for path in files] == ["experiments.md", "figures/static.svg"]
    write_report(results, docs, check=True)
    page = files[0].read_text(encoding="utf-8")
    assert page.index("## identity") < page.index("## static")
    files[1].write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"static\.svg differs"):
        write_report(results, docs, check=True)


class _Nothing:
    name = "static"
    title = "nothing"

    def default_seeds(self, size: Size) -> int:
        return {"quick": 2, "full": 5}[size]

    def run(self, size: Size, seeds: int, progress: Progress) -> Result:
        progress.start("nothing", seeds)
        progress.advance("all", seeds)
        return Result(outcome(size=size, seeds=seeds))


class _Steps:
    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, title: str, n_steps: int) -> None:
        self.told.append((title, n_steps))

    def advance(self, what: str, n_steps: float = 1) -> None:
        self.told.append((what, n_steps))


def test_an_experiment_runs_with_its_own_number_of_seeds_or_the_one_asked_for() -> None:
    steps = _Steps()
    found, published_models = run_experiment(_Nothing(), "full", None, steps, command="nalu")
    assert (found.outcome.seeds, published_models) == (5, [])
    assert run_experiment(_Nothing(), "quick", 7, steps, command="nalu")[0].outcome.seeds == 7
    assert steps.told[:2] == [("nothing", 5), ("all", 5)]
    assert found.machine["n_cores"] >= 1
