"""What every experiment offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from models.contract.manifest import ModelManifest
from models.contract.repository import ModelRepository
from training.reproduce.outcome import Outcome, Size

Publication = Callable[[ModelRepository], ModelManifest]
"""Publishes one model of an experiment: exports it, checks parity, and puts it into a repository in one step."""


class Progress(Protocol):
    """Told how far an experiment is."""

    def start(self, title: str, n_steps: int) -> None:
        """Begin; `n_steps` counts whatever the experiment counts, such as fits times seeds."""
        ...

    def advance(self, what: str, n_steps: float = 1) -> None:
        """Report steps that are done, parts of one included, and what they were in a few words."""
        ...


def told_by_checks(progress: Progress, what: str, n_steps: int, check_every: int) -> Callable[[int, float], None]:
    """Return what a fit calls after every check, so that the whole fit counts as one step of an experiment.

    Args:
        progress: Told of every check.
        what: What is fitted.
        n_steps: Steps of the fit.
        check_every: Steps between its checks; the last one is followed by a check in any case.
    """
    share = 1 / -(-n_steps // check_every)
    return lambda step, loss: progress.advance(f"{what}, step {step}, loss {loss:.2g}", share)


@dataclass(frozen=True)
class Result:
    """What a run of an experiment gives.

    Attributes:
        outcome: What it found.
        models: The models to serve, not yet exported.
    """

    outcome: Outcome
    models: tuple[Publication, ...] = ()


class Experiment(Protocol):
    """One experiment of the paper.

    `run` gives the same result for the same size and seeds. Nothing that it chooses (checkpoint, restart, setting) may
    depend on extrapolation or test rows.
    """

    @property
    def name(self) -> str:
        """One of `training.reproduce.outcome.NAMES`."""
        ...

    @property
    def title(self) -> str:
        """What it is about, in a few words."""
        ...

    def default_seeds(self, size: Size) -> int:
        """Return the seeds run where no number is asked for."""
        ...

    def run(self, size: Size, seeds: int, progress: Progress) -> Result:
        """Run it: in at most 20 s of processor time when quick, in 25 minutes when full.

        Args:
            size: "quick" or "full".
            seeds: Number of seeds: 0 … seeds − 1.
            progress: Told how far it is.
        """
        ...
