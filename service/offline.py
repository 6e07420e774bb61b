"""Offline prediction: a table in, the same table with predictions out, in memory that does not grow with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.contract.delimited import judge_layout
from models.contract.errors import TableError
from models.contract.manifest import ModelManifest
from models.contract.table_writer import array_of, check_output, open_table_writer
from models.contract.tables import Column, column_names, is_delimited, iter_batches, place_of_row
from service.errors import FaultyInputError, ServiceError, quote
from service.inference.encoding import encode_columns
from service.inference.predictor import predict
from service.inference.session import ModelSession

OnError = Literal["refuse", "null"]

IN_RANGE = "in_range"
"""Column that tells whether every number of the row lay in the range seen in training."""

_BATCH_ROWS = 16_384
"""Rows predicted at a time: 30 columns take 4 MB, and the cost of a run is spread over enough rows."""

_MAX_FAULTS_TOLD = 5


class RowsRefusedError(ServiceError):
    """Rows of a file that the model does not answer, named by where they stand in it."""


@dataclass(frozen=True)
class Summary:
    """What became of a file.

    Attributes:
        n_rows: Rows read and written.
        n_outside: Rows predicted outside the range seen in training.
        n_empty: Rows left without a prediction.
    """

    n_rows: int
    n_outside: int
    n_empty: int


@dataclass(frozen=True)
class _Answer:
    """Predictions of a batch; rows without one are False in `answered`."""

    values: NDArray[np.float64]
    in_range: NDArray[np.bool_]
    answered: NDArray[np.bool_]


def predict_file(
    session: ModelSession,
    source: Path,
    out: Path | None,
    *,
    keep: Sequence[str] | None = None,
    on_error: OnError = "refuse",
) -> Summary:
    """Predict every row of a table, in order.

    The output has the columns kept, then the model's outputs (`_predicted` is appended where a column of that name is
    kept), then `in_range`. Columns that the model does not take are passed through. CSV that came in with another
    delimiter or a decimal comma goes out so. From CSV to Parquet, the model's inputs become numbers and text with
    nulls, and any other column stays text as it stands.

    Args:
        session: The model.
        source: CSV or Parquet file.
        out: CSV or Parquet file, replaced if it exists, and only once every row is predicted; None writes CSV to
            standard output as it comes.
        keep: Columns of the source to keep; None keeps all.
        on_error: Whether a row that the model does not answer refuses the file or gets no prediction.

    Raises:
        TableError: When the source is no table or lacks columns that the model takes (all are named), or the output
            cannot be written.
        RowsRefusedError: When rows are not answered and `on_error` is "refuse"; the first are named by their lines.
    """
    manifest = session.manifest
    if out is not None:
        check_output(out)
        _check_other_file(source, out)
    kept = _kept(source, keep)
    delimiter, decimal = _style(source)
    typed = out is not None and is_delimited(source) and not is_delimited(out)
    n_rows = n_outside = n_empty = 0
    with open_table_writer(out, delimiter=delimiter, decimal=decimal) as writer:
        for batch in iter_batches(
            source,
            numbers=[column.name for column in manifest.numbers],
            texts=[column.name for column in manifest.categories],
            n_rows=_BATCH_ROWS,
        ):
            try:
                answer = _answer(session, batch.columns, empty=on_error == "null")
            except FaultyInputError as error:
                raise _refusal(source, batch.first_row, error) from error
            columns = {name: batch.raw.column(name) for name in kept}
            if typed:
                columns.update({name: array_of(batch.columns[name]) for name in kept if name in batch.columns})
            writer.write(_joined(columns, manifest, answer))
            n_rows += len(answer.answered)
            n_empty += int(np.sum(~answer.answered))
            n_outside += int(np.sum(answer.answered & ~answer.in_range))
    return Summary(n_rows, n_outside, n_empty)


def _answer(session: ModelSession, columns: dict[str, Column], *, empty: bool) -> _Answer:
    """Predict rows; where some are refused and `empty` is set, halve until they stand alone, and leave them out."""
    n_rows = len(next(iter(columns.values())))
    try:
        prediction = predict(session, encode_columns(session.manifest, columns))
    except FaultyInputError:
        if not empty:
            raise
        if n_rows == 1:
            no = np.zeros(1, dtype=np.bool_)
            return _Answer(np.full((1, len(session.manifest.outputs)), np.nan), no, no)
        half = n_rows // 2
        parts = [
            _answer(session, {name: values[rows] for name, values in columns.items()}, empty=True)
            for rows in (slice(None, half), slice(half, None))
        ]
        return _Answer(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.in_range for part in parts]),
            np.concatenate([part.answered for part in parts]),
        )
    return _Answer(prediction.values, prediction.in_range, np.ones(n_rows, dtype=np.bool_))


def _joined(kept: dict[str, Any], manifest: ModelManifest, answer: _Answer) -> Any:
    """Return the columns kept with the predictions behind them, as a `pyarrow.RecordBatch`."""
    import pyarrow as pa

    columns = dict(kept)
    for output, values in zip(manifest.outputs, answer.values.T, strict=True):
        columns[_free_name(output.name, columns)] = array_of(np.ascontiguousarray(values))
    columns[_free_name(IN_RANGE, columns)] = pa.array(answer.in_range, mask=~answer.answered)
    return pa.record_batch(list(columns.values()), names=list(columns))


def _free_name(name: str, taken: dict[str, Any]) -> str:
    while name in taken:
        name += "_predicted"
    return name


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


def _check_other_file(source: Path, out: Path) -> None:
    if out.exists() and out.samefile(source):
        msg = f"the output must be another file than the input, however both are {source}; choose another --out"
        raise TableError(msg)


def _refusal(source: Path, first_row: int, error: FaultyInputError) -> RowsRefusedError:
    told = []
    for fault in error.faults[:_MAX_FAULTS_TOLD]:
        place = "" if fault.row is None else place_of_row(source, first_row + fault.row)
        column = "" if fault.column is None else f"column {quote(fault.column)}"
        told.append(f"{', '.join(filter(None, (place, column)))}: {fault.message}")
    more = error.n_faults - len(told)
    return RowsRefusedError(
        f"every row of {source.name} must be one that the model answers, however {'; '.join(told)}"
        + (f"; and {more} more faults nearby" if more > 0 else "")
        + "; correct the rows, or leave their predictions empty with --on-error null"
    )
