"""How long requests with wrong, expired, revoked and missing keys take, over a socket and in turns.

    python -m benchmarks.faults.key_times

A key that is guessed in steps needs a difference: in each round every kind is asked once, in a random order, and the
medians are compared with how far two medians of one and the same kind lie apart.
"""

import argparse
import json
import random
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.report import CHECKOUT, Figure, keep
from benchmarks.serving.load import split_answer
from service.key_file import PREFIX, KeyRecord, add_record, hash_of, new_key, remove_record
from tests.serving import serve

_BODY: Final = b'{"model": "multiply", "rows": [{"a": 3, "b": 5}]}'
_N_GUESSES: Final = 200
"""Wrong keys asked with in turn."""


def _request(key: str | None) -> bytes:
    brought = f"X-API-Key: {key}\r\n" if key is not None else ""
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}{brought}Content-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY


def _ask(connection: socket.socket, request: bytes) -> tuple[float, bytes]:
    began = time.perf_counter()
    connection.sendall(request)
    raw = b""
    while split_answer(raw) is None:
        raw += connection.recv(65536)
    return time.perf_counter() - began, raw[9:12]


def run(repository: Path, n_rounds: int, seed: int = 0) -> dict[str, Any]:
    """Ask with every kind of key; return medians in µs, their differences and their noise."""
    choose = random.Random(seed)  # noqa: S311 - no secret
    good, expired, revoked = new_key(), new_key(), new_key()
    near = [good[: at % len(good)] + "!" + good[at % len(good) + 1 :] for at in range(len(PREFIX), _N_GUESSES)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.jsonl"
        for name, key, more in (
            ("good", good, {}),
            ("expired", expired, {"expires": "2026-01-01T00:00:00Z"}),
            ("revoked", revoked, {}),
        ):
            sha256 = hash_of(key.encode()).hex()
            add_record(file, KeyRecord.model_validate({"name": name, "role": "predict", "sha256": sha256, **more}))
        remove_record(file, "revoked")
        kinds = {
            "missing": [_request(None)],
            "unknown": [_request(new_key()) for _ in range(_N_GUESSES)],
            "one character off": [_request(key) for key in near],
            "expired": [_request(expired)],
            "revoked": [_request(revoked)],
            "unknown again": [_request(new_key()) for _ in range(_N_GUESSES)],
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        with (
            serve(repository, "--workers", "1", NALU_KEYS_FILE=str(file), NALU_LOG_LEVEL="warning") as served,
            served.connect() as connection,
        ):
            _check(_ask(connection, _request(good))[1], b"200", "good")
            order = list(kinds)
            for number in range(n_rounds + 100):
                choose.shuffle(order)
                for kind in order:
                    request = kinds[kind][number % len(kinds[kind])]
                    # An id of its own for each, or those that are sent twice would be heads known by heart.
                    own = request.replace(b"\r\n", b"\r\nX-Request-ID: %06d\r\n" % number, 1)
                    took, status = _ask(connection, own)
                    _check(status, b"401" if kind == "missing" else b"403", kind)
                    if number >= 100:
                        times[kind].append(took)
    medians = {kind: 1e6 * statistics.median(all_of) for kind, all_of in times.items()}
    refused = [kind for kind in medians if kind != "missing"]
    noise = max(_apart(times[kind], choose) for kind in refused)
    middle = statistics.median(medians.values())
    return {
        "n_rounds": n_rounds,
        "median_us": medians,
        "largest_difference_us": max(abs(median - middle) for median in medians.values()),
        "noise_us": noise,
    }


def _check(status: bytes, wanted: bytes, kind: str) -> None:
    if status != wanted:
        msg = f"a request with a key that is {kind} must be answered {wanted!r}, however: {status!r}"
        raise RuntimeError(msg)


def _apart(times: list[float], choose: random.Random) -> float:
    """Return how far the medians of two random halves lie apart, at most, in 50 tries."""
    found = []
    for _ in range(50):
        mixed = choose.sample(times, len(times))
        half = len(mixed) // 2
        found.append(1e6 * abs(statistics.median(mixed[:half]) - statistics.median(mixed[half:])))
    return max(found)


def main() -> None:
    """Run and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--dry", action="store_true", help="keep nothing")
    arguments = parser.parse_args()
    found = run(CHECKOUT / "model_repository", arguments.rounds)
    told = (
        f"medians of {found['n_rounds']:,}: "
        + ", ".join(f"{kind} {median:.0f}" for kind, median in found["median_us"].items())
        + f" µs; farthest from the middle {found['largest_difference_us']:.1f} µs, halves of one kind apart "
        f"{found['noise_us']:.1f} µs"
    )
    print(told, json.dumps(found), sep="\n")
    if arguments.dry:
        sys.exit(0)
    figure = Figure(
        "requests with missing, unknown, almost right, expired and revoked keys",
        "all refused, the same time within noise",
        told,
        found["largest_difference_us"] <= max(found["noise_us"], 0.02 * found["median_us"]["unknown"]),
    )
    keep("key-times", "python -m benchmarks.faults.key_times", [figure], found)


if __name__ == "__main__":
    main()
