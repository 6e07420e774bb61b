"""Several server processes as one service: started, watched, replaced, renewed and stopped together.

Workers are forked, so that they share the pages of everything imported before, and inherit the listening socket: what
waits in its queue when a worker dies is answered by the others. Uvicorn's own supervisor starts each worker from
nothing, which takes the memory and the processor time of another import of everything, and does not number them,
which the counters need.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from models.contract.errors import NaluError
from service.errors import StartError
from service.logging import LOGGER

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_READY: Final = b"r"
_FAULTY: Final = b"f"
_SERVING: Final = b"s"
_GO: Final = b"g"

_SERVED_S: Final = 1.0
"""A worker that served so long did not die of its start: the next one is started at once."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
"""Pauses before a worker is started in place of one that died young, each twice the one before."""


class Channel:
    """A worker's end of the line to its supervisor.

    Args:
        line: A connected socket.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def loaded(self, *, ready: bool) -> None:
        """Tell whether the active version of every model can answer, and wait until it may serve.

        Raises:
            SystemExit: When the supervisor is gone meanwhile.
        """
        self._line.sendall(_READY if ready else _FAULTY)
        if self._line.recv(1) != _GO:
            sys.exit(1)

    def serving(self) -> None:
        """Tell that it accepts connections."""
        with suppress(OSError):  # the supervisor is gone: the line tells that too
            self._line.sendall(_SERVING)

    def fileno(self) -> int:
        """Return what becomes readable when the supervisor is gone."""
        return self._line.fileno()


Work = Callable[[int, Channel], None]
"""What a worker does, given its number and its channel, until it is told to stop by SIGTERM."""


@dataclass
class _Worker:
    pid: int
    number: int
    line: socket.socket
    serving_since: float = float("inf")
    state: bytes = b""
    replaces: "_Worker | None" = None
    kill_at: float | None = None

    def told(self) -> bytes:
        """Return what it told next, or nothing where it is ending or has not told more."""
        try:
            return self.line.recv(1, socket.MSG_DONTWAIT)
        except OSError:  # it ended before it heard what it was told
            return b""

    def stop(self, within_s: float) -> None:
        """Tell it to stop; told again, it waits for nothing."""
        self.kill_at = self.kill_at or time.monotonic() + within_s
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


class Supervisor:
    """Keeps a number of workers alive.

    SIGTERM and SIGINT stop them all: each ends by itself, and is killed once `stop_s` is over. SIGHUP renews them one
    by one: an old one is stopped when its successor is ready, and stays where that one is not.

    Args:
        n_workers: How many.
        work: What each does.
        on_end: Called with the number of a worker that is no more. Numbers run from 0 to `n_workers`, one more than
            there are workers, for a successor.
        stop_s: Time for a worker to end.
    """

    def __init__(self, n_workers: int, work: Work, *, on_end: Callable[[int], None], stop_s: float) -> None:
        self._n_workers = n_workers
        self._work = work
        self._on_end = on_end
        self._stop_s = stop_s
        self._workers: dict[int, _Worker] = {}
        self._due: list[float] = []
        self._pause_s = _FIRST_PAUSE_S
        self._to_renew: list[_Worker] = []
        self._has_served = False
        self._failed_start = False
        self._stopping = False

    def run(self, on_stop: Callable[[], None]) -> None:
        """Run until told to stop and every worker has ended.

        Args:
            on_stop: Called when the stop begins.

        Raises:
            StartError: When a worker ended before any had served.
        """
        with _heard_signals() as heard, selectors.DefaultSelector() as selector:
            self._selector = selector
            selector.register(heard, selectors.EVENT_READ)
            for _ in range(self._n_workers):
                self._start()
            while self._workers or self._due:
                for key, _events in selector.select(self._patience_s()):
                    if isinstance(key.data, _Worker):
                        self._hear(key.data)
                    else:
                        self._obey(heard.recv(4096), on_stop)
                self._keep_time()
        if self._failed_start:
            msg = "every worker must start, however one failed; the log above says why"
            raise StartError(msg)

    def _start(self, replaces: _Worker | None = None) -> None:
        taken = {worker.number for worker in self._workers.values()}
        number = next(number for number in range(self._n_workers + 1) if number not in taken)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            ours.close()
            self._become_worker(number, Channel(theirs))
        theirs.close()
        worker = _Worker(pid, number, ours, replaces=replaces)
        self._workers[pid] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _become_worker(self, number: int, channel: Channel) -> None:
        """Work in the forked process, and end it."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the supervisor alone
            signal.set_wakeup_fd(-1)
            for known in _SIGNALS:
                signal.signal(known, signal.SIG_DFL)
            self._selector.close()
            for worker in self._workers.values():
                worker.line.close()
            self._work(number, channel)
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except NaluError as error:
            LOGGER.error("a worker cannot start: %s", error)
        except BaseException:
            LOGGER.exception("a worker failed")
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):  # a full disk must not keep it from ending
                    stream.flush()
            os._exit(code)

    def _hear(self, worker: _Worker) -> None:
        """Let a worker serve that has loaded, but not a successor that is worse; let the old one go once it serves."""
        if worker.pid not in self._workers:
            return
        told = worker.told()
        old = worker.replaces if worker.replaces and worker.replaces.pid in self._workers else None
        if not told:  # it is ending; the signal tells when it has
            self._selector.unregister(worker.line)
        elif told == _SERVING:
            self._has_served = True
            worker.serving_since = time.monotonic()
            worker.replaces = None
            if old is not None:
                old.stop(self._stop_s)
        elif told == _FAULTY and old is not None and old.state == _READY:
            LOGGER.error("worker %d stays: its successor is not ready", old.pid)
            self._to_renew.clear()
            worker.replaces = None
            worker.stop(self._stop_s)
        else:
            worker.state = told
            with suppress(OSError):  # it has died meanwhile; the signal tells
                worker.line.sendall(_GO)

    def _obey(self, numbers: bytes, on_stop: Callable[[], None]) -> None:
        for number in numbers:
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP and not self._stopping:
                self._to_renew = [one for one in self._workers.values() if one.kill_at is None]
                self._renew_next()
            elif number in (signal.SIGTERM, signal.SIGINT):
                if not self._stopping:
                    on_stop()
                self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._due.clear()
        self._to_renew.clear()
        for worker in self._workers.values():
            worker.stop(self._stop_s)

    def _renew_next(self) -> None:
        """Start a successor of the next old worker, unless one is on its way."""
        if any(worker.replaces or worker.kill_at for worker in self._workers.values()):
            return
        while self._to_renew:
            old = self._to_renew.pop(0)
            if old.pid in self._workers:
                self._start(replaces=old)
                return

    def _reap(self) -> None:
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._bury(worker, os.waitstatus_to_exitcode(status))

    def _bury(self, worker: _Worker, code: int) -> None:
        self._has_served |= _SERVING in (worker.told(), worker.told())  # what it told may be read after it is dead
        del self._workers[worker.pid]
        with suppress(KeyError):
            self._selector.unregister(worker.line)
        worker.line.close()
        self._on_end(worker.number)
        if self._stopping:
            return
        if worker.kill_at is not None:  # it was to go
            self._renew_next()
            return
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        if not self._has_served:
            LOGGER.error("worker %d ended %s before any had served", worker.pid, how)
            self._failed_start = True
            self._stop()
        elif worker.replaces is not None and worker.replaces.pid in self._workers:
            LOGGER.error("worker %d stays: its successor ended %s", worker.replaces.pid, how)
            self._to_renew.clear()
        elif any(other.replaces is worker for other in self._workers.values()):
            LOGGER.warning("worker %d ended %s; its successor is starting", worker.pid, how)
        else:
            LOGGER.warning("worker %d ended %s; starting another", worker.pid, how)
            self._start_another(served_s=time.monotonic() - worker.serving_since)

    def _start_another(self, served_s: float) -> None:
        if served_s > _SERVED_S:
            self._pause_s = _FIRST_PAUSE_S
            self._start()
        else:
            self._due.append(time.monotonic() + self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _keep_time(self) -> None:
        """Start what is due, and kill what did not end in time."""
        now = time.monotonic()
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            self._start()
        for worker in self._workers.values():
            if worker.kill_at is not None and worker.kill_at <= now:
                LOGGER.error("worker %d did not end within %g s and is killed", worker.pid, self._stop_s)
                worker.kill_at = float("inf")
                os.kill(worker.pid, signal.SIGKILL)

    def _patience_s(self) -> float | None:
        times = [*self._due, *(worker.kill_at for worker in self._workers.values() if worker.kill_at is not None)]
        first = min(times, default=float("inf"))
        return None if first == float("inf") else max(0.0, first - time.monotonic())


@contextmanager
def _heard_signals() -> Iterator[socket.socket]:
    """Give a socket on which the number of every signal arrives, so that one loop sees signals and workers alike."""
    heard, speaker = socket.socketpair()
    with heard, speaker:
        for end in (heard, speaker):
            end.setblocking(False)
        before = signal.set_wakeup_fd(speaker.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, _noted) for number in _SIGNALS}
        try:
            yield heard
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _noted(_number: int, _frame: object) -> None:
    """Handle a signal by its arrival on the socket alone."""
