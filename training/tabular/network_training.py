"""How the members of an ensemble of networks are trained: one batch of matrices for all, gradients written out.

All keep the weights of the step at which they did best together on the parts that they leave out: a step of its own for
each would make what it says of its part look better than it is.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.tabular.network_settings import NetworkSettings
from training.tabular.rows import Floats, Index

Singles = NDArray[np.float32]

_MEAN_DECAY, _SQUARE_DECAY = 0.9, 0.99
"""AdamW's memory of gradients and of their squares; short, since there are few steps."""

_WARM_UP = 0.05
_N_CHECKS = 25
_FIRST_CHECK = 0.1
"""The step rises over the first share of all steps and falls with a cosine; the part left out is looked at this many
times, from this share on."""

_MOST_JUDGED = 4000
"""Rows that a member is judged by, at most."""

_WORTH_A_THREAD = 10_000
"""Numbers of a hidden layer for one member and step, from which on a second thread pays."""

_LEAST_BATCH, _BATCHES = 16, 8
"""A small table is still seen in about eight batches."""


class Workspace:
    """Arrays that are written again and again for as many rows at a time.

    In a fresh process arrays of this size go back to the system when they are freed, and their pages are faulted in
    anew: half the time of a step.

    Attributes:
        before: Of each hidden layer what it is before the bend, shape (n_members, n_rows, d_hidden).
        share: What of it comes through: 1 / (1 + exp(−before)).
        hidden: Its answers.
        bend, slopes: For going backward.

    Args:
        shape: Of one layer.
        n: Hidden layers.
        backward: Whether all layers are kept, to go backward; else all share their arrays.
    """

    def __init__(self, shape: tuple[int, int, int], n: int, *, backward: bool) -> None:
        def layers() -> list[Singles]:
            return [np.empty(shape, np.float32) for _ in range(n)] if backward else [np.empty(shape, np.float32)] * n

        self.before, self.share, self.hidden = layers(), layers(), layers()
        self.bend, *self.slopes = (np.empty(shape if backward else 0, np.float32) for _ in range(3))


class Members:
    """Weights of some members in one vector, and what one step needs of them; float32.

    Gradients are written out: with networks this small a step takes a third of the time that recording it would.

    Args:
        drawn: First weights of each layer, shape (n_members, d_in, d_out).
    """

    def __init__(self, drawn: Sequence[Singles]) -> None:
        n, d_in, _ = drawn[0].shape
        shapes = [weight.shape for weight in drawn]
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
        for weight, first in zip(self._weights, drawn, strict=True):
            weight[:] = first

    def errors(self, x: Singles, y: Singles, shares: Singles, space: Workspace) -> Singles:
        """Return each member's weighted mean squared error, shape (n_members,)."""
        return np.asarray((shares * (self._forward(x, space)[..., 0] - y) ** 2).mean(axis=1))

    def backward(self, x: Singles, y: Singles, shares: Singles, space: Workspace) -> None:
        """Write the gradient of the sum of `errors`; the space is one that keeps all layers."""
        slope = self._forward(x, space)
        slope -= y[..., None]
        slope *= np.float32(2 / y.shape[1]) * shares[..., None]
        np.matmul(x.swapaxes(1, 2), slope, out=self._to_linear)
        for i in reversed(range(len(self._weights))):
            hidden = space.hidden[i - 1] if i else x
            np.matmul(hidden.swapaxes(1, 2), slope, out=self._to_weights[i])
            np.sum(slope, axis=1, keepdims=True, out=self._to_biases[i])
            if i:
                before, share, bend = space.before[i - 1], space.share[i - 1], space.bend
                np.subtract(1, share, out=bend)
                bend *= before
                bend += 1
                bend *= share
                weight = self._weights[i].swapaxes(1, 2)
                product = np.matmul if weight.shape[1] > 1 else np.multiply  # the same, and five times as fast for one
                slope = product(slope, weight, out=space.slopes[i % 2])
                slope *= bend

    def as_arrays(self, values: Singles) -> tuple[list[Floats], list[Floats], Floats]:
        """Return weights and biases of each layer and linear weights, in float64."""
        weights, biases, linear = self._views(values)
        return (
            [one.astype(np.float64) for one in weights],
            [one.astype(np.float64) for one in biases],
            linear.astype(np.float64),
        )

    def _forward(self, x: Singles, space: Workspace) -> Singles:
        """Return answers, shape (n_members, n_rows, 1); the space then holds what each hidden layer made of them."""
        hidden = x
        for i, (before, share) in enumerate(zip(space.before, space.share, strict=True)):
            np.matmul(hidden, self._weights[i], out=before)
            np.add(before, self._biases[i], out=before)
            np.negative(before, out=share)
            with np.errstate(over="ignore"):
                np.exp(share, out=share)
            np.add(share, 1, out=share)
            np.reciprocal(share, out=share)
            hidden = np.multiply(before, share, out=space.hidden[i])
        return (hidden @ self._weights[-1] + self._biases[-1]) + x @ self._linear


class _AdamW:
    """AdamW (I. Loshchilov and F. Hutter, arXiv:1711.05101, algorithm 2), in arrays that are allocated once."""

    def __init__(self, n_values: int) -> None:
        self._mean, self._square, self._change = (np.zeros(n_values, np.float32) for _ in range(3))
        self._n_steps = 0

    def step(self, members: Members, length: float, decay: float) -> None:
        """Change the members' values against their gradient.

        Args:
            members: Whose gradient is written.
            length: Of the step.
            decay: Share of the weights that is taken off.
        """
        self._n_steps += 1
        mean, square, change = self._mean, self._square, self._change
        np.subtract(members.gradient, mean, out=change)
        change *= 1 - _MEAN_DECAY
        mean += change
        np.square(members.gradient, out=change)
        change -= square
        change *= 1 - _SQUARE_DECAY
        square += change
        np.divide(square, 1 - _SQUARE_DECAY**self._n_steps, out=change)
        np.sqrt(change, out=change)
        change += 1e-8
        np.divide(mean, change, out=change)
        change *= length / (1 - _MEAN_DECAY**self._n_steps)
        members.values -= change
        np.multiply(members.decayed, decay, out=change)
        change *= members.values
        members.values -= change


@dataclass(frozen=True)
class _TrainingSet:
    """What some members are fitted to.

    Attributes:
        inputs: Of all rows, shape (n_rows, d_in).
        answers: Shape (n_rows,).
        shares: Weights of the rows, shape (n_rows,).
        orders: Of each epoch the rows of each member in their order, shape (n_members, n_fitted).
        judged_by: Rows that each member has not seen, shape (n_members, n_judged).
        size: Rows of a step.
    """

    inputs: Singles
    answers: Singles
    shares: Singles
    orders: Sequence[Index]
    judged_by: Index
    size: int

    def of(self, members: slice) -> "_TrainingSet":
        """Return those of some of the members."""
        return replace(self, orders=[order[members] for order in self.orders], judged_by=self.judged_by[members])


def train_members(
    block: Floats,
    wanted: Floats,
    shares: Floats,
    part: NDArray[np.int64],
    settings: NetworkSettings,
    seed: int,
    n_threads: int,
) -> tuple[list[Floats], list[Floats], Floats]:
    """Train an ensemble's members by AdamW (arXiv:1711.05101).

    Args:
        block: Inputs, about standardised, shape (n_rows, d_in).
        wanted: Likewise standardised, shape (n_rows,).
        shares: Weights of the rows, shape (n_rows,).
        part: Part of each row, which the member of that number leaves out, shape (n_rows,).
        settings: Settings of the ensemble.
        seed: Seed of the first weights and of the batches.
        n_threads: Groups of members that are trained side by side, in a thread each, where a step takes long enough;
            the result does not depend on it.

    Returns:
        Weights and biases of each layer, shapes (n_members, d_in, d_out) and (n_members, 1, d_out), and weights of the
        linear part, shape (n_members, d_in, 1).
    """
    rng = np.random.default_rng(seed)
    n = settings.n_members
    widths = [block.shape[1], *[settings.d_hidden] * settings.n_hidden, 1]
    drawn = []
    for i, (a, b) in enumerate(pairwise(widths)):
        gain = 0.1 if i == settings.n_hidden else 1.0  # begin near the linear part
        drawn.append(gain * math.sqrt(2 / max(a, 1)) * rng.standard_normal((n, a, b), np.float32))
    fitted = [np.flatnonzero(part != i) for i in range(n)]
    judged = [np.flatnonzero(part == i) for i in range(n)]
    n_fitted, n_judged = min(map(len, fitted)), min(_MOST_JUDGED, *map(len, judged))
    size = min(settings.batch, max(_LEAST_BATCH, len(wanted) // _BATCHES), n_fitted)
    n_epochs = math.ceil(settings.n_steps / (n_fitted // size))
    orders = [np.stack([rng.permutation(one)[:n_fitted] for one in fitted]) for _ in range(n_epochs)]
    inputs, answers, counts = (one.astype(np.float32) for one in (block, wanted, shares))
    data = _TrainingSet(inputs, answers, counts, orders, np.stack([one[:n_judged] for one in judged]), size)

    def fit(some: slice) -> tuple[Members, list[tuple[Singles, Singles]]]:
        members = Members([weight[some] for weight in drawn])
        return members, _descend(members, data.of(some), settings)

    n_groups = min(n_threads, n) if size * settings.d_hidden >= _WORTH_A_THREAD else 1
    bounds = np.linspace(0, n, n_groups + 1).round().astype(int)
    with ThreadPoolExecutor(n_groups) as threads:
        groups = list(threads.map(fit, (slice(a, b) for a, b in pairwise(bounds))))
    best, kept = np.inf, 0
    for check in range(len(groups[0][1])):
        error = float(np.concatenate([checkpoints[check][0] for _, checkpoints in groups]).mean())
        if error < best:
            best, kept = error, check
    weights, biases, linear = zip(
        *(members.as_arrays(checkpoints[kept][1]) for members, checkpoints in groups), strict=True
    )
    return _layers(weights), _layers(biases), np.concatenate(linear)


def _layers(groups: Sequence[list[Floats]]) -> list[Floats]:
    """Return each layer of all groups of members."""
    return [np.concatenate(layer) for layer in zip(*groups, strict=True)]


def _descend(members: Members, data: _TrainingSet, settings: NetworkSettings) -> list[tuple[Singles, Singles]]:
    """Fit members, and return checkpoints: errors on the rows left out, and the weights then.

    The first is of the weights that were drawn, which stay where nothing finite comes after.
    """
    n = len(data.judged_by)
    judged = data.judged_by
    judged_by = data.inputs[judged], data.answers[judged], data.shares[judged]
    validated_in = Workspace((n, judged.shape[1], settings.d_hidden), settings.n_hidden, backward=False)
    space = Workspace((n, data.size, settings.d_hidden), settings.n_hidden, backward=True)
    batch = (
        np.empty((n, data.size, data.inputs.shape[1]), np.float32),
        np.empty((n, data.size), np.float32),
        np.empty((n, data.size), np.float32),
    )
    checkpoints = [(np.full(n, np.inf, np.float32), members.values.copy())]
    descent = _AdamW(len(members.values))
    steps_an_epoch = data.orders[0].shape[1] // data.size
    every = max(1, settings.n_steps // _N_CHECKS)
    for step in range(settings.n_steps):
        number, place = divmod(step, steps_an_epoch)
        index = data.orders[number][:, place * data.size : (place + 1) * data.size]
        for source, target in zip((data.inputs, data.answers, data.shares), batch, strict=True):
            np.take(source, index, axis=0, out=target, mode="clip")  # to raise it would take a copy first
        members.backward(*batch, space)
        rise = min(1.0, (step + 1) / (_WARM_UP * settings.n_steps))
        length = settings.step * rise * (1 + math.cos(math.pi * step / settings.n_steps)) / 2
        descent.step(members, length, length * settings.decay)
        if (step + 1) % every == 0 and step >= _FIRST_CHECK * settings.n_steps:
            checkpoints.append((members.errors(*judged_by, validated_in), members.values.copy()))
    return checkpoints
