"""Offline prediction: a table in, the same table with predictions out, in memory that does not grow with it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.contract.delimited import judge_layout
from models.contract.errors import TableError
from models.contract.manifest import (
    CategoryColumn,
    DateColumn,
    ImagesColumn,
    ModelManifest,
    NumberColumn,
    StepsColumn,
    TextColumn,
)
from models.contract.table_sources import is_delimited
from models.contract.table_writer import array_of, check_output, open_table_writer
from models.contract.tables import column_names, iter_batches, place_of_row
from service.errors import FaultyInputError, quote
from service.inference.session import ModelSession
from service.inference.trust import Asked, check_offered
from service.offline_lines import EXTENSION, is_lines, predict_lines
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

OnError = Literal["refuse", "null"]

_TEXTUAL = (CategoryColumn, DateColumn, TextColumn)

_BATCH_ROWS = 16_384
"""Rows predicted at a time: 30 columns take 4 MB, and the cost of a run is spread over enough rows."""


def predict_file(
    session: ModelSession,
    source: Path,
    out: Path | None,
    *,
    keep: Sequence[str] | None = None,
    on_error: OnError = "refuse",
    asked: Asked = NOTHING,
) -> Summary:
    """Predict every row of a table, or of JSON lines (`service.offline_lines`), in order.

    The output has the columns kept, then the model's outputs (`_predicted` is appended where a column of that name is
    kept), then `in_range`. Columns that the model does not take are passed through. CSV that came in with another
    delimiter or a decimal comma goes out so. From CSV to Parquet or Arrow, the model's inputs become numbers and text
    with nulls, and any other column stays text as it stands.

    Args:
        session: The model.
        source: CSV, Parquet or Arrow file, or JSON lines.
        out: CSV, Parquet or Arrow file, or JSON lines where the source is that; replaced if it exists, and only once
            every row is predicted. None writes CSV, or JSON lines, to standard output as it comes.
        keep: Columns of the source to keep; None keeps all.
        on_error: Whether a row that the model does not answer refuses the file or gets no prediction.
        asked: What is wanted beside predictions; its columns stand behind them.

    Raises:
        TableError: When the source is no table or lacks columns that the model takes (all are named), or the output
            cannot be written.
        RowsRefusedError: When rows are not answered and `on_error` is "refuse"; the first are named by their lines.
        NotOfferedError: When the model does not have what is asked for.
        InvalidRequestError: When its intervals do not go up to the level asked for.
    """
    manifest = session.manifest
    check_offered(manifest, asked)
    if is_lines(source):
        return predict_lines(session, source, out, keep=keep, empty=on_error == "null", asked=asked)
    _check_has_table(manifest, source)
    if out is not None:
        check_output(out)
        check_other_file(source, out)
    kept = _kept(source, keep)
    delimiter, decimal = _style(source)
    typed = out is not None and is_delimited(source) and not is_delimited(out)
    parts = []
    with open_table_writer(out, delimiter=delimiter, decimal=decimal) as writer:
        for batch in iter_batches(
            source,
            numbers=[column.name for column in manifest.inputs if isinstance(column, NumberColumn)],
            texts=[column.name for column in manifest.inputs if isinstance(column, _TEXTUAL)],
            n_rows=_BATCH_ROWS,
        ):
            try:
                answer = answer_rows(session, batch.columns, empty=on_error == "null", asked=asked)
            except FaultyInputError as error:
                first = batch.first_row
                raise refusal(source, lambda row, first=first: place_of_row(source, first + row), error) from error  # type: ignore[misc]
            columns = {name: batch.raw.column(name) for name in kept}
            if typed:
                columns.update({name: array_of(batch.columns[name]) for name in kept if name in batch.columns})
            writer.write(_joined(columns, manifest, answer))
            parts.append(answer.summary)
    return total(parts)


def _check_has_table(manifest: ModelManifest, source: Path) -> None:
    if isinstance(manifest.sequence, StepsColumn | ImagesColumn):
        name = manifest.sequence.name
        msg = (
            "sequences of numbers or images must be given as JSON lines, however "
            f"{source.name[-80:]!a} is not named {EXTENSION}; write one object a line, {{{json.dumps(name)}: [...]}}"
        )
        raise TableError(msg)


def _joined(kept: dict[str, Any], manifest: ModelManifest, answer: Answered) -> Any:
    """Return the columns kept with the predictions behind them, as a `pyarrow.RecordBatch`."""
    import pyarrow as pa

    columns = dict(kept)
    for output, values in zip(manifest.outputs, answer.values.T, strict=True):
        columns[free_name(output.name, columns)] = array_of(np.ascontiguousarray(values))
    for name, values in answer.beside.items():
        columns[free_name(name, columns)] = array_of(np.ascontiguousarray(values))
    columns[free_name(IN_RANGE, columns)] = pa.array(answer.in_range, mask=~answer.answered)
    return pa.record_batch(list(columns.values()), names=list(columns))


def _kept(source: Path, keep: Sequence[str] | None) -> tuple[str, ...]:
    there = column_names(source)
    if keep is None:
        return there
    missing = [name for name in keep if name not in there]
    if missing:
        shown = ", ".join(quote(name) for name in missing)
        msg = f"a column to keep must be in the table, however {source.name} has no {shown}; correct --keep"
        raise TableError(msg)
    return tuple(dict.fromkeys(keep))


def _style(source: Path) -> tuple[str, str]:
    if not is_delimited(source):
        return ",", "."
    layout = judge_layout(source)
    return layout.delimiter, layout.decimal
