"""Ensembles of small networks on standardised columns: smooth where trees are steps, straight far outside.

Every member has a linear part beside its hidden layers and leaves out another part of the rows. All are trained
together (`training.tabular.network_training`). The ensemble is the mean of its members; its answer for a row left out
is that of the one member which has not seen it.
"""

from dataclasses import dataclass, replace

import numpy as np

from training.tabular.network_settings import NetworkSettings
from training.tabular.network_training import train_members
from training.tabular.rows import Floats, Index, Rows, mean_of

LEAST_ROWS = 40
"""With fewer rows the part that a member leaves out says nothing."""

_CHUNK = 4096
"""Rows answered at once, so that memory does not grow with the table."""


@dataclass(frozen=True)
class Network:
    """A fitted ensemble: mean over members of (linear part + hidden layers with x · sigmoid(x) between them).

    Attributes:
        weights: Of each layer, shape (n_members, d_in, d_out).
        biases: Of each layer, shape (n_members, 1, d_out).
        linear: Weights of the linear part, averaged over the members, shape (d_in,).
        lower: Inputs are held above this, shape (d_in,).
        upper: And below this.
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    linear: Floats
    lower: Floats
    upper: Floats

    def __call__(self, block: Floats) -> Floats:
        """Return the ensemble's answers, shape (n_rows,), for inputs of shape (n_rows, d_in)."""
        parts = [self._part(block[i : i + _CHUNK]) for i in range(0, len(block), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def scaled(self, share: float) -> "Network":
        """Return the ensemble whose answers are multiplied by a number."""
        last = len(self.weights) - 1
        return replace(
            self,
            weights=tuple(share * one if i == last else one for i, one in enumerate(self.weights)),
            biases=tuple(share * one if i == last else one for i, one in enumerate(self.biases)),
            linear=share * self.linear,
        )

    def _part(self, block: Floats) -> Floats:
        held = np.clip(block, self.lower, self.upper)
        hidden = held
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weight + bias
            if i < len(self.weights) - 1:
                with np.errstate(over="ignore"):
                    hidden = hidden / (1 + np.exp(-hidden))
        return np.asarray(hidden[..., 0].mean(axis=0) + held @ self.linear)


@dataclass(frozen=True)
class NetworkFit:
    """An ensemble and what it says of rows that it has not seen.

    Attributes:
        network: The ensemble.
        left_out: For each training row the answer of the member fitted without it, shape (n_rows,).
    """

    network: Network
    left_out: Floats


def fit_network(
    rows: Rows,
    block: Floats,
    wanted: Floats,
    settings: NetworkSettings,
    seed: int,
    *,
    frozen: bool = False,
    parts: Index | None = None,
    n_threads: int = 1,
) -> NetworkFit:
    """Fit an ensemble.

    Args:
        rows: The rows, whose weights and groups count.
        block: Inputs, about standardised, shape (n_rows, d_in).
        wanted: Shape (n_rows,), at least `LEAST_ROWS` and not all equal.
        settings: Its settings.
        seed: Seed of parts, weights and batches.
        frozen: Whether inputs are held within the range seen, so that the ensemble is constant outside.
        parts: Part of each row, which the member of that number leaves out, shape (n_rows,); None to draw them. What
            is answered for rows that no member leaves out is NaN.
        n_threads: Groups of members that are fitted side by side, in a thread each, where a step takes long enough;
            the result does not depend on it. Several networks are better fitted side by side as they are: threads
            that wait for the interpreter took a half longer for two networks of two groups each.
    """
    centre, spread = float(mean_of(wanted, rows.weights)), float(wanted.std())
    part = rows.parts(settings.n_members, seed) if parts is None else parts
    shares = np.ones(len(rows)) if rows.weights is None else rows.weights / rows.weights.mean()
    weights, biases, linear = train_members(block, (wanted - centre) / spread, shares, part, settings, seed, n_threads)
    weights[-1], biases[-1], linear = spread * weights[-1], spread * biases[-1] + centre, spread * linear
    free = np.full(block.shape[1], np.inf)
    lower, upper = (block.min(axis=0), block.max(axis=0)) if frozen else (-free, free)
    left_out = np.full(len(wanted), np.nan)
    for i in range(settings.n_members):
        own = slice(i, i + 1)
        alone = Network(
            tuple(one[own] for one in weights), tuple(one[own] for one in biases), linear[i, :, 0], -free, free
        )
        left_out[part == i] = alone(block[part == i])
    network = Network(tuple(weights), tuple(biases), linear[..., 0].mean(axis=0), lower, upper)
    return NetworkFit(network, left_out)
