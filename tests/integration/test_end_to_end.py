"""The whole way: a table is learned, published, served and predicted offline, with the same numbers."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.quiet import Quiet
from tests.serving import environment, serve
from training.config import TableConfig
from training.errors import TrainingDataError
from training.named_data import named
from training.table_run import run_table
from training.tasks.forging import FORGING_TARGETS, make_forging

NALU = Path(sys.executable).parent / "nalu"


def served_and_predicted(tmp_path: Path, config: TableConfig) -> tuple[np.ndarray, np.ndarray]:
    """Train, then answer the test split by `nalu predict` and by a service started afterwards."""
    result = run_table(config, Quiet())
    manifest = result.manifest
    subprocess.run(
        [NALU, "predict", manifest.name, result.folder / "test.csv", "--repository", config.repository, "--out",
         tmp_path / "out.csv"],
        check=True, env=environment(), capture_output=True,
    )  # fmt: skip
    with (tmp_path / "out.csv").open(newline="") as stream:
        predicted = list(csv.DictReader(stream))
    kinds = {column.name: column.kind for column in manifest.inputs}
    rows = [
        {name: None if not row[name] else float(row[name]) if kind == "number" else row[name]
         for name, kind in kinds.items()}
        for row in predicted
    ]  # fmt: skip
    with serve(config.repository) as served:
        served.wait_until_ready()
        status, _, answer = served.predict(model=manifest.name, rows=rows)
    assert status == 200, answer
    names = [output.name for output in manifest.outputs]
    online = np.array([[row[name] for name in names] for row in answer["predictions"]])
    offline = np.array([[float(row[f"{name}_predicted"]) for name in names] for row in predicted])
    return online, offline


def config(tmp_path: Path, data: Path, targets: tuple[str, ...], **more: object) -> TableConfig:
    places = {"repository": tmp_path / "repository", "runs": tmp_path / "runs"}
    return TableConfig.model_validate({"data": data, "targets": targets, "outside": False, **places, **more})


def test_a_table_with_text_and_gaps_is_served_as_it_is_predicted(tmp_path: Path) -> None:
    data = tmp_path / "forging.csv"
    make_forging(data, 600, seed=3)
    online, offline = served_and_predicted(
        tmp_path, config(tmp_path, data, FORGING_TARGETS, family="network", restarts=1, max_epochs=20, residual=8)
    )
    assert online.shape == (90, 3)
    np.testing.assert_allclose(online, offline, rtol=1e-12)


@pytest.mark.real_data
def test_real_fatigue_strengths_are_served_as_they_are_predicted(tmp_path: Path) -> None:
    try:
        data = named("steel_fatigue_nims437")
    except TrainingDataError as error:
        pytest.skip(str(error))
    online, offline = served_and_predicted(tmp_path, config(tmp_path, data, ("Fatigue",)))
    np.testing.assert_allclose(online, offline, rtol=1e-6)
