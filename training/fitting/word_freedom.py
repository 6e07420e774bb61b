"""What sentences leave open of a law of words: the parameters that can change together without changing an answer.

The answers' derivatives by all parameters, neutral ones included, have a null space; a parameter that takes part in it
is open. Changes that only rename registers (s → T s with the sum of the registers kept) answer alike whatever is said,
and are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.fitting.word_law import Floats, Sentence, WordLaw

_RANK = 1e-9
"""Of the largest singular value: derivatives are scaled to unit length, and exact numbers give 1e-16 or 1e-3."""

_SUPPORT = 1e-7


@dataclass(frozen=True, order=True)
class Parameter:
    """One parameter of a law.

    Attributes:
        word: Position of its word.
        row: Register that it changes.
        column: Register that it reads; −1 for an addition, which reads none.
    """

    word: int
    row: int
    column: int

    def told(self, words: Sequence[str], n_registers: int) -> str:
        """Return a short name: "×" for what a word multiplies by, "+" for what it adds, with registers from 1.

        Example:
            >>> Parameter(1, 0, 0).told(["one", "hundred"], 1), Parameter(0, 0, -1).told(["one", "hundred"], 1)
            ('×hundred', '+one')
            >>> Parameter(1, 0, 1).told(["one", "thousand"], 2), Parameter(0, 1, -1).told(["one", "thousand"], 2)
            ('×thousand[1,2]', '+one[2]')
        """
        sign = "+" if self.column < 0 else "×"
        if n_registers == 1:
            return f"{sign}{words[self.word]}"
        place = f"{self.row + 1}" if self.column < 0 else f"{self.row + 1},{self.column + 1}"
        return f"{sign}{words[self.word]}[{place}]"


def open_parameters(
    law: WordLaw, sentences: Sequence[Sentence], *, only_used: bool = False
) -> tuple[tuple[Parameter, ...], ...]:
    """Return the open parameters in groups, each the parameters that must change together.

    Args:
        law: A law that gives the sentences exactly.
        sentences: What was heard.
        only_used: Whether to hold neutral parameters where they are, so that only those that do something may be open.

    Returns:
        Groups in order of their first words; none where the sentences determine every parameter.

    Example:
        >>> law = WordLaw(np.array([[[1.0]], [[10.0]], [[1.0]]]), np.array([[3.0], [0.0], [5.0]]))
        >>> [[parameter.word for parameter in group] for group in open_parameters(law, [(0,), (0, 1, 2), (2,)])]
        [[0], [1, 1, 2]]
    """
    parameters, derivatives = _derivatives(law, sentences)
    free = _used(law) if only_used else np.ones(len(parameters), dtype=bool)
    if not only_used:
        free[_leads(_renamings(law))] = False
    kept = [parameter for parameter, is_free in zip(parameters, free, strict=True) if is_free]
    derivatives = derivatives[:, free]
    lengths = np.linalg.norm(derivatives, axis=0)
    _, values, vectors = np.linalg.svd(derivatives / np.where(lengths > 0, lengths, 1))
    reduced = vectors[int((values > _RANK * values[0]).sum()) :].copy()
    _leads(reduced)
    return _groups(kept, np.abs(reduced) > _SUPPORT)


def _derivatives(law: WordLaw, sentences: Sequence[Sentence]) -> tuple[list[Parameter], Floats]:
    k, n_words = law.n_registers, len(law.shift)
    rows = []
    for sentence in sentences:
        by_scale, by_shift = np.zeros_like(law.scale), np.zeros_like(law.shift)
        states, after = law.states(sentence), np.ones(k)
        for position in range(len(sentence) - 1, -1, -1):
            word = sentence[position]
            by_scale[word] += np.outer(after, states[position])
            by_shift[word] += after
            after = after @ law.scale[word]
        rows.append(_flat(by_scale, by_shift))
    parameters = [Parameter(w, r, c) for w in range(n_words) for r in range(k) for c in [*range(k), -1]]
    return parameters, np.array(rows)


def _flat(by_scale: Floats, by_shift: Floats) -> Floats:
    return np.concatenate([by_scale, by_shift[..., None]], axis=2).ravel()


def _used(law: WordLaw) -> NDArray[np.bool_]:
    return np.asarray(_flat(law.scale - np.eye(law.n_registers), law.shift) != 0)


def _renamings(law: WordLaw) -> Floats:
    """Return the changes of all parameters that a change of registers makes, one a row."""
    k = law.n_registers
    changes = []
    for row in range(k - 1):
        for column in range(k):
            turn = np.zeros((k, k))
            turn[row, column], turn[k - 1, column] = 1, -1
            change = _flat(turn @ law.scale - law.scale @ turn, law.shift @ turn.T)
            changes.append(change / np.linalg.norm(change))
    return np.array(changes).reshape(len(changes), law.scale.size + law.shift.size)


def _leads(rows: Floats) -> list[int]:
    """Turn rows, in place, into a basis of the same space with a leading column each; return these."""
    leads: list[int] = []
    for lead in range(len(rows)):
        rest = np.abs(rows[lead:])
        at, column = divmod(int(rest.argmax()), rest.shape[1])
        rows[[lead, lead + at]] = rows[[lead + at, lead]]
        rows[lead] /= rows[lead, column]
        others = np.arange(len(rows)) != lead
        rows[others] -= np.outer(rows[others, column], rows[lead])
        leads.append(column)
    return leads


def _groups(parameters: list[Parameter], support: NDArray[np.bool_]) -> tuple[tuple[Parameter, ...], ...]:
    groups: list[set[int]] = []
    for row in support:
        group = set(np.flatnonzero(row).tolist())
        touching = [other for other in groups if other & group]
        groups = [other for other in groups if not other & group]
        groups.append(group.union(*touching))
    return tuple(sorted(tuple(parameters[index] for index in sorted(group)) for group in groups))
