"""Laws: sums of a few products of powers of columns and of indicators, and power laws of a few columns.

Those are found by `training.tabular.product_search`, sums with powers of a few exponents, power laws with any, as sums
of logarithms.
"""

import numpy as np
from numpy.typing import NDArray

from training.tabular.product_search import ProductSearch
from training.tabular.rows import FLOOR_OF_SMALLEST, Columns, Floats, Rows
from training.tabular.terms import Law, Power, Term, with_bends

MOST_TERMS = 8
"""Terms of a law at most; what takes more is an approximation."""

_WHOLE = (1.0, 2.0, 3.0)
"""Exponents of every column."""

_ROOTS = (0.5,)
"""Those of columns without negative values beside them."""

_RECIPROCALS = (-3.0, -2.0, -1.0, -0.5)
"""Those of positive columns beside them."""

_DEGREE = 4
"""Factors of a term at most."""

_MOST_FACTORS = 20
"""Columns and levels of a power law at most."""

_SEARCH_ROWS = 1000
"""Rows that a law is looked for in, drawn at random; its weights are fitted in all. Time grows with the rows."""

_LEAST_COMPLETE = 0.25
"""Share of the rows that must have a value in every column that has powers."""

_LEAST_OF_SMALLEST = 1e-9
"""Share of a column's smallest positive value of which rounding leaves too little for a reciprocal."""


def search_law(rows: Rows, columns: Columns, wanted: Floats) -> Law | None:
    """Look for a law in the rows that have a value in every number column, where these are enough.

    Args:
        rows: Rows.
        columns: Their columns, on the raw scale.
        wanted: Shape (n_rows,).

    Returns:
        The law, or None where no term is worth having.
    """
    offered_columns, index = _searched(rows)
    rows, wanted = rows.take(index), wanted[index]
    block = columns(rows)
    powers = tuple(
        _power(j, exponent, block, columns) for j in offered_columns for exponent in _exponents(j, block, columns)
    )
    factors = with_bends(block, (), powers)
    sources = np.array([*range(columns.width), *(power.column for power in powers)], dtype=np.int64)
    allowed = np.arange(len(sources)) >= columns.d_numeric  # a column itself is its first power, not centred
    allowed[_twins(columns)] = False
    offered = np.flatnonzero(allowed & np.isfinite(factors).all(axis=0))
    terms = ProductSearch(factors[:, offered], sources[offered], wanted, rows.weights, _DEGREE).run(MOST_TERMS)

    def factor(k: int) -> tuple[int, float]:
        power = powers[k - columns.width] if k >= columns.width else None
        return (_number(k, columns), 1.0) if power is None else (power.column, power.exponent)

    return tuple(sorted(tuple(sorted(factor(int(offered[k])) for k in term)) for term in terms)) or None


def search_power_law(rows: Rows, columns: Columns, wanted: Floats) -> Law | None:
    """Look for the positive columns and the indicators that a power law has, in the same rows.

    Args:
        rows: Rows.
        columns: Their columns, on the logarithmic scale.
        wanted: Logarithms of the targets, shape (n_rows,).

    Returns:
        The law, each column a term of its own, or None where no column is worth having.
    """
    offered_columns, index = _searched(rows)
    rows, wanted = rows.take(index), wanted[index]
    allowed = np.ones(columns.width, dtype=np.bool_)
    allowed[: columns.d_numeric] = columns.shift == 0
    allowed[np.setdiff1d(np.arange(columns.d_numeric), offered_columns)] = False
    allowed[_twins(columns)] = False
    offered = np.flatnonzero(allowed)
    terms = ProductSearch(columns(rows)[:, offered], offered, wanted, rows.weights, 1).run(_MOST_FACTORS)
    found = _without_first_levels({int(offered[k]) for (k,) in terms}, columns)
    return tuple(sorted(((_number(k, columns), 1.0),) for k in found)) or None


def law_rows(law: Law, rows: Rows) -> NDArray[np.bool_]:
    """Return which rows have a value in every column of a law, shape (n_rows,): what is imputed obeys none."""
    numbers = {factor for term in law for factor, _ in term if factor < rows.numeric.shape[1]}
    return np.asarray(~np.isnan(rows.numeric[:, sorted(numbers)]).any(axis=1))


def law_factors(law: Law, block: Floats, columns: Columns) -> tuple[tuple[Power, ...], tuple[Term, ...]]:
    """Return a law's powers and terms on rows of the same table; terms of gaps that these rows do not have are none.

    Of a power law, whose columns are logarithms, terms are columns and there are no powers.
    """
    raised = columns.scale == "raw"
    numbers = sorted({factor for term in law for factor in term if raised and factor[0] < columns.d_numeric})
    place = {(_number(k, columns), 1.0): k for k in range(columns.width)}
    place |= {factor: columns.width + i for i, factor in enumerate(numbers)}
    powers = tuple(_power(j, exponent, block, columns) for j, exponent in numbers)
    return powers, tuple(tuple(place[factor] for factor in term) for term in law if set(term) <= set(place))


def _searched(rows: Rows) -> tuple[list[int], NDArray[np.int64]]:
    """Return the columns that have powers, and the rows that a law is looked for in."""
    columns = _known_columns(rows.numeric)
    index = np.flatnonzero(~np.isnan(rows.numeric[:, columns]).any(axis=1))
    if len(index) > _SEARCH_ROWS:
        index = np.random.default_rng(0).choice(index, _SEARCH_ROWS, replace=False)
    return columns, index


def _without_first_levels(found: set[int], columns: Columns) -> set[int]:
    """Of a category of which all levels but one were found take all but the first: which one is left out is chance."""
    end = columns.d_numeric + len(columns.missing)
    for n in columns.n_codes:
        levels = set(range(end, end + n))
        if len(levels & found) == n - 1:
            found = (found - levels) | set(range(end + 1, end + n))
        end += n
    return found


def _twins(columns: Columns) -> NDArray[np.int64]:
    """Return the indicators of the second of two levels, which say the same as those of the first."""
    ends = columns.d_numeric + len(columns.missing) + np.cumsum(columns.n_codes, dtype=np.int64)
    return np.asarray(ends[np.array(columns.n_codes, dtype=np.int64) == 2] - 1)


def _known_columns(numeric: Floats) -> list[int]:
    """Return the columns that have powers: all but those so seldom known that too few rows would be complete."""
    unknown = np.isnan(numeric)
    kept = sorted(range(numeric.shape[1]), key=lambda j: int(unknown[:, j].sum()))
    while kept and np.mean(~unknown[:, kept].any(axis=1)) < _LEAST_COMPLETE:
        kept.pop()
    return sorted(kept)


def _number(k: int, columns: Columns) -> int:
    """Return a law's number of a column or an indicator: the same on all rows of a table, whichever gaps they have."""
    d, n_gaps = columns.d_numeric, len(columns.missing)
    return k if k < d else d + columns.missing[k - d] if k < d + n_gaps else k - n_gaps + d


def _origin(j: int, columns: Columns) -> float:
    """Return where a standardised column is 0."""
    return -float(columns.mean[j] / columns.spread[j])


def _exponents(j: int, block: Floats, columns: Columns) -> tuple[float, ...]:
    smallest = float(block[:, j].min()) - _origin(j, columns)
    return (*_WHOLE, *(_ROOTS if smallest >= 0 else ()), *(_RECIPROCALS if smallest > 0 else ()))


def _power(j: int, exponent: float, block: Floats, columns: Columns) -> Power:
    origin = _origin(j, columns)
    if exponent in _WHOLE:
        return Power(j, exponent, origin, -np.inf, -np.inf)
    if exponent in _ROOTS:
        return Power(j, exponent, origin, 0.0, 0.0)
    values = block[:, j] - origin
    smallest = float(values[values > 0].min(initial=1.0))
    return Power(j, exponent, origin, FLOOR_OF_SMALLEST * smallest, _LEAST_OF_SMALLEST * smallest)
