"""Kills a process that publishes, activates and removes, at random moments; the repository must always be whole.

    python -m benchmarks.faults.publishing

kills 200 times. After each kill every version that is listed is read and verified, loaded into the runtime and asked
its sample, the pointer is read, and the next process publishes on.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.numbered import NAME, publish_next
from benchmarks.faults.report import Figure, keep
from models.contract.activation import Activation
from models.contract.errors import ActivationError
from models.contract.repository import ModelRepository
from service.inference.loading import Loader

BALLAST_BYTES = 2 * 1024 * 1024
"""As large as a model card with plots: most of a publication is writing."""

LONGEST_S = 0.08
"""Kills fall between 0 and this after the process began; a publication takes some 10 ms."""

_KEPT = 4


def publish_for_ever(root: Path) -> None:
    """Publish, activate and remove without end, as several trainers and operators would."""
    repository = ModelRepository(root)
    while True:
        there = repository.versions(NAME)
        number = max([*there, _last(repository)], default=0) + 1
        publish_next(root, number, ballast=BALLAST_BYTES)
        repository.change_activation(NAME, lambda now, versions: now.activated(NAME, versions[-1], versions))
        for version in there[:-_KEPT]:
            repository.remove(NAME, version)
        if number % 5 == 0:
            repository.change_activation(NAME, lambda now, versions: now.activated(NAME, None, versions))


def _last(repository: ModelRepository) -> int:
    return repository.activation(NAME).last


@contextmanager
def publishing(root: Path) -> Iterator[int]:
    """Give the process id of one who publishes; it is forked, so that it begins at once."""
    pid = os.fork()
    if not pid:
        try:
            publish_for_ever(root)
        finally:
            os._exit(1)
    yield pid
    os.kill(pid, signal.SIGKILL)
    _pid, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        msg = "the publisher must publish until it is killed, however it ended by itself"
        raise RuntimeError(msg)


def check(root: Path, loader: Loader) -> list[str]:
    """Return what is wrong with a repository."""
    repository = ModelRepository(root)
    faults = []
    for name in repository.names():
        for version in repository.versions(name):
            found = loader.load(name, version)
            if isinstance(found, str):
                faults.append(f"{name}/{version}: {found}")
    try:
        active = repository.activation(NAME)
        if active != Activation() and active.active not in (None, *repository.versions(NAME)):
            faults.append(f"version {active.active} is active and not there")
    except ActivationError as error:
        faults.append(str(error))
    return faults


def run(root: Path, n_kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill, check, and go on.

    Returns:
        Kills, versions published by the processes killed, kills within a publication (a staging folder was left),
        and faults of the repository.
    """
    random_moments = random.Random(seed)  # noqa: S311 - no secret
    loader = Loader(ModelRepository(root), "cpu")
    faults: list[str] = []
    n_within = n_left = 0
    newest = 0
    for _ in range(n_kills):
        with publishing(root):
            time.sleep(random_moments.uniform(0, LONGEST_S))
        left = len(list((root / NAME).glob(".staging-*"))) if (root / NAME).is_dir() else 0
        n_within += left > n_left
        n_left = left
        faults += check(root, loader)
        versions = ModelRepository(root).versions(NAME)
        if versions and versions[-1] < newest:
            faults.append(f"version {newest} was there and is gone, and nobody removed it")
        newest = max([newest, *versions])
    return {"n_kills": n_kills, "n_published": newest, "n_within": n_within, "n_left": n_left, "faults": faults}


def main() -> None:
    """Run and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.kills)
    told = (
        f"{found['n_kills']} kills, {found['n_within']} of them within a write; {found['n_published']} versions "
        f"published, {len(found['faults'])} faults"
    )
    figure = Figure(
        "kill −9 of one who publishes, activates and removes, at random moments",
        "the repository always loads, never a half version",
        told,
        not found["faults"],
    )
    print(told, *found["faults"], sep="\n")
    if arguments.dry:
        sys.exit(bool(found["faults"]))
    keep("publishing", "python -m benchmarks.faults.publishing", [figure], found)


if __name__ == "__main__":
    main()
