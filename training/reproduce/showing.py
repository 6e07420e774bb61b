"""How numbers are written, on the terminal and on the page alike."""

from training.reproduce.outcome import Cell, Table

_ROUNDING = 1e-10
"""Below this a table with fixed decimals tells the worst seed alone: the rest is rounding."""


def cell_text(cell: Cell, decimals: int | None) -> str:
    """Return a cell as text: its mean, ± its spread, and its worst seed where it has one.

    Example:
        >>> cell_text(Cell(mean=2.0, spread=1.0, worst=3.0), 1)
        '2.0 ± 1.0 (3.0)'
    """
    if cell.mean is None:
        return cell.text or ""
    if decimals is not None and cell.worst is not None and 0 < cell.worst < _ROUNDING:
        return f"≤ {cell.worst:.0e}"
    text = number_text(cell.mean, decimals)
    if cell.spread is not None:
        text += f" ± {number_text(cell.spread, decimals)}"
    if cell.worst is not None and cell.spread is not None:
        text += f" ({number_text(cell.worst, decimals)})"
    return f"{text}, {cell.text}" if cell.text else text


def number_text(value: float, decimals: int | None) -> str:
    """Return a number with so many decimals, or with three significant digits; large ones with an exponent.

    A number that the decimals would show as 0 and that is none keeps its first digit: 0.0 is said of zeros only.

    Example:
        >>> number_text(0.0, 2), number_text(3e-7, 2), number_text(1234.5, None)
        ('0.00', '3e-07', '1.23e+03')
    """
    if decimals is None:
        return f"{value:.3g}"
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    text = f"{value:.{decimals}f}"
    return f"{value:.0e}" if value and not float(text) else text


def has_spread(table: Table) -> bool:
    """Return whether any cell of a table tells a spread and a worst seed."""
    return any(cell.spread is not None for row in table.rows for cell in row.cells)
