"""What a tabular model tells of itself: formulas that compute what it does, importance, and the card's text."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.contract.dates import DatePart, DatePartName
from models.contract.manifest import CategoryColumn, DateColumn, Formula, NumberColumn
from tests.published import arithmetic_graph, arithmetic_manifest
from training.evaluation.importance import permutation_importance
from training.evaluation.model_card import CardPlot, model_card
from training.parity import RawRows
from training.tabular.model import TabularModel, TargetModel
from training.tabular.network_settings import NetworkSettings
from training.tabular.reach import Reach
from training.tabular.rows import Rows
from training.tabular.trunk_text import model_formula, target_text, trunk_text
from training.tabular.trunks import KINDS, Trunk, TrunkKind, fit_trunk, law_kind

RNG = np.random.default_rng(0)
ROWS = Rows(RNG.uniform(0.5, 4, (300, 3)), RNG.integers(0, 2, (300, 1)))
NETWORK = NetworkSettings(n_members=2, d_hidden=16, n_steps=100)
NUMBERS, CATEGORIES = ("a", "b", "c"), (("kind", ("x", "y")),)
TARGETS = ROWS.numeric[:, 0] * np.maximum(ROWS.numeric[:, 1], 2) + 3 * (ROWS.codes[:, 0] == 1) + 1


def fitted(name: str) -> Trunk:
    fit = fit_trunk(next(kind for kind in KINDS if kind.name == name), ROWS, (2,), TARGETS, networks=NETWORK)
    assert fit is not None
    return fit.trunk


def evaluated(trunk: Trunk, text: str, row: int, rows: Rows = ROWS) -> float:
    """Compute a formula with Python's own arithmetic, its network taken from the trunk."""
    answer = 0.0 if trunk.network is None else float(trunk.network(trunk.columns(rows.take(np.array([row]))))[0])
    code = re.sub(r'\(kind = "(\w)"\)', r'(kind == "\1")', text.replace("^", "**"))
    a, b, c = rows.numeric[row]
    names: dict[str, Any] = {
        "a": a,
        "b": b,
        "c": c,
        "kind": "xy"[rows.codes[row, 0]],
        "log": math.log,
        "network": lambda _: answer,
    }
    return float(eval(code, {"__builtins__": {}}, names | {"exp": math.exp, "max": max}))  # noqa: S307 - our own text


@pytest.mark.parametrize("name", [kind.name for kind in KINDS])
def test_a_trunk_s_text_computes_what_the_trunk_does(name: str) -> None:
    trunk = fitted(name)
    text = trunk_text(trunk, NUMBERS, CATEGORIES)
    answers = trunk.predict(ROWS)
    for row in range(0, 300, 50):
        assert evaluated(trunk, text, row) == pytest.approx(
            answers[row], rel=0.01, abs=0.02 * float(np.ptp(answers))
        ), text


@pytest.mark.parametrize(
    "kind",
    [*(kind for kind in KINDS if not kind.networked), law_kind((((0, 1.0), (2, 1.0)), ((1, 2.0),), ((6, 1.0),)))],
    ids=lambda kind: kind.name,
)
def test_numbers_have_the_digits_that_answers_need_far_from_zero(kind: TrunkKind) -> None:
    rows = Rows(ROWS.numeric * np.array([3.0, 1.0, 0.5]) + np.array([2000.0, 300.0, 0.0]), ROWS.codes)
    fit = fit_trunk(kind, rows, (2,), 101_325 + TARGETS)
    assert fit is not None
    text = trunk_text(fit.trunk, NUMBERS, CATEGORIES)
    answers = fit.trunk.predict(rows)
    for row in range(0, 300, 50):
        assert evaluated(fit.trunk, text, row, rows) == pytest.approx(answers[row], abs=0.02 * np.ptp(answers)), text


def test_gaps_shifts_and_many_terms_are_written() -> None:
    rng = np.random.default_rng(1)
    numeric = rng.uniform(0, 4, (200, 30)) * (rng.random((200, 30)) < 0.9)
    targets = numeric @ rng.normal(size=30) + 20
    numeric[rng.random(200) < 0.1, 3] = np.nan
    rows = Rows(numeric, rng.integers(0, 2, (200, 1)))
    names = [f"x{j}" for j in range(29)] + ["last column"]
    kind = next(kind for kind in KINDS if kind.name == "logarithms")
    fit = fit_trunk(kind, rows, (2,), targets)
    assert fit is not None
    text = trunk_text(fit.trunk, names, [("kind", ("x",))])
    assert "log(x" in text
    assert "+ … (" in text
    few = replace(fit.trunk, terms=((30,), (32,), (29,)), weights=np.array([2.0, -1.0, 1e-9]))
    assert trunk_text(few, names, [("kind", ("x",))]).endswith("2 * missing(x3) - missing(kind)")
    constant = replace(few, terms=(), weights=np.zeros(0), intercept=0.0)
    assert trunk_text(constant, names, [("kind", ("x",))]) == "0"


def test_a_committee_is_a_median_and_outputs_are_named() -> None:
    reach = Reach.fit(ROWS, TARGETS)
    one = TargetModel((fitted("linear"),), None, None, reach, np.inf)
    two = TargetModel((fitted("linear"), fitted("power law"), fitted("exponential")), None, None, reach, np.inf)
    assert target_text(two, NUMBERS, CATEGORIES).startswith("median(")
    assert model_formula(TabularModel((one,)), ["y"], NUMBERS, CATEGORIES).text == target_text(one, NUMBERS, CATEGORIES)
    both = model_formula(TabularModel((one, two)), ["y", "my target"], NUMBERS, CATEGORIES).text
    assert both.startswith("y = ")
    assert "; `my target` = median(" in both


def test_importance_is_that_of_the_column_used_and_dates_are_shuffled_whole() -> None:
    inputs = (
        NumberColumn(name="used", minimum=0, maximum=1),
        CategoryColumn(name="level", categories=("x", "y")),
        NumberColumn(name="idle", minimum=0, maximum=1),
        DateColumn(
            name="day",
            origin="2020-01-01",
            parts=(DatePart(name="year", minimum=0, maximum=1), DatePart(name="month", minimum=0, maximum=1)),
        ),
    )
    numeric = RNG.uniform(0, 1, (400, 4))
    numeric[:, 3] = numeric[:, 2]
    codes = RNG.integers(0, 2, (400, 1))
    rows = RawRows(numeric, np.array([["x", "y"][code] for code in codes[:, 0]], dtype=object)[:, None], codes)

    def predict(given: RawRows) -> np.ndarray:
        assert given.numeric is not None
        assert given.codes is not None
        assert given.text is not None
        np.testing.assert_array_equal(given.numeric[:, 3], given.numeric[:, 2])
        assert [["x", "y"][code] for code in given.codes[:, 0]] == given.text[:, 0].tolist()
        return 3 * given.numeric[:, :1] + given.codes

    found = permutation_importance(predict, inputs, rows, predict(rows), 0)
    assert [one.column for one in found[:2]] == ["used", "level"]
    rises = {one.column: one.rise[0] for one in found}
    assert rises["idle"] == rises["day"] == 0
    assert rises["used"] == pytest.approx(3 * np.sqrt(2 / 12) / np.std(predict(rows)), rel=0.1)


def test_a_card_escapes_what_names_and_notes_hold() -> None:
    manifest = arithmetic_manifest("add", arithmetic_graph("add"))
    named = manifest.model_copy(
        update={
            "description": "a <script>alert(1)</script> | b",
            "inputs": (
                NumberColumn(name="<b>|", minimum=0, maximum=1, may_be_missing=True),
                CategoryColumn(name="c", categories=tuple(f"l{i}" for i in range(12))),
            ),
            "formula": Formula(text="x" * 5000 + "<i>"),
        }
    )
    files = model_card(named, {"errors": CardPlot("p.png", 'a "plot"', b"\x89PNG")}, ["note <u> `code`"])
    page, text = files["model-card.html"].decode(), files["model-card.md"].decode()
    assert not re.search(r"<(script|b|u|i)>", page)
    assert not re.search(r"<(script|b|u|i)>", text)
    assert "&lt;b>\\|" in text
    assert "<code>code</code>" in page
    assert "and 4 more" in page
    assert "x …" in page
    assert files["p.png"] == b"\x89PNG"


@pytest.mark.parametrize(("formula", "told"), [("3 * a", False), ("3 * a + residual", True)])
def test_a_card_speaks_of_a_residual_where_there_is_one(formula: str, told: bool) -> None:
    manifest = arithmetic_manifest("add", arithmetic_graph("add"))
    table = manifest.model_copy(update={"kind": "tabular", "formula": Formula(text=formula)})
    text = model_card(table, {})["model-card.md"].decode()
    assert "the graph is what computes" in text
    assert ("The residual is boosted trees" in text) == told


@pytest.mark.parametrize(
    ("part", "seen"), [("elapsed_days", "2026-01-01T00:00:00 to 2026-01-10T12:00:00"), ("month", "date")]
)
def test_a_card_tells_which_dates_were_seen(part: DatePartName, seen: str) -> None:
    day = DateColumn(name="day", origin="2026-01-01", parts=(DatePart(name=part, minimum=0, maximum=9.5),))
    manifest = arithmetic_manifest("add", arithmetic_graph("add")).model_copy(update={"inputs": (day,)})

    text = model_card(manifest, {}, [])["model-card.md"].decode()

    assert f"| day |  | {seen} | refused |" in text
