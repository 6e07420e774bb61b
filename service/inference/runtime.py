"""onnxruntime behind a typed face: the only place that imports it.

Every session gets the same options: no spinning threads, no log lines, no fallback to another provider behind the
caller's back, and memory from one arena with a limit, so that a graph that asks for 32 GB fails instead of taking the
machine with it.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import InferenceError, ModelLoadError

RUN_MEMORY_BYTES = 2 * 1024**3
"""Memory that all runs of a process on the CPU may take together; 100,000 rows through 64 float64 hidden units take
50 MB."""

LOAD_DEADLINE_S = 30.0
"""Time after which loading a graph is given up; published graphs load in 1 to 40 ms (platform measurements)."""

CUDA = "CUDAExecutionProvider"

_SILENT = 4
"""Log severity "fatal": run errors are raised, so they need no line on standard error as well."""

_MAX_REASON = 300


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        dtype: "float64", "float32", "int64", "string" or another type as the runtime spells it.
        shape: One entry per axis; None where the axis is free.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class RuntimeSession:
    """One graph, ready to run on the providers given.

    Args:
        onnx: The graph.
        providers: Execution providers in order of preference, each with its options.
        n_threads: Threads of one run.

    Attributes:
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.

    Raises:
        ModelLoadError: When the runtime refuses the graph or takes too long to load it.
    """

    def __init__(self, onnx: bytes, *, providers: Sequence[tuple[str, Mapping[str, str]]], n_threads: int) -> None:
        _limit_memory()
        options = ort.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            with _deadline(LOAD_DEADLINE_S, lambda: options.set_load_cancellation_flag(True)):
                self._session = ort.InferenceSession(
                    onnx,
                    options,
                    providers=[(name, dict(chosen)) for name, chosen in providers],
                    enable_fallback=0,
                    read_config_from_model=0,
                )
            # Names that are no text are loaded, and fail where they are read.
            self.inputs = tuple(map(_tensor, self._session.get_inputs()))
            self.outputs = tuple(map(_tensor, self._session.get_outputs()))
        except Exception as error:  # the runtime's exceptions share no base but Exception
            msg = f"the runtime must load the graph, however: {_reason(error)}; export and publish the model again"
            raise ModelLoadError(msg) from error
        # Text cannot be bound: a session that takes some copies its inputs itself.
        bound = self.providers[:1] == (CUDA,) and all(tensor.dtype != "string" for tensor in self.inputs)
        self._device = int(dict(providers[0][1]).get("device_id", 0)) if bound else None
        # What the public `run` wraps in checks of names, which this class has made, and in a fallback that is off.
        self._run = getattr(self._session, "_sess", self._session).run
        self._unlimited = _run_options()

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that the session really has, in order of preference."""
        return tuple(self._session.get_providers())

    def run(self, output: str, feeds: dict[str, NDArray[Any]], deadline_s: float | None = None) -> NDArray[Any]:
        """Compute one output; as `run_several`."""
        return self.run_several([output], feeds, deadline_s)[0]

    def run_several(
        self, outputs: Sequence[str], feeds: dict[str, NDArray[Any]], deadline_s: float | None = None
    ) -> list[NDArray[Any]]:
        """Compute outputs.

        Args:
            outputs: Their names.
            feeds: Input name → array.
            deadline_s: Time after which the run is stopped, or None for no limit.

        Raises:
            InferenceError: When the run fails or is stopped.
        """
        run_options = self._unlimited if deadline_s is None else _run_options()
        run = self._run if self._device is None else self._run_bound
        try:
            if deadline_s is None:
                answers = run(outputs, feeds, run_options)
            else:
                with _deadline(deadline_s, lambda: setattr(run_options, "terminate", True)):
                    answers = run(outputs, feeds, run_options)
        except Exception as error:  # the runtime's exceptions share no base but Exception
            late = f" (stopped after {deadline_s} s)" if run_options.terminate else ""
            msg = f"the runtime must answer, however{late}: {_reason(error)}"
            raise InferenceError(msg) from error
        return [np.asarray(answer) for answer in answers]

    def _run_bound(self, outputs: Sequence[str], feeds: dict[str, NDArray[Any]], run_options: Any) -> list[Any]:
        """Run with inputs and outputs on the device: each is copied once, all outputs together when the run is over."""
        binding = self._session.io_binding()
        for name, array in feeds.items():
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), "cuda", self._device)
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, "cuda", self._device)
        self._session.run_with_iobinding(binding, run_options)
        answers: list[Any] = binding.copy_outputs_to_cpu()
        return answers


def offered_providers() -> tuple[str, ...]:
    """Return the providers this build of the runtime was made with; whether they work is another matter."""
    return tuple(ort.get_available_providers())


def preload_cuda() -> None:
    """Load the CUDA libraries that the runtime's `cuda` and `cudnn` extras installed; harmless where there are none."""
    ort.preload_dlls()


@cache
def _limit_memory() -> None:
    """Register the arena from which every session of this process takes CPU memory."""
    same_as_requested = 1
    ort.create_and_register_allocator(
        ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
        ort.OrtArenaCfg({"max_mem": RUN_MEMORY_BYTES, "arena_extend_strategy": same_as_requested}),
    )


@contextmanager
def _deadline(seconds: float, stop: Any) -> Iterator[None]:
    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _run_options() -> ort.RunOptions:
    options = ort.RunOptions()
    options.log_severity_level = _SILENT
    return options


def _tensor(argument: Any) -> Tensor:
    dtype = {
        "tensor(double)": "float64",
        "tensor(float)": "float32",
        "tensor(int64)": "int64",
        "tensor(string)": "string",
    }.get(argument.type, argument.type)
    return Tensor(argument.name, dtype, tuple(axis if isinstance(axis, int) else None for axis in argument.shape))


def _reason(error: Exception) -> str:
    """Return the first line of the runtime's message, shortened."""
    text = ascii(str(error).partition("\n")[0])[1:-1]
    return f"{type(error).__name__}: {text[:_MAX_REASON]}"
