"""Small models of sequences with random weights, exported by our own exporter once per process."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.contract.manifest import (
    ImagesColumn,
    ModelManifest,
    NumberColumn,
    OutputColumn,
    Provenance,
    SequenceColumn,
    StepsColumn,
    TextColumn,
)
from models.contract.repository import ModelRepository
from models.networks import GRUCell, HiddenPart, LSTMCell, SequenceNetwork
from training.publish_sequence import Example, FittedSequence, build_sequence

SIDE = 28
"""Height and width of the images."""

WORDS = TextColumn(
    name="text",
    minimum_length=1,
    maximum_length=5,
    vocabulary=("and", "five", "forty", "hundred", "three", "thousand", "twelve"),
)
STEPS = StepsColumn(
    name="steps",
    minimum_length=2,
    maximum_length=10,
    columns=(
        NumberColumn(name="a", unit="m", minimum=-1, maximum=1),
        NumberColumn(name="b", minimum=0, maximum=2),
    ),
)
IMAGES = ImagesColumn(name="images", minimum_length=1, maximum_length=3, height=SIDE, width=SIDE)


class Sum(nn.Module):
    """Adds every step to the state."""

    def forward(self, step: Tensor, state: Tensor) -> Tensor:
        return state + step


def fitted(
    name: str, network: SequenceNetwork, column: SequenceColumn, examples: list[Example], n_outputs: int = 1
) -> FittedSequence:
    """Return a network with all that a manifest needs."""
    return FittedSequence(
        name=name,
        description=f"Test model {name}.",
        network=network,
        input=column,
        outputs=tuple(OutputColumn(name=f"y{i}" if i else "y", minimum=-1, maximum=1) for i in range(n_outputs)),
        examples=examples,
        metrics={"inside": {"y": {"rmse": 0.5}}},
        provenance=Provenance(task=f"test {name}", n_rows=1, seed=0),
    )


def text_model() -> FittedSequence:
    """Return an LSTM in float64 on words."""
    torch.manual_seed(0)
    cell = LSTMCell(3, 8, dtype=torch.float64)
    embedding = nn.Embedding(len(WORDS.vocabulary), 3, dtype=torch.float64)
    head = nn.Sequential(HiddenPart(8), nn.Linear(8, 1, dtype=torch.float64))
    network = SequenceNetwork(embedding, cell, head, cell.initial())
    return fitted("number-words", network, WORDS, ["three hundred and twelve", "Forty-five", "five"])


def steps_model() -> FittedSequence:
    """Return a GRU on pairs of numbers, with two outputs."""
    torch.manual_seed(0)
    cell, dtype = GRUCell(2, 4, dtype=torch.float64), torch.float64
    network = SequenceNetwork(nn.Identity(), cell, nn.Linear(4, 2, dtype=dtype), torch.full((4,), 0.25, dtype=dtype))
    example = np.random.default_rng(0).uniform([-1, 0], [1, 2], (4, 2))
    return fitted("recurrent", network, STEPS, [example, example[:2]], n_outputs=2)


def images_model() -> FittedSequence:
    """Return a sum in float64 of what a convolution in float32 sees."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, SIDE)), nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 26**2, 1), nn.Sigmoid()
    )
    network = SequenceNetwork(encoder, Sum(), nn.Identity(), torch.zeros(1, dtype=torch.float64))
    return fitted("digit-sum", network, IMAGES, [np.random.default_rng(0).random((2, SIDE, SIDE))])


MODELS = {"number-words": text_model, "recurrent": steps_model, "digit-sum": images_model}


@cache
def built(name: str) -> tuple[FittedSequence, ModelManifest, bytes]:
    """Return a model, its manifest and its graph."""
    model = MODELS[name]()
    return (model, *build_sequence(model))


def publish_sequences(root: Path) -> Path:
    """Publish every model of this file and return the repository's root."""
    for name in MODELS:
        _, manifest, graph = built(name)
        ModelRepository(root).publish(manifest, graph)
    return root
