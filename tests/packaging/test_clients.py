"""The script that asks with other platforms' clients."""

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_an_interpreter_without_the_service_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    """Run as the page showed it, the script installed 900 MB and ended in a traceback."""
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError", encoding="utf-8")
    command = [sys.executable, str(CHECKOUT / "deploy" / "check-clients"), str(tmp_path / "clients")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PIP_ARGS": "--no-index"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 1
    assert "the extras serve and grpc must be installed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "clients").exists()
