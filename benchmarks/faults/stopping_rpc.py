"""Stop the service under load over gRPC, again and again.

    python -m benchmarks.faults.stopping_rpc

A call that is answered is right; one that is told UNAVAILABLE was not begun and is to be asked again; any other end is
a call that was lost.
"""

import argparse
import random
import re
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

import grpc

from benchmarks.faults.report import Figure, keep
from tests.published import publish_arithmetic
from tests.rpc import RpcClient, tensor
from tests.serving import serve

N_CLIENTS: Final = 8
_WISH: Final = tensor("numeric", "FP64", [1, 2], "fp64_contents", [3, 5])


class Asking(threading.Thread):
    """Asks one call after the other on a connection of its own, until one is not answered.

    Args:
        port: Where the service listens.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self._client = RpcClient(port)
        self.begun = threading.Event()
        self.ends = Counter[str]()

    def run(self) -> None:
        """Ask until a call is not answered."""
        while True:
            try:
                answer = self._client.infer("multiply", _WISH)
            except grpc.RpcError as error:
                self.ends[error.code().name] += 1
                break
            self.ends["right" if list(answer.outputs[0].contents.fp64_contents) == [15.0] else "wrong"] += 1
            self.begun.set()
        self._client.close()


def stop_once(root: Path, moment_s: float) -> tuple[Counter[str], int, float]:
    """Stop a server under load.

    Returns:
        How calls ended, the exit code, and the time until then.
    """
    with serve(root, "--workers", "2", "--grpc-port", "0", NALU_LOG_LEVEL="warning") as served:
        served.wait_until_ready()
        found = re.search(r"gRPC at \S+:(\d+)", served.output)
        if found is None:
            raise RuntimeError(served.output)
        threads = [Asking(int(found[1])) for _ in range(N_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.begun.wait(60)
        time.sleep(moment_s)
        told_at = time.monotonic()
        code = served.stop()
        took_s = time.monotonic() - told_at
        for thread in threads:
            thread.join(60)
    return sum((thread.ends for thread in threads), Counter()), code, took_s


def main() -> None:
    """Stop, count and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=20)
    n_stops = parser.parse_args().stops
    moments = random.Random(1)  # noqa: S311 - no secret
    ends, codes, slowest_s = Counter[str](), set(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        publish_arithmetic(Path(folder), "multiply")
        for _ in range(n_stops):
            ended, code, took_s = stop_once(Path(folder), moments.uniform(0.1, 0.3))
            ends += ended
            codes.add(code)
            slowest_s = max(slowest_s, took_s)
    lost = sum(n for end, n in ends.items() if end not in ("right", "wrong", "UNAVAILABLE"))
    told = (
        f"{ends['right']:,} right answers, {ends['wrong']} wrong; {ends['UNAVAILABLE']} told UNAVAILABLE, {lost} ended "
        f"otherwise; ended with code {', '.join(map(str, sorted(codes)))} after at most {slowest_s:.1f} s"
    )
    print(told)
    what = f"{n_stops} × SIGTERM of the server, 2 workers, {N_CLIENTS} gRPC connections under load"
    asked = "a call is answered, or told that it was not begun"
    figure = Figure(what, asked, told, not lost and not ends["wrong"] and codes == {0})
    facts = {"ends": dict(ends), "exit_codes": sorted(codes), "slowest_stop_s": slowest_s}
    keep("stopping-rpc", "python -m benchmarks.faults.stopping_rpc", [figure], facts)


if __name__ == "__main__":
    main()
