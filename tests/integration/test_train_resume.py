"""A run that was killed with SIGKILL goes on where it was, and ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract.repository import ModelRepository
from tests.quiet import Quiet
from training.config import TableConfig
from training.kept_fits import UNFINISHED
from training.table_run import TableResult, run_table


def write(path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 2, (40, 2))
    rows = [f"{a:.4f},{b:.4f},{a * b:.4f},{a - b:.4f}" for a, b in x]
    path.write_text("a,b,product,difference\n" + "\n".join(rows) + "\n")
    return path


def settings(tmp_path: Path, **more: Any) -> TableConfig:
    return TableConfig.model_validate(
        {
            "data": tmp_path / "data.csv",
            "targets": ("product", "difference"),
            "repository": tmp_path / "repository",
            "runs": tmp_path / "runs",
            "outside": False,
            "objective": "inside",
            **more,
        }
    )


def counted(monkeypatch: pytest.MonkeyPatch, where: str, name: str) -> list[str]:
    """Count the calls of a function of the code under test."""
    module = sys.modules[where]
    real: Callable[..., Any] = getattr(module, name)
    calls: list[str] = []

    def counting(*args: Any, **more: Any) -> Any:
        calls.append(name)
        return real(*args, **more)

    monkeypatch.setattr(module, name, counting)
    return calls


def run(config: TableConfig) -> TableResult:
    return run_table(config, Quiet())


def test_a_killed_run_repeats_no_finished_fit_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data.csv")
    command = [sys.executable, "-c", "import nalu_cli; nalu_cli.main()", "train", "table", str(tmp_path / "data.csv")]
    command += ["--target", "product", "--target", "difference", "--objective", "inside", "--no-outside"]
    command += ["--repository", str(tmp_path / "repository"), "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:
        while not (found := list((tmp_path / "runs").glob(f"{UNFINISHED}/*/whole-target-0.npz"))):
            assert process.poll() is None, "the run ended before its first fit was kept"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert ModelRepository(tmp_path / "repository").names() == []
    assert {entry.name for entry in (tmp_path / "runs").iterdir()} == {UNFINISHED}

    calls = counted(monkeypatch, "training.tabular.fit", "try_out")
    resumed = run(settings(tmp_path, resume=True))

    assert calls == ["try_out"]
    assert not found[0].exists()
    assert not list((tmp_path / "runs" / UNFINISHED).iterdir())
    whole = run(settings(tmp_path))
    assert len(calls) == 3
    assert resumed.manifest.graph.sha256 == whole.manifest.graph.sha256
    assert resumed.manifest.metrics == whole.manifest.metrics
    assert resumed.manifest.version + 1 == whole.manifest.version == 2


def test_networks_are_kept_too_and_other_settings_take_nothing_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data.csv")
    options: dict[str, Any] = {"family": "network", "restarts": 2, "max_epochs": 2, "power_terms": 0, "residual": 0}
    calls = counted(monkeypatch, "training.fitting.selection", "fit")

    with monkeypatch.context() as broken:
        broken.setattr("training.table_run.rows_as_csv", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(settings(tmp_path, **options))
    assert len(calls) == 2
    with monkeypatch.context() as broken:
        broken.setattr("training.table_run.rows_as_csv", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(settings(tmp_path, seed=1, resume=True, **options))
    assert len(calls) == 4
    resumed = run(settings(tmp_path, resume=True, **options))
    assert len(calls) == 4
    report = json.loads((resumed.folder / "report.json").read_text())
    assert report["resumed"] == ["whole-fit-0", "whole-fit-1"]
    assert [trial["n_epochs"] for trial in report["trials"]] == [2, 2]
