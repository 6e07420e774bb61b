"""What an import loads, seen from a fresh interpreter."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxscript", "onnx_ir", "sklearn", "matplotlib")
WEB = ("fastapi", "starlette", "uvicorn")
RUNTIME = ("onnxruntime",)


def loaded_by(module: str) -> set[str]:
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("module", ["models", "models.contract.manifest", "models.contract.repository", "nalu_cli"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    """The command answers `nalu --help` at once, and the contract is torch-free."""
    assert loaded_by(module).isdisjoint({*HEAVY, *WEB, *RUNTIME})


def test_the_application_loads_neither_torch_nor_onnx() -> None:
    loaded = loaded_by("service.app")

    assert loaded.isdisjoint(HEAVY)
    assert loaded >= {"fastapi", "onnxruntime"}
