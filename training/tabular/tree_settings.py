"""Settings of boosted trees."""

from dataclasses import dataclass
from typing import Any, Self

_MANY_ROWS = 20_000
"""Beyond this many rows the trees' settings are those that fit 113,000 rows of 28 columns and three targets in time."""


@dataclass(frozen=True)
class TreeSettings:
    """Settings of the boosted trees.

    Attributes:
        n_trees: Trees of each ensemble, at most.
        n_ensembles: Ensembles averaged, each from its own seed.
        learning_rate: Share of each tree that is taken.
        n_leaves: Leaves of a tree.
        least_rows: Rows of a leaf.
        feature_share: Share of the features that a tree may split.
        row_share: Share of the rows that a tree sees.
        penalty: Ridge penalty on the leaves.
    """

    n_trees: int = 1000
    n_ensembles: int = 5
    learning_rate: float = 0.05
    n_leaves: int = 31
    least_rows: int = 10
    feature_share: float = 0.8
    row_share: float = 0.8
    penalty: float = 0.0

    @classmethod
    def for_rows(cls, n_rows: int) -> Self:
        """Return the defaults for a number of rows: for many, a quarter of the trees in larger steps."""
        if n_rows <= _MANY_ROWS:
            return cls()
        return cls(n_trees=500, n_ensembles=3, learning_rate=0.1)

    def as_parameters(self, seed: int) -> dict[str, Any]:
        """Return LightGBM's parameters; one thread and forced layout give the same trees everywhere."""
        return {
            "objective": "l2",
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": self.least_rows,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "lambda_l2": self.penalty,
            "seed": seed,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbose": -1,
        }


QUICK_TREES = TreeSettings(n_trees=60, n_ensembles=1, learning_rate=0.15, n_leaves=15)
"""Trees for choosing between trunks: what they lack in accuracy they lack for every trunk."""
