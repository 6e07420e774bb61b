"""Where commands speak: what models, columns and files are called is printed as it is, not read as markup or emoji."""

from rich.console import Console


def line_console(*, stderr: bool = False) -> Console:
    """Return where lines are printed, however long."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def table_console() -> Console:
    """Return where tables are drawn, as wide as the terminal."""
    return Console(highlight=False, markup=False, emoji=False)
