"""The page on faults, its tables made from the results kept.

    python -m benchmarks.faults.report

writes `docs/faults.md` anew; a test holds the page to the files in `benchmarks/results/faults`.
A run keeps what it found with `keep`: one file each.
"""

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = CHECKOUT / "docs" / "faults.md"
RESULTS: Final = CHECKOUT / "benchmarks" / "results" / "faults"


@dataclass(frozen=True)
class Figure:
    """One thing asked for and what was measured.

    Attributes:
        what: What was done.
        asked: What is to hold.
        measured: What was found, as a person reads it.
        holds: Whether it does.
    """

    what: str
    asked: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        command: How it is run again.
        figures: What is told on the page.
        facts: Everything counted, for whoever wants to know more.
        machine: Where it ran.
    """

    command: str
    figures: tuple[Figure, ...]
    facts: Mapping[str, object] = field(default_factory=dict)
    machine: Mapping[str, object] = field(default_factory=dict)


def keep(name: str, command: str, figures: list[Figure], facts: Mapping[str, object]) -> Path:
    """Keep what a run found, and make the page anew.

    Args:
        name: Name of its file; one word, which also orders the page.
        command: How it is run again.
        figures: What is told on the page.
        facts: Everything counted.
    """
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()[0]}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps(asdict(Result(command, tuple(figures), facts, machine)), indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), read_results()), encoding="utf-8")
    return path


def read_results() -> dict[str, Result]:
    """Return the results kept, by the name of their file."""
    found = {}
    for path in sorted(RESULTS.glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = Result(**{**told, "figures": tuple(Figure(**figure) for figure in told["figures"])})
    return found


def render(page: str, results: Mapping[str, Result]) -> str:
    """Return the page with its tables made anew."""
    makers = {"held": held, "runs": runs}

    def made(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n\n{makers[match[1]](results)}\n\n<!-- end of table -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end of table -->", made, page, flags=re.DOTALL)


def held(results: Mapping[str, Result]) -> str:
    """Return what was asked for, what was measured, and whether it holds."""
    rows = [
        (one.what, one.asked, one.measured, "holds" if one.holds else "**does not hold**")
        for result in results.values()
        for one in result.figures
    ]
    return _table(("What was done", "Asked for", "Measured", ""), rows)


def runs(results: Mapping[str, Result]) -> str:
    """Return how each run is repeated, and on what it was made."""
    rows = [
        (
            f"`{result.command}`",
            f"[{name}.json](../benchmarks/results/faults/{name}.json)",
            str(result.machine.get("cores", "")),
            f"{result.machine.get('load_average', 0.0):.1f}",
        )
        for name, result in results.items()
    ]
    return _table(("Command", "Result", "Cores", "Load of the machine"), rows)


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), read_results()), encoding="utf-8")


if __name__ == "__main__":
    main()
