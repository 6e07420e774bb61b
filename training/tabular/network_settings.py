"""Settings of ensembles of networks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkSettings:
    """Settings of an ensemble.

    Attributes:
        n_members: Members, each without another part of the rows.
        d_hidden: Width of a hidden layer.
        n_hidden: Hidden layers.
        n_steps: Steps of AdamW.
        step: Largest step.
        batch: Rows of a step, at most.
        decay: Decay of the weights.
    """

    n_members: int = 5
    d_hidden: int = 96
    n_hidden: int = 2
    n_steps: int = 1500
    step: float = 6e-3
    batch: int = 256
    decay: float = 1e-2
