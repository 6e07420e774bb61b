"""Ten thousand broken manifests and model files, loaded as the service would.

    python -m benchmarks.faults.fuzz_files

A third are manifests, and two thirds graphs with a manifest that vouches for them; of each, half have bytes changed,
and half fields of what the bytes mean: sizes, types, names, operators, numbers. They are loaded in processes of their
own, many in each, so that a crash of the runtime is seen: a file must either load, which includes that its sample is
answered, or be refused by an error with a reason, within the deadline, and without taking memory for good.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import Message

from benchmarks.faults.fuzz_bodies import memory_bytes
from benchmarks.faults.report import CHECKOUT, Figure, keep
from models.contract.errors import NaluError
from models.contract.repository import MANIFEST_FILE, MODEL_FILE, ModelRepository
from service.inference.session import load_session

DEADLINE_S: Final = 10.0
"""Longest that one file may take; a sample must be answered within less."""

_BATCH: Final = 250
"""Files of one process."""

_MAX_GROWTH_BYTES: Final = 64 * 1024**2
_NUMBERS: Final = (0, 1, -1, 2, 255, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 1 << 40)
_TEXTS: Final = ("", "x", "../../etc/passwd", "\x00", "Loop", "com.evil", "numeric", "predictions", "a" * 5000, "Ω")
_VALUES: Final = (None, True, -1, 0, 1e308, 10**30, "", "NaN", "../..", "a" * 5000, [], {}, [[]], {"a": {}})


class Mutator:
    """Breaks what was published.

    Args:
        repository: Models to begin with.
        seed: Which files.
    """

    def __init__(self, repository: ModelRepository, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._models: list[tuple[dict[str, Any], bytes]] = []
        for name in repository.names():
            folder = repository.path(name, repository.versions(name)[-1])
            manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
            self._models.append((manifest, (folder / MODEL_FILE).read_bytes()))

    def broken(self) -> tuple[str, str, bytes, bytes]:
        """Return the model's name, what was changed, its manifest and its graph."""
        manifest, graph = self._random.choice(self._models)
        how = self._random.choice(("bytes of a manifest", "a manifest", *("bytes of a graph", "a graph") * 2))
        told = json.dumps(manifest).encode()
        if how == "bytes of a manifest":
            return manifest["name"], how, self._bytes(told), graph
        if how == "a manifest":
            changed = json.loads(told)
            for _ in range(self._random.randint(1, 3)):
                self._change_json(changed)
            return manifest["name"], how, json.dumps(changed).encode(errors="surrogatepass"), graph
        if how == "bytes of a graph":
            graph = self._bytes(graph)
        else:
            parsed = onnx.load_from_string(graph)
            for _ in range(self._random.randint(1, 4)):
                self._change_message(parsed)
            graph = parsed.SerializeToString()
        vouching = json.loads(told)
        vouching["graph"] |= {"sha256": hashlib.sha256(graph).hexdigest(), "n_bytes": len(graph)}
        return manifest["name"], how, json.dumps(vouching).encode(), graph

    def _bytes(self, raw: bytes) -> bytes:
        choose, changed = self._random, bytearray(raw)
        for _ in range(choose.randint(1, 8)):
            at = choose.randrange(len(changed) + 1)
            how = choose.randrange(6)
            if how < 2 and at < len(changed):
                changed[at] = choose.randrange(256)
            elif how == 2:
                del changed[at : at + choose.randint(1, 30)]
            elif how == 3:
                changed[at:at] = changed[max(0, at - choose.randint(1, 60)) : at]
            elif how == 4:
                changed[at:at] = choose.randbytes(choose.randint(1, 12))
            elif choose.random() < 0.2:
                del changed[at:]
        return bytes(changed)

    def _change_json(self, content: Any) -> None:
        """Change one value, name or element somewhere."""
        choose = self._random
        places: list[tuple[Any, Any]] = []

        def collect(value: Any) -> None:
            keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
            for key in keys:
                places.append((value, key))
                collect(value[key])

        collect(content)
        holder, key = choose.choice(places)
        how = choose.randrange(4)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[choose.choice(_TEXTS)] = holder[key]
        elif how == 2 and isinstance(holder, list):
            holder.extend([holder[key]] * choose.choice((1, 5, 1000)))
        else:
            holder[key] = choose.choice(_VALUES)

    def _change_message(self, message: Message) -> None:
        """Change one field somewhere below a message, as its type allows."""
        choose = self._random
        while True:
            fields = message.ListFields()
            if not fields:
                return
            field, value = choose.choice(fields)
            repeated = isinstance(value, Message) is False and not isinstance(value, (int, float, str, bytes))
            inner = [item for item in (value if repeated else [value]) if isinstance(item, Message)]
            if inner and choose.random() < 0.8:
                message = choose.choice(inner)
                continue
            how = choose.randrange(3)
            if how == 0:
                message.ClearField(field.name)
            elif repeated and how == 1 and len(value):
                item = value[choose.randrange(len(value))]
                value.extend([item] * choose.choice((1, 3, 100)))
            elif not inner:
                with suppress(ValueError):  # an enumeration does not hold every number
                    if repeated and len(value):
                        at = choose.randrange(len(value))
                        value[at] = self._other(value[at])
                    elif not repeated:
                        setattr(message, field.name, self._other(value))
            return

    def _other(self, value: Any) -> Any:
        choose = self._random
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, str):
            return choose.choice(_TEXTS)
        if isinstance(value, float):
            return choose.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
        numbers = _NUMBERS if abs(value) >= 2**31 else [one for one in _NUMBERS if -(2**31) <= one < 2**31]
        return choose.choice((*numbers, 7))


def load(root: Path, name: str) -> str:
    """Load a model as the service does; return `loaded`, or the kind of error that refused it."""
    try:
        load_session(ModelRepository(root).load(name, 1), "cpu", 1)
    except NaluError as error:
        return type(error).__name__
    return "loaded"


def _work(repository: Path, root: Path, seed: int, n_files: int, out: int) -> None:
    """Load broken files in this process; write one line about each before and after."""
    mutator = Mutator(ModelRepository(repository), seed)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = 0
    with os.fdopen(out, "w", encoding="utf-8") as told:
        for number in range(n_files):
            name, how, manifest, graph = mutator.broken()
            folder = root / name / "1"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MANIFEST_FILE).write_bytes(manifest)
            (folder / MODEL_FILE).write_bytes(graph)
            told.write(json.dumps({"number": number, "how": how}) + "\n")
            told.flush()
            began = time.monotonic()
            try:
                outcome = load(root, name)
            except Exception as error:
                outcome = f"failed: {error!r}"
            told.write(json.dumps({"outcome": outcome, "took_s": time.monotonic() - began}) + "\n")
            if number == n_files // 5:
                before = memory_bytes()
        told.write(json.dumps({"growth_bytes": memory_bytes() - before}) + "\n")


def batch(repository: Path, seed: int, n_files: int) -> Iterator[dict[str, Any]]:
    """Load broken files in a process of their own; yield what it told, and how it ended where not well."""
    receiving, sending = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        pid = os.fork()
        if not pid:
            os.close(receiving)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 2)
            code = 1
            try:
                _work(repository, Path(folder), seed, n_files, sending)
                code = 0
            except Exception as error:
                print(f"the work itself failed: {error!r}", flush=True)
            finally:
                os._exit(code)
        os.close(sending)
        killer = threading.Timer(DEADLINE_S + n_files * 0.5, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with os.fdopen(receiving, encoding="utf-8") as told:
            yield from map(json.loads, told)
        killer.cancel()
        _pid, status = os.waitpid(pid, 0)
        if status:
            yield {"ended": os.waitstatus_to_exitcode(status)}


def run(repository: Path, n_files: int, seed: int = 0, seconds: float = 540.0) -> dict[str, Any]:
    """Load broken files; return what was found."""
    end = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()
    by_change: Counter[str] = Counter()
    failures: list[str] = []
    longest_s, growth, n_tried = 0.0, 0, 0
    while n_tried < n_files and time.monotonic() < end:
        n_here, number, how = min(_BATCH, n_files - n_tried), 0, ""
        for told in batch(repository, seed, n_here):
            if "how" in told:
                number, how = told["number"], told["how"]
                by_change[how] += 1
            elif "outcome" in told:
                outcomes[told["outcome"].partition(":")[0]] += 1
                longest_s = max(longest_s, told["took_s"])
                if told["outcome"].startswith("failed") or told["took_s"] > DEADLINE_S:
                    what = f"{told['outcome'][:300]} in {told['took_s']:.1f} s"
                    failures.append(f"seed {seed}, file {number}, {how}: {what}")
            elif "growth_bytes" in told:
                growth = max(growth, told["growth_bytes"])
            else:
                failures.append(f"seed {seed}, file {number}, {how}: the process ended with {told['ended']}")
        n_tried += n_here
        seed += 1
    return {
        "n_files": sum(by_change.values()),
        "changed": dict(by_change.most_common()),
        "outcomes": dict(outcomes.most_common()),
        "longest_s": round(longest_s, 3),
        "growth_bytes": growth,
        "n_failures": len(failures),
        "failures": failures[:10],
    }


def main() -> None:
    """Run and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    arguments = parser.parse_args()
    found = run(CHECKOUT / "model_repository", arguments.files, arguments.seed, arguments.seconds)
    holds = not found["n_failures"] and found["growth_bytes"] < _MAX_GROWTH_BYTES
    told = (
        f"{found['n_files']:,} files, {found['outcomes'].get('loaded', 0):,} of them still good, the others refused "
        f"with a reason; {found['n_failures']} failures; at most {found['longest_s']:.1f} s; {_BATCH} in a process "
        f"grow it by {found['growth_bytes'] / 1024**2:.0f} MiB at most"
    )
    print(told, json.dumps(found["outcomes"]), *found["failures"], sep="\n")
    if arguments.dry:
        sys.exit(not holds)
    figure = Figure(
        "broken manifests and ONNX files, loaded as the service does",
        "10,000 files, no crash, no hang, no growth",
        told,
        holds and found["n_files"] >= 10_000,
    )
    keep("fuzz-files", "python -m benchmarks.faults.fuzz_files", [figure], found)


if __name__ == "__main__":
    main()
