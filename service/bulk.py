"""Bulk prediction: the rows of a body predicted batch by batch while it arrives, the answer written piece by piece.

Predictions are held until the last row is known to be answered, so that a fault anywhere is an error and never half an
answer; they are a fraction of what arrived. Nothing else is held: neither the body nor its rows.
"""

import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, Literal, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from models.contract.manifest import ModelManifest
from models.contract.table_writer import DelimitedWriter
from service.body_pipe import BodyPipe, Encoding, Inflated, Readable
from service.bulk_rows import Rows, arrow_rows, delimited_rows
from service.errors import Fault, FaultyInputError, InputShapeError, InvalidRequestError
from service.inference.batches import SequenceLimits
from service.inference.session import ModelSession
from service.inference.trust import Asked
from service.offline_rows import IN_RANGE, answer_rows, free_name, names_beside

Form = Literal["arrow", "csv", "json"]

_ANSWER_ROWS: Final = 65_536
"""Rows written at a time: 1.6 MB of three outputs; each piece costs two changes of threads."""

_ZLIB_LEVEL: Final = 1
"""Fastest: answers go over networks that are slower than it, and higher levels gain a few percent on numbers."""

_GZIP_BITS: Final = 31


@dataclass(frozen=True)
class BulkRequest:
    """What is asked for.

    Attributes:
        session: The model.
        form: Form of the body, "arrow" or "csv".
        encoding: How the body is compressed, or None.
        asked: What is wanted beside predictions.
    """

    session: ModelSession
    form: Form
    encoding: Encoding | None
    asked: Asked


@dataclass(frozen=True)
class BulkLimits:
    """How much one body may hold.

    Attributes:
        max_bytes: Most bytes, once decompressed.
        max_rows: Most rows.
        sequences: How much a model of sequences may be asked for.
    """

    max_bytes: int
    max_rows: int
    sequences: SequenceLimits


@dataclass(frozen=True)
class BulkAnswer:
    """Predictions of a whole body.

    Attributes:
        manifest: The model's manifest.
        columns: Output or what was asked for beside → values, shape (n_rows,).
        in_range: Shape (n_rows,).
    """

    manifest: ModelManifest
    columns: dict[str, NDArray[np.float64]]
    in_range: NDArray[np.bool_]


def predict_body(request: BulkRequest, body: BodyPipe, limits: BulkLimits) -> BulkAnswer:
    """Predict the rows of a body as it arrives; in a thread.

    Raises:
        UnreadableBodyError: When the body is not in its form.
        BodyTooLargeError: When it is over the limit, compressed or not.
        FaultyInputError: When a row is not one that the model answers; rows are counted over the whole body.
        NotOfferedError: When the model does not have what is asked for.
        InferenceError: When a run fails.
    """
    try:
        return predict_stream(request, Inflated(body, request.encoding, limits.max_bytes), limits)
    finally:
        body.close()


def predict_stream(request: BulkRequest, stream: Readable, limits: BulkLimits) -> BulkAnswer:
    """Predict the rows of a body that is not compressed, or not any more; it raises what `predict_body` does."""
    session, manifest = request.session, request.session.manifest
    rows: Iterator[Rows]
    if request.form == "arrow":
        rows = arrow_rows(stream, manifest, limits.max_bytes, limits.max_rows)
    else:
        rows = delimited_rows(stream, manifest)
    parts = []
    n_rows = 0
    for batch in rows:
        n_batch = len(next(iter(batch.values())))
        if n_rows + n_batch > limits.max_rows:
            raise InvalidRequestError([Fault(f"a body must have at most {limits.max_rows} rows, however it has more")])
        try:
            parts.append(answer_rows(session, batch, empty=False, asked=request.asked, limits=limits.sequences))
        except FaultyInputError as error:
            raise _further_down(error, n_rows) from error
        n_rows += n_batch
    if not parts:
        raise InputShapeError([Fault("a request must have at least one row, however it has none")])
    values = np.concatenate([part.values for part in parts])
    columns = dict(zip(session.output_names, values.T, strict=True))
    for name in names_beside(manifest, request.asked):
        columns[free_name(name, columns)] = np.concatenate([part.beside[name] for part in parts])
    return BulkAnswer(manifest, columns, np.concatenate([part.in_range for part in parts]))


def _further_down(error: FaultyInputError, n_before: int) -> FaultyInputError:
    """Return an error about rows of a batch as one about rows of the body."""
    faults = [fault if fault.row is None else replace(fault, row=fault.row + n_before) for fault in error.faults]
    return type(error)(faults, error.n_faults)


def written(answer: BulkAnswer, form: Form) -> Iterator[bytes]:
    """Yield an answer piece by piece.

    Arrow and delimited text have a column per output, those asked for beside, and `in_range`; JSON is in the split
    form.
    """
    return _write_json(answer) if form == "json" else _write_table(answer, form)


def _write_table(answer: BulkAnswer, form: Form) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import ipc

    name = free_name(IN_RANGE, answer.columns)
    told = {"model": answer.manifest.name, "version": str(answer.manifest.version)}
    schema = pa.schema([*((one, pa.float64()) for one in answer.columns), (name, pa.bool_())], metadata=told)
    sink = _Sink()
    writer: Any = ipc.new_stream(sink, schema) if form == "arrow" else DelimitedWriter(cast(BinaryIO, sink))
    for start in range(0, len(answer.in_range), _ANSWER_ROWS):
        rows = slice(start, start + _ANSWER_ROWS)
        columns = [np.ascontiguousarray(values[rows]) for values in answer.columns.values()]
        writer.write(pa.record_batch([*columns, answer.in_range[rows]], schema=schema))
        yield sink.take()
    writer.close()
    yield sink.take()


def _write_json(answer: BulkAnswer) -> Iterator[bytes]:
    head = {"model": answer.manifest.name, "version": answer.manifest.version, "columns": list(answer.columns)}
    piece = orjson.dumps(head)[:-1] + b',"data":['
    for start in range(0, len(answer.in_range), _ANSWER_ROWS):
        block = np.column_stack([values[start : start + _ANSWER_ROWS] for values in answer.columns.values()])
        yield piece + orjson.dumps(np.ascontiguousarray(block), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        piece = b","
    yield b'],"in_range":' + orjson.dumps(answer.in_range, option=orjson.OPT_SERIALIZE_NUMPY) + b"}"


def compressed(pieces: Iterable[bytes], encoding: Encoding) -> Iterator[bytes]:
    """Yield pieces compressed, as one stream."""
    if encoding == "gzip":
        packer = zlib.compressobj(_ZLIB_LEVEL, wbits=_GZIP_BITS)
        for piece in pieces:
            yield packer.compress(piece)
        yield packer.flush()
        return
    import pyarrow as pa

    sink = _Sink()
    stream = pa.CompressedOutputStream(pa.PythonFile(sink, mode="w"), encoding)
    for piece in pieces:
        stream.write(piece)
        yield sink.take()
    stream.close()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken, also once it is closed."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        """Return what was written since."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
