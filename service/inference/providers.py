"""Which execution provider runs the graphs: what was asked for, and what is really there.

The runtime names CUDA among its available providers when its libraries are missing, and then runs on the CPU without
a word (measured with onnxruntime-gpu 1.31.1 on a machine without a GPU). Only a session that was made tells the truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from service.errors import ModelLoadError, ProviderError
from service.inference import runtime

Wanted = Literal["auto", "cpu", "cuda"]
Provider = Literal["cpu", "cuda"]

_CPU = "CPUExecutionProvider"
_CUDA = runtime.CUDA

PREFERENCES: dict[Provider, tuple[tuple[str, Mapping[str, str]], ...]] = {
    "cpu": ((_CPU, {}),),
    # TF32 keeps 10 bits of the mantissa, and predictions must match those measured at publication. The CPU stays for
    # operators that have no CUDA kernel, such as those on text.
    "cuda": ((_CUDA, {"use_tf32": "0"}), (_CPU, {})),
}
"""Provider → the runtime's providers in order of preference, with their options."""


@dataclass(frozen=True)
class CudaOptions:
    """Where on CUDA sessions run.

    Attributes:
        device: Number of the GPU, counted from 0 among those that this process sees.
        memory_bytes: Most memory of the GPU that one session takes, or 0 for no limit.
    """

    device: int = 0
    memory_bytes: int = 0


ANY_CUDA = CudaOptions()
"""The first GPU, without a limit."""


def preferences(provider: Provider, cuda: CudaOptions = ANY_CUDA) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Return the runtime's providers in order of preference, with their options.

    Example:
        >>> preferences("cuda", CudaOptions(device=1, memory_bytes=2**30))[0][1]
        {'use_tf32': '0', 'device_id': '1', 'gpu_mem_limit': '1073741824'}
    """
    own = {"device_id": str(cuda.device)} | ({"gpu_mem_limit": str(cuda.memory_bytes)} if cuda.memory_bytes else {})
    return tuple((name, {**options, **own} if name == _CUDA else options) for name, options in PREFERENCES[provider])


_PROBE = bytes.fromhex(
    "080a3a3d0a100a017812017922084964656e74697479120570726f62655a100a0178120b0a09080112050a0312016e"
    "62100a0179120b0a09080112050a0312016e42040a001014"
)
"""The smallest graph: y = Identity(x), float32, opset 20."""


def resolve_provider(wanted: Wanted, cuda: CudaOptions = ANY_CUDA) -> Provider:
    """Return the provider to use, after making a session on it.

    Args:
        wanted: "cpu", "cuda", or "auto" for CUDA where it works and the CPU elsewhere.
        cuda: Where on CUDA.

    Raises:
        ProviderError: When CUDA is asked for and does not work here, or two runtimes are installed over each other.
    """
    _check_one_runtime()
    if wanted == "cpu":
        return "cpu"
    trouble = _cuda_trouble(cuda)
    if trouble is None:
        return "cuda"
    if wanted == "cuda":
        msg = (
            f"provider 'cuda' needs a working CUDA runtime, however {trouble}; install the 'serve-cuda' extra on a "
            "machine with an NVIDIA GPU, or set NALU_PROVIDER to 'auto' or 'cpu'"
        )
        raise ProviderError(msg)
    return "cpu"


def session_provider(session: runtime.RuntimeSession) -> Provider:
    """Return the provider that a session really runs on."""
    return "cuda" if session.providers[0] == _CUDA else "cpu"


def _cuda_trouble(cuda: CudaOptions) -> str | None:
    """Return why CUDA cannot be used, or None where it can."""
    if _CUDA not in runtime.offered_providers():
        return "the installed onnxruntime was built without it"
    runtime.preload_cuda()
    try:
        session = runtime.RuntimeSession(_PROBE, providers=preferences("cuda", cuda), n_threads=1)
    except ModelLoadError as error:
        return f"a session on it failed ({error})"
    if session_provider(session) != "cuda":
        return "the runtime fell back to the CPU (no GPU, or its CUDA and cuDNN libraries are missing)"
    return None


@cache
def _check_one_runtime() -> None:
    """Look once: it takes 3 ms, and is asked for each model. A refusal is not remembered."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(found) > 1:
        msg = (
            f"one runtime must be installed, however {' and '.join(found)} both are and overwrite each other; "
            "make a fresh environment with either the 'serve' or the 'serve-cuda' extra"
        )
        raise ProviderError(msg)


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
