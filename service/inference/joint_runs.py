"""Whether a model answers rows of several requests in one run with the bits that it answers each request with.

A kernel may add up a matrix product in another order for one row than for many, and its vector and remainder loops may
round differently, so this is measured for each model when the service starts, at every number of rows that is joined.
"""

from typing import Final

import numpy as np

from service.errors import InferenceError
from service.inference.costs import TIMED_ROWS, run_seconds, sample_rows
from service.inference.encoding import Encoded
from service.inference.session import ModelSession

MAX_ROWS: Final = TIMED_ROWS
"""Most rows of one run: with more, the first request of a turn begins to wait for the last."""

_MAX_RUN_S: Final = 0.002
"""Longest run of `MAX_ROWS` rows that is worth joining; beyond, the work per row outweighs what a run costs."""

_N_DRAWS: Final = 2


def runs_jointly(session: ModelSession) -> bool:
    """Return whether runs of 2 to `MAX_ROWS` rows are quick and give the very bits of runs of one row.

    Takes a few milliseconds: rows are drawn inside and around the range seen in training, always the same ones.
    """
    random = np.random.default_rng(0)
    if run_seconds(session) > _MAX_RUN_S:
        return False
    try:
        rows = sample_rows(session.manifest, random, MAX_ROWS)
        for _ in range(_N_DRAWS):
            alone = [_bits(session, _some(rows, i, i + 1))[0] for i in range(MAX_ROWS)]
            for n_rows in range(2, MAX_ROWS + 1):
                first = int(random.integers(MAX_ROWS - n_rows + 1))
                if _bits(session, _some(rows, first, first + n_rows)) != alone[first : first + n_rows]:
                    return False
            rows = sample_rows(session.manifest, random, MAX_ROWS)
    except InferenceError:
        return False
    return True


def _bits(session: ModelSession, rows: Encoded) -> list[bytes]:
    """Return the bits of each row's answer, with those of its distance where the model has a joint range."""
    if session.joint is None:
        return [answer.tobytes() for answer in session.run(rows)]
    answers, distances = session.run_marked(rows)
    return [answer.tobytes() + distance.tobytes() for answer, distance in zip(answers, distances, strict=True)]


def _some(rows: Encoded, start: int, stop: int) -> Encoded:
    return Encoded(rows.numeric[start:stop], rows.categorical[start:stop], rows.in_range[start:stop])
