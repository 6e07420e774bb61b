"""A weighted automaton as the simplest law of registers, whichever basis it was found in."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np

from models.simple_numbers import MAX_DENOMINATOR
from training.errors import FitError
from training.fitting.weighted_automaton import Floats, WeightedAutomaton, Word, Words
from training.fitting.word_law import WordLaw

_SAME = 1e-7
"""Difference of states, relative to the larger, below which they are one: polished ones differ by 1e-12."""

_FLAT = 1e-6
"""Share of the largest singular value below which directions count as dependent."""

_MAX_CHOICES = 20_000
"""Choices of directions that are tried: those of three among the first 50 words that differ."""


def simplest_law(automaton: WeightedAutomaton, words: Sequence[Word]) -> WordLaw:
    """Return the automaton as a law of registers, of all bases the one with the fewest parameters that do something.

    States of an automaton that counts a constant among its k states lie in a flat of k − 1 dimensions. The state before
    the first token is its origin, and those after k − 1 of the words its directions: a register says how much of a
    word's direction the state holds. All choices of words are tried, and the weights snapped to simple numbers.

    Args:
        automaton: The automaton, exact to rounding.
        words: Words to choose from, such as the beginnings of programs, the preferred first.

    Raises:
        FitError: When the automaton counts no constant, is not worth 0 before the first token, or in no basis of these
            words counts each register as −1, 0 or 1.

    Example:
        >>> ten = WeightedAutomaton(  # numbers of the digits 1 and 2, in some basis
        ...     np.array([2.0, 0.0]), np.array([[[1, 0], [0.5, 10]], [[1, 0], [1, 10]]]), np.array([0.0, 1.0])
        ... )
        >>> law = simplest_law(ten, [(0,), (1,)])
        >>> law.scale.ravel().tolist(), law.shift.ravel().tolist()
        ([10.0, 10.0], [1.0, 2.0])
    """
    _check_constant(automaton)
    origin = automaton.initial
    if abs(origin @ automaton.readout) > _SAME * np.linalg.norm(origin) * np.linalg.norm(automaton.readout):
        msg = "no token must be worth 0, however an automaton gives another value before the first one"
        raise FitError(msg)
    points = _apart(automaton.states(Words.of(words, len(automaton.maps))), origin, automaton.n_states - 1)
    choices = np.array(list(combinations(range(len(points)), automaton.n_states - 1)))
    if not len(choices):
        msg = f"words must lead to {automaton.n_states - 1} states apart, however they lead to {len(points)}"
        raise FitError(msg)
    lifts = np.swapaxes((points - origin)[choices], 1, 2)
    sizes = np.linalg.svd(lifts / np.linalg.norm(lifts, axis=1, keepdims=True), compute_uv=False)
    readouts = np.einsum("i,cij->cj", automaton.readout, lifts)
    counts = np.abs(readouts - np.clip(np.rint(readouts), -1, 1)).max(axis=1) < _FLAT
    lifts = lifts[(sizes[:, -1] > _FLAT * sizes[:, 0]) & counts]
    if not len(lifts):
        msg = "registers must count as −1, 0 or 1 in the answer, however in no basis of the words given they do"
        raise FitError(msg)
    projections = np.linalg.pinv(lifts)
    scale = np.einsum("cai,tij,cjb->ctab", projections, automaton.maps, lifts, optimize=True)
    shift = np.einsum("cai,ti->cta", projections, automaton.maps @ origin - origin)
    active = (np.abs(scale - np.eye(scale.shape[-1])) > _FLAT).sum(axis=(1, 2, 3)) + (np.abs(shift) > _FLAT).sum((1, 2))
    laws = [
        WordLaw(_snapped(scale[one]), _snapped(shift[one]), np.rint(automaton.readout @ lifts[one]))
        for one in np.flatnonzero(active == active.min())
    ]
    return min(laws, key=WordLaw.description)


def _check_constant(automaton: WeightedAutomaton) -> None:
    """Refuse an automaton without a functional that every map keeps and that is not 0 at the start."""
    k = automaton.n_states
    kept = np.swapaxes(automaton.maps, 1, 2) - np.eye(k)
    _, sizes, right = np.linalg.svd(kept.reshape(-1, k))
    if sizes[-1] > _FLAT * max(1.0, sizes[0]) or abs(right[-1] @ automaton.initial) < _FLAT:
        msg = "a law of registers needs an automaton that counts a constant, however this one keeps none"
        raise FitError(msg)


def _apart(states: Floats, origin: Floats, n_chosen: int) -> Floats:
    """Return the first states that differ from each other and from the origin, as many as there is time for."""
    kept = [origin]
    for state in states:
        if math.comb(len(kept), n_chosen) > _MAX_CHOICES:
            break
        others = np.array(kept)
        apart = np.linalg.norm(others - state, axis=1) / np.maximum(np.linalg.norm(others, axis=1), _SAME)
        if apart.min() > _SAME:
            kept.append(state)
    return np.array(kept[1:]).reshape(-1, len(origin))


def _snapped(values: Floats) -> Floats:
    """Return each number at its nearest simple fraction."""
    simple = [float(Fraction(value).limit_denominator(MAX_DENOMINATOR)) for value in values.ravel().tolist()]
    return np.array(simple).reshape(values.shape)
