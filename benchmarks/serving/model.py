"""The model of the serving benchmark: 28 named columns, two layers of 64 NACs, a NALU head with 3 outputs."""

from pathlib import Path

import numpy as np
import torch

from models.contract.manifest import ModelManifest, NumberColumn, OutputColumn, Provenance
from models.contract.repository import ModelRepository
from models.networks.arithmetic import ArithmeticNetwork
from models.units import NAC, NALU
from training.parity import RawRows
from training.publish import FittedModel, publish

NAME = "benchmark"
N_COLUMNS = 28
N_OUTPUTS = 3
N_ROWS = 1_000


def publish_model(root: Path) -> ModelManifest:
    """Publish the model, with random weights that are always the same, and return its manifest."""
    torch.manual_seed(0)
    network = ArithmeticNetwork([NAC(N_COLUMNS, 64), NAC(64, 64), NALU(64, N_OUTPUTS)])
    rows = np.random.default_rng(0).uniform(0.0, 1.0, size=(N_ROWS, N_COLUMNS))
    inputs = tuple(NumberColumn(name=f"feature_{i:02}", minimum=0.0, maximum=1.0) for i in range(N_COLUMNS))
    model = FittedModel(
        name=NAME,
        kind="tabular",
        description="Random weights, to measure serving with.",
        network=network,
        inputs=inputs,
        outputs=tuple(OutputColumn(name=f"output_{i}", minimum=-1e3, maximum=1e3) for i in range(N_OUTPUTS)),
        regions={"inside": RawRows(rows)},
        metrics={},
        provenance=Provenance(task="serving benchmark", n_rows=N_ROWS, seed=0),
    )
    return publish(ModelRepository(root), model, "float32", {}, {})
