"""Ten thousand idle or slow connections, and what they cost those who behave.

    python -m benchmarks.faults.slow_clients

Clients that behave ask a real `nalu serve` one after the other: with nobody else there, with a crowd at another service
on the same machine, which is what the crowd's own work costs, and with the crowd at theirs. The three take turns, round
after round; of the rounds the median counts, and all are kept. It waits while something else takes more than a quarter
of a core, and asks again where that was so meanwhile: where all have to wait for the processor, nothing is told of the
service.
"""

import argparse
import json
import os
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.faults.crowd import RAMP_S, REQUEST, crowded
from benchmarks.faults.report import CHECKOUT, Figure, keep
from benchmarks.serving.load import split_answer
from tests.serving import Served, serve

Place = Literal["alone", "beside", "among"]
PLACES: Final[tuple[Place, ...]] = ("alone", "beside", "among")
"""Where the clients that behave ask: without a crowd, with one at another service, with one at theirs."""

_N_HEALTHY: Final = 4
_PAUSE_S: Final = 0.002
_MOST_OTHERS: Final = 0.25
"""Cores that what has nothing to do with this may take meanwhile."""

_SAMPLE_S: Final = 1.0
_PATIENCE_S: Final = 1200.0
"""Time in which the machine has to be left alone for long enough."""


@dataclass(frozen=True)
class Time:
    """What a time of asking showed.

    Attributes:
        answers: Seconds that each answer took.
        n_wrong: Answers that were not right.
        cpu_share: Processor time of the service, in cores.
        others_share: Processor time of what has nothing to do with this, in cores.
        memory_bytes: Memory of the service.
        crowd: What the crowd told, empty where there was none.
    """

    answers: Sequence[float]
    n_wrong: int
    cpu_share: float
    others_share: float
    memory_bytes: int
    crowd: dict[str, Any]

    @property
    def p50_ms(self) -> float:
        """Time within which half of the answers came."""
        return 1000 * statistics.median(self.answers)

    @property
    def p99_ms(self) -> float:
        """Time within which 99 of 100 answers came."""
        return 1000 * statistics.quantiles(self.answers, n=100)[98]


def healthy(port: int, seconds: float) -> tuple[list[float], int]:
    """Ask on a few connections in turn; return the time of each answer, and how many were not right."""
    times: list[float] = []
    n_wrong = 0
    connections = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(_N_HEALTHY)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for at, connection in enumerate(connections):
            began = time.perf_counter()
            try:
                connection.sendall(REQUEST)
                raw = b""
                while split_answer(raw) is None:
                    raw += (part := connection.recv(65536))
                    if not part:
                        raise ConnectionResetError
                n_wrong += b'"predictions":[{"y":15.0}]' not in raw.replace(b" ", b"")
            except OSError:
                n_wrong += 1
                connections[at] = socket.create_connection(("127.0.0.1", port), timeout=30)
            times.append(time.perf_counter() - began)
        time.sleep(_PAUSE_S)
    for connection in connections:
        connection.close()
    return times, n_wrong


def run(
    repository: Path,
    n_connections: int,
    n_rounds: int,
    seconds: float,
    *,
    ramp_s: float = RAMP_S,
    most_others: float = float("inf"),
) -> dict[str, Any]:
    """Ask without a crowd, beside one at another service, and among one; return what was measured.

    Args:
        repository: The models.
        n_connections: Connections of the crowd.
        n_rounds: Rounds that count.
        seconds: How long is asked, three times a round.
        ramp_s: Time in which the crowd comes.
        most_others: Cores that anything else may take meanwhile.

    Raises:
        TimeoutError: When something else takes more than that all the time.
    """
    options = ("--workers", "2")
    with (
        serve(repository, *options, NALU_LOG_LEVEL="warning") as served,
        serve(repository, *options, NALU_LOG_LEVEL="warning") as twin,
    ):
        served.wait_until_ready()
        twin.wait_until_ready()
        healthy(served.port, min(1.0, seconds))
        ports: dict[Place, int | None] = {"alone": None, "beside": twin.port, "among": served.port}
        rounds: list[dict[Place, Time]] = []
        for _ in range(n_rounds):
            one_round: dict[Place, Time] = {}
            for place, port in ports.items():
                with nullcontext({}) if port is None else crowded(port, n_connections, ramp_s) as crowd:
                    one_round[place] = _ask(served, twin, seconds, most_others, crowd)
            rounds.append(one_round)
    return _told(rounds)


def _ask(served: Served, twin: Served, seconds: float, most_others: float, crowd: dict[str, Any]) -> Time:
    """Ask while the machine is left alone."""
    service = _group(served.process.pid)
    rest = [*_group(twin.process.pid), *(pid for pid in _group(os.getpid()) if pid not in service)]
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if most_others < (os.cpu_count() or 1):
            sample = _Spent(service, rest)
            time.sleep(_SAMPLE_S)
            if sample.others_share() > most_others:
                continue
        spent = _Spent(service, rest)
        answers, n_wrong = healthy(served.port, seconds)
        others = spent.others_share()
        if others <= most_others:
            memory = sum(_memory_of(pid) for pid in service)
            return Time(answers, n_wrong, spent.service_share(), others, memory, crowd)
    msg = f"other processes must leave the machine alone, however they took more than {most_others} cores all the time"
    raise TimeoutError(msg)


class _Spent:
    """Processor time that was spent since this was made, in cores.

    Args:
        service: Processes of the service.
        rest: All others that belong to this.
    """

    def __init__(self, service: Sequence[str], rest: Sequence[str]) -> None:
        self._service, self._rest = service, rest
        self._began = time.monotonic()
        self._before = _cpu_of(service), _cpu_of(rest), _cpu_of_machine()

    def service_share(self) -> float:
        """Return what the service has taken."""
        return (_cpu_of(self._service) - self._before[0]) / (time.monotonic() - self._began)

    def others_share(self) -> float:
        """Return what has been taken by whatever has nothing to do with this."""
        ours_s = _cpu_of(self._service) - self._before[0] + _cpu_of(self._rest) - self._before[1]
        return max(0.0, _cpu_of_machine() - self._before[2] - ours_s) / (time.monotonic() - self._began)


def _told(rounds: Sequence[dict[Place, Time]]) -> dict[str, Any]:
    times = {place: [one[place] for one in rounds] for place in PLACES}
    among = times["among"]
    p99 = {place: statistics.median(one.p99_ms for one in found) for place, found in times.items()}
    every = [one for found in times.values() for one in found]
    counts: Counter[str] = Counter()
    for one in among:
        counts.update(one.crowd["counts"])
    seconds = sum(one.crowd["seconds"] for one in among)
    return {
        "n_connections": min(one.crowd["least_open"] for one in among),
        "n_healthy": sum(len(one.answers) for one in every),
        "n_wrong": sum(one.n_wrong for one in every),
        "p99_ms": p99,
        "p50_ms": {place: statistics.median(one.p50_ms for one in found) for place, found in times.items()},
        "rounds_p99_ms": {place: [one.p99_ms for one in found] for place, found in times.items()},
        "ratio_p99": p99["among"] / p99["alone"],
        "ratio_p99_beside": p99["among"] / p99["beside"],
        "counts": dict(counts),
        "ended_s": sum(n for name, n in counts.items() if name.startswith("ended")) / seconds,
        "bytes_s": counts["bytes"] / seconds,
        "cpu_share": {place: statistics.mean(one.cpu_share for one in found) for place, found in times.items()},
        "crowd_cpu_share": sum(one.crowd["cpu_s"] for one in among) / seconds,
        "others_share": {place: [one.others_share for one in found] for place, found in times.items()},
        "memory_bytes": max(one.memory_bytes for one in among),
    }


def _memory_of(pid: str) -> int:
    """Return the memory of a process, pages that it shares counted in part."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(rollup.split("\nPss:")[1].split()[0]) * 1024


def _cpu_of(pids: Sequence[str]) -> float:
    """Return the processor time that processes have taken, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _cpu_of_machine() -> float:
    """Return the processor time that all processes have taken, in seconds."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts = fields[:7]
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


def _group(supervisor: int) -> list[str]:
    """Return a process and its children."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()
    return [str(supervisor), *children]


def sentence(found: dict[str, Any]) -> str:
    """Return what was measured, for people."""
    p99, p50, cpu = found["p99_ms"], found["p50_ms"], found["cpu_share"]
    rounds = "; ".join(
        f"{place} " + ", ".join(f"{one:.2f}" for one in found["rounds_p99_ms"][place]) for place in PLACES
    )
    return (
        f"{found['n_connections']:,} connections at least, {found['bytes_s']:,.0f} bytes sent one by one and "
        f"{found['ended_s']:,.0f} connections ended and opened again a second; p99 of {found['n_healthy']:,} answers "
        f"{p99['among']:.2f} ms among them, {p99['alone']:.2f} ms without ({found['ratio_p99']:.2f} ×), "
        f"{p99['beside']:.2f} ms with the same crowd at another service ({found['ratio_p99_beside']:.2f} ×), each the "
        f"median of its rounds ({rounds}); p50 {p50['among']:.2f}, {p50['alone']:.2f} and {p50['beside']:.2f} ms; "
        f"{found['n_wrong']} wrong; two workers take {found['memory_bytes'] / 1024**2:.0f} MiB and "
        f"{100 * cpu['among']:.0f} % of a core, {100 * cpu['alone']:.0f} % without a crowd"
    )


def main() -> None:
    """Run and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=10_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--others", type=float, default=_MOST_OTHERS, help="cores that others may take in a round")
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where it does not hold")
    arguments = parser.parse_args()
    found = run(
        CHECKOUT / "model_repository",
        arguments.connections,
        arguments.rounds,
        arguments.seconds,
        most_others=arguments.others,
    )
    holds = not found["n_wrong"] and found["ratio_p99"] <= 2 and found["n_connections"] >= 10_000
    told = sentence(found)
    print(told, json.dumps(found, indent=1), f"load {os.getloadavg()[0]:.1f}", sep="\n")
    if arguments.dry:
        sys.exit(not holds)
    figure = Figure(
        "idle connections, and heads and bodies sent byte by byte, opened again when they are ended",
        "10,000 of them, healthy clients' p99 within 2 ×",
        told,
        holds,
    )
    keep("slow-clients", "python -m benchmarks.faults.slow_clients", [figure], found)


if __name__ == "__main__":
    main()
