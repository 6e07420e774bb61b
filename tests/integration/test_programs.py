"""Arithmetic programs: the task, the unit's law found on it, its baselines, and what the service answers of it."""

import ast
import operator
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from torch import nn

from models.contract.repository import ModelRepository
from models.networks import SequenceNetwork
from service.app import create_app
from service.settings import Settings
from training.errors import ConfigError, FitError
from training.fitting.word_law import WordLaw
from training.reproduce.number_words.laws import law_network, law_text
from training.reproduce.programs import unit as unit_module
from training.reproduce.programs.baselines import BASELINES, N_VALIDATION, fit_baseline
from training.reproduce.programs.judging import judge, judges
from training.reproduce.programs.serving import UnitPublication
from training.reproduce.programs.unit import FittedUnit, fit_unit
from training.tasks.programs import (
    CHARACTERS,
    LARGEST_EXACT,
    ProgramSplit,
    draw_of_digits,
    draw_program,
    evaluate,
    short_programs,
    split_programs,
    tokens,
)

_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def python_s_value(program: str) -> int:
    """Return what Python's own parser makes of a program, products of a thousand factors included."""
    stack: list[int] = []
    todo: list[ast.AST | type] = [ast.parse(program, mode="eval").body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.BinOp):
            todo += [type(node.op), node.right, node.left]
        elif isinstance(node, ast.Constant):
            assert isinstance(node.value, int)
            stack.append(node.value)
        else:
            assert isinstance(node, type)
            right, left = stack.pop(), stack.pop()
            stack.append(_OPERATORS[node](left, right))
    (value,) = stack
    return value


@pytest.fixture(name="split", scope="module")
def _split() -> ProgramSplit:
    return split_programs(0, n_random=6000, n_test=100)


@pytest.fixture(name="unit", scope="module")
def _unit(split: ProgramSplit) -> FittedUnit:
    return fit_unit(split, seed=0)


@pytest.fixture(name="client", scope="module")
def _client(unit: FittedUnit, split: ProgramSplit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("repository")
    score = judge(unit.network, split.test)
    UnitPublication(unit, split, 0, {"inside": score})(ModelRepository(root))
    with TestClient(create_app(Settings(model_repository=root))) as client:
        yield client


def test_values_are_those_of_python() -> None:
    generator = np.random.default_rng(0)
    programs = [draw_program(int(length), generator) for length in generator.integers(1, 200, 100)]
    programs += [draw_of_digits(n, generator) for n in (1, 2, 3, 6) for _ in range(10)]
    assert [evaluate(program)[0] for program in programs] == [python_s_value(program) for program in programs]
    assert max(evaluate(program)[1] for program in programs) <= LARGEST_EXACT


@pytest.mark.parametrize("length", [1, 2, 3, 4, 10, 1000])
def test_a_program_is_as_long_as_asked_for(length: int) -> None:
    generator = np.random.default_rng(length)
    assert {len(draw_program(length, generator)) for _ in range(20)} == {length}


def test_what_is_on_the_way_counts() -> None:
    assert evaluate("99*99-9801") == (0, 9801)
    assert evaluate("7-9*9*9*9+6560-1") == (5, 6561)
    assert evaluate("50-80*2+7") == (-103, 160)
    assert evaluate("50+80*2-7") == (203, 210)


@pytest.mark.parametrize("text", ["", "3+", "+3", "-3", "3++4", "3*-4", "03", "3/4", "3 + 4", "٣+1", "3.5"])
def test_what_is_no_program_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="numbers with"):
        evaluate(text)


def test_a_split_has_every_program_once_and_all_short_ones(split: ProgramSplit) -> None:
    parts = [*split.train, *split.validation, *split.test]
    assert len(set(parts)) == len(parts)
    assert set(short_programs()) <= {*split.train, *split.validation}
    assert {len(program) for program in split.train} == set(range(1, 11))
    assert {len(program) for program in split.test} == {10}
    assert len(split.validation) == len([*split.train, *split.validation]) // 10
    assert split_programs(0, n_random=500, n_test=3) != split_programs(1, n_random=500, n_test=3)


def test_the_law_is_how_a_person_evaluates_a_program(unit: FittedUnit) -> None:
    assert unit.found.automaton.n_states == 4
    assert unit.found.n_open == 0
    assert unit.law.n_not_neutral() == 39
    # Registers: the term so far, with its sign; one less its factor; the terms before it.
    states = unit.law.states(tokens("12+3*45-6"))
    assert states[2].tolist() == [12, 0, 0]
    assert states[5].tolist() == [0, 1 - 3, 12]
    assert states[8].tolist() == [0, 2, 147]
    assert states[9].tolist() == [-6, 2, 147]
    assert "+: s1 = 0, s2 = 0, s3 = s1 + s3" in law_text(unit.law, CHARACTERS)


def test_the_unit_is_exact_at_a_hundred_times_the_length_and_for_longer_numbers(unit: FittedUnit) -> None:
    generator = np.random.default_rng(1)
    programs = [draw_program(1000, generator) for _ in range(5)]
    programs += [draw_of_digits(n, generator) for n in (4, 5, 6) for _ in range(20)]
    for program in programs:
        answer = unit.network(torch.tensor([tokens(program)])).item()
        assert answer == python_s_value(program), program


def test_a_law_that_fails_on_validation_programs_is_refused(
    split: ProgramSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = WordLaw(np.zeros((len(CHARACTERS), 1, 1)), np.arange(float(len(CHARACTERS)))[:, None])
    monkeypatch.setattr(unit_module, "find_automaton", lambda *_args, **_kwargs: type("Found", (), {"automaton": None}))
    monkeypatch.setattr(unit_module, "simplest_law", lambda *_args: wrong)
    with pytest.raises(FitError, match="give every training and validation program"):
        fit_unit(split, seed=0)


@pytest.mark.parametrize("label", ["LSTM + NALU", "GRU"])
def test_a_baseline_s_cell_answers_as_the_loop_it_was_trained_in(label: str, split: ProgramSplit) -> None:
    losses: dict[int, float] = {}
    network = fit_baseline(label, split, 25, losses.__setitem__, seed=0)
    assert len(losses) == 25
    best = min(losses.values())
    assert best < losses[1]
    part = split.validation[:N_VALIDATION]
    answers = torch.cat([network(torch.tensor([tokens(program)])) for program in part])
    values = torch.tensor([[evaluate(program)[0]] for program in part], dtype=torch.float32)
    assert BASELINES[label][1](answers, values).item() == pytest.approx(best, rel=1e-3)


def test_programs_that_judge_are_long_or_of_long_numbers(split: ProgramSplit) -> None:
    judging = judges(split, 3, seed=0)
    assert {length: {len(one) for one in programs} for length, programs in judging.by_length.items()} == {
        length: {length} for length in (10, 20, 50, 100, 200, 500, 1000)
    }
    assert {n: {len(one) for one in programs} for n, programs in judging.by_digits.items()} == {
        n: {3 * n + 2} for n in range(1, 7)
    }


class _Broken(nn.Module):
    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return state[:, :1] / 0


def test_an_answer_that_is_not_finite_is_wrong(unit: FittedUnit) -> None:
    network = SequenceNetwork(unit.network.encoder, unit.network.cell, _Broken(), unit.network.initial)
    score = judge(network, ["0", "3"])
    assert (score.right, score.worst) == (0.0, np.inf)


@pytest.mark.parametrize("length", [1, 10, 1000])
def test_the_service_answers_what_torch_answers(client: TestClient, unit: FittedUnit, length: int) -> None:
    generator = np.random.default_rng(length)
    programs = [draw_program(length, generator) for _ in range(3)]
    answer = client.post("/predict", json={"model": "programs", "rows": [{"text": one} for one in programs]}).json()
    with torch.no_grad():
        expected = unit.network(torch.tensor([tokens(one) for one in programs]))[:, 0].tolist()
    assert [row["value"] for row in answer["predictions"]] == expected == [python_s_value(one) for one in programs]
    assert answer["in_range"] == [length <= 10] * 3


def test_spaces_are_passed_over_and_lengths_mixed(client: TestClient) -> None:
    rows = [{"text": "3 * 4 + 2"}, {"text": "7"}, {"text": "2-10*10"}]
    answer = client.post("/predict", json={"model": "programs", "rows": rows}).json()
    assert [row["value"] for row in answer["predictions"]] == [14, 7, -98]


@pytest.mark.parametrize(
    ("text", "said"),
    [("3/4", "token 1 is '/'"), ("3+x", "token 2 is 'x'"), ("", "must not be empty"), (3, "must be text")],
)
def test_what_cannot_be_read_is_refused(client: TestClient, text: object, said: str) -> None:
    answer = client.post("/predict", json={"model": "programs", "rows": [{"text": text}]})
    assert answer.status_code == 422
    assert said in answer.text


def test_the_law_of_a_word_with_registers_that_do_not_count_becomes_a_network() -> None:
    law = WordLaw(np.array([[[1.0, 1.0], [0.0, 1.0]]]), np.array([[0.0, 2.0]]), np.array([1.0, 0.0]))
    sentence = (0, 0, 0)
    assert law_network(law)(torch.tensor([sentence])).item() == law.evaluate([sentence])[0] == 6
    assert law_text(law, ["on"]) == "s1 = s2 = 0; on: s1 = s1 + s2, s2 = s2 + 2; answer s1"
