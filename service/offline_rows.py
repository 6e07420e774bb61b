"""What tables and JSON lines share when a file is predicted: rows to answers, and what is told of those without one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract.errors import TableError
from models.contract.manifest import ModelManifest
from models.contract.trust import CONSTANT_PART, HELD_PART, RESIDUAL_PART
from service.errors import FaultyInputError, ServiceError, quote
from service.inference.batches import UNLIMITED, SequenceLimits
from service.inference.encoding import Values, encode_columns
from service.inference.session import ModelSession
from service.inference.trust import Asked, Trusted, check_offered, predict_trusted

IN_RANGE = "in_range"
"""Column that tells whether the row is like those seen in training, as the service's `in_range` does."""

_MAX_FAULTS_TOLD = 5

NOTHING = Asked()


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
    """Predictions of some rows, with columns asked for beside them; those without one are False in `answered`."""

    values: NDArray[np.float64]
    in_range: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    beside: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

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


def answer_rows(
    session: ModelSession,
    columns: Mapping[str, Values],
    *,
    empty: bool,
    asked: Asked = NOTHING,
    limits: SequenceLimits = UNLIMITED,
) -> Answered:
    """Predict rows; where some are refused and `empty` is set, halve until they stand alone, and leave them out.

    Args:
        session: The model.
        columns: Column name → values.
        empty: Whether rows that are not answered are left without a prediction.
        asked: What is wanted beside predictions.
        limits: How much a model of sequences is asked for.

    Raises:
        FaultyInputError: When some are refused and `empty` is not set.
        NotOfferedError: When the model does not have what is asked for.
    """
    n_rows = len(next(iter(columns.values())))
    manifest = session.manifest
    check_offered(manifest, asked)
    try:
        trusted = predict_trusted(session, encode_columns(manifest, columns, limits), asked)
    except FaultyInputError:
        if not empty:
            raise
        if n_rows == 1:
            no, nothing = np.zeros(1, dtype=np.bool_), np.full(1, np.nan)
            beside = dict.fromkeys(names_beside(manifest, asked), nothing)
            return Answered(np.full((1, len(manifest.outputs)), np.nan), no, no, beside)
        half = n_rows // 2
        parts = [
            answer_rows(
                session,
                {name: values[rows] for name, values in columns.items()},
                empty=True,
                asked=asked,
                limits=limits,
            )
            for rows in (slice(None, half), slice(half, None))
        ]
        return Answered(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.in_range for part in parts]),
            np.concatenate([part.answered for part in parts]),
            {name: np.concatenate([part.beside[name] for part in parts]) for name in parts[0].beside},
        )
    prediction = trusted.prediction
    beside = dict(zip(names_beside(manifest, asked), _beside(trusted), strict=True))
    return Answered(prediction.values, prediction.in_range, np.ones(n_rows, dtype=np.bool_), beside)


def names_beside(manifest: ModelManifest, asked: Asked) -> list[str]:
    """Return the names of the columns that are asked for beside predictions."""
    names = []
    if asked.interval is not None:
        names += [f"{output.name}_{end}" for output in manifest.outputs for end in ("lower", "upper")]
    if asked.explain:
        for output, terms in zip(manifest.outputs, manifest.terms or (), strict=True):
            names += [f"{output.name}: {part}" for part in (CONSTANT_PART, *terms.names, HELD_PART, RESIDUAL_PART)]
    return names


def _beside(trusted: Trusted) -> Iterator[NDArray[np.float64]]:
    """Yield those columns."""
    if trusted.lower is not None and trusted.upper is not None:
        for lower, upper in zip(trusted.lower.T, trusted.upper.T, strict=True):
            yield lower
            yield upper
    for explained in trusted.explained or ():
        yield explained.constant
        yield from explained.terms.T
        yield explained.held
        yield explained.residual


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
