"""Numbers in words, their splits, and the laws found on them."""

import numpy as np
import pytest
import torch

from models.networks import SequenceNetwork
from training.errors import ConfigError
from training.fitting.word_law import WordLaw
from training.fitting.word_laws import SearchLimits, find_word_laws
from training.reproduce.number_words.laws import absolute_errors, choose_law, law_network, law_text
from training.tasks.number_words import (
    WORDS,
    WORDS_TO_A_MILLION,
    in_words,
    split_below_a_thousand,
    split_to_a_million,
    tokens,
)

_VALUES = {word: value for value, word in enumerate(WORDS[:20])} | {
    word: 10 * (tens + 2) for tens, word in enumerate(WORDS[20:28])
}


def _read(words: tuple[str, ...]) -> int:
    """Return the number of words, as a person reads them."""
    total = current = 0
    for word in words:
        if word == "hundred":
            current *= 100
        elif word == "thousand":
            total, current = total + 1000 * current, 0
        elif word != "and":
            current += _VALUES[word]
    return total + current


def test_every_number_is_said_once_and_read_back() -> None:
    numbers = [*range(3000), *range(3000, 1_000_000, 997), 999_999]
    said = [in_words(number) for number in numbers]
    assert [_read(words) for words in said] == numbers
    assert len(set(said)) == len(said)
    assert max(len(words) for words in said) == 11


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "zero"),
        (40, "forty"),
        (100, "one hundred"),
        (101, "one hundred and one"),
        (372, "three hundred and seventy two"),
        (1000, "one thousand"),
        (7_015, "seven thousand and fifteen"),
        (200_300, "two hundred thousand three hundred"),
        (999_999, "nine hundred and ninety nine thousand nine hundred and ninety nine"),
    ],
)
def test_numbers_are_said_as_in_british_english(number: int, said: str) -> None:
    assert " ".join(in_words(number)) == said


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_what_cannot_be_said_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match="from 0 to 999999"):
        in_words(number)


@pytest.mark.parametrize("seed", range(10))
def test_a_split_has_every_number_once_and_every_word_in_training(seed: int) -> None:
    split = split_below_a_thousand(seed)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [169, 200, 631]
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(1000))
    assert {word for number in split.train for word in in_words(number)} == set(WORDS)
    assert split != split_below_a_thousand(seed + 1)


def test_a_split_can_hold_the_round_hundreds_in_training() -> None:
    split = split_below_a_thousand(2, round_hundreds=True)
    assert {*range(20), *range(100, 1000, 100)} <= set(split.train)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [169, 200, 631]
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(1000))


def test_the_larger_split_adds_numbers_with_thousand_apart_from_each_other() -> None:
    split = split_to_a_million(3)
    assert len(split.train) == len(set(split.train)) == 400
    assert len(split.validation) == 400
    assert not set(split.train) & set(split.validation)
    assert split.test == split_below_a_thousand(3).test
    with pytest.raises(ConfigError, match="add up to"):
        split_to_a_million(0, n_thousands=0)


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="'million'"):
        tokens([("one", "million")], WORDS)


@pytest.mark.parametrize("seed", range(3))
def test_the_unit_is_exact_on_test_numbers(seed: int) -> None:
    split = split_below_a_thousand(seed)
    chosen = choose_law(split)
    assert chosen.law.n_registers == 1
    assert chosen.law.n_not_neutral() == 28
    assert absolute_errors(law_network(chosen.law), split.test, split.words).max() == 0
    assert "×zero" in chosen.open  # no number goes on after another and then says "zero"


def test_what_training_leaves_open_is_told_and_validation_decides() -> None:
    split = split_below_a_thousand(2)
    assert not [number for number in split.train if number and number % 100 == 0]
    chosen = choose_law(split)
    assert chosen.n_simplest == 2
    assert chosen.validated[0] == 1 > chosen.validated[1]
    assert chosen.decided_by_validation
    assert {"×hundred with ×and", "+hundred with +and"} <= set(chosen.open)


def test_without_validation_s_help_the_trade_off_is_undecided() -> None:
    sentences = tokens([in_words(number) for number in (1, 2, 3, 101, 203, 302)], WORDS)
    found = find_word_laws(sentences, [1, 2, 3, 101, 203, 302], len(WORDS))
    factors = [{WORDS[word] for word in np.flatnonzero(law.scale[:, 0, 0] != 1)} for law in found.laws]
    assert sorted(factors, key=str) == [{"and"}, {"hundred"}]


def test_the_unit_learns_thousand_and_is_exact_far_beyond_what_it_saw() -> None:
    split = split_to_a_million(1)
    chosen = choose_law(split)
    assert chosen.law.n_registers == 2
    assert chosen.law.n_not_neutral() == 30
    assert chosen.open == ()
    assert chosen.n_open == 123
    numbers = [*range(0, 1_000_000, 1009), 999_999]
    assert absolute_errors(law_network(chosen.law), numbers, WORDS_TO_A_MILLION).max() == 0
    assert law_text(chosen.law, split.words).endswith("thousand: s1 = s1 + 1000 * s2, s2 = 0; answer s1 + s2")


def test_a_law_beyond_the_limits_is_not_found() -> None:
    sentences, numbers = [(0,), (1,), (0, 1), (1, 0), (0, 0)], [3, 5, 17, 90, 2]
    found = find_word_laws(sentences, numbers, 2, SearchLimits(max_registers=1, max_entries=1))
    assert found.laws == ()
    assert found.n_tried > 0


def test_sentences_must_be_given_as_they_are_taken() -> None:
    for sentences, numbers in (([], []), ([(0,)], [1, 2]), ([()], [1])):
        with pytest.raises(ConfigError, match="at least one word"):
            find_word_laws(sentences, numbers, 1)
    with pytest.raises(ConfigError, match="from 0 to 0"):
        find_word_laws([(1,)], [1], 1)


def test_a_law_in_fractions_is_found_and_checked_without_rounding() -> None:
    half = find_word_laws([(0,), (0, 1), (0, 1, 0), (0, 0), (0, 0, 1)], [8, 4, 12, 16, 8], 2).laws[0]
    assert half.scale[1, 0, 0] == 0.5
    third = WordLaw(np.array([[[1.0]], [[1 / 3]]]), np.array([[3.0], [0.0]]))
    assert third.evaluate([(0, 1)])[0] == 1
    assert not third.is_exact([(0, 1)], [1])


def test_a_network_of_a_law_answers_as_the_law_does() -> None:
    rng = np.random.default_rng(0)
    law = WordLaw(rng.integers(-3, 4, (5, 2, 2)).astype(float), rng.integers(-9, 9, (5, 2)).astype(float))
    network = law_network(law)
    assert isinstance(network, SequenceNetwork)
    sentences = [tuple(row) for row in rng.integers(0, 5, (20, 7)).tolist()]
    with torch.no_grad():
        np.testing.assert_array_equal(network(torch.tensor(sentences))[:, 0].numpy(), law.evaluate(sentences))
