"""Which rows judge a table's model: at random, whole groups, the latest, or the tail of the driving column."""

from dataclasses import dataclass, replace

import numpy as np

from training.coded_table import with_every_level
from training.config import TableConfig
from training.datasets import TrainingTable
from training.errors import TrainingDataError
from training.splits import Index, Split, driver_split, group_split, random_split, time_split

_LEAST_ROWS = 3
"""Fewest rows to judge or to choose by, of those held out: as many as the smallest table holds out (`MIN_ROWS`)."""


@dataclass(frozen=True)
class HeldOut:
    """Rows held out.

    Attributes:
        split: The rows.
        kind: How the manifest's metrics call them: "inside" where they were drawn at random, else "group", "time" or
            "outside".
        region: What they are, in words.
        notes: What a reader must know, one sentence each.
        tail: Of a split outside: the number column, and the value above which rows were held out.
    """

    split: Split
    kind: str
    region: str
    notes: tuple[str, ...] = ()
    tail: tuple[int, float] | None = None


def hold_out(config: TableConfig, table: TrainingTable) -> HeldOut:
    """Split a table's rows as a run's settings say.

    A trunk is chosen by cross-validation of the rows that it is fitted on: only networks have rows to choose by.

    With a random split, rows with a level that no training row has move into the training part. In another split that
    would mix what it keeps apart: such rows judge nothing, unless levels never seen are answered as "other".

    Raises:
        TrainingDataError: When the rows cannot be split so, too few are left to judge by, or in the rows to fit on a
            column has no value or a target does not vary.
    """
    held_out = _at_random(config, table) if config.split_kind == "random" else _apart(config, table)
    _check_targets(table, held_out)
    return held_out


def _apart(config: TableConfig, table: TrainingTable) -> HeldOut:
    """Hold out groups, the latest rows or a tail."""
    kind: str = config.split_kind
    tail = None
    if kind == "group" and table.groups is not None:
        split, region = group_split(table.groups, config.seed), f"other groups of {config.group}"
    elif kind == "time" and table.times is not None:
        split, region = time_split(table.times), f"later by {config.time_column}"
    else:
        tail = driver_split(table.numeric, table.targets, config.seed)
        if tail is None:
            msg = (
                f"a split outside must have a number column with a tail to hold out, however {table.source} has none; "
                "choose another --split"
            )
            raise TrainingDataError(msg)
        split, region = tail.split, f"outside ({table.number_names[tail.column]} above {tail.threshold:.6g})"
    split = _used(config, split)
    _check_values(table, split, region)
    held_out = _without_unknown_levels(config, table, split, kind, region)
    return replace(held_out, tail=(tail.column, tail.threshold)) if tail is not None else held_out


def _used(config: TableConfig, split: Split) -> Split:
    return split.without_validation() if config.family == "trunk" else split


def _fitted_on(split: Split, rows: Index) -> Split:
    """Move rows into the training part: those that carry the ranges of a longer table."""
    rest = [part[~np.isin(part, rows)] for part in (split.train, split.validation, split.test)]
    return Split(np.concatenate([rest[0], rows]), rest[1], rest[2])


def _at_random(config: TableConfig, table: TrainingTable) -> HeldOut:
    """Hold rows out at random, and fit on those among them that the model cannot do without."""
    split = _used(config, random_split(table.n_rows, config.seed))
    if table.drawn is not None:
        rest = _fitted_on(split, table.drawn.pinned)
        why = "carry ranges and levels of all rows, and are fitted on; draw more rows with --max-rows"
        _check_left(split, rest, "at random", why)
        split = rest
    rest = with_every_level(table, split, config.unseen)
    why = (
        "have levels, or values of a column, that no row to fit on has, and are fitted on; drop the columns of most "
        "levels, or answer levels never seen with --unseen other"
    )
    _check_left(split, rest, "at random", why)
    n_moved = len(split.test) - len(rest.test)
    note = (
        f"{n_moved} of {len(split.test)} rows held out are fitted on and judge nothing: no other row to fit on has "
        "their level, or any value of a column"
    )
    return HeldOut(rest, "inside", "inside", (note,) if n_moved else ())


def _check_left(split: Split, left: Split, region: str, why: str) -> None:
    """Refuse a split of whose rows to judge or to choose by too few are left."""
    for held_out, rest in ((split.test, left.test), (split.validation, left.validation)):
        if len(rest) < min(_LEAST_ROWS, len(held_out)):
            msg = (
                f"at least {_LEAST_ROWS} rows held out must be left to judge by, however {len(rest)} of "
                f"{len(held_out)} are ({region}): the others {why}"
            )
            raise TrainingDataError(msg)


def _check_values(table: TrainingTable, split: Split, region: str) -> None:
    names = (*table.number_names, *table.category_names)
    for name, missing in zip(names, table.missing[split.train].T, strict=True):
        if missing.all():
            msg = (
                f"a column must have a value in the rows to fit on, however {name!r} has none when {region} is held "
                "out; drop it"
            )
            raise TrainingDataError(msg)


def _check_targets(table: TrainingTable, held_out: HeldOut) -> None:
    for name, values in zip(table.target_names, table.targets[held_out.split.train].T, strict=True):
        if not np.ptp(values) > 0:
            msg = (
                f"a target must vary in the rows to fit on, however {name!r} is {values[0]:g} in all of them: rows "
                f"where it is not are held out ({held_out.region}); add some, or choose another --split or --seed"
            )
            raise TrainingDataError(msg)


def _without_unknown_levels(config: TableConfig, table: TrainingTable, split: Split, kind: str, region: str) -> HeldOut:
    if config.unseen == "other" or not table.categorical.shape[1]:
        return HeldOut(split, kind, region)
    unknown = np.zeros(table.n_rows, dtype=np.bool_)
    for column in table.categorical.T:
        seen = set(column[split.train]) | {""}
        unknown |= np.array([level not in seen for level in column])
    n_unknown = int(unknown[split.test].sum())
    left = Split(split.train, split.validation[~unknown[split.validation]], split.test[~unknown[split.test]])
    why = "have levels that no row to fit on has; drop their columns, or answer levels never seen with --unseen other"
    _check_left(split, left, region, why)
    notes = (
        f"{n_unknown} of {len(split.test)} rows held out judge nothing: they have levels that no row to fit on has; "
        "--unseen other answers them",
    )
    return HeldOut(left, kind, region, notes if n_unknown else ())
