"""Columns of a table, as a manifest describes them: what goes in row by row, and what comes out."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from models.contract.part import ColumnName, Domain, Finite, Part

Unseen = Literal["refuse", "other"]
"""What a level never seen in training gets."""

UNSEEN_LEVEL: Final = "?" * 501
"""What the graph is given for a level never seen: longer than any level, so none of them, whatever was sent."""


class NumberColumn(Part):
    """An input column of numbers.

    Attributes:
        name: Column name, as in the training table.
        unit: Unit of measurement, or None where it is not known.
        minimum: Smallest value seen in training.
        maximum: Largest value seen in training.
        may_be_missing: Whether a missing value is answered (the graph imputes it).
        domain: Values that the model can answer for, or None for all.
    """

    kind: Literal["number"] = "number"
    name: ColumnName
    unit: str | None = None
    minimum: Finite
    maximum: Finite
    may_be_missing: bool = False
    domain: Domain | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            msg = f"minimum must not exceed maximum, however: {self.minimum} > {self.maximum} in column {self.name!r}"
            raise ValueError(msg)
        return self


class CategoryColumn(Part):
    """An input column of text levels.

    Attributes:
        name: Column name, as in the training table.
        categories: Levels seen in training.
        unseen: Whether another level is refused (422) or answered as "other": a level with no weight of its own.
        may_be_missing: Whether a missing value is answered (a level of its own in the graph).
    """

    kind: Literal["category"] = "category"
    name: ColumnName
    categories: tuple[Annotated[str, Field(min_length=1, max_length=500)], ...] = Field(min_length=1, max_length=10_000)
    may_be_missing: bool = False
    unseen: Unseen = Field(default="refuse", exclude_if=lambda rule: rule == "refuse")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.categories)) != len(self.categories):
            msg = f"categories must be distinct, however column {self.name!r} repeats one"
            raise ValueError(msg)
        return self


class OutputColumn(Part):
    """An output column.

    Attributes:
        name: Target name, as in the training table.
        unit: Unit of measurement, or None where it is not known.
        minimum: Smallest target seen in training.
        maximum: Largest target seen in training.
    """

    name: ColumnName
    unit: str | None = None
    minimum: Finite
    maximum: Finite
