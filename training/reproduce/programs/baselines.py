"""The gated networks that read programs: an LSTM or GRU, and a linear head, a NAC or a NALU on its last step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.networks import GRUCell, HiddenPart, LSTMCell, SequenceNetwork
from models.units import LinearUnit
from training.fitting.first_order import Loss
from training.fitting.sequences import Batch, OnCheck, SequenceFitConfig, batches_by_length, fit_sequences
from training.reproduce.number_words.networks import Head, LSTMShape, build_lstm
from training.tasks.programs import CHARACTERS, MAX_LENGTH, ProgramSplit, by_length, evaluate, tokens

_D_EMBEDDING, _D_HIDDEN = 16, 64
_BATCH = 64
_UNIT_OF_ANSWER = 1000.0
"""What a NAC or NALU on outputs within ±1 answers in, and what the squared error counts in."""

LEARNING_RATE = 0.01
LSTM, SQUARED_ERROR = "LSTM", "LSTM, squared error"

N_CHECKS = 25
"""Checks by validation in a fit."""

N_VALIDATION = 1000
"""Validation programs that choose the step."""


class _Sinh(nn.Module):
    """Turns a logarithmic answer into a number; it is a plain one near 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sinh()


class _Fast(nn.Module):
    """A network with torch's own loop over the steps, which trains faster; the network's cell takes its weights."""

    def __init__(self, network: SequenceNetwork, layer: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.encoder, self.layer, self.head = network.encoder, layer, network.head

    def forward(self, characters: Tensor) -> Tensor:
        answer: Tensor = self.head(self.layer(self.encoder(characters))[0][:, -1])
        return answer


def log_error(answers: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared difference of asinh(y): of the logarithms of what is large, of what is small itself."""
    return (answers.asinh() - targets.asinh()).square().mean()


def squared_error(answers: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error, in thousands."""
    return ((answers - targets) / _UNIT_OF_ANSWER).square().mean()


def _lstm(head: Head, unit: float) -> SequenceNetwork:
    shape = LSTMShape(head, _D_EMBEDDING, _D_HIDDEN, unit_of_answer=unit, double=False)
    return build_lstm(shape, len(CHARACTERS), torch.default_generator)


def _logarithmic_lstm() -> SequenceNetwork:
    network = _lstm("linear", 1.0)
    return SequenceNetwork(network.encoder, network.cell, nn.Sequential(network.head, _Sinh()), network.initial)


def _logarithmic_gru() -> SequenceNetwork:
    cell = GRUCell(_D_EMBEDDING, _D_HIDDEN)
    head = nn.Sequential(HiddenPart(_D_HIDDEN), LinearUnit(_D_HIDDEN, 1, bias=True), _Sinh())
    return SequenceNetwork(nn.Embedding(len(CHARACTERS), _D_EMBEDDING), cell, head, cell.initial())


BASELINES: dict[str, tuple[Callable[[], SequenceNetwork], Loss]] = {
    SQUARED_ERROR: (lambda: _lstm("linear", _UNIT_OF_ANSWER), squared_error),
    LSTM: (_logarithmic_lstm, log_error),
    "GRU": (_logarithmic_gru, log_error),
    "LSTM + NAC": (lambda: _lstm("NAC", _UNIT_OF_ANSWER), log_error),
    "LSTM + NALU": (lambda: _lstm("NALU", _UNIT_OF_ANSWER), log_error),
}
"""Label → what makes one with weights from torch's global generator, and what it minimises."""

SETUP = (
    f"Baselines: embeddings of {_D_EMBEDDING}, {_D_HIDDEN} hidden units, Adam on {_BATCH} training programs of one "
    f"length a step, step size from {LEARNING_RATE} along a half cosine, gradients clipped to norm 1, float32; of "
    f"{N_CHECKS} checks the one with the least loss on {N_VALIDATION:,} validation programs is kept. The paper names "
    "neither widths nor steps.",
    "In the paper an LSTM also gives the NALU its weights; ours reads the LSTM's last output, as in the paper's other "
    "experiments with sequences.",
    f'Values reach 10⁸, so that a squared error, as "{SQUARED_ERROR}" has it, is about the largest products alone. All '
    "other baselines minimise the squared error of asinh(y), of the logarithm of what is large; LSTM and GRU also "
    "answer on that scale, NAC and NALU in thousands.",
)


def fit_baseline(label: str, split: ProgramSplit, n_steps: int, on_check: OnCheck, *, seed: int) -> SequenceNetwork:
    """Fit one network to the training programs; validation chooses the step.

    Args:
        label: One of `BASELINES`.
        split: Its programs.
        n_steps: Steps of Adam.
        on_check: Told of every check.
        seed: Seed of the weights and of the batches.
    """
    build, loss = BASELINES[label]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        layer_of = nn.GRU if isinstance(network.cell, GRUCell) else nn.LSTM
        fast = _Fast(network, layer_of(_D_EMBEDDING, _D_HIDDEN, batch_first=True))
    generator = torch.Generator().manual_seed(seed)
    rows, held_out = _Rows(split.train), _Rows(split.validation[:N_VALIDATION])
    batches = (rows.batch(length, part) for length, part in batches_by_length(rows.lengths, _BATCH, generator))
    judged = [held_out.batch(length, torch.tensor(part)) for length, part in by_length(held_out.programs).items()]

    def validate() -> float:
        losses = [float(loss(fast(*one.inputs), one.targets)) * len(one.targets) for one in judged]
        return sum(losses) / len(held_out.programs)

    config = SequenceFitConfig(
        max_steps=n_steps, learning_rate=LEARNING_RATE, clip_norm=1.0, check_every=max(1, n_steps // N_CHECKS)
    )
    fit_sequences(fast, batches, validate, config, loss, on_check=on_check)
    assert isinstance(network.cell, LSTMCell | GRUCell)  # noqa: S101 # as built above
    network.cell.load_layer(fast.layer)
    return network.eval()


class _Rows:
    """Programs as tokens, those of a length side by side at the end of a row."""

    def __init__(self, programs: Sequence[str]) -> None:
        self.programs = programs
        self.lengths = [len(program) for program in programs]
        self._tokens = torch.zeros(len(programs), MAX_LENGTH, dtype=torch.int64)
        for row, program in zip(self._tokens, programs, strict=True):
            row[MAX_LENGTH - len(program) :] = torch.tensor(tokens(program))
        self._values = torch.tensor([[evaluate(program)[0]] for program in programs], dtype=torch.float32)

    def batch(self, length: int, rows: Tensor) -> Batch:
        return Batch((self._tokens[rows, MAX_LENGTH - length :],), self._values[rows])
