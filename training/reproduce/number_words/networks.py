"""The LSTMs that read numbers in words: embedding → LSTM → head on the last step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.networks import HiddenPart, LSTMCell, SequenceNetwork
from models.units import NAC, NALU, LinearUnit
from training.fitting.sequences import Batch
from training.tasks.number_words import in_words, tokens

Head = Literal["linear", "NAC", "NALU"]

HEADS: tuple[Head, ...] = ("linear", "NAC", "NALU")

LABELS: dict[Head, str] = {"linear": "LSTM", "NAC": "LSTM + NAC", "NALU": "LSTM + NALU"}


@dataclass(frozen=True)
class LSTMShape:
    """Widths and head of a network.

    Attributes:
        head: What reads the LSTM's last output: a linear layer with a constant, a NAC or a NALU.
        d_embedding: Width of a word's embedding.
        d_hidden: Width of the LSTM.
        unit_of_answer: What the head's answer is multiplied by: a NAC's weights and the LSTM's outputs lie within ±1.
        epsilon: ε of the NALU.
        published_nalu: Whether the NALU is the published one, or has separate weights and a gate of its own.
        embedding_spread: Standard deviation of the embeddings at the start.
        double: Whether in float64.
    """

    head: Head
    d_embedding: int
    d_hidden: int
    unit_of_answer: float = 1.0
    epsilon: float = 1e-7
    published_nalu: bool = True
    embedding_spread: float = 1.0
    double: bool = True


class _Times(nn.Module):
    """Multiplies by a constant."""

    factor: Tensor

    def __init__(self, factor: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def build_lstm(shape: LSTMShape, n_words: int, generator: torch.Generator) -> SequenceNetwork:
    """Return a fresh network.

    Args:
        shape: Widths and head.
        n_words: Size of the vocabulary.
        generator: Source of the weights.
    """
    dtype = torch.float64 if shape.double else torch.float32
    embedding = nn.Embedding(n_words, shape.d_embedding, dtype=dtype)
    nn.init.normal_(embedding.weight, std=shape.embedding_spread, generator=generator)
    cell = LSTMCell(shape.d_embedding, shape.d_hidden, generator=generator, dtype=dtype)
    head = _head(shape, dtype)
    head.reset_parameters(generator)
    answer = nn.Sequential(HiddenPart(shape.d_hidden), head, _Times(shape.unit_of_answer, dtype))
    return SequenceNetwork(embedding, cell, answer, cell.initial())


def _head(shape: LSTMShape, dtype: torch.dtype) -> LinearUnit | NAC | NALU:
    if shape.head == "linear":
        return LinearUnit(shape.d_hidden, 1, bias=True, dtype=dtype)
    if shape.head == "NAC":
        return NAC(shape.d_hidden, 1, dtype=dtype)
    return NALU(
        shape.d_hidden,
        1,
        epsilon=shape.epsilon,
        separate_weights=not shape.published_nalu,
        gate="input" if shape.published_nalu else "independent",
        dtype=dtype,
    )


class FilledUp(nn.Module):
    """Reads sentences of unequal length at once: filled up in front, where the state is kept as it is.

    It shares the network's weights and gives its answers; sentences of one length need no filling.

    Args:
        network: The network.

    Shape:
        - words: (batch, length), int64, any word where `said` is 0
        - said: (batch, length), 1 where a word was said, in the network's dtype
        - output: (batch, d_outputs)
    """

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, words: Tensor, said: Tensor) -> Tensor:
        """Return the answers."""
        encoded = self.network.encode(words)
        state = self.network.initial.expand(len(words), -1)
        for step, heard in zip(encoded.unbind(1), said.unbind(1), strict=True):
            moved = self.network.cell(step, state)
            state = state + heard.unsqueeze(1) * (moved - state)
        answer: Tensor = self.network.head(state)
        return answer


def filled_up(numbers: Sequence[int], words: Sequence[str], dtype: torch.dtype) -> Batch:
    """Return numbers as `FilledUp` takes them, with the numbers as targets of shape (n, 1)."""
    sentences = tokens([in_words(number) for number in numbers], words)
    length = max(map(len, sentences))
    coded = torch.zeros(len(sentences), length, dtype=torch.int64)
    said = torch.zeros(len(sentences), length, dtype=dtype)
    for row, sentence in enumerate(sentences):
        coded[row, length - len(sentence) :] = torch.tensor(sentence)
        said[row, length - len(sentence) :] = 1
    return Batch((coded, said), torch.tensor(numbers, dtype=dtype)[:, None])


@torch.no_grad()
def mean_absolute_error(network: SequenceNetwork, rows: Batch) -> float:
    """Return the mean absolute error over all rows."""
    return float((FilledUp(network)(*rows.inputs) - rows.targets).abs().mean())
