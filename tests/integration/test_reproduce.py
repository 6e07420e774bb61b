"""`nalu reproduce` as its user runs it: every experiment in its small size, end to end, and what is served of it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

import nalu_cli
from models.contract.errors import NaluError
from service.app import create_app
from service.settings import Settings
from training.digit_images import small_digits
from training.reproduce.outcome import Record, read_record
from training.reproduce.registry import EXPERIMENTS
from training.tasks.number_words import in_words

Asked = Callable[..., list[float]]


def nalu(*words: str) -> str:
    done = CliRunner().invoke(nalu_cli.app, ["reproduce", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def check_identity(ask: Asked) -> None:
    for name in ("identity-nac", "identity-nalu"):
        assert ask(name, [{"x": 1e6}, {"x": -3.25}]) == pytest.approx([1e6, -3.25], rel=1e-14)


def check_static(ask: Asked) -> None:
    rows = np.random.default_rng(3).uniform(1, 50, (4, 100))
    a, b = rows[:, :10].sum(axis=1), rows[:, 70:].sum(axis=1)
    records = [{f"x{i}": value for i, value in enumerate(row)} for row in rows.tolist()]
    expected = {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b, "square": a * a, "sqrt": a**0.5}
    for operation, values in expected.items():
        assert ask(f"static-{operation}", records) == pytest.approx(values.tolist(), rel=1e-14)


def check_recurrent(ask: Asked) -> None:
    generator = np.random.default_rng(4)
    for length in (1, 10, 1000):
        steps = generator.uniform(0.1, 5, (length, 10))
        a, b = steps[:, :3].sum(), steps[:, 2:6].sum()
        expected = {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b, "square": a * a}
        for operation, value in {**expected, "sqrt": a**0.5}.items():
            (answer,) = ask(f"recurrent-{operation}", [{"steps": steps.tolist()}])
            assert answer == pytest.approx(value, rel=1e-12, abs=1e-9), (operation, length)


def check_digits(ask: Asked) -> None:
    digits = small_digits()
    images, labels = digits.test_images[:100], digits.test_labels[:100]
    assert ask("digit-count", [{"images": images.tolist()}])[0] == pytest.approx((labels == 0).sum(), abs=1)
    assert ask("digit-sum", [{"images": images.tolist()}])[0] == pytest.approx(labels.sum(), abs=25)
    pairs = digits.test_images[digits.test_labels > 0][:100].reshape(50, 2, 8, 8)
    products = digits.test_labels[digits.test_labels > 0][:100].reshape(50, 2).prod(axis=1)
    answers = ask("digit-product", [{"images": pair.tolist()} for pair in pairs])
    assert np.mean(np.array(answers) == products) > 0.8


def check_number_words(ask: Asked) -> None:
    numbers = [0, 42, 312, 900, 1_001, 20_300, 345_612, 999_999]
    assert ask("number-words", [{"text": " ".join(in_words(number))} for number in numbers]) == numbers
    assert ask("number-words", [{"text": "Forty-Two"}]) == [42]
    assert ask("number-words-lstm", [{"text": "five hundred and six"}]) == pytest.approx([506], abs=50)


def check_programs(ask: Asked) -> None:
    expected = {"7": 7, "3*4+2-7*15": -91, "1-2*3*4*5+6": -113, "123456789*2-1": 246913577}
    expected |= {"+".join(["12*3-4"] * 100): 3200, "-".join(["99"] * 334): 99 - 333 * 99}
    assert ask("programs", [{"text": program} for program in expected]) == list(expected.values())


def check_gridworld(ask: Asked) -> None:
    moves = {"up": (0, 1), "down": (0, -1), "left": (-1, 0), "right": (1, 0), "stay": (0, 0)}

    def act(rows: list[list[list[int]]]) -> list[str]:
        asked = [{"steps": row} for row in rows]
        scores = {action: ask("gridworld", asked, output=action) for action in moves}
        return [max(moves, key=lambda action: scores[action][i]) for i in range(len(rows))]

    goals, time = [(4, -3), (-1, 0), (0, 2)], 60
    rows: list[list[list[int]]] = [[[time, *goal]] for goal in goals]
    for t in range(1, time + 1):
        chosen = [moves[action] for action in act(rows)]
        goals = [(x - dx, y - dy) for (x, y), (dx, dy) in zip(goals, chosen, strict=True)]
        assert ((0, 0) in goals) == (t == time)
        for row, goal in zip(rows, goals, strict=True):
            row.append([0, *goal])
    assert goals == [(0, 0)] * 3
    for length in (1, 10, 1000):
        waited = [[0, -2, 1]] * (length - 1)
        first = [length - 1 + remaining for remaining in (3, 4)]  # three steps are just enough
        assert act([[[asked, -2, 1], *waited] for asked in first]) == ["left", "stay"]


CHECKS = {
    "identity": check_identity,
    "static": check_static,
    "recurrent": check_recurrent,
    "number-words": check_number_words,
    "digits": check_digits,
    "programs": check_programs,
    "gridworld": check_gridworld,
}
"""Experiment → what its served models must answer, beside their samples."""


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_an_experiment_meets_its_claims_and_is_served(name: str, tmp_path: Path) -> None:
    said = nalu(name, "--quick", "--out", str(tmp_path / "out"), "--repository", str(tmp_path / "repository"))
    record = read_record(tmp_path / "out" / f"{name}.json")
    check_record(record, name)
    assert "not met" not in said
    assert b"<svg" in (tmp_path / "out" / f"{name}.svg").read_bytes()[:500]
    with TestClient(create_app(Settings(model_repository=tmp_path / "repository"))) as client:
        served = [model["name"] for model in client.get("/models").json()["models"]]
        assert served
        assert "published " + served[0] in said

        def ask(model: str, rows: list[dict[str, object]], output: str | None = None) -> list[float]:
            answer = client.post("/predict", json={"model": model, "rows": rows})
            assert answer.status_code == 200, answer.text
            return [row[output or next(iter(row))] for row in answer.json()["predictions"]]

        for one in record.outcome.served:
            assert one.model in served
            body = json.loads(one.request)
            answer = client.post("/predict", json=body)
            assert answer.status_code == 200, answer.text
        if name in CHECKS:
            CHECKS[name](ask)


def check_record(record: Record, name: str) -> None:
    """What every experiment owes: published, reproduced and own rows, and claims that hold."""
    outcome = record.outcome
    assert (outcome.name, outcome.size) == (name, "quick")
    assert outcome.seeds >= 1
    assert outcome.setup
    assert outcome.panels
    assert outcome.claims
    assert [claim.what for claim in outcome.claims if not claim.met] == []
    kinds = {row.kind for table in outcome.tables for row in table.rows}
    assert {"ours", "reproduction"} <= kinds


@pytest.mark.parametrize("words", [[], ["identity", "--report"], ["identity", "--check"]])
def test_wrong_use_is_told(words: list[str]) -> None:
    done = CliRunner().invoke(nalu_cli.app, ["reproduce", *words])
    assert done.exit_code == 2
    assert "Invalid value" in done.output


def test_an_unknown_experiment_is_told() -> None:
    with pytest.raises(NaluError, match=r"identity, static.*or all, however: 'counting'"):
        nalu("counting")
