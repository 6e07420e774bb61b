"""Results kept in JSON, and how tables write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.bench.documents import read
from training.errors import ConfigError

Record = dict[str, Any]

SYMBOL = {
    "add": "a + b",
    "subtract": "a − b",
    "multiply": "a · b",
    "divide": "a / b",
    "square": "a²",
    "sqrt": "√a",
    "reciprocal": "1 / a",
}
_OURS = ("exact",)


@dataclass(frozen=True)
class Kept:
    """All results kept.

    Attributes:
        documents: File name → document.
    """

    documents: dict[str, Record]

    def cells(self, task: str, *, methods: Sequence[str] = _OURS, ablation: str = "") -> list[Record]:
        """Return the records of a task."""
        return [
            cell
            for document in self.documents.values()
            for cell in document["cells"]
            if cell["task"] == task and cell["method"] in methods and cell["ablation"] == ablation
        ]


def read_results(folder: Path) -> Kept:
    """Read every JSON file of a folder.

    Raises:
        ConfigError: When there is none, or one is no result.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        msg = f"there must be results to report, however {folder} has no JSON file; run `nalu bench arithmetic --json`"
        raise ConfigError(msg)
    return Kept({path.stem: read(path) for path in paths})


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped, since it would begin the next one."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def rate(record: Record) -> str:
    """Return how many seeds are solved, of how many."""
    return f"{record['n_solved']}/{record['n_seeds']}"


def interval(record: Record) -> str:
    """Return Wilson's interval in percent."""
    low, high = (100 * bound for bound in record["interval"])
    return f"{low:.1f}–{high:.1f}"


def number(value: float | None) -> str:
    """Return a number in two digits, nothing for None."""
    return "" if value is None else f"{value:.2g}"


def worst(records: Sequence[Record], what: str = "error") -> float | None:
    """Return the largest of what records have, or None."""
    return max((record[what] for record in records if record[what] is not None), default=None)


def total(records: Sequence[Record]) -> str:
    """Return the seeds solved, of how many, over records."""
    return f"{sum(one['n_solved'] for one in records):,} of {sum(one['n_seeds'] for one in records):,}"


def seconds(records: Sequence[Record]) -> str:
    """Return the range of the median seconds a fit, and the largest in brackets."""
    medians = [record["duration_s"][0] for record in records]
    return f"{min(medians):.2g}–{max(medians):.2g} ({max(record['duration_s'][1] for record in records):.2g})"


def false_certificates(records: Sequence[Record]) -> str:
    """Return how many laws that are wrong may have a certificate; results kept before these were counted lack them."""
    if any("n_false_certificates" not in record for record in records):
        return "not counted"
    false, n_seeds = (sum(record[key] for record in records) for key in ("n_false_certificates", "n_seeds"))
    return f"{false} of {n_seeds:,}"
