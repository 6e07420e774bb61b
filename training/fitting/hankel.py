"""Weighted automata found from the values of words, by the rank of a Hankel matrix; no token's meaning is told.

The values f(ps) of beginnings p and ends s form a matrix whose rank is the least number of states. Not every p goes
with every s (a program must not have two operators in a row), and not every word is in the data, so:

1. A **block** of short beginnings and ends that is nearly full is cut out, and factored at the least rank that gives
   its entries: a state for each beginning, a covector for each end.
2. The map of a token c is linear in f(pcs) where the state of p and the covector of s are known: **least squares**.
   Where it is determined it gives the covectors of longer ends, those the states of further beginnings, and so on.
3. A few **Gauss–Newton** steps on all weights take the rounding of the chain away.

Where the words leave a direction of any map open, nothing is returned: what is returned is unique up to a change of
basis.

Sources: Balle, Carreras, Luque and Quattoni, "Spectral learning of weighted automata", Machine Learning 96 (2014);
Balle and Mohri, "Spectral learning of general weighted automata via constrained matrix completion", NIPS 2012.
NOTE[DIFF]: labels are free of noise, so that the rank is read off an exact fit and not off a gap of singular values;
the second step makes do with a block that has no row for the empty beginning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError, FitError
from training.fitting.weighted_automaton import Floats, WeightedAutomaton, Word, Words

_FITTED = 1e-6
"""Relative error of a block below which its rank suffices: sweeps end at 1e-9 to 1e-8, a rank too small at 1e-2."""

_RIDGE = 1e-13
"""Share of the trace that keeps the sweeps' small systems solvable."""

_OPEN = 1e-7
"""Share of the largest singular value below which least squares leave a direction open: the programs' smallest is above
1e-6 of it, and what they leave open is below 1e-10."""

_EXACT = 1e-6
"""Relative error of polished weights: where numbers of eight digits cancel, rounding leaves up to 3e-8 of a result."""

_NO_CHANGE = 1e-12
"""Share of the largest singular value of the derivatives below which a direction of the weights changes no value: the
programs' smallest is 6e-10 of it, and what a change of basis leaves is rounding, below 1e-15."""

_N_POLISHED = 2000
"""Words of a Gauss–Newton step: nine for each weight of 13 tokens with 4 states."""

_MAX_POLISHING = 10


@dataclass(frozen=True)
class HankelSettings:
    """Sizes of a search.

    Attributes:
        n_before: Tokens of a beginning, at most.
        n_after: Tokens of an end in the first block, at most.
        fill: Share of the entries that every row and column of the first block must have.
        max_states: States at most.
        max_sweeps: Sweeps of alternating least squares for each number of states.
    """

    n_before: int = 3
    n_after: int = 2
    fill: float = 0.6
    max_states: int = 8
    max_sweeps: int = 300


@dataclass(frozen=True)
class FoundAutomaton:
    """An automaton that gives every word its value, unique up to a change of basis.

    Attributes:
        automaton: The automaton.
        block: Rows and columns of the first block.
        fill: Share of its entries that the words hold.
        residuals: Relative error of the block at 1, 2, … states; the last one is the least that suffices.
        error: Largest relative error over all words.
        n_open: Directions in which the weights could change without changing the words' values, beyond changes of
            basis: none where the words determine what longer ones are worth.
    """

    automaton: WeightedAutomaton
    block: tuple[int, int]
    fill: float
    residuals: tuple[float, ...]
    error: float
    n_open: int


def find_automaton(
    words: Sequence[Word],
    values: Sequence[int],
    n_tokens: int,
    *,
    seed: int = 0,
    settings: HankelSettings | None = None,
) -> FoundAutomaton:
    """Find the smallest automaton that gives every word its value.

    Args:
        words: Words, each different.
        values: Their values, free of noise.
        n_tokens: Tokens in the vocabulary.
        seed: Seed of the sweeps' start.
        settings: Sizes of the search.

    Raises:
        ConfigError: When there is not one value a word, a word is empty, or a token stands in none of them.
        FitError: When the short words fill no block, its rank is too large, the words leave a map open, or the
            automaton does not give every value.

    Example:
        >>> import itertools
        >>> words = [word for n in range(1, 5) for word in itertools.product(range(2), repeat=n)]
        >>> values = [int("".join("12"[token] for token in word)) for word in words]
        >>> found = find_automaton(words, values, n_tokens=2)
        >>> found.automaton.n_states, found.automaton.evaluate(Words.of([(1, 0, 0, 0, 1)], 2)).round(6).tolist()
        (2, [21112.0])
    """
    settings = settings or HankelSettings()
    if len(words) != len(values) or not words or not min(map(len, words)):
        msg = f"words must not be empty and have one value each, however: {len(words)} words, {len(values)} values"
        raise ConfigError(msg)
    if unseen := set(range(n_tokens)).difference(*words):
        msg = f"every token must stand in a word, however these do not: {sorted(unseen)}"
        raise ConfigError(msg)
    table = dict(zip(words, map(float, values), strict=True))
    block = _block(table, settings)
    states, covectors, residuals = _factored(block, np.random.default_rng(seed), settings)
    automaton, error, n_open = _polished(_Chain(table, block, states, covectors, settings).run(n_tokens), table)
    n_rows, n_columns = block.known.shape
    return FoundAutomaton(automaton, (n_rows, n_columns), float(block.known.mean()), residuals, error, n_open)


@dataclass(frozen=True)
class _Block:
    """Part of the Hankel matrix: values of beginnings (rows) with ends (columns), where the words hold them."""

    beginnings: list[Word]
    ends: list[Word]
    values: Floats
    known: NDArray[np.bool_]


def _block(table: Mapping[Word, float], settings: HankelSettings) -> _Block:
    """Return what is left when the emptiest rows and columns are taken away until all are full enough.

    Rows are beginnings that are words themselves, so that one column is the empty end.
    """
    rows = {word: row for row, word in enumerate(sorted(_up_to(table, settings.n_before), key=_short_first))}
    columns: dict[Word, int] = {}
    entries = [
        (rows[word[:cut]], columns.setdefault(word[cut:], len(columns)), value)
        for word, value in table.items()
        for cut in range(max(1, len(word) - settings.n_after), min(len(word), settings.n_before) + 1)
        if word[:cut] in rows
    ]
    values, known = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)), dtype=np.bool_)
    for row, column, value in entries:
        values[row, column], known[row, column] = value, True
    keep_rows, keep_columns = np.arange(len(rows)), np.arange(len(columns))
    while keep_rows.size and keep_columns.size:
        kept = known[np.ix_(keep_rows, keep_columns)]
        of_rows, of_columns = kept.mean(axis=1), kept.mean(axis=0)
        if min(of_rows.min(), of_columns.min()) >= settings.fill:
            break
        if of_rows.min() <= of_columns.min():
            keep_rows = keep_rows[of_rows > of_rows.min()]
        else:
            keep_columns = keep_columns[of_columns > of_columns.min()]
    if not keep_rows.size or not keep_columns.size:
        msg = (
            f"words of up to {settings.n_before + settings.n_after} tokens must fill {settings.fill:.0%} of a block of "
            "beginnings and ends, however they fill none; give more of the short ones"
        )
        raise FitError(msg)
    names, ends = list(rows), list(columns)
    part = np.ix_(keep_rows, keep_columns)
    return _Block([names[row] for row in keep_rows], [ends[one] for one in keep_columns], values[part], known[part])


def _factored(
    block: _Block, generator: np.random.Generator, settings: HankelSettings
) -> tuple[Floats, Floats, tuple[float, ...]]:
    """Return states, shape (rows, k), covectors, shape (columns, k), and the error for each number of states."""
    weights = block.known / (1 + np.abs(block.values)) ** 2
    residuals: list[float] = []
    for n_states in range(1, min(settings.max_states, *block.known.shape) + 1):
        covectors = generator.normal(size=(len(block.ends), n_states))
        errors: list[float] = []
        while len(errors) < settings.max_sweeps:
            states = np.linalg.qr(_solved(weights, block.values, covectors))[0] * np.sqrt(len(block.beginnings))
            covectors = _solved(weights.T, block.values.T, states)
            off = weights * (states @ covectors.T - block.values) ** 2
            errors.append(float(np.sqrt(off.sum() / block.known.sum())))
            if len(errors) > 40 and errors[-1] > 0.99 * errors[-20]:
                break
        residuals.append(errors[-1])
        if errors[-1] < _FITTED:
            return states, covectors, tuple(residuals)
    msg = (
        f"values must come of at most {settings.max_states} states, however a block of {len(block.beginnings)} "
        f"beginnings and {len(block.ends)} ends is off by {min(residuals):.2g} with as many"
    )
    raise FitError(msg)


def _solved(weights: Floats, values: Floats, other: Floats) -> Floats:
    """Return, for each row, the vector whose products with `other` are nearest to its values."""
    n_states = other.shape[1]
    systems = (weights @ (other[:, :, None] * other[:, None, :]).reshape(len(other), -1)).reshape(
        -1, n_states, n_states
    )
    traces = np.trace(systems, axis1=1, axis2=2)[:, None, None]
    systems = systems + (_RIDGE * traces + np.finfo(np.float64).tiny) * np.eye(n_states)
    solved: Floats = np.linalg.solve(systems, ((weights * values) @ other)[:, :, None])[:, :, 0]
    return solved


class _Chain:
    """Grows the states, covectors and maps that are known, by least squares, until all maps are."""

    def __init__(
        self,
        table: Mapping[Word, float],
        block: _Block,
        states: Floats,
        covectors: Floats,
        settings: HankelSettings,
    ) -> None:
        self._table = table
        self._states = dict(zip(block.beginnings, states, strict=True))
        self._covectors = dict(zip(block.ends, covectors, strict=True))
        self._maps: dict[int, Floats] = {}
        self._longest = settings.n_before
        self._n_states = states.shape[1]

    def run(self, n_tokens: int) -> WeightedAutomaton:
        while True:
            n_known = len(self._maps), len(self._states)
            self._find_maps(n_tokens)
            self._extend_ends()
            self._find_states()
            if len(self._maps) == n_tokens and () in self._states:
                maps = np.array([self._maps[token] for token in range(n_tokens)])
                return WeightedAutomaton(self._states[()], maps, self._covectors[()])
            if n_known == (len(self._maps), len(self._states)):
                missing = sorted(set(range(n_tokens)) - self._maps.keys())
                open_ = f"what tokens {missing} do" if missing else "the state before the first token"
                msg = (
                    f"words must determine what every token does, however they leave open {open_}; give more words, of "
                    "all kinds"
                )
                raise FitError(msg)

    def _find_maps(self, n_tokens: int) -> None:
        found: dict[int, list[tuple[Floats, Floats, float]]] = {token: [] for token in range(n_tokens)}
        for word, value in self._table.items():
            for cut, token in enumerate(word):
                state, covector = self._states.get(word[:cut]), self._covectors.get(word[cut + 1 :])
                if token not in self._maps and state is not None and covector is not None:
                    found[token].append((covector, state, value))
        for token, rows in found.items():
            if rows:
                covectors, states, values = map(np.array, zip(*rows, strict=True))
                design = (covectors[:, :, None] * states[:, None, :]).reshape(len(rows), -1)
                solution = _determined(design, values)
                if solution is not None:
                    self._maps[token] = solution.reshape(self._n_states, self._n_states)

    def _extend_ends(self) -> None:
        for _ in range(self._longest):
            for end, covector in list(self._covectors.items()):
                for token, matrix in self._maps.items():
                    if len(end) < self._longest:
                        self._covectors.setdefault((token, *end), covector @ matrix)

    def _find_states(self) -> None:
        found: dict[Word, list[tuple[Floats, float]]] = {}
        for word, value in self._table.items():
            for cut in range(min(self._longest, len(word) + 1)):
                covector = self._covectors.get(word[cut:])
                if word[:cut] not in self._states and covector is not None:
                    found.setdefault(word[:cut], []).append((covector, value))
        for beginning, rows in found.items():
            solution = _determined(np.array([row for row, _ in rows]), np.array([value for _, value in rows]))
            if solution is not None:
                self._states[beginning] = solution


def _determined(design: Floats, values: Floats) -> Floats | None:
    """Return the solution of least squares of relative errors, or None where a direction is open or none fits."""
    if len(values) <= design.shape[1]:
        return None
    scale = 1 / (1 + np.abs(values))
    solved, _, rank, _ = np.linalg.lstsq(design * scale[:, None], values * scale, rcond=_OPEN)
    solution = np.asarray(solved, dtype=np.float64)
    fits = np.abs((design @ solution - values) * scale).max() < np.sqrt(_FITTED)
    return solution if rank == design.shape[1] and fits else None


def _polished(automaton: WeightedAutomaton, table: Mapping[Word, float]) -> tuple[WeightedAutomaton, float, int]:
    """Return the automaton after Gauss–Newton steps, its largest relative error, and how many directions are open."""
    n_tokens = len(automaton.maps)
    every, some = sorted(table, key=_short_first), slice(None, None, -(-len(table) // _N_POLISHED))
    words, values = Words.of(every, n_tokens), np.array([table[word] for word in every])
    part, scale = Words(words.tokens[some], n_tokens), 1 / (1 + np.abs(values))

    def error(of: WeightedAutomaton) -> float:
        return float(np.abs((of.evaluate(words) - values) * scale).max())

    best, best_error, n_open = automaton, error(automaton), 0
    for _ in range(_MAX_POLISHING):
        predictions, derivative = best.jacobian(part)
        off = (predictions - values[some]) * scale[some]
        step, _, rank, _ = np.linalg.lstsq(derivative * scale[some][:, None], off, rcond=_NO_CHANGE)
        n_open = len(step) - best.n_states**2 - int(rank)
        tried = WeightedAutomaton.from_vector(best.vector() - step, n_tokens, best.n_states)
        if not error(tried) < best_error:
            break
        best, best_error = tried, error(tried)
    if not best_error < _EXACT:
        msg = f"an automaton must give every value to rounding, however it is off by {best_error:.2g} of one"
        raise FitError(msg)
    return best, best_error, n_open


def _short_first(word: Word) -> tuple[int, Word]:
    return len(word), word


def _up_to(table: Mapping[Word, float], length: int) -> list[Word]:
    return [word for word in table if len(word) <= length]
