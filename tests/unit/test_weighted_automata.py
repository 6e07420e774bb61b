"""Weighted automata found by the rank of a Hankel matrix, their laws of registers, and what must be refused."""

from itertools import product

import numpy as np
import pytest

from training.errors import ConfigError, FitError
from training.fitting.automaton_law import simplest_law
from training.fitting.hankel import FoundAutomaton, HankelSettings, find_automaton
from training.fitting.weighted_automaton import WeightedAutomaton, Word, Words
from training.fitting.word_law import WordLaw

_ALPHABET = "0123+"


def words_of(texts: list[str]) -> list[Word]:
    return [tuple(map(_ALPHABET.index, text)) for text in texts]


def sums(length: int) -> list[str]:
    """Return sums of numbers of the digits 0 to 3, none before a number, of at most so many characters."""
    return [
        text
        for n in range(1, length + 1)
        for text in map("".join, product(_ALPHABET, repeat=n))
        if all(part == "0" or part[:1] in ("1", "2", "3") for part in text.split("+"))
    ]


_BEGINNINGS = words_of([*sums(2), "1+", "2+", "3+"])


def found_sums(*, length: int = 6, every: int = 0) -> FoundAutomaton:
    texts = [text for position, text in enumerate(sums(length)) if not every or position % every != every - 1]
    return find_automaton(words_of(texts), [sum(map(int, text.split("+"))) for text in texts], len(_ALPHABET))


@pytest.mark.parametrize("every", [0, 7])
def test_sums_are_found_and_hold_far_beyond_the_words_seen(every: int) -> None:
    found = found_sums(every=every)
    assert found.automaton.n_states == 3
    assert found.n_open == 0
    assert (found.fill < 1) == bool(every)
    law = simplest_law(found.automaton, _BEGINNINGS)
    text = "+".join(["321032103", "2", "30303"] * 20)
    assert law.evaluate(words_of([text])).tolist() == [20 * (321032103 + 2 + 30303)]
    assert law.is_exact(words_of(["33+0+1", text]), [34, 20 * (321032103 + 2 + 30303)])
    assert not law.is_exact(words_of(["33+0+1"]), [35])


def test_the_law_of_registers_is_the_simplest_and_does_not_depend_on_the_basis() -> None:
    automaton = found_sums().automaton
    law = simplest_law(automaton, _BEGINNINGS)
    # Four digits that multiply by ten, three that add, and a sign that keeps what was and starts anew.
    assert law.n_not_neutral() == 4 + 3 + 2
    turn = np.random.default_rng(0).normal(size=(3, 3))
    back = np.linalg.inv(turn)
    other = WeightedAutomaton(turn @ automaton.initial, turn @ automaton.maps @ back, back.T @ automaton.readout)
    again = simplest_law(other, _BEGINNINGS)
    np.testing.assert_array_equal(again.scale, law.scale)
    np.testing.assert_array_equal(again.shift, law.shift)


def test_only_the_registers_that_count_are_answered() -> None:
    law = WordLaw(np.zeros((1, 2, 2)), np.array([[3.0, 5.0]]), np.array([1.0, 0.0]))
    assert law.evaluate([(0,)]).tolist() == [3.0]
    assert law.is_exact([(0,)], [3])
    assert not law.is_exact([(0,)], [8])


def test_values_without_a_law_are_refused() -> None:
    texts = sums(5)
    values = np.random.default_rng(0).integers(0, 1000, len(texts)).tolist()
    with pytest.raises(FitError, match="at most 3 states, however a block"):
        find_automaton(words_of(texts), values, 5, settings=HankelSettings(max_states=3))


def test_one_wrong_value_is_refused() -> None:
    texts = sums(5)
    values = [sum(map(int, text.split("+"))) for text in texts]
    values[texts.index("33+11")] += 1
    with pytest.raises(FitError, match=r"give every value|determine what every token does"):
        find_automaton(words_of(texts), values, 5)


def test_words_that_leave_a_token_open_are_refused() -> None:
    texts = [text for text in sums(6) if "3" not in text] + ["3"]
    with pytest.raises(FitError, match=r"what tokens \[3\] do"):
        find_automaton(words_of(texts), [sum(map(int, text.split("+"))) for text in texts], 5)


def test_words_too_short_to_show_all_of_a_token_are_refused() -> None:
    with pytest.raises(FitError, match=r"what tokens \[4\] do"):  # no second "+" stands before two digits
        found_sums(length=5)


def test_words_without_short_ones_are_refused() -> None:
    texts = [text for text in sums(5) if len(text) == 5]
    with pytest.raises(FitError, match="give more of the short ones"):
        find_automaton(words_of(texts), [0] * len(texts), 5)


@pytest.mark.parametrize(
    ("words", "values", "said"),
    [
        ([], [], "not be empty"),
        ([(0,)], [1, 2], "one value each"),
        ([()], [1], "not be empty"),
        ([(1,)], [1], r"\[0\]"),
    ],
)
def test_words_must_be_given_as_they_are_taken(words: list[Word], values: list[int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_automaton(words, values, 2)


def test_words_side_by_side_are_checked() -> None:
    with pytest.raises(ConfigError, match="a word at least"):
        Words.of([], 2)
    with pytest.raises(ConfigError, match="vocabulary of 2"):
        Words.of([(0, 2)], 2)


def one_token(initial: list[float], matrix: list[list[float]], readout: list[float]) -> WeightedAutomaton:
    return WeightedAutomaton(np.array(initial), np.array([matrix]), np.array(readout))


@pytest.mark.parametrize(
    ("automaton", "said"),
    [
        (one_token([1, 1], [[2, 0], [0, 3]], [1, -1]), "keeps none"),
        (one_token([0, 1], [[1, 1], [0, 1]], [1, 2]), "another value before"),
        (one_token([0, 1], [[1, 0], [0, 1]], [1, 0]), "however they lead to 0"),
        (one_token([0, 1], [[1, 7], [0, 1]], [1, 0]), "however in no basis"),
    ],
)
def test_automata_that_are_no_law_of_registers_are_refused(automaton: WeightedAutomaton, said: str) -> None:
    with pytest.raises(FitError, match=said):
        simplest_law(automaton, [(0,), (0, 0)])


def test_derivative_is_that_of_finite_differences() -> None:
    weights, step = np.random.default_rng(1).normal(scale=0.7, size=2 + 3 * 4 + 2), 1e-6
    words = Words.of([(0, 1, 2, 1), (2,), (), (1, 1, 0)], 3)
    values, derivative = WeightedAutomaton.from_vector(weights, 3, 2).jacobian(words)
    np.testing.assert_allclose(values, WeightedAutomaton.from_vector(weights, 3, 2).evaluate(words))
    for position in range(len(weights)):
        change = np.zeros_like(weights)
        change[position] = step
        up, down = (WeightedAutomaton.from_vector(weights + sign * change, 3, 2).evaluate(words) for sign in (1, -1))
        np.testing.assert_allclose(derivative[:, position], (up - down) / (2 * step), atol=1e-7)
