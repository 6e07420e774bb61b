"""What the service counts, in memory that its workers share, told in Prometheus's text format.

Every worker has a slot of one anonymous shared mapping, made before the workers are forked. A worker writes its own
slot alone, so counting takes no lock between processes, and any worker adds all slots up when it is asked. A slot
outlives its worker: the one that replaces a killed worker goes on with its counters, so that none ever falls, and
begins its gauges anew.
"""

import mmap
import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import isfinite, isnan
from typing import Any, Final, Literal, NamedTuple

from service.process_metrics import process_series
from service.triton_metrics import triton_series

SLOT_BYTES: Final = 4 * 1024**2
"""Address space of one worker's series; memory is taken only by those that there are, about 100 bytes each."""

_LENGTH: Final = struct.Struct("=Q")
_FREE: Final = 1 << 63
"""Set in the length of a series that is no more, whose place waits for another of the same length."""

_PID_AT: Final = 8
_HEADER_BYTES: Final = 16

DURATION_BUCKETS_S: Final = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""From a small run, 15 to 35 µs, to requests that a client has given up on; each about twice the one before."""


_BOUNDS: Final = (*(format(bound, "g") for bound in DURATION_BUCKETS_S), "+Inf")


class Family(NamedTuple):
    """Series of one name.

    Attributes:
        kind: Its type in Prometheus's words.
        description: What it counts.
    """

    kind: Literal["counter", "gauge", "histogram"]
    description: str


FAMILIES: Final[Mapping[str, Family]] = {
    "nalu_requests_total": Family("counter", "Requests answered, by path and status; 499: the client had left."),
    "nalu_request_duration_seconds": Family("histogram", "From a request's head to its answer, by path."),
    "nalu_requests_in_flight": Family("gauge", "Requests being answered, without those answered at once."),
    "nalu_predictions_total": Family("counter", "Requests and blocks of tables that reached a model, by outcome."),
    "nalu_prediction_duration_seconds": Family("histogram", "Domain check, run and check of answers, by outcome."),
    "nalu_rows_total": Family("counter", "Rows predicted, by model and version."),
    "nalu_rows_out_of_range_total": Family("counter", "Those of them outside the range seen in training."),
    "nalu_prediction_values": Family("histogram", "What was predicted, by output, in tenths of the range in training."),
    "nalu_admission_running": Family("gauge", "Large requests being worked on in threads, by kind."),
    "nalu_admission_waiting": Family("gauge", "Large requests arriving or waiting for their turn, by kind."),
    "nalu_admission_wait_seconds": Family("histogram", "From taking a place to its turn, body included, by kind."),
    "nalu_rejected_total": Family("counter", "Large requests refused for queue or deadline, by kind and reason."),
    "nalu_models_loaded": Family("gauge", "Workers that can answer with a version, by model and version."),
    "nalu_models_failed": Family("gauge", "Workers in which a version could not be loaded, by model and version."),
    "nalu_models_active": Family("gauge", "Workers in which a version answers by default, by model and version."),
    "nalu_repository_followed": Family("gauge", "Workers that could look at the model repository the last time."),
    "nalu_model_loads_total": Family("counter", "Versions that a worker loaded or failed to, by model and outcome."),
    "nalu_workers": Family("gauge", "Workers that serve."),
    "nalu_worker_starts_total": Family("counter", "Starts of workers; more than there are where some were replaced."),
    "process_resident_memory_bytes": Family("gauge", "Memory of a worker, pages shared with others included."),
    "process_cpu_seconds_total": Family("counter", "Processor time of a worker since it started."),
    "process_open_fds": Family("gauge", "File descriptors that a worker has open."),
    "process_start_time_seconds": Family("gauge", "When a worker started, in seconds since 1970."),
    "nv_inference_request_success": Family("counter", "Triton's name of answered predictions."),
    "nv_inference_request_failure": Family("counter", "Triton's name of the others, by reason."),
    "nv_inference_count": Family("counter", "Triton's name of rows predicted."),
    "nv_inference_exec_count": Family("counter", "Triton's name of runs; one may answer several requests."),
    "nv_inference_compute_infer_duration_us": Family("counter", "Triton's name of the microseconds they took."),
}
"""Name → family, in the order told."""


class Cell:
    """One number of a slot; only its worker writes it.

    Args:
        values: The slot's memory, as numbers.
        at: Its place there.
    """

    __slots__ = ("at", "values")

    def __init__(self, values: "memoryview[float]", at: int) -> None:
        self.values = values
        self.at = at

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.values[self.at] += amount

    def set(self, value: float) -> None:
        """Replace it."""
        self.values[self.at] = value


class Histogram:
    """Durations, counted by bucket.

    Args:
        slot: Where they are kept.
        name: Name of the family.
        labels: Label → value.
    """

    def __init__(self, slot: "Slot", name: str, **labels: str) -> None:
        self._buckets = [slot.cell(f"{name}_bucket", **labels, le=bound).at for bound in _BOUNDS]
        total = slot.cell(f"{name}_sum", **labels)
        self._values, self._sum = total.values, total.at

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        values = self._values
        values[self._buckets[bisect_left(DURATION_BUCKETS_S, seconds)]] += 1.0
        values[self._sum] += seconds

    def observe_each(self, durations: Sequence[float]) -> None:
        """Count durations."""
        values, buckets = self._values, self._buckets
        for seconds in durations:
            values[buckets[bisect_left(DURATION_BUCKETS_S, seconds)]] += 1.0
        values[self._sum] += sum(durations)


RunListener = Callable[[dict[str, Any], float], None]
"""Takes what is to be told of a run (`model`, `version`, `outcome` and, where it was answered, `rows`,
`rows_out_of_range` and `requests`), and its seconds."""


class Slot:
    """The series of one worker.

    Args:
        memory: Its part of the mapping.

    Attributes:
        on_run: Told of every run that a meter counts, where somebody wants to know more than numbers.
    """

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._values = memory.cast("d")
        self._cells: dict[str, Cell] = {}
        self._free: dict[int, list[int]] = {}
        self.on_run: RunListener | None = None
        self._lock = threading.Lock()

    def cell(self, name: str, **labels: str) -> Cell:
        """Return the number of a series, made where it is not there yet; where the slot is full, one that nobody reads.

        Args:
            name: Name of the family, with `_bucket` or `_sum` where it is a histogram.
            labels: Label → value.
        """
        series = name + _labelled(labels)
        with self._lock:
            if series not in self._cells:
                self._cells[series] = self._made(series)
            return self._cells[series]

    def release(self, **labels: str) -> None:
        """Tell the series that have these labels no more, and let others have their places.

        Nobody may count in them any more.
        """
        with self._lock:
            named = [f'{name}="{value}"' for name, value in _escaped(labels).items()]
            for series in [one for one in self._cells if all(label in one for label in named)]:
                at = 8 * self._cells.pop(series).at
                if at + 16 > len(self._memory):
                    continue  # the one that nobody reads
                room = _room(series.encode())
                _LENGTH.pack_into(self._memory, at - room - 8, room | _FREE)
                self._free.setdefault(room, []).append(at - room - 8)

    @property
    def used(self) -> bool:
        """Whether a worker has counted anything in it."""
        return _LENGTH.unpack_from(self._memory) != (0,)

    @property
    def pid(self) -> int:
        """The process that counts in it, 0 where there is none."""
        return int(_LENGTH.unpack_from(self._memory, _PID_AT)[0])

    def take_over(self) -> None:
        """Go on with what an earlier worker left: its counters stay, its gauges told of a worker that is no more."""
        self._cells = {series: Cell(self._values, at // 8) for series, at in self._entries()}
        self._free = {}
        for start, length in self._places():
            if length & _FREE:
                self._free.setdefault(length ^ _FREE, []).append(start)
        self.clear_gauges()
        _LENGTH.pack_into(self._memory, _PID_AT, os.getpid())

    def clear_gauges(self) -> None:
        """Set every gauge to zero: there is no worker any more."""
        _LENGTH.pack_into(self._memory, _PID_AT, 0)
        for series, at in self._entries():
            if FAMILIES[_family(series)].kind == "gauge":
                self._values[at // 8] = 0.0

    def read(self) -> Iterator[tuple[str, float]]:
        """Yield each series with its number, in the order made."""
        for series, at in self._entries():
            yield series, self._values[at // 8]

    def _made(self, series: str) -> Cell:
        text = series.encode()
        room = _room(text)
        (end,) = _LENGTH.unpack_from(self._memory)
        free = self._free.get(room)
        start = free.pop() if free else end or _HEADER_BYTES
        at = start + 8 + room
        if at + 16 > len(self._memory):
            return Cell(self._values, len(self._values) - 1)
        self._memory[start + 8 : start + 8 + len(text)] = text
        self._values[at // 8] = 0.0
        _LENGTH.pack_into(self._memory, start, len(text))
        if start >= end:
            _LENGTH.pack_into(self._memory, 0, at + 8)  # last: a reader sees only whole entries
        return Cell(self._values, at // 8)

    def _entries(self) -> Iterator[tuple[str, int]]:
        for start, length in self._places():
            if not length & _FREE:
                text = bytes(self._memory[start + 8 : start + 8 + length]).decode()
                yield text, start + 8 + -(-length // 8) * 8

    def _places(self) -> Iterator[tuple[int, int]]:
        """Yield where each entry begins, and its length."""
        (end,) = _LENGTH.unpack_from(self._memory)
        start = _HEADER_BYTES
        while start < end:
            (length,) = _LENGTH.unpack_from(self._memory, start)
            yield start, length
            start += 16 + -(-(length & ~_FREE) // 8) * 8


def _room(text: bytes) -> int:
    """Return the bytes that a text takes, so that what follows it is aligned."""
    return -(-len(text) // 8) * 8


class Counts:
    """The slots of all workers.

    Args:
        n_slots: How many workers there can be at once.

    Example:
        >>> counts = Counts(2)
        >>> for worker in (0, 1):
        ...     counts.slot(worker).cell("nalu_rows_total", model="multiply", version="1").add(5)
        >>> print(counts.exposition())
        # HELP nalu_rows_total Rows predicted, by model and version.
        # TYPE nalu_rows_total counter
        nalu_rows_total{model="multiply",version="1"} 10
        # HELP nv_inference_count Triton's name of rows predicted.
        # TYPE nv_inference_count counter
        nv_inference_count{model="multiply",version="1"} 10
        <BLANKLINE>
    """

    def __init__(self, n_slots: int = 1) -> None:
        memory = memoryview(mmap.mmap(-1, n_slots * SLOT_BYTES))
        self._slots = [Slot(memory[i * SLOT_BYTES : (i + 1) * SLOT_BYTES]) for i in range(n_slots)]

    def slot(self, number: int) -> Slot:
        """Return the slot of a worker."""
        return self._slots[number]

    @property
    def pids(self) -> dict[int, int]:
        """Worker → its process, for those that live."""
        return {number: slot.pid for number, slot in enumerate(self._slots) if slot.pid}

    def totals(self) -> dict[str, float]:
        """Return each series added up over the workers."""
        totals: dict[str, float] = {}
        for slot in self._slots:
            for series, value in slot.read():
                totals[series] = totals.get(series, 0.0) + value
        return totals

    def exposition(self) -> str:
        """Return every series in Prometheus's text format, version 0.0.4."""
        by_family: dict[str, dict[str, float]] = {}
        totals = self.totals()
        for series, value in (*totals.items(), *process_series(self.pids), *triton_series(totals).items()):
            by_family.setdefault(_family(series), {})[series] = value
        lines = []
        for name, family in FAMILIES.items():
            if name not in by_family:
                continue
            lines += [f"# HELP {name} {family.description}", f"# TYPE {name} {family.kind}"]
            found = by_family[name]
            told = _histogram_lines(found) if family.kind == "histogram" else found.items()
            lines += [f"{series} {_number(value)}" for series, value in told]
        return "\n".join(lines) + "\n"


def _histogram_lines(found: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Add up the buckets, which are kept one by one, as the format wants them, and tell the count."""
    buckets: dict[str, list[tuple[float, str, float]]] = {}
    for series, value in found.items():
        before, is_bucket, bound = series.rpartition('le="')
        if is_bucket:
            told = bound.removesuffix('"}')
            buckets.setdefault(before, []).append((float(told), told, value))
        else:
            yield series, value
    for before, values in buckets.items():
        values.sort()
        sums = list(accumulate(value for _bound, _told, value in values))
        for (_bound, told, _value), n_below in zip(values, sums, strict=True):
            yield f'{before}le="{told}"}}', n_below
        name, _, labels = before.partition("_bucket{")
        yield f"{name}_count" + (f"{{{labels.removesuffix(',')}}}" if labels else ""), sums[-1]


def _family(series: str) -> str:
    name = series.partition("{")[0]
    return name if name in FAMILIES else name.rpartition("_")[0]


def _labelled(labels: Mapping[str, str]) -> str:
    """Return labels as the format wants them."""
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value}"' for name, value in _escaped(labels).items()) + "}"


def _escaped(labels: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, value in labels.items()
    }


def _number(value: float) -> str:
    if not isfinite(value):  # a sum of values too large for a float
        return "NaN" if isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    return str(int(value)) if value.is_integer() else repr(value)
