"""The whole serving benchmark: every measurement, their results kept, the page and its figure made from them.

    python -m benchmarks.serving.run [--quick] [--only NAME …] [--no-peers] [--results FOLDER] [--no-page]

Takes half an hour, of which the run at 80 % of the highest load takes ten minutes, and wants a machine that does
nothing else. `--quick` shows in two minutes that all of it runs; what it measures is worth nothing, and is kept nowhere
unless a folder is named. One that fails is told at the end, and keeps none of the others from being measured.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.serving import report

_FIGURE: Final = report.CHECKOUT / "docs" / "figures" / "serving.svg"


@dataclass(frozen=True)
class Measurement:
    """One of the benchmark's commands.

    Attributes:
        name: Name of its file of results.
        module: The module run.
        options: Its options.
        quick: Those of a run that only shows that it runs.
    """

    name: str
    module: str
    options: tuple[str, ...]
    quick: tuple[str, ...]


MEASUREMENTS: Final = (
    Measurement("loads", "loads", ("--rounds", "10", "--seconds", "1"), ("--rounds", "1", "--seconds", "0.2")),
    Measurement("beside", "mixed", ("--seconds", "10"), ("--seconds", "1", "--rows", "20000")),
    Measurement("tables", "tables", ("--rounds", "15"), ("--rounds", "2", "--rows", "20000")),
    Measurement("workers", "workers", ("--rounds", "5", "--seconds", "2"), ("--rounds", "1", "--seconds", "0.3")),
    Measurement("start", "start", ("--rounds", "9"), ("--rounds", "1")),
    Measurement("profile", "in_process", ("--repeats", "40"), ("--repeats", "2")),
    Measurement("soak", "soak", ("--seconds", "600"), ("--seconds", "12")),
)


def measure(which: Measurement, folder: Path, *, quick: bool, peers: bool, figure: Path) -> bool:
    """Run one measurement; return whether it succeeded."""
    options = [*(which.quick if quick else which.options), "--json", str(folder / f"{which.name}.json")]
    if which.name == "loads":
        options += ["--plot", str(figure), *(["--peers"] if peers else [])]
    command = [sys.executable, "-m", f"benchmarks.serving.{which.module}", *options]
    return subprocess.run(command, cwd=report.CHECKOUT, check=False).returncode == 0


def main() -> None:
    """Measure, write the page; exit with 1 where a measurement failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--only", nargs="*", choices=[one.name for one in MEASUREMENTS])
    parser.add_argument("--no-peers", action="store_true", help="leave out Mosec, which is fetched on demand")
    parser.add_argument("--results", type=Path, help="folder of the results; by default those of the page")
    parser.add_argument("--no-page", action="store_true", help="leave the page as it is")
    given = parser.parse_args()
    console = Console(highlight=False)
    failed = []
    with tempfile.TemporaryDirectory() as passing:
        kept = given.results or (Path(passing) if given.quick else report.RESULTS)
        kept.mkdir(parents=True, exist_ok=True)
        is_page = kept.resolve() == report.RESULTS and not given.no_page
        for which in MEASUREMENTS:
            if given.only is not None and which.name not in given.only:
                continue
            console.rule(which.name)
            figure = _FIGURE if is_page else kept / "serving.svg"
            if not measure(which, kept.resolve(), quick=given.quick, peers=not given.no_peers, figure=figure):
                failed.append(which.name)
        if is_page:
            report.main()
    if failed:
        console.print(f"[red]not measured, or not as asked for:[/] {', '.join(failed)}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
