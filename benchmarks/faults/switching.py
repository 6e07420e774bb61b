"""Publishes, activates, rolls back, names and removes versions while 64 connections predict; every answer is compared.

    python -m benchmarks.faults.switching --http protocol --workers 2

makes 1,000 changes; with `--http` and `--workers` in all four combinations, and `--dry` to keep nothing. Every version
answers something else, so an answer tells which version gave it, whatever it says.
"""

import argparse
import contextlib
import http.client
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.faults.asking import Asking
from benchmarks.faults.numbered import NAME, publish_next
from benchmarks.faults.report import RESULTS, Figure, keep
from models.contract.activation import Activation
from models.contract.errors import ActivationError, ModelNotFoundError
from models.contract.repository import ModelRepository
from service.key_file import KeyRecord, add_record, hash_of, new_key
from tests.serving import Served, serve

Http = Literal["protocol", "asgi"]

CHANGES = ("publish", "publish broken", "activate", "roll back", "alias", "remove", "unpin")
_WEIGHTS = (42, 5, 25, 10, 10, 5, 3)
_PAUSE_S = 0.01
_SETTLED_S = 60.0
_ADMIN = f"/admin/models/{NAME}"


class Changing:
    """Changes a repository, by itself and over HTTP.

    Args:
        root: The repository.
        served: The service that follows it.
        headers: An admin key.
        alone: Whether one worker serves, so that what was activated over HTTP must answer at once.

    Attributes:
        made: Change → how often it was made.
        refused: Changes that were refused, such as going back where there is nothing before.
        faults: What was not as it should be.
    """

    def __init__(self, root: Path, served: Served, headers: dict[str, str], *, alone: bool) -> None:
        self._repository = ModelRepository(root)
        self._served = served
        self._headers = headers
        self._alone = alone
        self._newest = 1
        self._broken = set[int]()
        self.made = Counter[str]()
        self.refused = Counter[str]()
        self.faults: list[str] = []

    def change(self, what: str, random_choice: random.Random) -> None:
        """Make one change."""
        there = [one for one in self._repository.versions(NAME) if one not in self._broken]
        version = random_choice.choice(there[-6:])
        by_http = random_choice.random() < 0.5
        try:
            match what:
                case "publish" | "publish broken":
                    self._newest += 1
                    broken = what == "publish broken"
                    if broken:
                        self._broken.add(self._newest)
                    publish_next(self._repository.root, self._newest, broken=broken)
                case "activate" if by_http:
                    self._ask("POST", "activate", {"version": version})
                case "activate":
                    self._write(lambda now, all_there: now.activated(NAME, version, all_there))
                case "unpin":
                    self._write(lambda now, all_there: now.activated(NAME, None, all_there))
                case "roll back" if by_http:
                    self._ask("POST", "rollback", None)
                case "roll back":
                    self._write(lambda now, all_there: now.rolled_back(NAME, all_there))
                case "alias" if by_http:
                    self._ask("PUT", "aliases/champion", {"version": version})
                case "alias":
                    self._write(lambda now, all_there: now.aliased(NAME, "champion", version, all_there))
                case "remove":
                    self._repository.remove(NAME, there[0])
        except (ActivationError, ModelNotFoundError):
            self.refused[what] += 1
        else:
            self.made[what] += 1

    def settle(self) -> None:
        """Wait until every worker answers with what the repository says."""
        now = self._repository.activation(NAME)
        wanted = next(one for one in now.candidates(self._repository.versions(NAME)) if one not in self._broken)
        deadline = time.monotonic() + _SETTLED_S
        while (told := self._metric(f'nalu_models_active{{model="{NAME}",version="{wanted}"}}')) != (
            n_workers := self._metric("nalu_workers")
        ):
            if time.monotonic() > deadline:
                self.faults.append(f"{told:g} of {n_workers:g} workers answer with version {wanted} in the end")
                return
            time.sleep(0.05)

    def _write(self, change: Callable[[Activation, list[int]], Activation]) -> None:
        self._repository.change_activation(NAME, change)

    def _ask(self, method: str, what: str, body: object) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._served.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(
                method, f"{_ADMIN}/{what}", json.dumps(body), {**self._headers, "Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if answer.status in (404, 409):
                raise ActivationError(told["detail"])
            if answer.status != 200:
                self.faults.append(f"{what}: {told}")
                return
            if not self._alone:
                return
            asked = {"model": NAME, "rows": [{"a": 3, "b": 5}]}
            connection.request(
                "POST", "/predict", json.dumps(asked), {**self._headers, "Content-Type": "application/json"}
            )
            version = json.loads(connection.getresponse().read())["version"]
            if version != told["active"]:
                self.faults.append(f"{what} said that version {told['active']} answers, and {version} did")

    def _metric(self, series: str) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self._served.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers=self._headers)
            lines = connection.getresponse().read().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(series + " ")), 0.0)


def memory_mb(served: Served) -> float:
    """Return the memory of a service's processes that no other has, in MB."""
    pid = served.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for one in [str(pid), *children]:
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1])
    return total / 1024


def run(
    root: Path, http_path: Http, n_workers: int, n_changes: int, n_connections: int, seed: int = 0
) -> dict[str, Any]:
    """Change and ask at the same time.

    Returns:
        Changes made and refused, answers by form, versions that answered, faults, memory after a tenth and at the end.
    """
    chosen = random.Random(seed)  # noqa: S311 - no secret
    repository = root / "repository"
    publish_next(repository, 1)
    ModelRepository(repository).change_activation(NAME, lambda now, there: now.aliased(NAME, "champion", 1, there))
    key = new_key()
    keys = root / "keys"
    add_record(keys, KeyRecord(name="changing", role="admin", sha256=hash_of(key.encode()).hex()))
    headers = {"X-API-Key": key}
    started = time.monotonic()
    with serve(
        repository,
        "--workers",
        str(n_workers),
        NALU_HTTP=http_path,
        NALU_KEYS_FILE=str(keys),
        NALU_RELOAD_S="0.05",
        NALU_LOG_LEVEL="error",
        NALU_MAX_QUEUE=str(n_connections),  # every connection may have a table under way
    ) as served:
        changing = Changing(repository, served, headers, alone=n_workers == 1)
        changing.settle()
        asking = Asking(served.port, n_connections, headers)
        asking.start()
        memory: dict[str, float] = {}
        while changing.made.total() < n_changes:
            changing.change(chosen.choices(CHANGES, _WEIGHTS)[0], chosen)
            time.sleep(_PAUSE_S)
            if not memory and changing.made.total() > n_changes // 10:
                memory["after a tenth"] = memory_mb(served)
        changing.settle()
        asking.finish()
        memory["at the end"] = memory_mb(served)
        code = served.stop()
    if code:
        changing.faults.append(f"the service ended with exit code {code}")
    return {
        "http": http_path,
        "workers": n_workers,
        "connections": n_connections,
        "seconds": time.monotonic() - started,
        "made": dict(changing.made),
        "refused": dict(changing.refused),
        "answers": dict(asking.right),
        "n_versions": len(asking.versions),
        "n_wrong": asking.n_wrong,
        "wrong": asking.wrong,
        "faults": changing.faults,
        "memory_mb": memory,
    }


def figure_of(found: dict[str, Any]) -> Figure:
    """Return what is told of a run."""
    n_made = sum(found["made"].values())
    workers = "one worker" if found["workers"] == 1 else f"{found['workers']} workers"
    return Figure(
        f"versions published, activated, rolled back, named and removed while {found['connections']} connections "
        f"predict, {workers}, `NALU_HTTP={found['http']}`",
        "no failed or wrong answer; every answer names the version that really gave it",
        f"{n_made:,} changes; {sum(found['answers'].values()):,} answers by {found['n_versions']} versions, "
        f"{found['n_wrong']} failed or wrong; {len(found['faults'])} other faults",
        found["n_wrong"] == 0 and not found["faults"] and n_made > 0,
    )


def main() -> None:
    """Run and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=1_000, help="changes to make, refused ones not counted")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1)
    parser.add_argument("--http", choices=("protocol", "asgi"), default="protocol")
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.http, arguments.workers, arguments.changes, arguments.connections)
    figure = figure_of(found)
    print(figure.measured, *found["wrong"], *found["faults"], sep="\n")
    if arguments.dry:
        sys.exit(not figure.holds)
    name = f"switching-{arguments.http}-{arguments.workers}"
    command = f"python -m benchmarks.faults.switching --http {arguments.http} --workers {arguments.workers}"
    print("kept in", keep(name, command, [figure], found).relative_to(RESULTS.parent))


if __name__ == "__main__":
    main()
