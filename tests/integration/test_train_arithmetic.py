"""`nalu train arithmetic`: what it publishes, and what it leaves behind when it fails or is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from models.contract.errors import InvalidNameError, PublicationError
from models.contract.manifest import NumberColumn
from models.contract.repository import ModelRepository
from tests.quiet import Quiet
from training import arithmetic_run
from training.arithmetic_run import fit_arithmetic, run_arithmetic
from training.config import ArithmeticConfig
from training.errors import ConfigError, FitError, NotFoundError
from training.parity import GraphRunner, RawRows
from training.tasks.arithmetic import OPERATIONS

NALU = [sys.executable, "-m", "nalu_cli"]


def config(tmp_path: Path, **more: object) -> ArithmeticConfig:
    places = {"repository": tmp_path / "repository", "runs": tmp_path / "runs"}
    return ArithmeticConfig.model_validate({"operation": "multiply", **places, **more})


def test_a_run_publishes_graph_report_and_plot_and_keeps_the_run(tmp_path: Path) -> None:
    result = run_arithmetic(config(tmp_path), Quiet())
    published = ModelRepository(tmp_path / "repository").load("multiply")
    assert published.manifest == result.manifest
    assert published.manifest.formula is not None
    assert published.manifest.formula.text == "a * b"
    assert published.manifest.certificate is not None
    assert published.manifest.provenance.created is not None
    version = tmp_path / "repository" / "multiply" / "1"
    assert {file.name for file in version.iterdir()} == {"model.onnx", "manifest.json", "report.json", "error.png"}
    assert {file.name for file in result.folder.iterdir()} == {"report.json", "error.png"}
    report = json.loads((result.folder / "report.json").read_text())
    assert report["relative_error"]["1e+06x"]["max"] == 0.0
    assert [(one["structure"], one["verdict"]) for one in report["candidates"]] == [
        ("sum", "inexact"),
        ("power", "exact"),
    ]
    assert report["snapped"] == [{"kind": "power", "weight": [[1.0, 1.0]], "bias": None}]
    assert report["raw"][0]["weight"][0] == pytest.approx([1, 1], abs=1e-12)
    assert report["certificate"]["snapped"] == report["snapped"]
    assert not list(tmp_path.rglob(".staging-*"))
    run = GraphRunner(published.onnx, "float64")
    assert run(RawRows(np.array([[3.0, 5.0], [1e6, 1e6], [-0.1, 1e300]]))).tolist() == [[15.0], [1e12], [-1e299]]


def test_the_next_run_is_the_next_version_and_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = run_arithmetic(config(tmp_path, seed=3), Quiet()).manifest
    second = run_arithmetic(config(tmp_path, seed=3), Quiet()).manifest
    assert (first.version, second.version) == (1, 2)
    assert first.graph.sha256 == second.graph.sha256


@pytest.mark.parametrize("training_range", [(1.0, 2.0), (-10.0, 10.0), (0.0, 1e-4), (1.1, 1.2)])
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_every_operation_is_exact_a_million_times_outside_its_range(
    operation: str, training_range: tuple[float, float]
) -> None:
    low, high = training_range
    model, report, _ = fit_arithmetic(ArithmeticConfig(operation=operation, low=low, high=high, seed=1), Quiet())
    assert max(values["max"] for values in report["relative_error"].values()) == 0
    assert model.certificate is not None
    assert {name: one.domain for name, one in zip(OPERATIONS[operation].inputs, model.inputs, strict=True)
            if isinstance(one, NumberColumn) and one.domain} == OPERATIONS[operation].domains  # fmt: skip


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_first_order_steps_stay_available_and_prove_nothing(operation: str) -> None:
    settings = ArithmeticConfig(operation=operation, solver="adam", low=1.0, high=2.0, seed=1, restarts=8)
    model, report, _ = fit_arithmetic(settings, Quiet())
    assert max(values["max"] for values in report["relative_error"].values()) < 1e-9
    assert report["trials"]
    assert model.certificate is None
    assert not model.lowered


def test_where_nothing_exact_is_found_nothing_is_published_unless_asked(tmp_path: Path) -> None:
    hopeless = config(tmp_path, operation="divide", structures=("sum",), noise=False)
    with pytest.raises(NotFoundError, match=r"none was found among 384 rows .* --allow-inexact"):
        run_arithmetic(hopeless, Quiet())
    assert not list(tmp_path.rglob("*.onnx"))
    asked = run_arithmetic(hopeless.model_copy(update={"allow_inexact": True}), Quiet())
    assert asked.manifest.description.startswith("An approximation of a / b, not an exact law:")
    assert (asked.manifest.formula, asked.manifest.certificate) == (None, None)
    assert asked.report["found"] is False
    assert asked.report["reason"] in asked.manifest.description


def test_float32_is_published_as_float32(tmp_path: Path) -> None:
    manifest = run_arithmetic(config(tmp_path, dtype="float32"), Quiet()).manifest
    published = ModelRepository(tmp_path / "repository").load("multiply")
    assert manifest.graph.dtype == "float32"
    assert manifest.certificate is not None
    assert manifest.certificate.dtype == "float32"
    assert GraphRunner(published.onnx, "float32")(RawRows(np.array([[3.0, 5.0]]))).dtype == np.float32


def test_the_divisor_is_kept_from_zero_and_the_root_from_negatives() -> None:
    generator = np.random.default_rng(0)
    divisors = OPERATIONS["divide"].sample(-10, 10, 2000, generator)[:, 1]
    assert np.abs(divisors).min() >= 0.5
    assert (divisors < 0).mean() == pytest.approx(0.5, abs=0.05)
    assert OPERATIONS["sqrt"].sample(-10, 10, 2000, generator).min() >= 0


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"operation": "modulo"}, ConfigError, "must be one of add, subtract"),
        ({"structures": ("spline",)}, ConfigError, "a structure must be one of sum"),
        ({"operation": "sqrt", "low": -5.0, "high": -1.0}, ConfigError, "square root of a negative"),
        ({"name": "../escape"}, InvalidNameError, "model name"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_written(
    tmp_path: Path, more: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_arithmetic(config(tmp_path, **more), Quiet())
    assert not list(tmp_path.rglob("*.onnx"))


def test_an_unwritable_repository_is_told_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repository").write_text("a file where the folder should be")
    monkeypatch.setattr(arithmetic_run, "fit_exact", lambda *_: pytest.fail("fitted before the repository was tried"))
    with pytest.raises(PublicationError, match="must be writable"):
        run_arithmetic(config(tmp_path), Quiet())
    assert not (tmp_path / "runs").exists()


def test_a_run_in_which_every_fit_diverges_publishes_nothing(tmp_path: Path) -> None:
    huge = config(tmp_path, solver="adam", low=1e200, high=1e201, units=("nmu",), restarts=2, max_epochs=5)
    with pytest.raises(FitError, match="diverged"), np.errstate(over="ignore"):
        run_arithmetic(huge, Quiet())
    assert not list(tmp_path.rglob("*.onnx"))
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_ends_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    rng = np.random.default_rng(0)
    rows = rng.uniform(1, 2, (3000, 3))
    data.write_text("p,q,y\n" + "\n".join(",".join(map(str, row)) for row in rows))
    process = subprocess.Popen(
        [
            *NALU,
            "train",
            "table",
            str(data),
            "--target",
            "y",
            "--repository",
            str(tmp_path / "repository"),
            "--runs",
            str(tmp_path / "runs"),
            "--epochs",
            "100000",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert any("up to" in line for line in iter(process.stdout.readline, ""))  # the fit has begun
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "interrupted" in output
    assert "Traceback" not in output
    assert process.returncode == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != data]
