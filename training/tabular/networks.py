"""Ensembles of small networks on standardised columns: smooth where trees are steps, straight far outside.

Every member has a linear part beside its hidden layers and leaves out another part of the rows. All are trained
together, as one batch of matrices, and keep the weights of the step at which they did best on those parts together: a
step of its own for each would make what it says of its part look better than it is. The ensemble is the mean of its
members; its answer for a row left out is that of the one member which has not seen it.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.tabular.rows import Floats, Index, Rows, mean_of

Singles = NDArray[np.float32]

_MEAN_DECAY, _SQUARE_DECAY = 0.9, 0.99
"""AdamW's memory of gradients and of their squares; short, since there are few steps."""

LEAST_ROWS = 40
"""With fewer rows the part that a member leaves out says nothing."""

_CHUNK = 4096
"""Rows answered at once, so that memory does not grow with the table."""

_WARM_UP = 0.05
_N_CHECKS = 25
_FIRST_CHECK = 0.1
"""The step rises over the first share of all steps and falls with a cosine; the part left out is looked at this many
times, from this share on."""

_MOST_JUDGED = 4000
"""Rows that a member is judged by, at most."""

_LEAST_BATCH, _BATCHES = 16, 8
"""A small table is still seen in about eight batches."""


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
    """
    centre, spread = float(mean_of(wanted, rows.weights)), float(wanted.std())
    part = rows.parts(settings.n_members, seed) if parts is None else parts
    shares = np.ones(len(rows)) if rows.weights is None else rows.weights / rows.weights.mean()
    weights, biases, linear = _train(block, (wanted - centre) / spread, shares, part, settings, seed)
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


class _Members:
    """Weights of all members in one vector, and what one step needs of them; float32.

    Gradients are written out: with networks this small a step takes a third of the time that recording it would.
    """

    def __init__(self, d_in: int, settings: NetworkSettings, rng: np.random.Generator) -> None:
        n = settings.n_members
        widths = [d_in, *[settings.d_hidden] * settings.n_hidden, 1]
        shapes = [(n, a, b) for a, b in pairwise(widths)]
        sizes = [math.prod(shape) for shape in [*shapes, *((n, 1, b) for _, _, b in shapes), (n, d_in, 1)]]
        self.values, self.gradient = np.zeros(sum(sizes), np.float32), np.zeros(sum(sizes), np.float32)
        self.decayed = np.ones(sum(sizes), np.float32)
        at = np.cumsum([0, *sizes])
        self.decayed[at[len(shapes)] : at[2 * len(shapes)]] = 0

        def views(vector: Singles) -> tuple[list[Singles], list[Singles], Singles]:
            parts = [vector[a:b] for a, b in pairwise(at)]
            weights = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=False)]
            biases = [part.reshape(n, 1, -1) for part in parts[len(shapes) : -1]]
            return weights, biases, parts[-1].reshape(n, d_in, 1)

        self._views = views
        self._weights, self._biases, self._linear = views(self.values)
        self._to_weights, self._to_biases, self._to_linear = views(self.gradient)
        for i, weight in enumerate(self._weights):
            gain = 0.1 if i == len(shapes) - 1 else 1.0  # begin near the linear part
            weight[:] = gain * math.sqrt(2 / max(weight.shape[1], 1)) * rng.standard_normal(weight.shape, np.float32)

    def errors(self, x: Singles, y: Singles, shares: Singles) -> Singles:
        """Return each member's weighted mean squared error, shape (n_members,)."""
        return np.asarray((shares * (self._forward(x)[0][..., 0] - y) ** 2).mean(axis=1))

    def backward(self, x: Singles, y: Singles, shares: Singles) -> None:
        """Write the gradient of the sum of `errors`."""
        answer, kept = self._forward(x)
        slope = (answer - y[..., None]) * (np.float32(2 / y.shape[1]) * shares[..., None])
        np.matmul(x.swapaxes(1, 2), slope, out=self._to_linear)
        for i in reversed(range(len(self._weights))):
            hidden, before, share = kept[i]
            np.matmul(hidden.swapaxes(1, 2), slope, out=self._to_weights[i])
            np.sum(slope, axis=1, keepdims=True, out=self._to_biases[i])
            if i:
                slope = (slope @ self._weights[i].swapaxes(1, 2)) * (share * (1 + before * (1 - share)))

    def as_arrays(self, values: Singles) -> tuple[list[Floats], list[Floats], Floats]:
        """Return weights and biases of each layer and linear weights, in float64."""
        weights, biases, linear = self._views(values)
        return (
            [one.astype(np.float64) for one in weights],
            [one.astype(np.float64) for one in biases],
            linear.astype(np.float64),
        )

    def _forward(self, x: Singles) -> tuple[Singles, list[tuple[Singles, Singles, Singles]]]:
        """Return answers, and for each layer its input and, from the second on, what that was before the bend."""
        hidden, before, share = x, x, x
        kept = []
        for i, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            kept.append((hidden, before, share))
            before = hidden @ weight + bias
            if i < len(self._weights) - 1:
                with np.errstate(over="ignore"):
                    share = np.reciprocal(1 + np.exp(-before), dtype=np.float32)
                hidden = before * share
        return before + x @ self._linear, kept


def _train(
    block: Floats, wanted: Floats, shares: Floats, part: NDArray[np.int64], settings: NetworkSettings, seed: int
) -> tuple[list[Floats], list[Floats], Floats]:
    """Return weights and biases of each layer and linear weights, members first, by AdamW (arXiv:1711.05101)."""
    rng = np.random.default_rng(seed)
    members = _Members(block.shape[1], settings, rng)
    inputs, answers, counts = (one.astype(np.float32) for one in (block, wanted, shares))
    fitted = [np.flatnonzero(part != i) for i in range(settings.n_members)]
    judged = [np.flatnonzero(part == i) for i in range(settings.n_members)]
    n_fitted, n_judged = min(map(len, fitted)), min(_MOST_JUDGED, *map(len, judged))
    judge = np.stack([one[:n_judged] for one in judged])
    judged_by = inputs[judge], answers[judge], counts[judge]
    size = min(settings.batch, max(_LEAST_BATCH, len(wanted) // _BATCHES), n_fitted)
    best, kept = np.inf, members.values.copy()
    mean, square = np.zeros_like(members.values), np.zeros_like(members.values)
    position, order = n_fitted, judge
    every = max(1, settings.n_steps // _N_CHECKS)
    for step in range(settings.n_steps):
        if position + size > n_fitted:
            order, position = np.stack([rng.permutation(one)[:n_fitted] for one in fitted]), 0
        index = order[:, position : position + size]
        position += size
        members.backward(inputs[index], answers[index], counts[index])
        rise = min(1.0, (step + 1) / (_WARM_UP * settings.n_steps))
        length = settings.step * rise * (1 + math.cos(math.pi * step / settings.n_steps)) / 2
        mean += (1 - _MEAN_DECAY) * (members.gradient - mean)
        square += (1 - _SQUARE_DECAY) * (members.gradient**2 - square)
        root = np.sqrt(square / (1 - _SQUARE_DECAY ** (step + 1))) + 1e-8
        members.values -= np.float32(length / (1 - _MEAN_DECAY ** (step + 1))) * (mean / root)
        members.values -= np.float32(length * settings.decay) * members.decayed * members.values
        if (step + 1) % every == 0 and step >= _FIRST_CHECK * settings.n_steps:
            error = float(members.errors(*judged_by).mean())
            if error < best:
                best, kept = error, members.values.copy()
    return members.as_arrays(kept)
