"""The whole OpenAPI document driven by schemathesis, all its checks, against a real service.

    python -m benchmarks.faults.interface --schemathesis PATH/TO/st

Twice: with a key for predictions, for most of the time, and with an admin key, which unloads models under its own
requests, so that a model that is not loaded may then be told by 503. What a model's columns are stands in its manifest
and not in the schema, so that a request that follows the schema may be refused for them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.report import CHECKOUT, Figure, keep
from service.key_file import KeyRecord, Role, add_record, hash_of, new_key
from tests.serving import serve

_REFUSALS: Final = ("400", "401", "403", "404", "406", "409", "413", "415", "422", "429", "503")

_CONFIG: Final = {
    "predict": f"[checks]\npositive_data_acceptance.expected-statuses = {json.dumps(['2xx', '3xx', *_REFUSALS])}\n",
    "admin": (
        f"[checks]\npositive_data_acceptance.expected-statuses = {json.dumps(['2xx', '3xx', *_REFUSALS])}\n"
        f"not_a_server_error.expected-statuses = {json.dumps(['2xx', '3xx', '4xx', '503'])}\n"
    ),
}
"""Role of the key → the settings of its run."""


def drive(schemathesis: str, repository: Path, role: Role, seconds: float) -> dict[str, Any]:
    """Drive the interface with a key; return what schemathesis reports."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(repository, root / "models")
        (root / "schemathesis.toml").write_text(_CONFIG[role], encoding="utf-8")
        key = new_key()
        add_record(root / "keys.jsonl", KeyRecord(name="driver", role=role, sha256=hash_of(key.encode()).hex()))
        with serve(root / "models", "--workers", "1", NALU_KEYS_FILE=str(root / "keys.jsonl")) as served:
            served.wait_until_ready()
            command = [
                *(schemathesis, "run", f"http://127.0.0.1:{served.port}/openapi.json"),
                *("--header", f"Authorization: Bearer {key}", "--checks", "all", "--continue-on-failure"),
                *("--max-time", str(round(seconds)), "--no-color", "--report-json-path", str(root / "report.json")),
            ]
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
            if done.returncode not in (0, 1):
                raise RuntimeError(done.stdout + done.stderr)
            report: dict[str, Any] = json.loads((root / "report.json").read_text(encoding="utf-8"))
            traces = [line for line in served.lines if "Traceback" in line]
    failures = [f"{one['code']} {one['title']}: {', '.join(one['operations'][:5])}" for one in report["failures"]]
    return {
        "role": role,
        "seconds": report["running_time"],
        "schemathesis": report["schemathesis_version"],
        "operations": report["operations"]["tested"],
        "cases": report["test_cases"]["generated"],
        "failures": [*failures, *(["the service logged a traceback"] if traces else [])],
        "errors": len(report["errors"]),
        "complete": report["complete"] and done.returncode in (0, 1),
    }


def main() -> None:
    """Run and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemathesis", default="st", help="its command, of an environment of its own")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    arguments = parser.parse_args()
    roles: tuple[tuple[Role, float], ...] = (("predict", 0.7), ("admin", 0.3))
    found = [
        drive(arguments.schemathesis, CHECKOUT / "model_repository", role, arguments.seconds * share)
        for role, share in roles
    ]
    failures = [failure for one in found for failure in one["failures"]]
    holds = not failures and all(one["complete"] and not one["errors"] for one in found)
    told = (
        f"{sum(one['cases'] for one in found):,} cases on {found[0]['operations']} operations in "
        f"{sum(one['seconds'] for one in found):.0f} s, {len(failures)} failures"
    )
    print(told, *failures, f"load {os.getloadavg()[0]:.1f}", sep="\n")
    if arguments.dry:
        sys.exit(not holds)
    figure = Figure(
        "schemathesis over the whole OpenAPI document, all checks, with a key of each role",
        "5 minutes, no failure",
        told,
        holds and sum(one["seconds"] for one in found) >= 299,
    )
    keep("interface", "python -m benchmarks.faults.interface", [figure], {"runs": found})


if __name__ == "__main__":
    main()
