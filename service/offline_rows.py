"""What tables and JSON lines share when a file is predicted: rows to answers, and what is told of those without one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.errors import TableError
from service.errors import FaultyInputError, ServiceError, quote
from service.inference.encoding import Values, encode_columns
from service.inference.predictor import predict
from service.inference.session import ModelSession

IN_RANGE = "in_range"
"""Column that tells whether every number of the row lay in the range seen in training."""

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
class Answered:
    """Predictions of some rows; those without one are False in `answered`."""

    values: NDArray[np.float64]
    in_range: NDArray[np.bool_]
    answered: NDArray[np.bool_]

    @property
    def summary(self) -> Summary:
        """How many there are."""
        n_outside, n_empty = np.sum(self.answered & ~self.in_range), np.sum(~self.answered)
        return Summary(len(self.answered), int(n_outside), int(n_empty))


def total(parts: list[Summary]) -> Summary:
    """Return the sum of what became of a file's parts."""
    return Summary(
        sum(part.n_rows for part in parts), sum(part.n_outside for part in parts), sum(part.n_empty for part in parts)
    )


def answer_rows(session: ModelSession, columns: Mapping[str, Values], *, empty: bool) -> Answered:
    """Predict rows; where some are refused and `empty` is set, halve until they stand alone, and leave them out.

    Raises:
        FaultyInputError: When some are refused and `empty` is not set.
    """
    n_rows = len(next(iter(columns.values())))
    try:
        prediction = predict(session, encode_columns(session.manifest, columns))
    except FaultyInputError:
        if not empty:
            raise
        if n_rows == 1:
            no = np.zeros(1, dtype=np.bool_)
            return Answered(np.full((1, len(session.manifest.outputs)), np.nan), no, no)
        half = n_rows // 2
        parts = [
            answer_rows(session, {name: values[rows] for name, values in columns.items()}, empty=True)
            for rows in (slice(None, half), slice(half, None))
        ]
        return Answered(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.in_range for part in parts]),
            np.concatenate([part.answered for part in parts]),
        )
    return Answered(prediction.values, prediction.in_range, np.ones(n_rows, dtype=np.bool_))


def free_name(name: str, taken: Mapping[str, Any]) -> str:
    """Return a name that is not taken, `_predicted` appended where it is."""
    while name in taken:
        name += "_predicted"
    return name


def check_other_file(source: Path, out: Path) -> None:
    """Refuse to write over what is read.

    Raises:
        TableError: When both are one file.
    """
    if out.exists() and out.samefile(source):
        msg = f"the output must be another file than the input, however both are {source}; choose another --out"
        raise TableError(msg)


def refusal(source: Path, place: Callable[[int], str], error: FaultyInputError) -> RowsRefusedError:
    """Return an error that names the first rows without an answer by their places in the file."""
    told = []
    for fault in error.faults[:_MAX_FAULTS_TOLD]:
        row = "" if fault.row is None else place(fault.row)
        column = "" if fault.column is None else f"column {quote(fault.column)}"
        told.append(f"{', '.join(filter(None, (row, column)))}: {fault.message}")
    more = error.n_faults - len(told)
    return RowsRefusedError(
        f"every row of {source.name} must be one that the model answers, however {'; '.join(told)}"
        + (f"; and {more} more faults nearby" if more > 0 else "")
        + "; correct the rows, or leave their predictions empty with --on-error null"
    )
