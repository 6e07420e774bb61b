"""Short arithmetic programs, "3*4+2-7*15", and how they are split into training, validation and test.

A program is numbers without leading zeros with +, − or × (written *) between them; products come first.

Source:
    Trask et al., arXiv:1808.00508, section 4.4 evaluates programs with additions, subtractions and conditions after
    Zaremba and Sutskever, "Learning to Execute", arXiv:1410.4615. NOTE[DIFF]: theirs are read with each number given as
    one scalar; ours are read character by character, and have products with precedence in place of conditions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from training.errors import ConfigError

CHARACTERS = "0123456789+-*"
"""What programs are written in, in the order of their tokens."""

MAX_DIGITS = 3
"""Digits of a number in training, at most."""

MAX_LENGTH = 10
"""Characters of a program in training, at most."""

LARGEST_EXACT = 2**53
"""Up to here float64 holds every integer."""

_N_OPERATORS = 3
_DIGITS, _OPERATORS = CHARACTERS[:-_N_OPERATORS], CHARACTERS[-_N_OPERATORS:]
_SHORT_LENGTH = 4


def evaluate(program: str) -> tuple[int, int]:
    """Return the value of a program, and the largest number on the way, both as they are, without rounding.

    On the way are every number, every product of the first numbers of a term, and every sum of the first terms.

    Raises:
        ConfigError: When the text is no program.

    Example:
        >>> evaluate("3*4+2-7*15"), evaluate("2-100*3+300")
        ((-91, 105), (2, 300))
    """
    total, largest = 0, 0
    for sign, term in _terms(program):
        value = 1
        for number in term.split("*"):
            if not (number.isascii() and number.isdigit()) or (number[0] == "0" and number != "0"):
                msg = f"a program must be numbers with +, - or * between them, however: {program[:40]!a}"
                raise ConfigError(msg)
            value *= int(number)
            largest = max(largest, int(number), value)
        total += sign * value
        largest = max(largest, abs(total))
    return total, largest


def _terms(program: str) -> list[tuple[int, str]]:
    sums = program.replace("-", "+-").split("+") if not program.startswith("-") else [program]
    return [(-1, term[1:]) if term.startswith("-") and i else (1, term) for i, term in enumerate(sums)]


def tokens(program: str) -> tuple[int, ...]:
    """Return the positions of a program's characters in `CHARACTERS`."""
    return tuple(map(CHARACTERS.index, program))


@dataclass(frozen=True)
class ProgramSplit:
    """Programs that a fit sees, that it is chosen by, and that it is judged by, none of which is in two of them.

    Attributes:
        train: Programs to fit, of at most `MAX_LENGTH` characters and numbers of at most `MAX_DIGITS` digits.
        validation: Programs to choose by, drawn from the same.
        test: Programs to judge by, of `MAX_LENGTH` characters.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def split_programs(seed: int, *, n_random: int = 20_000, n_test: int = 1000) -> ProgramSplit:
    """Split short programs: all of up to four characters or of three one-digit numbers, and random ones of up to ten.

    A tenth of them is for validation. They are few enough to be listed, and say how the pieces of programs go together;
    what a number of three digits or a product of four does is in the random ones alone.

    Args:
        seed: Seed of the draws.
        n_random: Draws of five to ten characters, repetitions included.
        n_test: Programs to judge by.
    """
    generator = np.random.default_rng((seed, 1410_04615))
    lengths = generator.integers(_SHORT_LENGTH + 1, MAX_LENGTH + 1, n_random).tolist()
    random = [draw_program(length, generator) for length in lengths]
    listed = sorted({*short_programs(), *random})
    order = generator.permutation(len(listed))
    n_validation = len(listed) // 10
    known = set(listed)
    test: list[str] = []
    while len(test) < n_test:
        program = draw_program(MAX_LENGTH, generator)
        if program not in known:
            known.add(program)
            test.append(program)
    return ProgramSplit(
        tuple(listed[i] for i in order[n_validation:]), tuple(listed[i] for i in order[:n_validation]), tuple(test)
    )


def short_programs() -> list[str]:
    """Return all programs of up to four characters, and all of three one-digit numbers."""
    numbers = [str(number) for number in range(10**MAX_DIGITS)]
    pairs = [
        first + operator + second
        for first in numbers
        for second in numbers
        if len(first) + len(second) < _SHORT_LENGTH
        for operator in _OPERATORS
    ]
    triples = ["".join(one) for one in product(_DIGITS, _OPERATORS, _DIGITS, _OPERATORS, _DIGITS)]
    return [*numbers, *pairs, *triples]


def draw_program(length: int, generator: np.random.Generator) -> str:
    """Draw a program of `length` characters whose value, and all on the way to it, float64 holds exactly.

    Numbers have one to `MAX_DIGITS` digits, each as often as the length allows; operators come equally often, each
    drawn by itself. A program with a number above `LARGEST_EXACT` on the way is drawn again.
    """
    while True:
        parts: list[str] = []
        left = length
        while left:
            room = [n for n in range(1, MAX_DIGITS + 1) if left - n != 1 and left >= n]
            parts.append(_draw_number(room[generator.integers(len(room))], generator))
            left -= len(parts[-1])
            if left:
                parts.append(_OPERATORS[generator.integers(_N_OPERATORS)])
                left -= 1
        if evaluate("".join(parts))[1] <= LARGEST_EXACT:
            return "".join(parts)


def draw_of_digits(n_digits: int, generator: np.random.Generator) -> str:
    """Draw a program of three numbers of `n_digits` digits each, whose value float64 holds exactly as it does above."""
    while True:
        numbers = [_draw_number(n_digits, generator) for _ in range(3)]
        first, second = (_OPERATORS[one] for one in generator.integers(_N_OPERATORS, size=2))
        program = f"{numbers[0]}{first}{numbers[1]}{second}{numbers[2]}"
        if evaluate(program)[1] <= LARGEST_EXACT:
            return program


def _draw_number(n_digits: int, generator: np.random.Generator) -> str:
    return str(generator.integers(10 ** (n_digits - 1) if n_digits > 1 else 0, 10**n_digits))


def by_length(programs: Sequence[str]) -> dict[int, list[int]]:
    """Return the positions of programs by their length."""
    positions: dict[int, list[int]] = {}
    for position, program in enumerate(programs):
        positions.setdefault(len(program), []).append(position)
    return positions
