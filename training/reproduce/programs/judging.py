"""How answers to programs are judged, and the programs that only judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.networks import SequenceNetwork
from training.tasks.programs import (
    MAX_LENGTH,
    ProgramSplit,
    by_length,
    draw_of_digits,
    draw_program,
    evaluate,
    tokens,
)

LENGTHS = (MAX_LENGTH, 20, 50, 100, 200, 500, 1000)
"""Characters of the programs that judge; those of the first are as in training."""

DIGITS = (1, 2, 3, 4, 5, 6)
"""Digits of the three numbers of the other programs that judge; up to three are as in training."""

_ROWS_AT_ONCE = 5000


@dataclass(frozen=True)
class Score:
    """How a network answers programs.

    Attributes:
        right: Share of the answers that are right when rounded.
        median: Median of |answer − value| / (1 + |value|).
        worst: Largest |answer − value|.
    """

    right: float
    median: float
    worst: float


@dataclass(frozen=True)
class Judges:
    """Programs that choose nothing.

    Attributes:
        by_length: Programs of each of `LENGTHS`.
        by_digits: Programs of three numbers of each of `DIGITS`.
    """

    by_length: dict[int, list[str]]
    by_digits: dict[int, list[str]]


def judges(split: ProgramSplit, n_programs: int, seed: int) -> Judges:
    """Draw what a seed's networks are judged by, beside the split's own test programs."""
    generator = np.random.default_rng((seed, 1808_00508))
    longer = {length: [draw_program(length, generator) for _ in range(n_programs)] for length in LENGTHS[1:]}
    wide = {n: [draw_of_digits(n, generator) for _ in range(n_programs)] for n in DIGITS}
    return Judges({MAX_LENGTH: list(split.test[:n_programs]), **longer}, wide)


@torch.no_grad()
def judge(network: SequenceNetwork, programs: Sequence[str]) -> Score:
    """Judge a network's answers; programs of one length are read at once.

    An answer that is not finite is infinitely far off.
    """
    values = np.array([evaluate(program)[0] for program in programs], dtype=np.float64)
    answers = np.empty(len(programs))
    for rows in by_length(programs).values():
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            read = torch.tensor([tokens(programs[row]) for row in part])
            answers[part] = network(read)[:, 0].double().numpy()
    off = np.nan_to_num(np.abs(answers - values), nan=np.inf)
    return Score(float((off < 0.5).mean()), float(np.median(off / (1 + np.abs(values)))), float(off.max()))
