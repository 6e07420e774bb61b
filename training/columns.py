"""What a user says of a table's columns, and what of it cannot be."""

from dataclasses import dataclass
from pathlib import Path

from models.contract.tables import column_names
from training.errors import TrainingDataError
from training.feature_columns import Role
from training.shown_names import hint, shown_names

_MAX_NAME_LENGTH = 200
"""Limit of the manifest."""


@dataclass(frozen=True)
class Columns:
    """What a user says of a table's columns; any other is taken for what it looks like.

    Attributes:
        targets: Columns to predict.
        drop: Columns to leave out.
        categories: Columns to take as categories, whatever they hold and however many levels they have.
        numbers: Columns to take as numbers; what is no number becomes missing, with a note.
        dates: Columns of dates to take as numbers (days elapsed, year, month, weekday, hour).
        weight: Column of weights of the rows; None for equal ones.
        group: Column whose equal values belong together; no feature unless it is also among those above.
        time: Column that orders the rows, numbers or dates; likewise.
    """

    targets: tuple[str, ...]
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    weight: str | None = None
    group: str | None = None
    time: str | None = None

    def role_of(self, name: str) -> Role | None:
        """Return what else than a feature a column is, or None for a feature."""
        if name in self.targets:
            return "target"
        if name == self.weight:
            return "weight"
        if name in (self.group, self.time) and name not in (*self.categories, *self.numbers, *self.dates):
            return "group" if name == self.group else "time"
        return None


def check_columns(path: Path, columns: Columns) -> None:
    """Refuse what is said of columns that are not there, or of one column twice.

    Raises:
        TableError: When the file is no table.
        TrainingDataError: When a column is not there, has too long a name, or has two purposes that exclude each other.
    """
    there = column_names(path)
    if not columns.targets:
        msg = f"a run must have a target, however none is named; name one of: {shown_names(there)}"
        raise TrainingDataError(msg)
    too_long = [name for name in there if len(name) > _MAX_NAME_LENGTH and name not in columns.drop]
    if too_long:
        limit = f"a column name must have at most {_MAX_NAME_LENGTH} characters"
        msg = f"{limit}, however: {shown_names(too_long)}; rename it"
        raise TrainingDataError(msg)
    single = {"weight": columns.weight, "group": columns.group, "time": columns.time}
    special = [name for name in single.values() if name is not None]
    for purpose, names in (
        ("target", columns.targets),
        ("column to drop", columns.drop),
        ("category", columns.categories),
        ("number column", columns.numbers),
        ("date column", columns.dates),
        *((f"{purpose} column", (name,)) for purpose, name in single.items() if name is not None),
    ):
        for name in names:
            if name not in there:
                msg = f"a {purpose} must be a column of {path.name}, however {name[:80]!r} is none{hint(name, there)}"
                raise TrainingDataError(msg)
    exclusive = (
        [*columns.targets, *columns.drop, *columns.categories, *columns.dates],
        [*columns.drop, *columns.categories, *columns.numbers, *columns.dates],
        [*columns.targets, *columns.drop, *special],
        [*columns.categories, *columns.dates, *filter(None, [columns.weight])],
    )
    twice = sorted({name for names in exclusive for name in names if names.count(name) > 1})
    if twice:
        msg = f"a column must have one purpose, however these are named twice: {shown_names(twice)}; name each once"
        raise TrainingDataError(msg)
