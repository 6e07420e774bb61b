"""Boosted regression trees as plain arrays: read from LightGBM, evaluated in NumPy, and lowered to one ONNX node.

Two traps, each with its answer here:

- A fit on float64 values may split between two that a float32 request does not tell apart. Trees are fitted on, and
  every graph feeds them, values rounded to float32 (`as_tree_input`), and thresholds stay float64: requests of both
  types take the same branches.
- LightGBM takes a missing value for 0 where a column had none in training. The branch that 0 takes is written as that
  of a missing value. (It also takes |x| ≤ 1e-35 for 0, which is not imitated.)

`TreeEnsembleRegressor` answers in float32 whatever it takes; `TreeEnsemble` (ai.onnx.ml 5) answers in float64 too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import lightgbm
import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float64]

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_SHIFT, _MISSING_MASK, _MISSING_ZERO, _MISSING_NAN = 2, 3, 1, 2
"""Bits of LightGBM's `decision_type`: categorical, missing goes left, and what counts as missing (in two bits)."""

_LEQ = 0
"""`TreeEnsemble`'s mode "x ≤ threshold"."""

_SUM, _NO_TRANSFORM = 1, 0


def as_tree_input(features: Floats) -> Floats:
    """Return features rounded to float32, as float64: what trees are fitted on and fed with."""
    with np.errstate(over="ignore"):
        return features.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Forest:
    """Regression trees whose leaves are summed; node and leaf numbers run through all trees.

    Attributes:
        roots: Root node of each tree, shape (n_trees,).
        feature: Feature tested by each node, shape (n_nodes,).
        threshold: A row goes to `below` where its feature is at most this, shape (n_nodes,), float64.
        missing_below: Whether a missing value goes to `below`, shape (n_nodes,).
        below: Where a row goes that passes: a node, or ~leaf, shape (n_nodes,).
        above: Where the others go, likewise.
        leaves: Values, shape (n_leaves,), float64.
        constant: Added to every sum.
    """

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: Floats
    missing_below: NDArray[np.bool_]
    below: NDArray[np.int64]
    above: NDArray[np.int64]
    leaves: Floats
    constant: float

    @classmethod
    def of_constant(cls, value: float) -> Self:
        """Return a forest without trees."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, np.zeros(0), np.zeros(0, dtype=np.bool_), none, none, np.zeros(0), value)

    @classmethod
    def of_lightgbm(cls, booster: lightgbm.Booster, n_trees: int | None = None) -> Self:
        """Read the trees of a fitted booster.

        Args:
            booster: Fitted on numbers only; its objective must predict plain sums of leaves.
            n_trees: Trees to take, from the first; None takes the booster's best iteration, or all.

        Raises:
            ValueError: When a split is categorical, or takes zeros for missing.
        """
        text = booster.model_to_string(num_iteration=n_trees if n_trees is not None else booster.best_iteration)
        parts: list[Self] = [cls._of_text(block) for block in text.split("\nTree=")[1:]]
        return cls.summed(parts, np.ones(len(parts)))

    @classmethod
    def _of_text(cls, block: str) -> Self:
        values = dict(line.split("=", 1) for line in block.splitlines()[1:] if "=" in line)
        leaves = np.array(values["leaf_value"].split(), dtype=np.float64)
        if len(leaves) == 1:
            return cls.of_constant(float(leaves[0]))

        def integers(name: str) -> NDArray[np.int64]:
            return np.array(values[name].split(), dtype=np.int64)

        threshold = np.array(values["threshold"].split(), dtype=np.float64)
        decision = integers("decision_type")
        missing = (decision >> _MISSING_SHIFT) & _MISSING_MASK
        if (decision & _CATEGORICAL).any() or (missing == _MISSING_ZERO).any():
            msg = "trees must split numbers, with zero a number, however a tree does not; encode categories before"
            raise ValueError(msg)
        missing_below = np.where(missing == _MISSING_NAN, (decision & _DEFAULT_LEFT) > 0, threshold >= 0)
        return cls(
            np.zeros(1, dtype=np.int64),
            integers("split_feature"),
            threshold,
            missing_below,
            integers("left_child"),
            integers("right_child"),
            leaves,
            0.0,
        )

    @classmethod
    def summed(cls, forests: Sequence[Self], weights: NDArray[np.float64]) -> Self:
        """Return the weighted sum of forests as one forest."""
        if not forests:
            return cls.of_constant(0.0)
        nodes = np.cumsum([0, *(len(one.feature) for one in forests)])[:-1]
        leaves = np.cumsum([0, *(len(one.leaves) for one in forests)])[:-1]

        def moved(children: NDArray[np.int64], node: int, leaf: int) -> NDArray[np.int64]:
            return np.where(children < 0, children - leaf, children + node)

        return cls(
            np.concatenate([one.roots + node for one, node in zip(forests, nodes, strict=True)]),
            np.concatenate([one.feature for one in forests]),
            np.concatenate([one.threshold for one in forests]),
            np.concatenate([one.missing_below for one in forests]),
            np.concatenate([moved(f.below, n, k) for f, n, k in zip(forests, nodes, leaves, strict=True)]),
            np.concatenate([moved(f.above, n, k) for f, n, k in zip(forests, nodes, leaves, strict=True)]),
            np.concatenate([one.leaves * weight for one, weight in zip(forests, weights, strict=True)]),
            float(sum(one.constant * weight for one, weight in zip(forests, weights, strict=True))),
        )

    def scaled(self, share: float) -> Self:
        """Return the forest whose sums are multiplied by a number."""
        return replace(self, leaves=share * self.leaves, constant=share * self.constant)

    def predict(self, features: Floats) -> Floats:
        """Return the sums, shape (n_rows,), evaluated in plain NumPy.

        Args:
            features: Shape (n_rows, n_features), missing values as NaN, already rounded by `as_tree_input`.
        """
        total = np.full(len(features), self.constant)
        rows = np.arange(len(features))
        for root in self.roots:
            at = np.full(len(features), root)
            inside = rows
            while inside.size:
                node = at[inside]
                value = features[inside, self.feature[node]]
                goes_below = np.where(np.isnan(value), self.missing_below[node], value <= self.threshold[node])
                at[inside] = np.where(goes_below, self.below[node], self.above[node])
                inside = inside[at[inside] >= 0]
            total += self.leaves[~at]
        return total


def forest_attributes(forest: Forest) -> dict[str, object]:
    """Return the attributes of the `TreeEnsemble` node (ai.onnx.ml 5) that sums a forest's leaves, in float64.

    The constant is left to the caller; a forest without trees has no node.
    """

    def children(ids: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        return np.where(ids < 0, ~ids, ids).tolist(), (ids < 0).astype(np.int64).tolist()

    below, below_is_leaf = children(forest.below)
    above, above_is_leaf = children(forest.above)
    return {
        "n_targets": 1,
        "aggregate_function": _SUM,
        "post_transform": _NO_TRANSFORM,
        "tree_roots": forest.roots.tolist(),
        "nodes_featureids": forest.feature.tolist(),
        "nodes_modes": numpy_helper.from_array(np.full(len(forest.feature), _LEQ, dtype=np.uint8), "modes"),
        "nodes_splits": numpy_helper.from_array(forest.threshold, "splits"),
        "nodes_missing_value_tracks_true": forest.missing_below.astype(np.int64).tolist(),
        "nodes_truenodeids": below,
        "nodes_trueleafs": below_is_leaf,
        "nodes_falsenodeids": above,
        "nodes_falseleafs": above_is_leaf,
        "leaf_targetids": [0] * len(forest.leaves),
        "leaf_weights": numpy_helper.from_array(forest.leaves, "weights"),
    }
