"""Writes predictions as JSON, around pieces of text that are the same in every answer of a model."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from models.contract.manifest import ModelManifest
from service.inference.breath import Breath

BLOCK_ROWS: Final = 2_000
"""Rows written at once: 3 outputs of them take less than a millisecond, then other threads get on."""

_FEW_ROWS: Final = 10
"""Up to so many rows are written faster as lists than as an array."""

_ALL_INSIDE: Final = b',"in_range":[true]}'


class AnswerWriter:
    """Writes the answers of one model.

    Args:
        manifest: Its manifest.
    """

    def __init__(self, manifest: ModelManifest) -> None:
        self._names = [output.name for output in manifest.outputs]
        start = orjson.dumps({"model": manifest.name, "version": manifest.version})[:-1]
        self._before = {
            False: start + b',"predictions":',
            True: start + b',"columns":' + orjson.dumps(self._names) + b',"data":',
        }
        names = (orjson.dumps(name).replace(b"%", b"%%") for name in self._names)
        self._record = b"{%b}" % b",".join(name + b":%b" for name in names)

    def write(self, rows: Sequence[bytes], in_range: Sequence[bool], *, split: bool) -> bytes:
        """Return the answer with a few rows.

        Args:
            rows: Their outputs, as `rows_as_text` writes them.
            in_range: Whether each row lay inside the range seen in training.
            split: Whether the answer is in the split form.
        """
        if split:
            text = b"[[%b]]" % (rows[0] if len(rows) == 1 else b"],[".join(rows))
        else:
            text = b"[%b]" % b",".join([self._record % (*row.split(b","),) for row in rows])
        if in_range == [True]:
            return self._before[split] + text + _ALL_INSIDE
        return b"".join((self._before[split], text, b',"in_range":', orjson.dumps(in_range), b"}"))

    def write_many(self, values: NDArray[np.float64], in_range: NDArray[np.bool_], *, split: bool) -> bytes:
        """Return the answer with any number of rows, written in blocks.

        Shape:
            - values: (n_rows, d_outputs)
            - in_range: (n_rows,)
        """
        if len(values) <= _FEW_ROWS:
            return self.write(rows_as_text(values), in_range.tolist(), split=split)
        breath = Breath()
        parts: list[bytes] = [self._before[split], b"["]
        for start in range(0, len(values), BLOCK_ROWS):
            block: Any = values[start : start + BLOCK_ROWS]
            if not split:
                block = [dict(zip(self._names, row, strict=True)) for row in block.tolist()]
            parts += (orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1], b",")
            breath.take()
        parts[-1] = b'],"in_range":'
        parts += (orjson.dumps(in_range, option=orjson.OPT_SERIALIZE_NUMPY), b"}")
        return b"".join(parts)


def rows_as_text(values: NDArray[np.float64]) -> list[bytes]:
    """Return each row's outputs in JSON, parted by commas, of shape (n_rows, d_outputs) with at least one of both."""
    if len(values) <= _FEW_ROWS:
        return orjson.dumps(values.tolist())[2:-2].split(b"],[")
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
