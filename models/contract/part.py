"""What the manifest's parts share: their strictness, their types, and the domain of an input."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Dtype = Literal["float64", "float32"]


class Part(BaseModel):
    """A part of the manifest: frozen, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Domain(Part):
    """Values of one number column for which the model can answer; outside it the service refuses (422).

    Attributes:
        minimum: Smallest value with an answer, or None.
        nonzero: Whether zero has no answer (a divisor).
        reason: One sentence for the caller, such as "the square root of a negative number is not real".
    """

    minimum: Finite | None = None
    nonzero: bool = False
    reason: str
