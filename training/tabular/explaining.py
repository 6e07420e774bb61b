"""What a trunk's answer is made of: a constant and a term for each set of columns, in the target's unit, that add up.

A trunk is link⁻¹(b + Σ sᵢ), sᵢ its weighted terms. Behind the identity the terms are the sᵢ themselves. Behind the
logarithm they multiply; they are made additive by the logarithmic mean Divisia index: with T₀ = link⁻¹(b) and the
answer T, term i is (T − T₀) / Σ sⱼ · sᵢ, which leaves no remainder (B. W. Ang, Energy Policy 32, 2004,
doi:10.1016/S0301-4215(03)00076-4). The constant T₀ is what the trunk answers where every term is 0: in a sum
of columns at their means, in a power law at their geometric means.

The committee answers with its median; the terms are those of the trunk that gave it (of two: their means). A wary
committee's terms are those of its answer at the border, and the agreed share of what the trunk that gave the median
way adds to its terms on that way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.contract.trust import CONSTANT_PART, HELD_PART, RESIDUAL_PART
from training.tabular.model import TargetModel, agreed
from training.tabular.reach import Reach
from training.tabular.rows import Floats, Rows
from training.tabular.terms import Hinge, Power
from training.tabular.trunks import Trunk

JOINED = " × "

NETWORK_NAME = "network of all columns"
"""Name of the term that an ensemble of networks adds; its linear part is among the columns' terms."""

SMALL_SUM = 1e-4
"""Below this |Σ sⱼ| the quotient behind a logarithm is taken from its series, whose next term is 1/24 of its cube."""


@dataclass(frozen=True)
class TrunkTerms:
    """Where the terms of one trunk go.

    Attributes:
        trunk: The trunk.
        places: Place of each term among those of the committee, shape (n_terms,).
    """

    trunk: Trunk
    places: NDArray[np.int64]

    @property
    def base(self) -> float:
        """T₀, without the bounds of the trunk's sum."""
        trunk = self.trunk
        if trunk.kind.link == "identity":
            return trunk.intercept
        return float(trunk.factor * np.exp(trunk.intercept) - trunk.shift)

    def __call__(self, rows: Rows, n_terms: int) -> Floats:
        """Return the constant and the committee's terms, shape (n_rows, 1 + n_terms)."""
        trunk = self.trunk
        result = np.zeros((len(rows), 1 + n_terms))
        result[:, 0] = self.base
        if trunk.terms:
            parts = trunk.products(rows) * trunk.weights
            slope = self._slope(parts.sum(axis=1))
            np.add.at(result.T, 1 + self.places, (parts * slope[:, None]).T)
        return result

    def _slope(self, total: Floats) -> Floats:
        """Return (T − T₀) / Σ sⱼ, shape (n_rows,)."""
        trunk = self.trunk
        held = np.clip(total + trunk.intercept, *trunk.bounds) - trunk.intercept
        safe = np.where(np.abs(total) < SMALL_SUM, 1.0, total)
        if trunk.kind.link == "identity":
            return np.where(np.abs(total) < SMALL_SUM, 1.0, held / safe)
        scale = trunk.factor * np.exp(trunk.intercept)
        series = 1 + total / 2 + total**2 / 6
        return np.asarray(scale * np.where(np.abs(total) < SMALL_SUM, series, (np.exp(held) - 1) / safe))


@dataclass(frozen=True)
class Terms:
    """The terms of one target's committee.

    Attributes:
        names: Columns of each term; all are different.
        members: The trunks.
        border: Ranges to whose border a wary committee's terms refer first; None for a committee that is not.
    """

    names: tuple[str, ...]
    members: tuple[TrunkTerms, ...]
    border: Reach | None = None

    @classmethod
    def of(cls, model: TargetModel, columns: Sequence[str]) -> Self:
        """Group the terms of all trunks by their columns.

        Args:
            model: The target's model.
            columns: Names of the number columns, then of the category columns.
        """
        found: dict[tuple[int, ...], int] = {}
        members = []
        for trunk in model.trunks:
            keys = [tuple(sorted({_column(factor, trunk) for factor in term})) for term in trunk.terms]
            places = [found.setdefault(key, len(found)) for key in keys]
            members.append(TrunkTerms(trunk, np.array(places, dtype=np.int64)))
        names = (JOINED.join(columns[j] for j in key) if key else NETWORK_NAME for key in found)
        return cls(_distinct(names), tuple(members), model.reach if model.wary else None)

    def __call__(self, rows: Rows) -> Floats:
        """Return the constant and the terms, shape (n_rows, 1 + n_terms)."""
        if self.border is None:
            return self._weighted(self._parts(rows), _shares(self._answers(rows)))
        held = self.border.clipped(rows)
        answers, parts = self._answers(held), self._parts(held)
        ways = self._answers(rows) - answers
        _, share = agreed(ways)
        further = [there - here for there, here in zip(self._parts(rows), parts, strict=True)]
        return self._weighted(parts, _shares(answers)) + share[:, None] * self._weighted(further, _shares(ways))

    def _answers(self, rows: Rows) -> Floats:
        return np.stack([one.trunk.predict(rows) for one in self.members], axis=1)

    def _parts(self, rows: Rows) -> list[Floats]:
        return [one(rows, len(self.names)) for one in self.members]

    @staticmethod
    def _weighted(parts: list[Floats], shares: Floats) -> Floats:
        return np.asarray(sum(part * shares[:, [i]] for i, part in enumerate(parts)), dtype=np.float64)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of which none is another's, or one of the other parts': a column may be named `width × height`."""
    taken, result = {CONSTANT_PART, HELD_PART, RESIDUAL_PART}, list[str]()
    for name in names:
        number, own = 1, name
        while own in taken:
            number += 1
            own = f"{name} ({number})"
        taken.add(own)
        result.append(own)
    return tuple(result)


def _shares(values: Floats) -> Floats:
    """Return who gave the median of each row's values, shape as given; those who gave the same share it."""
    ordered = np.sort(values, axis=1)
    n = values.shape[1]
    shares = np.zeros_like(values)
    for middle in ((n - 1) // 2, n // 2):
        gave = values == ordered[:, [middle]]
        shares += gave / gave.sum(axis=1, keepdims=True) / 2
    return shares


def _column(factor: int, trunk: Trunk) -> int:
    """Return the input column of a factor, categories counted behind numbers."""
    columns = trunk.columns
    if factor >= columns.width:
        bends: list[Hinge | Power] = [*trunk.hinges, *trunk.powers]
        return bends[factor - columns.width].column
    if factor < columns.d_numeric:
        return factor
    factor -= columns.d_numeric
    if factor < len(columns.missing):
        return columns.missing[factor]
    factor -= len(columns.missing)
    return columns.d_numeric + int(np.searchsorted(np.cumsum(columns.n_codes), factor, side="right"))
