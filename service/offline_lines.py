"""Offline prediction of JSON lines: an object a line in, the same with predictions out.

What does not fit a table's cell, such as a sequence of numbers or images, fits a line. A line has the fields of a row
of `POST /predict`, and any others, which are passed through.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from models.contract.delimited import open_bytes
from models.contract.errors import TableError
from models.contract.table_writer import check_output, open_staged
from service.api.json_body import parse_json
from service.errors import FaultyInputError, UnreadableBodyError, quote
from service.inference.session import ModelSession
from service.inference.trust import Asked
from service.offline_rows import (
    IN_RANGE,
    NOTHING,
    Answered,
    Summary,
    answer_rows,
    check_other_file,
    free_name,
    refusal,
    total,
)

EXTENSION = ".jsonl"

_BATCH_BYTES = 4 * 1024**2
"""Lines predicted at a time: digits of 28 × 28 pixels, of which so many bytes hold some 15,000 as PNG, are ten times as
large once decoded."""

Record = dict[str, Any]


def is_lines(path: Path) -> bool:
    """Tell whether a file is JSON lines by its name."""
    return path.name.lower().endswith(EXTENSION)


def predict_lines(
    session: ModelSession,
    source: Path,
    out: Path | None,
    *,
    keep: Sequence[str] | None,
    empty: bool,
    asked: Asked = NOTHING,
) -> Summary:
    """Predict every line, in order.

    Args:
        session: The model.
        source: JSON lines; blank lines are passed over.
        out: JSON lines, replaced if it exists, and only once every line is predicted; None writes to standard output.
        keep: Fields of a line to keep; None keeps all.
        empty: Whether a line that the model does not answer gets null, and not the file a refusal.
        asked: What is wanted beside predictions; its fields stand behind them.

    Raises:
        TableError: When a line is no JSON object or lacks a field, or the output cannot be written.
        RowsRefusedError: When lines are not answered and `empty` is not set.
    """
    if out is not None:
        check_output(out, (EXTENSION,))
        check_other_file(source, out)
    names = [column.name for column in session.manifest.inputs]
    parts = []
    with _open_output(out) as stream:
        for numbers, records in _batches(source, (*names, *(keep or ()))):
            columns = {name: [record[name] for record in records] for name in names}
            try:
                answer = answer_rows(session, columns, empty=empty, asked=asked)
            except FaultyInputError as error:
                raise refusal(source, lambda row, numbers=numbers: f"line {numbers[row]}", error) from error  # type: ignore[misc]
            for record in _joined(session, records, keep, answer):
                stream.write((json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))
            parts.append(answer.summary)
        if not parts:
            msg = f"a file must have at least one line, however {source} has none"
            raise TableError(msg)
    return total(parts)


def _batches(source: Path, wanted: Sequence[str]) -> Iterator[tuple[list[int], list[Record]]]:
    numbers, records, n_bytes = list[int](), list[Record](), 0
    with open_bytes(source) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            numbers.append(number)
            records.append(_record(source, number, line, wanted))
            n_bytes += len(line)
            if n_bytes >= _BATCH_BYTES:
                yield numbers, records
                numbers, records, n_bytes = [], [], 0
    if records:
        yield numbers, records


def _record(source: Path, number: int, line: bytes, wanted: Sequence[str]) -> Record:
    place = f"line {number} of {source.name}"
    try:
        record = parse_json(line)
    except (UnreadableBodyError, FaultyInputError) as error:
        msg = f"a line must be a JSON object, however of {place}: {error}"
        raise TableError(msg) from error
    if not isinstance(record, dict):
        msg = f"a line must be a JSON object, however {place} is none"
        raise TableError(msg)
    if missing := [name for name in wanted if name not in record]:
        msg = f"a line must have every field asked for, however {place} lacks {', '.join(map(quote, missing))}"
        raise TableError(msg)
    return record


def _joined(
    session: ModelSession, records: list[Record], keep: Sequence[str] | None, answer: Answered
) -> Iterator[Record]:
    for i, record in enumerate(records):
        joined = dict(record) if keep is None else {name: record[name] for name in keep}
        answered = bool(answer.answered[i])
        for name, value in zip(session.output_names, answer.values[i].tolist(), strict=True):
            joined[free_name(name, joined)] = value if answered else None
        for name, column in answer.beside.items():
            joined[free_name(name, joined)] = float(column[i]) if answered else None
        joined[free_name(IN_RANGE, joined)] = bool(answer.in_range[i]) if answered else None
        yield joined


@contextlib.contextmanager
def _open_output(out: Path | None) -> Iterator[BinaryIO]:
    if out is not None:
        with open_staged(out) as stream:
            yield stream
        return
    stream = cast("BinaryIO", sys.stdout.buffer)
    yield stream
    stream.flush()
