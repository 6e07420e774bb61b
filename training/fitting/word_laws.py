"""The search for the simplest law of words, from sentences and their numbers alone.

Laws are tried in the order of their length: fewer entries of all A_w that are not neutral, then fewer registers. Words
add to the last register, and these additions follow in closed form (`training.fitting.word_projection`); the entries
come from a scan over a few values and a refinement. All laws of one register with one entry are tried, longer ones grow
from the best of the length before (a beam). The first length at which laws, snapped to simple numbers, give every
sentence exactly ends the search, and all laws of that length that were met are returned: what they disagree in is what
the sentences leave open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.simple_numbers import MAX_DENOMINATOR
from training.fitting.word_law import Floats, Sentence, WordLaw
from training.fitting.word_projection import Candidates, Sentences, additions, measured, refined

_SCAN = (0.0, -1.0, 10.0, 1e3)
"""Values that a new entry starts from: none, a change of sign, and two magnitudes."""

_SCREENED_PER_WORD = 5
"""Sentences a word that the scan is made on; the beam is refined, and the verdict given, on all."""

_SHORTLIST = 128
"""Scanned laws that are refined on all sentences: the scan's few values are coarse."""

_EXACT = 1e-14
"""Mean square of the relative errors below which a fit is worth snapping; fractions then decide whether it is exact."""


@dataclass(frozen=True)
class SearchLimits:
    """What a search may try and cost.

    Attributes:
        max_registers: Registers at most.
        max_entries: Entries that are not neutral, at most.
        beam: Laws of one length that are refined, and that the next length starts from.
        iterations: Levenberg–Marquardt steps of each refinement, at most.
    """

    max_registers: int = 2
    max_entries: int = 4
    beam: int = 8
    iterations: int = 30


@dataclass(frozen=True)
class FoundLaws:
    """What a search ended with.

    Attributes:
        laws: The laws of the least length that give every sentence exactly, the one with the shortest description
            first; empty where none was found within the limits.
        n_tried: Sets of entries and starting values tried.
    """

    laws: tuple[WordLaw, ...]
    n_tried: int


def find_word_laws(
    sentences: Sequence[Sentence], numbers: Sequence[int], n_words: int, limits: SearchLimits | None = None
) -> FoundLaws:
    """Return the simplest laws that give every sentence its number exactly.

    Args:
        sentences: Positions of words, at least one a sentence.
        numbers: What each sentence says.
        n_words: Words in the vocabulary.
        limits: What may be tried.

    Raises:
        ConfigError: When there is no sentence, one is empty, a position lies outside the vocabulary, or there is not
            one number a sentence.

    Example:
        >>> found = find_word_laws([(0,), (1,), (0, 2), (1, 2), (1, 2, 0)], [3, 5, 30, 50, 53], n_words=3)
        >>> law = found.laws[0]
        >>> law.scale[:, 0, 0].tolist(), law.shift[:, 0].tolist()
        ([1.0, 1.0, 10.0], [3.0, 5.0, 0.0])
    """
    limits = limits or SearchLimits()
    data = Sentences.of(sentences, numbers, n_words)
    beams = {k: _empty() for k in range(1, limits.max_registers + 1)}
    n_tried = 0
    for n_entries in range(limits.max_entries + 1):
        for k in beams:
            if n_entries:
                beams[k], n_scanned = _grown(data, k, beams[k], limits)
                n_tried += n_scanned
            n_tried += len(beams[k])
            beams[k] = _best(refined(data, k, beams[k], iterations=limits.iterations), max(limits.beam, n_words))
            laws = _exact_laws(data, sentences, numbers, k, beams[k])
            if laws:
                return FoundLaws(laws, n_tried)
    return FoundLaws((), n_tried)


def _empty() -> Candidates:
    return Candidates(np.empty((1, 0, 3), dtype=np.intp), np.empty((1, 0)), np.full(1, np.inf))


def _best(fits: Candidates, n: int) -> Candidates:
    return fits.take(np.argsort(fits.costs, kind="stable")[:n])


def _grown(data: Sentences, k: int, fits: Candidates, limits: SearchLimits) -> tuple[Candidates, int]:
    """Return the most promising of every fit with every one more entry, and how many were scanned."""
    entries = [(w, r, c) for w in range(data.n_words) for r in range(k) for c in range(k)]
    known: set[tuple[tuple[int, ...], ...]] = set()
    parents: list[int] = []
    grown: list[list[tuple[int, ...]]] = []
    for parent in range(min(len(fits), limits.beam)):
        held = [tuple(entry) for entry in fits.entries[parent].tolist()]
        for entry in entries:
            names = tuple(sorted([*held, entry]))
            if entry not in held and names not in known:
                known.add(names)
                parents.append(parent)
                grown.append([*held, entry])
    few = data.some(_SCREENED_PER_WORD * data.n_words)
    index = np.array(grown, dtype=np.intp)
    scanned = []
    for value in _SCAN:
        values = np.concatenate([fits.values[parents], np.full((len(parents), 1), value)], axis=1)
        scanned.append(measured(few, k, Candidates(index, values, np.full(len(values), np.inf))))
    costs = np.stack([one.costs for one in scanned])
    best = costs.argmin(axis=0)
    values = np.stack([one.values for one in scanned])[best, np.arange(len(best))]
    promising = _best(Candidates(index, values, costs.min(axis=0)), max(_SHORTLIST, data.n_words))
    return promising, costs.size


def _exact_laws(
    data: Sentences, sentences: Sequence[Sentence], numbers: Sequence[int], k: int, fits: Candidates
) -> tuple[WordLaw, ...]:
    laws: dict[bytes, WordLaw] = {}
    for index in np.flatnonzero(fits.costs < _EXACT):
        scale = np.broadcast_to(np.eye(k), (data.n_words, k, k)).copy()
        for (word, row, column), value in zip(fits.entries[index], fits.values[index], strict=True):
            scale[word, row, column] = _simple(value)
        shift = np.zeros((data.n_words, k))
        shift[:, -1] = _sparsest(additions(data, scale), data)
        law = WordLaw(scale, shift)
        if law.is_exact(sentences, numbers):
            laws[scale.tobytes() + shift.tobytes()] = law
    if not laws:
        return ()
    least = min(law.n_not_neutral() for law in laws.values())
    return tuple(sorted((law for law in laws.values() if law.n_not_neutral() == least), key=WordLaw.description))


def _sparsest(design: Floats, data: Sentences) -> Floats:
    """Return simple additions that give the numbers, as few as leaving them out one by one allows."""
    weighted, target = design * data.weights[:, None], data.numbers * data.weights
    free = np.ones(data.n_words, dtype=bool)
    shift = _solved(weighted, target, free)
    within = np.max(np.abs(weighted @ shift - target))
    for word in np.argsort(np.abs(shift), kind="stable"):
        free[word] = False
        without = _solved(weighted, target, free)
        if np.max(np.abs(weighted @ without - target)) <= 10 * within + 1e-12:
            shift = without
        else:
            free[word] = True
    return np.array([_simple(value) for value in shift])


def _solved(design: Floats, target: Floats, free: NDArray[np.bool_]) -> Floats:
    shift = np.zeros(len(free))
    if free.any():
        shift[free] = np.linalg.lstsq(design[:, free], target, rcond=None)[0]
    return shift


def _simple(value: float) -> float:
    """Return the nearest simple number: a whole one, or a fraction where that is nearer by far."""
    return float(Fraction(float(value)).limit_denominator(MAX_DENOMINATOR))
