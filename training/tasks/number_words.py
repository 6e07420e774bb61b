"""Numbers in English words, "three hundred and twelve", and how they are split into training, validation and test.

Source:
    Trask et al., arXiv:1808.00508, section 4.3 (the task and the sizes 169, 200 and 631); Madsen and Johansen,
    arXiv:2001.05016, and their published loader (the rule that the training numbers hold the small numbers and every
    word). NOTE[DIFF]: their numbers are 1 … 999 (630 to test by); ours are 0 … 999, so that the three add up to 1,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import ConfigError

_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_SMALL = (*_UNITS, *_TEENS)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

WORDS = (*_SMALL, *_TENS, "hundred", "and")
"""The words of the numbers below 1,000."""

WORDS_TO_A_MILLION = (*WORDS, "thousand")
"""The words of the numbers below 1,000,000."""

LARGEST = 999_999

_N_BELOW = 1000
_N_SPOKEN = len(_SMALL)
"""The numbers from 0 that have a word of their own, all of which are trained on."""


def in_words(number: int) -> tuple[str, ...]:
    """Return the English words of a number.

    Args:
        number: From 0 to 999,999.

    Raises:
        ConfigError: When the number lies outside.

    Example:
        >>> " ".join(in_words(372)), " ".join(in_words(45_008))
        ('three hundred and seventy two', 'forty five thousand and eight')
    """
    if not 0 <= number <= LARGEST:
        msg = f"a number to say must lie from 0 to {LARGEST}, however: {number}"
        raise ConfigError(msg)
    if number < _N_BELOW:
        return _below_a_thousand(number)
    thousands, rest = divmod(number, _N_BELOW)
    said = (*_below_a_thousand(thousands), "thousand")
    if not rest:
        return said
    return (*said, *(("and",) if rest < 100 else ()), *_below_a_thousand(rest))


def _below_a_thousand(number: int) -> tuple[str, ...]:
    hundreds, rest = divmod(number, 100)
    if hundreds:
        said = (_SMALL[hundreds], "hundred")
        return (*said, "and", *_below_a_thousand(rest)) if rest else said
    tens, ones = divmod(number, 10)
    if number < _N_SPOKEN:
        return (_SMALL[number],)
    return (_TENS[tens - 2], _SMALL[ones]) if ones else (_TENS[tens - 2],)


@dataclass(frozen=True)
class NumberSplit:
    """Which numbers a fit sees, which it is chosen by, and which it is judged by.

    Attributes:
        train: Numbers to fit.
        validation: Numbers to choose by.
        test: Numbers to judge by, once.
        words: The words that may be said, every one of which is in a training number.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    words: tuple[str, ...]


def split_below_a_thousand(seed: int, *, round_hundreds: bool = False) -> NumberSplit:
    """Split 0 … 999 at random into 169, 200 and 631 numbers.

    The numbers 0 … 19 are trained on, and so is the first number drawn that brings a word not yet heard; the rest go
    to the test first, then to the validation, then to the training, as the loader of arXiv:2001.05016 does it.

    Args:
        seed: Seed of the order in which they are drawn.
        round_hundreds: Whether 100, 200, …, 900 are trained on as well.

    Example:
        >>> split = split_below_a_thousand(0)
        >>> len(split.train), len(split.validation), len(split.test)
        (169, 200, 631)
    """
    order = np.random.default_rng(seed).permutation(np.arange(_N_SPOKEN, _N_BELOW)).tolist()
    trained = [*range(_N_SPOKEN), *(range(100, _N_BELOW, 100) if round_hundreds else ())]
    order = [number for number in order if number not in trained]
    return _split(trained, order, n_validation=200, n_test=631, words=WORDS)


def split_to_a_million(seed: int, *, n_thousands: int = 231, n_validation: int = 200) -> NumberSplit:
    """Add numbers from 1,000 to 999,999 to the split of the numbers below.

    Args:
        seed: Seed of both splits.
        n_thousands: Numbers with "thousand" to fit: with the 169 below a thousand they are 400.
        n_validation: Numbers with "thousand" to choose by.

    Returns:
        The split. Its test numbers are those of the smaller split; who wants to judge by the larger numbers takes all
        up to `LARGEST` that are neither fitted nor chosen by.

    Raises:
        ConfigError: When a count is negative or there are not so many numbers.
    """
    n_larger = LARGEST + 1 - _N_BELOW
    if n_thousands < 1 or n_validation < 0 or n_thousands + n_validation > n_larger:
        msg = (
            f"the counts must be positive and add up to {n_larger} at most, however: "
            f"n_thousands={n_thousands}, n_validation={n_validation}"
        )
        raise ConfigError(msg)
    below = split_below_a_thousand(seed)
    generator = np.random.default_rng((seed, n_thousands))
    larger = (_N_BELOW + generator.choice(n_larger, n_thousands + n_validation, replace=False)).tolist()
    return NumberSplit(
        train=(*below.train, *larger[:n_thousands]),
        validation=(*below.validation, *larger[n_thousands:]),
        test=below.test,
        words=WORDS_TO_A_MILLION,
    )


def _split(
    train: list[int], order: list[int], *, n_validation: int, n_test: int, words: tuple[str, ...]
) -> NumberSplit:
    unheard = set(words) - {word for number in train for word in in_words(number)}
    validation: list[int] = []
    test: list[int] = []
    for number in order:
        said = set(in_words(number))
        if said & unheard:
            train.append(number)
            unheard -= said
        elif len(test) < n_test:
            test.append(number)
        elif len(validation) < n_validation:
            validation.append(number)
        else:
            train.append(number)
    return NumberSplit(tuple(train), tuple(validation), tuple(test), words)


def tokens(sentences: Sequence[Sequence[str]], words: Sequence[str]) -> list[tuple[int, ...]]:
    """Return each sentence as the positions of its words in `words`.

    Raises:
        ConfigError: When a word is not among them.
    """
    position = {word: index for index, word in enumerate(words)}
    coded = []
    for sentence in sentences:
        unknown = [word for word in sentence if word not in position]
        if unknown:
            msg = f"a word must be one of the {len(position)} of the vocabulary, however: {unknown[0]!r}"
            raise ConfigError(msg)
        coded.append(tuple(position[word] for word in sentence))
    return coded
