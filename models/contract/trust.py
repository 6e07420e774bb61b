"""What a manifest says of how far a model's answers are to be trusted: joint range, intervals, terms.

The distance is an output of the model's own graph. The rest are outputs of a second graph, the companion, which takes
the same inputs and is run only when a request asks for it:

| Tensor | Graph | Shape | Type | Holds |
|---|---|---|---|---|
| `distance` | model | (batch, 1) | the graph's dtype | distance to the nearest training rows kept |
| `trunk` | companion | (batch, d_outputs) | float64 | what the trunk answers, without the residual |
| `difficulty` | companion | (batch, d_outputs) | float64 | the error to be expected, by which intervals are wide |
| `terms` | companion | (batch, n_terms) | float64 | terms of the trunks, those of each output together |
"""

from itertools import pairwise
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from models.contract.part import ColumnName, Finite, Part

DISTANCE_TENSOR: Final = "distance"
TRUNK_TENSOR: Final = "trunk"
DIFFICULTY_TENSOR: Final = "difficulty"
TERMS_TENSOR: Final = "terms"

CONSTANT_PART: Final = "(constant)"
HELD_PART: Final = "(held)"
RESIDUAL_PART: Final = "(residual)"
"""How a table of answers calls what a prediction is the sum of beside the terms; in brackets, because terms have the
names of columns. No term has such a name."""

MAX_TERMS: Final = 20_000
"""Terms of a model at most; the committees of one target with 10,000 columns stay below."""

Level = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Score = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class JointRange(Part):
    """Which rows are like the training rows in all columns together, and in what the model answers for them.

    Attributes:
        limit: Largest distance inside.
        answers: For each output the smallest and largest answer inside.
        n_landmarks: Training rows that distances are measured from.
        share: Share of rows like the training rows that are marked as outside all the same.
    """

    limit: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    answers: tuple[tuple[Finite, Finite], ...] = Field(min_length=1)
    n_landmarks: Annotated[int, Field(ge=1)]
    share: Annotated[float, Field(ge=0, le=1)]


class OutputIntervals(Part):
    """Prediction intervals of one output: its answer ± score · difficulty.

    Attributes:
        levels: Shares of rows whose target is to lie within, ascending.
        scores: Score of each level.
    """

    levels: tuple[Level, ...] = Field(min_length=1, max_length=1000)
    scores: tuple[Score, ...]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if len(self.levels) != len(self.scores):
            msg = f"levels must have a score each, however: {len(self.levels)} levels and {len(self.scores)} scores"
            raise ValueError(msg)
        for values in (self.levels, self.scores):
            if any(a > b for a, b in pairwise(values)):
                msg = "levels and scores must ascend, however they do not"
                raise ValueError(msg)
        return self

    def score(self, level: float) -> float | None:
        """Return the score of the least level carried that is at least `level`, None beyond them."""
        return next((score for one, score in zip(self.levels, self.scores, strict=True) if one >= level), None)


class Intervals(Part):
    """Prediction intervals.

    Attributes:
        outputs: Of each output.
        n_rows: Rows that the scores were calibrated on.
    """

    outputs: tuple[OutputIntervals, ...] = Field(min_length=1)
    n_rows: Annotated[int, Field(ge=1)]

    @property
    def largest_level(self) -> float:
        """Largest level that every output has."""
        return min(output.levels[-1] for output in self.outputs)


class OutputTerms(Part):
    """Terms of one output's trunk, in the order of the companion's `terms`: first a constant, then these.

    Attributes:
        names: What each term is of: names of input columns, joined by " × ".
    """

    names: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(max_length=MAX_TERMS)


class Importance(Part):
    """How much worse the model gets on rows held out when one column is shuffled.

    Attributes:
        column: The column.
        rise: For each output, its root mean squared error shuffled, less that in order, over its own spread.
    """

    column: ColumnName
    rise: tuple[Finite, ...]
