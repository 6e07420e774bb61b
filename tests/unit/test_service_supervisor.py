"""Workers that die, hang or fail to start, without a server in them: each scene is a process of its own."""

import signal
import subprocess
import sys
import textwrap
import time

_SCENE = """
import os, signal, sys, time
from service.errors import StartError
from service.supervisor import Supervisor

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def wait():
    while True:
        signal.pause()

{work}

try:
    Supervisor(2, work, on_end=lambda number: tell("ended", number), stop_s=0.5).run(lambda: tell("stopping"))
except StartError as error:
    tell("refused", error)
tell("done")
"""


class Scene:
    def __init__(self, work: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SCENE.format(work=textwrap.dedent(work))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def finish(self) -> tuple[list[str], str]:
        out, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        return out.splitlines(), errors


def test_a_worker_that_does_not_end_is_killed_and_the_others_end_by_themselves() -> None:
    scene = Scene("""
    def work(number, channel):
        signal.signal(signal.SIGTERM, signal.SIG_IGN if number else lambda *_: sys.exit(0))
        tell("serving", number)
        channel.loaded(ready=True)
        channel.serving()
        wait()
    """)
    serving = sorted([scene.line(), scene.line()])
    scene.process.send_signal(signal.SIGTERM)
    out, errors = scene.finish()

    assert serving == [["serving", "0"], ["serving", "1"]]
    assert out == ["stopping", "ended 0", "ended 1", "done"]
    assert errors.count("did not end within 0.5 s and is killed") == 1


def test_a_worker_that_dies_young_is_started_again_after_longer_and_longer_pauses() -> None:
    scene = Scene("""
    def work(number, channel):
        channel.loaded(ready=True)
        channel.serving()
        if number:
            tell("died", time.monotonic())
            os.abort()
        wait()
    """)
    died = list[float]()
    while len(died) < 4:
        words = scene.line()
        if words[0] == "died":
            died.append(float(words[1]))
    scene.process.send_signal(signal.SIGTERM)
    _out, errors = scene.finish()

    assert died[1] - died[0] >= 0.1
    assert died[2] - died[1] >= 0.2
    assert died[3] - died[2] >= 0.4
    assert "ended by signal 6; starting another" in errors


def test_a_worker_that_ends_while_it_is_told_to_go_on_takes_nobody_with_it() -> None:
    """Its end of the line closed with something unread in it, which the supervisor met as an error and ended of."""
    scene = Scene("""
    def work(number, channel):
        if number:
            channel._line.sendall(b"r")
            tell("told")
            time.sleep(0.2)
            os._exit(7)
        channel.loaded(ready=True)
        channel.serving()
        wait()
    """)
    words = list[list[str]]()
    while words.count(["told"]) < 3:
        words.append(scene.line())
    scene.process.send_signal(signal.SIGTERM)
    out, errors = scene.finish()

    assert out[-1] == "done"
    assert "ended with exit code 7; starting another" in errors


def test_where_none_can_start_the_supervisor_says_so() -> None:
    scene = Scene("""
    from models.contract.errors import RepositoryError
    def work(number, channel):
        raise RepositoryError("the repository is not there")
    """)
    out, errors = scene.finish()

    assert "refused every worker must start, however one failed; the log above says why" in out
    assert "a worker cannot start: the repository is not there" in errors
    assert "Traceback" not in errors


def test_an_unexpected_failure_is_told_with_its_place() -> None:
    scene = Scene("""
    def work(number, channel):
        raise ZeroDivisionError
    """)
    out, errors = scene.finish()

    assert out[-1] == "done"
    assert "Traceback" in errors
    assert "ZeroDivisionError" in errors


def test_workers_are_renewed_one_by_one_and_a_worse_successor_goes_again() -> None:
    """The third generation is not ready, and the fourth does not start."""
    scene = Scene("""
    generation = 0
    def count(*_):
        global generation
        generation += 1
    signal.signal(signal.SIGUSR1, count)
    def work(number, channel):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        if generation == 3:
            os.abort()
        channel.loaded(ready=generation != 2)
        tell("serving", generation, number)
        channel.serving()
        wait()
    """)
    told = [scene.line(), scene.line()]
    lines = []
    for n_lines in (4, 1, 1):
        scene.process.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        scene.process.send_signal(signal.SIGHUP)
        lines.append([" ".join(scene.line()) for _ in range(n_lines)])
        time.sleep(0.2)
    scene.process.send_signal(signal.SIGTERM)
    out, errors = scene.finish()

    assert sorted(told) == [["serving", "0", "0"], ["serving", "0", "1"]]
    assert lines[0] == ["serving 1 2", "ended 0", "serving 1 0", "ended 1"]  # the second takes the number left free
    assert lines[1] == ["ended 1"]
    assert lines[2] == ["ended 1"]
    assert (out[0], sorted(out[1:3]), out[3:]) == ("stopping", ["ended 0", "ended 2"], ["done"])
    assert "stays: its successor is not ready" in errors
    assert "stays: its successor ended by signal 6" in errors
