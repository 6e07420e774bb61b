"""Names as errors show them: a few of many, and those that are like one that is not there."""

from collections.abc import Sequence
from difflib import get_close_matches


def hint(name: str, there: Sequence[str]) -> str:
    """Return which of the names that are there one that is not may mean, or else what there is, to end an error."""
    by_folded = {known.casefold(): known for known in there}
    close = [by_folded[match] for match in get_close_matches(name.casefold(), list(by_folded), n=3, cutoff=0.6)]
    return f"; did you mean {shown_names(close)}?" if close else f"; there are {shown_names(there)}"


def shown_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - 20
    return ", ".join(repr(name[:80]) for name in names[:20]) + (f" and {more} more" if more > 0 else "")
