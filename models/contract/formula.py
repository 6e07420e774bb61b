"""The manifest's formula: what a model computes, as text, as LaTeX and as terms that a program can read."""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from models.contract.part import ColumnName, Finite, Part

MAX_DEPTH: Final = 8
"""Deepest nesting of sums inside terms; a law of this project has two."""

MAX_TEXT: Final = 100_000


class PoweredSum(Part):
    """A sum raised to a power, as a factor of a term.

    Attributes:
        power: The power.
        terms: The sum's terms; empty for 0.
    """

    power: Finite
    terms: tuple["Term", ...]


class Term(Part):
    """A number times powers of inputs and of sums; without either, a constant.

    Attributes:
        coefficient: The number.
        powers: Input name → power; inputs that take no part are left out.
        sums: Sums raised to powers.
    """

    coefficient: Finite
    powers: dict[ColumnName, Finite] = Field(default_factory=dict)
    sums: tuple[PoweredSum, ...] = ()

    @property
    def depth(self) -> int:
        """Number of sums inside one another."""
        return 1 + max((term.depth for factor in self.sums for term in factor.terms), default=0)


class Formula(Part):
    """What a model computes.

    Attributes:
        text: In a calculator's notation, such as "sqrt(a^2 + b^2)"; names that are no identifiers stand in backticks.
        latex: The same for a formula typesetter, or None.
        terms: The same as a sum of terms, with numbers as the model has them; None where only text is known.
    """

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    latex: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    terms: tuple[Term, ...] | None = None

    @model_validator(mode="after")
    def _shallow(self) -> Self:
        depth = max((term.depth for term in self.terms or ()), default=0)
        if depth > MAX_DEPTH:
            msg = f"a formula must nest at most {MAX_DEPTH} sums, however: {depth}"
            raise ValueError(msg)
        return self
