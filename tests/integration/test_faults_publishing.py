"""The short form of `benchmarks.faults.publishing`: killed while it publishes, nothing half is left."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_one_who_publishes_is_killed_at_random_moments() -> None:
    command = [sys.executable, "-m", "benchmarks.faults.publishing", "--kills", "10", "--dry"]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("10 kills, ")
    assert run.stdout.strip().endswith(" 0 faults")
