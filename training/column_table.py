"""What every column of a table is taken for, drawn for people before anything is fitted."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from training.feature_columns import ColumnUse

_MOST_SHOWN = 200
"""Columns drawn; of a wider table the rest are counted."""


def columns_table(source: str, uses: Sequence[ColumnUse], units: Mapping[str, str]) -> Table:
    """Return the columns with what they are taken for, what they hold, and why some are left out.

    Args:
        source: Name of the file.
        uses: Its columns, in order.
        units: Unit of measurement by column.
    """
    table = Table(title=Text(f"columns of {source}"), title_justify="left")
    table.add_column("column", overflow="fold")
    table.add_column("taken as")
    table.add_column("missing", justify="right")
    table.add_column("holds", overflow="fold")
    table.add_column("", overflow="fold")
    for use in uses[:_MOST_SHOWN]:
        style = "dim" if use.role == "left out" else ""
        missing = str(use.n_missing) if use.n_missing else ""
        holds = f"{use.holds} {units[use.name]}" if use.name in units else use.holds
        table.add_row(Text(use.name), use.role, missing, Text(holds), Text(use.why), style=style)
    if len(uses) > _MOST_SHOWN:
        table.add_row(f"and {len(uses) - _MOST_SHOWN} more")
    return table
