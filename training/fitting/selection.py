"""Candidates × restarts: fit several networks from several seeds and keep the one that validates best."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.errors import FitError
from training.evaluation.metrics import finite_or_none
from training.fitting.first_order import FirstOrderConfig, Loss, Rows, fit
from training.kept_fits import NOTHING_KEPT, KeptFits


@dataclass(frozen=True)
class Candidate:
    """One kind of network to try.

    Attributes:
        name: What it is called in the report.
        build: Makes a fresh network from a source of randomness.
        config: How it is fitted.
    """

    name: str
    build: Callable[[torch.Generator], nn.Module]
    config: FirstOrderConfig


@dataclass(frozen=True)
class Trial:
    """One fit of one candidate, for the report.

    Attributes:
        candidate: Name of the candidate.
        restart: Number of the restart, from 0.
        seed: Seed of the fit.
        validation_loss: Best validation loss; infinite where the fit diverged.
        n_epochs: Epochs run.
        reason: Why it ended.
    """

    candidate: str
    restart: int
    seed: int
    validation_loss: float
    n_epochs: int
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the trial for JSON, an infinite loss as None."""
        return {**asdict(self), "validation_loss": finite_or_none(self.validation_loss)}


@dataclass(frozen=True)
class KeptNetwork:
    """A fitted network, as it is kept for a run that goes on after it was killed.

    Attributes:
        weights: Its state by name.
        validation_loss: Its validation loss.
        n_epochs: Epochs run.
        reason: Why the fit ended.
    """

    weights: dict[str, NDArray[np.generic]]
    validation_loss: float
    n_epochs: int
    reason: str


class Progress(Protocol):
    """Told how a search goes on."""

    def start(self, title: str, n_fits: int, plan: str | None = None) -> None:
        """Begin a search of at most `n_fits` fits, or of other pieces of work where a plan is told instead."""
        ...

    def epoch(self, fit: int, label: str, share: float, train_loss: float, validation_loss: float) -> None:
        """Report an epoch of fit number `fit`, `share` of whose epochs are done."""
        ...

    def step(self, done: int, what: str) -> None:
        """Report that `done` of the fits or pieces are made, and what comes now."""
        ...

    def finish(self, summary: str) -> None:
        """End the search."""
        ...


@dataclass(frozen=True)
class Selection:
    """What a search chose.

    Attributes:
        network: The network with its best weights.
        candidate: Name of the candidate it came from.
        validation_loss: Its validation loss.
        trials: Every fit made, in order: the budget that the choice cost.
    """

    network: nn.Module
    candidate: str
    validation_loss: float
    trials: tuple[Trial, ...]


def search(
    candidates: Sequence[Candidate],
    train: Rows,
    validation: Rows,
    loss: Loss,
    *,
    seed: int,
    n_restarts: int,
    progress: Progress,
    title: str,
    good_enough: float = 0.0,
    kept: KeptFits = NOTHING_KEPT,
) -> Selection:
    """Fit every candidate from `n_restarts` seeds and keep the best by validation loss.

    A candidate with fewer weights comes first in `candidates`; a later one must be better to replace it.

    Args:
        candidates: What to try, the simplest first.
        train: Rows to fit.
        validation: Rows to choose by, from inside the training range.
        loss: What to minimise.
        seed: Seed of the search; the same seed gives the same result.
        n_restarts: Fits of each candidate.
        progress: Told after every epoch.
        title: What the search is called.
        good_enough: Validation loss at which the search ends without trying the rest.
        kept: Networks that were fitted before are taken from here, and new ones are put here.

    Raises:
        FitError: When every fit diverged.
    """
    best: Selection | None = None
    trials: list[Trial] = []
    progress.start(title, len(candidates) * n_restarts)
    for restart in range(n_restarts):
        for position, candidate in enumerate(candidates):
            fit_seed = seed * 1_000_003 + restart * 1_009 + position
            generator = torch.Generator().manual_seed(fit_seed)
            network = candidate.build(generator)
            number, label = len(trials), f"{candidate.name} #{restart + 1}"

            def on_epoch(
                epoch: int,
                train_loss: float,
                validation_loss: float,
                number: int = number,
                label: str = label,
                n_epochs: int = candidate.config.max_epochs,
            ) -> None:
                progress.epoch(number, label, epoch / n_epochs, train_loss, validation_loss)

            fitted = kept.recall(f"fit-{number}", KeptNetwork)
            if fitted is None:
                outcome = fit(network, train, validation, candidate.config, loss, generator, on_epoch)
                weights = {name: value.numpy(force=True) for name, value in network.state_dict().items()}
                fitted = KeptNetwork(weights, outcome.validation_loss, outcome.n_epochs, outcome.reason)
                kept.keep(f"fit-{number}", fitted)
            else:
                network.load_state_dict({name: torch.as_tensor(value) for name, value in fitted.weights.items()})
            trials.append(
                Trial(candidate.name, restart, fit_seed, fitted.validation_loss, fitted.n_epochs, fitted.reason)
            )
            if math.isfinite(fitted.validation_loss) and (
                best is None or fitted.validation_loss < best.validation_loss
            ):
                best = Selection(network, candidate.name, fitted.validation_loss, ())
            if best is not None and best.validation_loss <= good_enough:
                break
        if best is not None and best.validation_loss <= good_enough:
            break
    if best is None:
        msg = (
            f"at least one fit must end in finite numbers, however all {len(trials)} diverged; "
            "lower the learning rate or look at the data's magnitudes"
        )
        raise FitError(msg)
    progress.finish(f"{best.candidate} of {len(trials)} fits, validation loss {best.validation_loss:.3g}")
    return Selection(best.network, best.candidate, best.validation_loss, tuple(trials))
