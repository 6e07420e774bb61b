"""Rows of plain numbers in JSON, read by simdjson into one buffer: there is no Python object per number.

It flattens nested arrays, so the shape is checked apart: every row must have as many elements as the model has columns,
and the block no array but its rows.
"""

import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.inference.costs import AT_ONCE_S

_OPENING: Final = ord("[")

_WIDTH: Final[Callable[[Any], int]] = len
"""Of a row; what has no length is a TypeError."""

_LONG_ROW: Final = 8
"""Rows that are compared as one."""

_N_TIMED: Final = 5
_TIMED_SHAPE: Final = (100, 28)

_own = threading.local()


def read_numbers(block: bytes | memoryview, width: int, most_rows: int | None = None) -> NDArray[np.float64] | None:
    """Return the numbers of rows given as a JSON array, or None where it is no such array or the strict reader decides.

    Args:
        block: The rows, with nothing around them.
        width: Numbers of a row.
        most_rows: Most rows to read, or None for no limit.

    Shape:
        - answer: (n_rows, width)

    Raises:
        ValueError: When it is no JSON.
    """
    n_rows = int(np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == _OPENING)) - 1
    if most_rows is not None and n_rows > most_rows:
        return None
    try:
        rows = _own_parser().parse(block)
        if not isinstance(rows, simdjson.Array) or len(rows) != n_rows or set(map(_WIDTH, rows)) != {width}:
            return None
        numbers = np.frombuffer(rows.as_buffer(of_type="d"))
    except (RuntimeError, TypeError):  # an integer of more than 64 bits; something that is no number or no row
        del _own.parser  # it may still be held by what it could not read
        return None
    return numbers.reshape(n_rows, width) if len(numbers) == n_rows * width else None


def column_extremes(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest number of each column.

    Rows are compared eight at a time, as one long row: that takes a third of the time where rows are short.

    Shape:
        - numbers: (n_rows, width), contiguous, at least one row
        - answers: (width,)
    """
    n_rows, width = numbers.shape
    n_long = n_rows // _LONG_ROW
    if n_long < _LONG_ROW:
        return numbers.min(axis=0), numbers.max(axis=0)
    long = numbers[: n_long * _LONG_ROW].reshape(n_long, _LONG_ROW * width)
    rest = numbers[n_long * _LONG_ROW :]
    lowest = np.concatenate((long.min(axis=0).reshape(_LONG_ROW, width), rest))
    highest = np.concatenate((long.max(axis=0).reshape(_LONG_ROW, width), rest))
    return lowest.min(axis=0), highest.max(axis=0)


@cache
def bytes_at_once() -> int:
    """Return how large a body of numbers is that this machine reads within `AT_ONCE_S`."""
    rows = np.random.default_rng(0).uniform(0, 1, _TIMED_SHAPE).tolist()
    block = str(rows).encode()
    seconds = []
    for _ in range(_N_TIMED):
        started = time.perf_counter()
        read_numbers(block, _TIMED_SHAPE[1])
        seconds.append(time.perf_counter() - started)
    return int(len(block) * AT_ONCE_S / min(seconds))


def _own_parser() -> simdjson.Parser:
    """Return this thread's parser, whose memory is taken once: a megabyte of new pages costs as much as two blocks."""
    try:
        parser: simdjson.Parser = _own.parser
    except AttributeError:
        parser = _own.parser = simdjson.Parser()
    return parser
