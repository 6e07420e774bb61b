"""Where commands speak: what files, columns and methods are called is printed as it is, not read as markup or emoji."""

from rich.console import Console

_LINE_WIDTH = 250
"""Characters in a line of a table that goes to a file."""

console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def table_console() -> Console:
    """Return where tables are drawn: as wide as the terminal, and whole in a file."""
    return console if console.is_terminal else Console(width=_LINE_WIDTH, highlight=False, markup=False, emoji=False)
