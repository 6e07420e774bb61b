"""How the LSTMs are fitted: the paper's recipe as far as it is known, and ours."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from models.networks import SequenceNetwork
from training.fitting.second_order import SecondOrderConfig, fit_second_order
from training.fitting.sequences import SequenceFitConfig, fit_sequences
from training.reproduce.number_words.networks import (
    FilledUp,
    Head,
    LSTMShape,
    build_lstm,
    filled_up,
    mean_absolute_error,
)
from training.tasks.number_words import NumberSplit

PAPER_SHAPE = LSTMShape("linear", d_embedding=256, d_hidden=10, double=False)
"""The widths that the authors told Madsen and Johansen (arXiv:2001.05016, appendix): "~256" and "~10"."""

_WIDTHS = ((4, 4), (6, 6), (4, 8))
"""Embedding and LSTM of our restarts, in turn. These, the unit of the answer, ε and the ridge's decay were chosen by
the validation numbers of splits 100 to 102, none of which is reported."""

_RIDGE_CONFIG = SecondOrderConfig(max_steps=400, ridge=1e-3, ridge_decay=0.95, ridge_floor=1e-9, unit=1000.0)


def our_shape(head: Head, restart: int) -> LSTMShape:
    """Return the shape of a restart.

    The answer of a NAC or NALU is told in units of 30,000, so that the LSTM's outputs stay small, where the LSTM is
    nearly linear; a linear head needs no unit that large. ε = 1 instead of 1e-7: where an output of the LSTM changes
    its sign, log(|h| + ε) has a kink of height log ε that no step of a fit gets across.
    """
    d_embedding, d_hidden = _WIDTHS[restart % len(_WIDTHS)]
    return LSTMShape(
        head,
        d_embedding,
        d_hidden,
        unit_of_answer=1e3 if head == "linear" else 3e4,
        epsilon=1.0,
        published_nalu=False,
        embedding_spread=0.3,
    )


@dataclass(frozen=True)
class Effort:
    """What fits may cost.

    Attributes:
        first_order_steps: Steps of Adam in the paper's recipe.
        second_order_steps: Steps of each of our fits.
        restarts: Our fits, of which validation chooses one.
    """

    first_order_steps: int
    second_order_steps: int
    restarts: int


@dataclass(frozen=True)
class Judged:
    """A fitted network and its mean absolute errors.

    Attributes:
        network: The network, chosen by validation.
        train: Error on the training numbers.
        validation: Error on the validation numbers.
        test: Error on the test numbers, computed once, after the choice.
    """

    network: SequenceNetwork
    train: float
    validation: float
    test: float


def fit_as_published(head: Head, split: NumberSplit, seed: int, effort: Effort) -> Judged:
    """Fit with the published unit, Adam and the squared error; validation chooses the step."""
    shape = replace(PAPER_SHAPE, head=head)
    network = build_lstm(shape, len(split.words), torch.Generator().manual_seed(seed))
    rows = _Rows(split, network.initial.dtype)
    steps = effort.first_order_steps
    config = SequenceFitConfig(max_steps=steps, learning_rate=0.01, clip_norm=None, check_every=max(1, steps // 60))
    fit_sequences(
        FilledUp(network),
        itertools.repeat(rows.train),
        lambda: mean_absolute_error(network, rows.validation),
        config,
        nn.functional.mse_loss,
    )
    return rows.judged(network)


def fit_ours(head: Head, split: NumberSplit, seed: int, effort: Effort, on_fit: Callable[[int, float], None]) -> Judged:
    """Fit smaller networks to second order from several starts; validation chooses the start and the step.

    `on_fit` is told the restart and its validation error.
    """
    rows = _Rows(split, torch.float64)
    best: tuple[float, SequenceNetwork] | None = None
    for restart in range(effort.restarts):
        generator = torch.Generator().manual_seed(1_000 * seed + restart)
        network = build_lstm(our_shape(head, restart), len(split.words), generator)

        def validate(network: SequenceNetwork = network) -> float:
            return mean_absolute_error(network, rows.validation)

        config = replace(_RIDGE_CONFIG, max_steps=effort.second_order_steps)
        fitted = fit_second_order(FilledUp(network), rows.train, validate, config)
        on_fit(restart, fitted.validation_loss)
        if best is None or fitted.validation_loss < best[0]:
            best = fitted.validation_loss, network
    assert best is not None  # noqa: S101 # there is at least one restart
    return rows.judged(best[1])


class _Rows:
    def __init__(self, split: NumberSplit, dtype: torch.dtype) -> None:
        self.train = filled_up(split.train, split.words, dtype)
        self.validation = filled_up(split.validation, split.words, dtype)
        self._test = filled_up(split.test, split.words, dtype)

    def judged(self, network: SequenceNetwork) -> Judged:
        network.eval()
        train, validation, test = (
            mean_absolute_error(network, rows) for rows in (self.train, self.validation, self._test)
        )
        return Judged(network, train, validation, test)
