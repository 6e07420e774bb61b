"""Peak memory of a run on a table several times larger than the memory that the process may have.

A Parquet table is written batch by batch, then `nalu train table` runs on it in a process whose private memory is
limited by the kernel (RLIMIT_DATA, which counts what is reserved and not touched too: half a gigabyte of it is the
libraries'), and its largest resident set is read from the kernel.

    python -m benchmarks.tables.memory --rows 20000000 --columns 40 --limit-mib 2048
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

_BATCH_ROWS = 100_000


def write_table(path: Path, n_rows: int, n_columns: int) -> None:
    """Write numbers, a category, and a target that follows from them; of few digits, so that the file is small."""
    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, n_rows, _BATCH_ROWS):
        size = min(_BATCH_ROWS, n_rows - start)
        numbers = {f"c{j}": rng.integers(100, 1000, size) / 100 for j in range(n_columns)}
        grade = rng.choice(["hard", "medium", "soft"], size)
        target = numbers["c0"] * numbers["c1"] / numbers["c2"] + 5 * (grade == "hard") + rng.normal(size=size)
        batch = pa.record_batch({**numbers, "grade": grade, "y": target})
        if writer is None:
            writer = parquet.ParquetWriter(path, batch.schema)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()


def main() -> None:
    """Write the table, run, and print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--limit-mib", type=int, default=2048)
    parser.add_argument("--max-rows", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "long.parquet", arguments.rows, arguments.columns)
        limit = arguments.limit_mib * 1024 * 1024
        command = [sys.executable, "-c", "import nalu_cli; nalu_cli.main()", "train", "table"]
        command += [
            str(folder / "long.parquet"),
            "--target",
            "y",
            "--max-rows",
            str(arguments.max_rows),
            "--no-outside",
        ]
        command += ["--repository", str(folder / "repository"), "--runs", str(folder / "runs")]
        began = time.monotonic()
        run = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured = {
            "rows": arguments.rows,
            "columns": arguments.columns + 2,
            "table_mib": arguments.rows * (arguments.columns + 2) * 8 // 2**20,
            "file_mib": (folder / "long.parquet").stat().st_size // 2**20,
            "limit_mib": arguments.limit_mib,
            "peak_rss_mib": used.ru_maxrss // 1024,
            "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "wall_s": round(time.monotonic() - began, 1),
            "exit": run.returncode,
        }
    print(run.stdout[-3000:], run.stderr[-2000:], sep="\n")
    print(json.dumps(measured, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
