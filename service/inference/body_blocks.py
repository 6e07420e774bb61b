"""Where the rows of a large body lie, how they are cut into blocks, and what was read of the blocks put together."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from service.inference.encoding import Encoded

BLOCK_BYTES: Final = 128 * 1024
"""Size of a block: about 250 rows of 28 numbers as records, read in about a millisecond."""

_ROWS_START: Final = re.compile(rb'"(rows|data)"[ \t\r\n]*:[ \t\r\n]*\[')
_WHITE_SPACE: Final = b" \t\r\n"
_PARTING: Final = re.compile(rb"[ \t\r\n]*,")
_MAX_START: Final = 64 * 1024
"""Where the rows of a large body must have begun; 2,000 column names take less."""


def find_rows(body: bytes | bytearray, n_bytes: int) -> tuple[int, int, bool] | None:
    """Return where the rows of a large body seem to begin and to end, and whether in the split form.

    What is there is rows only where what is around it proves to be a request.

    Args:
        body: Memory that begins with the body.
        n_bytes: Length of the body.
    """
    start = _ROWS_START.search(body, 0, min(n_bytes, _MAX_START))
    end = body.rfind(b"]", 0, n_bytes)
    return None if start is None or end < start.end() else (start.end(), end, start[1] == b"data")


def rows_in_blocks(body: bytes, start: int, end: int, *, split: bool) -> Iterator[bytes]:
    """Cut the rows between `start` and `end` behind a row's last character, each block as an array of its own.

    Where every block is JSON, their elements are those of the rows: a cut within a text would leave it open.

    Raises:
        ValueError: When two blocks are not parted by one comma.
    """
    closer = b"]" if split else b"}"
    view = memoryview(body)
    while True:
        cut = body.find(closer, start + BLOCK_BYTES, end) + 1 or end
        yield b"".join((b"[", view[start:cut], b"]"))
        parting = _PARTING.match(body, cut, end)
        if parting is None:
            if body[cut:end].strip(_WHITE_SPACE):
                msg = "two rows must be parted by a comma"
                raise ValueError(msg)
            return
        start = parting.end()


def join_rows(parts: Sequence[Encoded]) -> Encoded:
    """Return the rows of all parts."""
    return Encoded(
        np.concatenate([part.numeric for part in parts]),
        np.concatenate([part.categorical for part in parts]),
        np.concatenate([part.in_range for part in parts]),
    )
