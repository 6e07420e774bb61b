"""A million bodies from a grammar through the readers and the models, in this process.

    python -m benchmarks.faults.fuzz_bodies

Every body goes to the strict reader and the ordinary answer, and to the quick reader and the short path. Each refusal
must be an error that has a problem of its own: anything else would be a 500. Where the short path answers, the ordinary
route must give the same bytes. No body may take longer than the deadline of a request, and memory must not grow.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.grammar import Grammar
from benchmarks.faults.report import CHECKOUT, Figure, keep
from models.contract.errors import NaluError
from models.contract.repository import ModelRepository
from service.api.open_inference.bodies import read_infer, write_infer
from service.api.predictions import answer_json, read_json
from service.api.problems import INTERNAL_ERROR, PROBLEMS
from service.api.together import answer_small
from service.inference.batches import SequenceLimits
from service.inference.predictor import predict
from service.inference.quick_rows import QuickReader
from service.inference.registry import Registry, load_registry
from service.inference.tensors import answered_tensors, encode_tensors

MAX_ROWS: Final = 100
LIMITS: Final = SequenceLimits(100, 1000, 100_000)
DEADLINE_S: Final = 1.0
"""Longest that one body may take; a service's own deadline is 30 s."""

_MAX_GROWTH_BYTES: Final = 32 * 1024**2
_SHOWN: Final = 10


class Fuzzed:
    """What was found.

    Args:
        repository: Models to ask.
        seed: Which bodies.
    """

    def __init__(self, repository: Path, seed: int) -> None:
        self.registry: Registry = load_registry(ModelRepository(repository), provider="cpu", n_threads=1)
        self.quick = QuickReader(self.registry, MAX_ROWS)
        self.grammar = Grammar([self.registry.get(name).manifest for name in self.registry.names], seed)
        self.outcomes: Counter[str] = Counter()
        self.n_quick = 0
        self.longest_s = 0.0
        self.failures: list[str] = []

    def run(self, n_bodies: int, seconds: float) -> int:
        """Try bodies until there were enough or the time is over; return how many there were."""
        end = time.monotonic() + seconds
        n_tried = 0
        while n_tried < n_bodies and time.monotonic() < end:
            kind, body = self.grammar.body()
            began = time.perf_counter()
            if kind == "tensors":
                self._try_tensors(body)
            else:
                self._try(body)
            took = time.perf_counter() - began
            if took > DEADLINE_S:
                self._fail(f"took {took:.1f} s", body)
            self.longest_s = max(self.longest_s, took)
            n_tried += 1
        return n_tried

    def _try(self, body: bytes) -> None:
        answer: bytes | None = None
        try:
            answer = answer_json(read_json(self.registry, body, MAX_ROWS), LIMITS)
            outcome = "answered"
        except Exception as error:
            outcome = self._outcome(error, body)
        self.outcomes[outcome] += 1
        try:
            request = self.quick.read_small(body)
            quick = None if request is None else answer_small(request)
        except Exception as error:
            self._fail(f"the quick reader failed with {error!r}", body)
            return
        if quick is not None:
            self.n_quick += 1
            if quick != answer:
                self._fail(
                    f"the short path answers {quick[:200]!r}, the ordinary route {(answer or b'')[:200]!r}", body
                )

    def _try_tensors(self, body: bytes) -> None:
        try:
            asked = read_infer(body, None)
            session = self.registry.get(self.registry.names[len(body) % len(self.registry.names)])
            prediction = predict(session, encode_tensors(session.manifest, asked.tensors, LIMITS), None)
            names = [output.name for output in asked.outputs]
            write_infer(session.manifest, asked, answered_tensors(session.manifest, prediction, names))
            outcome = "answered"
        except Exception as error:
            outcome = self._outcome(error, body)
        self.outcomes[outcome] += 1

    def _outcome(self, error: Exception, body: bytes) -> str:
        problem = next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), INTERNAL_ERROR)
        if problem is INTERNAL_ERROR or not isinstance(error, NaluError):
            self._fail(f"would be a 500: {error!r}", body)
        else:
            json.dumps(str(error)).encode("ascii")
            if len(str(error)) > 2000:
                self._fail(f"a message of {len(str(error))} characters", body)
        return problem.type

    def _fail(self, what: str, body: bytes) -> None:
        self.failures.append(f"{what}: {body[:300]!r}")


def memory_bytes() -> int:
    """Return what this process takes of memory now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def run(repository: Path, n_bodies: int, seed: int = 0, seconds: float = 540.0) -> dict[str, Any]:
    """Try bodies; return what was found."""
    fuzzed = Fuzzed(repository, seed)
    n_before = fuzzed.run(n_bodies // 10, seconds)
    before = memory_bytes()
    n_tried = n_before + fuzzed.run(n_bodies - n_before, seconds)
    return {
        "n_bodies": n_tried,
        "outcomes": dict(fuzzed.outcomes.most_common()),
        "n_by_the_short_path": fuzzed.n_quick,
        "longest_s": round(fuzzed.longest_s, 4),
        "growth_bytes": memory_bytes() - before,
        "n_failures": len(fuzzed.failures),
        "failures": fuzzed.failures[:_SHOWN],
    }


def main() -> None:
    """Run and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    arguments = parser.parse_args()
    found = run(CHECKOUT / "model_repository", arguments.bodies, arguments.seed, arguments.seconds)
    holds = not found["n_failures"] and found["growth_bytes"] < _MAX_GROWTH_BYTES
    told = (
        f"{found['n_bodies']:,} bodies, {found['outcomes'].get('answered', 0):,} of them answered, "
        f"{found['n_by_the_short_path']:,} by the short path with the same bytes; {found['n_failures']} failures; "
        f"at most {1000 * found['longest_s']:.0f} ms; {found['growth_bytes'] / 1024**2:+.1f} MiB"
    )
    print(told, json.dumps(found["outcomes"]), *found["failures"], sep="\n")
    if arguments.dry:
        sys.exit(not holds)
    figure = Figure(
        "bodies from a grammar, through both readers and the models",
        "1,000,000 bodies, no 500, no hang, no growth, and both ways agree",
        told,
        holds and found["n_bodies"] >= 1_000_000,
    )
    keep("fuzz-bodies", "python -m benchmarks.faults.fuzz_bodies", [figure], found)


if __name__ == "__main__":
    main()
