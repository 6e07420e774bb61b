"""How long `nalu train table` takes with all defaults, imports and model card among it, and each of its fits.

The table is made up: columns that are normal, lognormal or whole numbers, and a target of products, a bend, waves and
noise, which no law explains; `--tangled` adds smooth functions of pairs of columns, for which networks are chosen too,
and that takes longest. The command tells of each fit how long it took, the calibration of intervals included.

    python -m benchmarks.tables.duration --rows 5000 --columns 30 --runs 3
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

_FIT: Final = re.compile(r"^(fit[^:]*): chose .* in (?:(\d+) min )?([\d.]+) s$", re.MULTILINE)


def write_table(path: Path, n_rows: int, n_columns: int, tangled: bool) -> None:
    """Write a table of numbers; the target follows from the first nine columns, or from pairs of all as well."""
    rng = np.random.default_rng(0)
    kinds = [rng.normal(size=(n_rows, n_columns)), rng.lognormal(size=(n_rows, n_columns))]
    kinds.append(rng.integers(0, 20, (n_rows, n_columns)))
    block = np.stack(kinds)[np.arange(n_columns) % 3, :, np.arange(n_columns)].T
    a, b, c, d, e, f, g, h, i = block[:, :9].T
    target = 3 * a + b * np.sqrt(e) - 0.2 * c * d + np.maximum(f - 10, 0) + 2 * np.sin(2 * g) * h + 0.01 * i**2
    target += rng.normal(size=n_rows)
    if tangled:
        target += 3 * np.tanh(block[:, 3:] * block[:, :-3] / 4).sum(axis=1)
    names = ",".join([*(f"c{j}" for j in range(n_columns)), "y"])
    np.savetxt(path, np.column_stack([block, target]), delimiter=",", header=names, comments="", fmt="%.7g")


def run_once(table: Path, folder: Path) -> dict[str, float]:
    """Run the command; return the seconds of each fit, of all, of processors, and the largest resident set in MiB."""
    command = [sys.executable, "-c", "import nalu_cli; nalu_cli.main()", "train", "table", str(table), "--target", "y"]
    command += ["--repository", str(folder / "repository"), "--runs", str(folder / "runs")]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "COLUMNS": "1000"})
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    fits = {title: 60 * float(minutes or 0) + float(rest) for title, minutes, rest in _FIT.findall(run.stdout)}
    processors = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {**fits, "whole command": seconds, "processors": processors, "peak MiB": used.ru_maxrss / 1024}


def main() -> None:
    """Print the median of each figure, and all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=30, choices=range(9, 1000), metavar="N")
    parser.add_argument("--tangled", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "table.csv", given.rows, given.columns, given.tangled)
        runs = [run_once(folder / "table.csv", folder) for _ in range(given.runs)]
    for figure in runs[0]:
        values = [run[figure] for run in runs]
        print(f"{figure}: {np.median(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})")


if __name__ == "__main__":
    main()
