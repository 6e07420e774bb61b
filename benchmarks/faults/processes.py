"""Takes the service's processes away from under it, and what they live on; counts what that costs.

    python -m benchmarks.faults.processes [--kills 100] [--stops 20] [--only NAME] [--dry]

Workers are killed and the server is stopped under the load of 16 clients; a model fails, memory and disk run out, a run
takes longer than its deadline, and the clock jumps, each while others ask for something else.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.clients import Account, asking
from benchmarks.faults.faulty_models import FRAGILE, SLOW, publish_fragile, publish_slow
from benchmarks.faults.report import Figure, keep, read_results
from models.contract.repository import ModelRepository
from tests.serving import Served, environment, serve

N_CLIENTS: Final = 16
STARTERS: Final = Path(__file__).resolve().parents[2] / "model_repository"

LATE_S: Final = 0.5
"""A connection opened so long after SIGTERM must not be accepted: closing the port takes two turns of an event loop."""

SPARE_BYTES: Final = 40 * 2**20
"""Memory that workers may still take: enough for small requests, and for one or two large ones at a time."""

JUMPS: Final = (86_400, -86_400, 315_360_000, 0)
"""Seconds between the time of day and the right one, one after the other."""

CLOCK: Final = Path(__file__).with_name("clock.c")

_PATIENCE_S: Final = 60.0


def repository(folder: Path) -> Path:
    """Lay a repository with the model that everyone asks, one that fails and one that is slow."""
    starter = ModelRepository(STARTERS).load("multiply", 1)
    ModelRepository(folder).publish(starter.manifest, starter.onnx)
    publish_fragile(folder)
    publish_slow(folder)
    return folder


def workers(served: Served) -> list[int]:
    """Return the process ids of the workers."""
    pid = served.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _two_answer(account: Account, since: float) -> bool:
    return len(account.answering_since(since)) == 2


def _has_ended(served: Served) -> bool:
    return served.process.poll() is not None


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something.

    Raises:
        RuntimeError: When it does not come about.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            msg = f"{what} within {_PATIENCE_S:g} s, however it was not so"
            raise RuntimeError(msg)
        await asyncio.sleep(0.01)


def predict(served: Served, model: str, rows: list[dict[str, float]]) -> tuple[int, Any]:
    """Ask once; return status and answer."""
    status, _headers, answer = served.predict(model=model, rows=rows)
    return status, answer


async def kill_workers(root: Path, n_kills: int) -> tuple[Figure, dict[str, Any]]:
    """Kill one worker of two after the other, while both answer."""
    lost_elsewhere = n_first = 0
    moments = random.Random(0)  # noqa: S311 - no secret
    with serve(root, "--workers", "2", NALU_LOG_LEVEL="warning") as served:
        async with asking(served.port, N_CLIENTS) as account:
            slowest_s = 0.0
            for _ in range(n_kills):
                began = time.monotonic()
                await until(partial(_two_answer, account, began), "two workers must answer")
                slowest_s = max(slowest_s, time.monotonic() - began)
                await asyncio.sleep(moments.uniform(0, 0.05))
                n_before = len(account.lost)
                killed_at = time.monotonic()
                os.kill(moments.choice(workers(served)), signal.SIGKILL)
                await asyncio.sleep(0.2)
                # Two worked; the one of them that answers what was sent since is the other.
                alive = account.answering_since(killed_at + 0.02)
                lost = account.lost[n_before:]
                n_first += sum(one.owner is None for one in lost)
                lost_elsewhere += sum(one.owner in alive for one in lost)
        code = served.stop()
    facts = {
        "n_kills": n_kills,
        "n_right": account.right,
        "wrong": account.wrong[:10],
        "n_lost": len(account.lost),
        "n_lost_first_on_a_connection": n_first,
        "n_lost_elsewhere": lost_elsewhere,
        "n_refused": account.refused,
        "slowest_return_s": slowest_s,
        "exit_code": code,
    }
    holds = not account.wrong and not lost_elsewhere and not account.refused and not code
    holds = holds and len(account.lost) <= n_kills * N_CLIENTS
    told = (
        f"{account.right:,} right answers, {len(account.wrong)} wrong; {len(account.lost)} lost, {lost_elsewhere} of "
        f"them on a connection of the other worker ({n_first} on a connection without an answer yet); no connection "
        f"refused; two answering again after {slowest_s:.1f} s at most, pauses for workers that died young included"
    )
    what = f"{n_kills} × kill −9 of a worker, 2 workers, {N_CLIENTS} connections under load"
    return Figure(what, "only requests in flight on the killed worker fail", told, holds), facts


async def stop_servers(root: Path, n_stops: int) -> tuple[Figure, dict[str, Any]]:
    """Stop the server with SIGTERM under load, again and again."""
    lost = n_first = n_late = n_right = 0
    wrong: list[str] = []
    codes = []
    slowest_s = 0.0
    moments = random.Random(1)  # noqa: S311 - no secret
    for _ in range(n_stops):
        with serve(root, "--workers", "2", NALU_LOG_LEVEL="warning") as served:
            async with asking(served.port, N_CLIENTS) as account:
                await until(partial(_two_answer, account, 0.0), "two workers must answer")
                await asyncio.sleep(moments.uniform(0.1, 0.3))
                told_at = time.monotonic()
                served.process.send_signal(signal.SIGTERM)
                await until(partial(_has_ended, served), "the server must end")
                slowest_s = max(slowest_s, time.monotonic() - told_at)
            codes.append(served.wait())
        n_first += sum(one.owner is None for one in account.lost)
        lost += sum(one.owner is not None for one in account.lost)
        n_late += account.last_opened > told_at + LATE_S
        n_right += account.right
        wrong += account.wrong
    facts = {
        "n_stops": n_stops,
        "n_right": n_right,
        "wrong": wrong[:10],
        "n_lost": lost,
        "n_lost_first_on_a_connection": n_first,
        "n_accepted_late": n_late,
        "slowest_stop_s": slowest_s,
        "exit_codes": sorted(set(codes)),
    }
    told = (
        f"{n_right:,} right answers, {len(wrong)} wrong, {lost + n_first} lost; no connection accepted "
        f"{LATE_S:g} s after it or later; ended with code {', '.join(map(str, sorted(set(codes))))} after at most "
        f"{slowest_s:.1f} s"
    )
    holds = not (lost or n_first or wrong or n_late) and set(codes) == {0}
    what = f"{n_stops} × SIGTERM of the server, 2 workers, {N_CLIENTS} connections under load"
    return Figure(what, "no accepted request lost, none accepted after", told, holds), facts


async def fail_a_session(root: Path, seconds: float) -> tuple[Figure, dict[str, Any]]:
    """Let the runs of one model fail while others are asked."""
    with serve(root, "--workers", "2", NALU_LOG_LEVEL="error") as served:
        async with asking(served.port, N_CLIENTS // 2) as account:
            over = time.monotonic() + seconds
            statuses: list[int] = []
            while time.monotonic() < over:
                status, _answer = await asyncio.to_thread(predict, served, FRAGILE, [{"x": 99.0}])
                statuses.append(status)
            status, answer = await asyncio.to_thread(predict, served, FRAGILE, [{"x": 3.0}])
        code = served.stop()
    recovered = status == 200 and answer["predictions"] == [{"y": 30.0}]
    facts = {
        "n_failed": len(statuses),
        "statuses": sorted(set(statuses)),
        "n_right_of_others": account.right,
        "wrong_of_others": account.wrong[:10],
        "n_lost_of_others": len(account.lost),
        "answers_again": recovered,
    }
    told = (
        f"{len(statuses):,} failed runs answered with {', '.join(map(str, sorted(set(statuses))))}; meanwhile "
        f"{account.right:,} right answers of another model, {len(account.wrong) + len(account.lost)} wrong or lost; "
        f"the model answered the next sound row {'right' if recovered else 'wrong'}"
    )
    holds = set(statuses) == {500} and _untouched(account) and recovered and not code
    return Figure("a model whose runs fail in the runtime", "the failure stays with its model", told, holds), facts


async def run_out_of_memory(root: Path, n_requests: int) -> tuple[Figure, dict[str, Any]]:
    """Leave two workers 40 MB more than they have, and send them bodies that take more.

    A library that is not written in Python ends its process where it gets no memory, so a worker may end; what asks for
    less memory must get its answers, from that worker until it ends and from its successor.
    """
    rows: list[dict[str, float]] = [{"a": float(i), "b": 2.0} for i in range(100_000)]
    with serve(root, "--workers", "2", NALU_LOG_LEVEL="warning") as served:
        for pid in workers(served):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            taken = 1024 * int(status.partition("VmSize:")[2].split()[0])
            resource.prlimit(pid, resource.RLIMIT_AS, (taken + SPARE_BYTES,) * 2)
        async with asking(served.port, N_CLIENTS // 2) as account:
            asked = [asyncio.to_thread(_large, served, rows) for _ in range(n_requests)]
            outcomes = await asyncio.gather(*asked)
            moment = time.monotonic()
            await until(partial(_two_answer, account, moment), "two workers must answer")
        code = served.stop()
    n_ended = served.output.count("ended by signal")
    told_outcomes = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    n_lost = len(account.lost)
    facts = {
        "outcomes": told_outcomes,
        "n_right_of_others": account.right,
        "wrong_of_others": account.wrong[:10],
        "n_lost_of_others": n_lost,
        "n_workers_ended": n_ended,
        "exit_code": code,
    }
    told = (
        f"{n_requests} bodies of 100,000 rows: {', '.join(f'{n} × {one}' for one, n in told_outcomes.items())}; "
        f"{n_ended} workers ended and were replaced; {account.right:,} right answers to small requests, "
        f"{len(account.wrong)} wrong, {n_lost} lost with a worker"
    )
    failed = sum(n for one, n in told_outcomes.items() if one != "200")
    holds = "wrong" not in told_outcomes and not account.wrong and failed > 0 and code == 0
    holds = holds and n_lost <= n_ended * N_CLIENTS // 2 and account.right > 0
    asked_for = "no wrong answer; a worker that ends is replaced, and takes its own requests alone"
    what = "2 workers that may take 40 MB more (RLIMIT_AS), and bodies that need it"
    return Figure(what, asked_for, told, holds), facts


def _large(served: Served, rows: list[dict[str, float]]) -> str:
    """Ask with a large body; return how that ended."""
    try:
        status, answer = predict(served, "multiply", rows)
    except OSError:
        return "lost"
    if status != 200:
        return f"{status} {answer['type']}"
    right = [row["y"] for row in answer["predictions"]] == [row["a"] * row["b"] for row in rows]
    return "200" if right else "wrong"


async def outlast_a_deadline(root: Path) -> tuple[Figure, dict[str, Any]]:
    """Ask for a run of many seconds with a deadline of one, and look whether the processor is left alone after it."""
    rows = [{"x": float(i)} for i in range(40_000)]
    with serve(root, "--workers", "1", NALU_LOG_LEVEL="error", NALU_DEADLINE_S="1") as served:
        began = time.monotonic()
        predict(served, SLOW, rows[:500])
        alone_s = (time.monotonic() - began) * len(rows) / 500
        async with asking(served.port, 1) as account:
            began = time.monotonic()
            status, answer = await asyncio.to_thread(predict, served, SLOW, rows)
            took_s = time.monotonic() - began
        await asyncio.sleep(1.0)
        before = _cpu_s(served.process.pid)
        await asyncio.sleep(1.0)
        after_s = _cpu_s(served.process.pid) - before
        code = served.stop()
    facts = {
        "alone_s": alone_s,
        "status": status,
        "type": answer.get("type"),
        "took_s": took_s,
        "cpu_s_in_the_second_after": after_s,
        "n_right_of_others": account.right,
        "exit_code": code,
    }
    told = (
        f"{status} {answer.get('type')} after {took_s:.2f} s; {after_s * 1000:.0f} ms of processor time in a second "
        f"after it; meanwhile {account.right:,} right answers to small requests"
    )
    holds = alone_s > 4 and status == 504 and took_s < 3 and after_s < 0.2 and _untouched(account) and not code
    what = f"a run of {alone_s:.0f} s, with a deadline of one"
    return Figure(what, "504, and the run is stopped", told, holds), facts


async def fill_the_disk(root: Path, seconds: float) -> tuple[Figure, dict[str, Any]]:
    """Let every line of the log fail for want of space."""
    with logging_to_a_full_disk(root) as served:
        async with asking(served.port, N_CLIENTS // 2) as account:
            await asyncio.sleep(seconds)
            ready, _headers, _answer = served.request("GET", "/health/ready")
        code = served.stop()
    facts = {
        "n_right": account.right,
        "wrong": account.wrong[:10],
        "n_lost": len(account.lost),
        "ready": ready,
        "exit_code": code,
    }
    told = (
        f"{account.right:,} right answers, {len(account.wrong) + len(account.lost)} wrong or lost; ready: {ready}; "
        f"ended with code {code}"
    )
    holds = _untouched(account) and ready == 200 and code == 0
    return Figure("no space for the log, at level debug", "answers go on", told, holds), facts


async def jump_the_clock(root: Path, compiler: str) -> tuple[Figure, dict[str, Any]]:
    """Let the time of day jump while requests are answered, small and large ones."""
    rows: list[dict[str, float]] = [{"a": float(i), "b": 2.0} for i in range(20_000)]
    told_dates, outcomes = [], []
    with tempfile.TemporaryDirectory() as folder:
        library, offset = Path(folder) / "clock.so", Path(folder) / "offset"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, CLOCK, "-ldl"], check=True)
        variables = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}
        with serve(root, "--workers", "2", NALU_LOG_LEVEL="warning", **variables) as served:
            async with asking(served.port, N_CLIENTS // 2) as account:
                for jump in JUMPS:
                    offset.write_text(str(jump), encoding="ascii")
                    await asyncio.sleep(1.5)  # the server tells its date once a second
                    outcomes.append(await asyncio.to_thread(_large, served, rows))
                    ready, headers, _answer = await asyncio.to_thread(served.request, "GET", "/health/ready")
                    told_dates.append(f"{ready} {headers['date']}")
            code = served.stop()
    facts = {
        "jumps": JUMPS,
        "told": told_dates,
        "large": outcomes,
        "n_right": account.right,
        "wrong": account.wrong[:10],
        "n_lost": len(account.lost),
        "exit_code": code,
    }
    told = (
        f"{account.right:,} right answers, {len(account.wrong) + len(account.lost)} wrong or lost, large requests: "
        f"{', '.join(sorted(set(outcomes)))}; ready after each jump"
    )
    jumped = len({date.split()[4] for date in told_dates}) > 1
    ready_always = all(date.startswith("200 ") for date in told_dates)
    holds = _untouched(account) and set(outcomes) == {"200"} and jumped and ready_always and not code
    what = "the time of day jumps by a day, back by two, ahead by ten years and back"
    return Figure(what, "nothing happens", told, holds), facts


@contextmanager
def logging_to_a_full_disk(root: Path) -> Iterator[Served]:
    """Serve with standard error on a device that is always full."""
    with Path("/dev/full").open("w", encoding="ascii") as full:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "nalu", "serve", "--port", "0", "--repository", str(root), "--workers", "2"],
            env=environment(NALU_LOG_LEVEL="debug"),
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
        )
        try:
            yield Served(process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _untouched(account: Account) -> bool:
    return account.right > 0 and not account.wrong and not account.lost


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", help="the name of one run")
    parser.add_argument("--dry", action="store_true", help="keep nothing; exit code 1 where something does not hold")
    given = parser.parse_args()
    compiler = shutil.which("cc") or ""
    figures: dict[str, Figure] = {}
    facts: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = repository(Path(folder))
        runs: dict[str, Callable[[], Coroutine[Any, Any, tuple[Figure, dict[str, Any]]]]] = {
            "kills": lambda: kill_workers(root, given.kills),
            "stops": lambda: stop_servers(root, given.stops),
            "session": lambda: fail_a_session(root, given.seconds),
            "memory": lambda: run_out_of_memory(root, 12),
            "deadline": lambda: outlast_a_deadline(root),
            "disk": lambda: fill_the_disk(root, given.seconds),
            "clock": lambda: jump_the_clock(root, compiler),
        }
        if not compiler:
            print("the clock is left alone: there is no C compiler")
            del runs["clock"]
        for name, run in runs.items():
            if given.only in (None, name):
                figure, facts[name] = asyncio.run(run())
                figures[name] = figure
                print("holds" if figure.holds else "DOES NOT HOLD", figure.what, figure.measured, sep=" | ", flush=True)
                print(json.dumps(facts[name]), flush=True)
    if given.dry:
        sys.exit(not all(figure.holds for figure in figures.values()))
    if given.only and (before := read_results().get("processes")):  # the others stay as they were found
        figures = {**dict(zip(before.facts, before.figures, strict=True)), **figures}
        facts = {**before.facts, **facts}
    found = [name for name in runs if name in facts]
    keep(
        "processes",
        "python -m benchmarks.faults.processes",
        [figures[name] for name in found],
        {name: facts[name] for name in found},
    )


if __name__ == "__main__":
    main()
