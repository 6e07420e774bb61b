"""A fitted tabular model → one graph of native operators: imputation, scales, categories, trunks, trees, reach.

Everything is computed in float64, in graphs of both types: a column such as a year, standardised in float32, loses four
digits before the trunk begins. A float32 graph takes and gives float32.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from onnx import TensorProto

from models.contract.manifest import CATEGORICAL_TENSOR, NUMERIC_TENSOR, Dtype
from models.contract.trust import DISTANCE_TENSOR
from training.export import Signature
from training.graph_builder import GraphBuilder
from training.tabular.forest import Forest, forest_attributes
from training.tabular.landmarks import Landmarks
from training.tabular.model import SMALLEST_SQUARE, SPREAD_PER_DEVIATION, TabularModel, TargetModel, left_out
from training.tabular.networks import Network
from training.tabular.reach import ROOM, ROOM_PER_DISTANCE, Reach
from training.tabular.residual import TreeColumns
from training.tabular.rows import Columns
from training.tabular.trunks import Trunk


def lower_table_model(
    model: TabularModel, signature: Signature, dtype: Dtype, landmarks: Landmarks | None = None
) -> bytes:
    """Lower a fitted model.

    Args:
        model: The model.
        signature: Its columns; the levels of its categories are in the order of their codes.
        dtype: Floating-point type of the graph's numeric tensors.
        landmarks: What the output `distance` is measured from, or None for no such output.

    Returns:
        The ONNX file, with tensors named as in `models.contract.manifest` and `models.contract.trust`; equal models
        give equal bytes.
    """
    lowering = TableLowering(signature, dtype)
    predictions = [lowering.target(target) for target in model.targets]
    more = {} if landmarks is None else {DISTANCE_TENSOR: (lowering.nearest(landmarks), 1)}
    return lowering.builder.finish(predictions, more)


class TableLowering:
    """The parts of a tabular model as tensors of one graph.

    Args:
        signature: The model's columns.
        dtype: Floating-point type of `numeric`.
        outer: Floating-point type of the outputs; None for that of `numeric`.

    Attributes:
        builder: Holds the graph.
    """

    def __init__(self, signature: Signature, dtype: Dtype, outer: Dtype | None = None) -> None:
        self.builder = builder = GraphBuilder(
            signature.d_numeric, "float64", d_categorical=len(signature.categories), inner=dtype, outer=outer or dtype
        )
        self._d_numeric = signature.d_numeric
        self._numeric = self._cast(NUMERIC_TENSOR, TensorProto.DOUBLE) if signature.d_numeric else ""
        self._codes = []
        for j, column in enumerate(signature.categories):
            text = builder.node("Gather", CATEGORICAL_TENSOR, builder.integers([j]), axis=1)
            keys = [*column.levels, *([""] if column.may_be_missing else [])]
            self._codes.append(
                builder.node(
                    "LabelEncoder",
                    text,
                    domain="ai.onnx.ml",
                    keys_strings=keys,
                    values_int64s=list(range(len(keys))),
                    default_int64=-1,
                )
            )

    def target(self, target: TargetModel) -> str:
        """Return the prediction of one target, shape (batch, 1)."""
        node, number = self.builder.node, self.builder.number
        trunk = self.held(target, *self.committee(target))
        parts = []
        if target.forest is not None and target.columns is not None:
            parts.append(self.forest(target.forest, target.columns))
        if target.smooth is not None:
            parts.append(self.network(target.smooth.network, self._block(target.smooth.columns)))
        if not parts:
            return trunk
        residual = parts[0] if len(parts) == 1 else node("Add", *parts)
        if not np.isinf(target.width):
            share = node("Sub", number(1.0), node("Div", self.outside(target.reach, trunk), number(target.width)))
            residual = node("Mul", residual, node("Min", node("Max", share, number(0.0)), number(1.0)))
        return node("Add", trunk, residual)

    def forest(self, forest: Forest, columns: TreeColumns) -> str:
        """Return the sums of a forest's leaves, shape (batch, 1)."""
        if not len(forest.roots):
            return self.builder.filled(forest.constant)
        sums = self.builder.node(
            "TreeEnsemble", self._tree_features(columns), domain="ai.onnx.ml", **forest_attributes(forest)
        )
        return self.builder.node("Add", sums, self.builder.number(forest.constant))

    def network(self, network: Network, block: str) -> str:
        """Return an ensemble's answers, shape (batch, 1); members are the first axis of every layer."""
        node, row, tensor = self.builder.node, self.builder.row, self.builder.tensor
        if np.isfinite(network.lower).all():
            block = node("Min", node("Max", block, row(network.lower.tolist())), row(network.upper.tolist()))
        hidden = block
        for i, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            hidden = node("Add", node("MatMul", hidden, tensor(weight)), tensor(bias))
            if i < len(network.weights) - 1:
                hidden = node("Mul", hidden, node("Sigmoid", hidden))
        answer = node("ReduceMean", hidden, self.builder.integers([0]), keepdims=0)
        if not network.linear.any():
            return answer
        return node("Add", answer, node("MatMul", block, self.builder.column_of(network.linear.tolist())))

    def nearest(self, landmarks: Landmarks) -> str:
        """Return the distance to the nearest landmark, shape (batch, 1)."""
        node, number = self.builder.node, self.builder.number
        if not landmarks.columns.width:
            return self.builder.filled(0.0)
        block = self._block(landmarks.columns)
        axis = self.builder.integers([1])
        crossed = node("MatMul", block, self.builder.matrix(-2 * landmarks.points.T))
        squares = node("Add", crossed, self.builder.row((landmarks.points**2).sum(axis=1).tolist()))
        nearest = node("ReduceMin", squares, axis, keepdims=1)
        nearest = node("Add", nearest, node("ReduceSum", node("Mul", block, block), axis, keepdims=1))
        return node("Sqrt", node("Div", node("Max", nearest, number(0.0)), number(landmarks.columns.width)))

    def _cast(self, tensor: str, element: int) -> str:
        return self.builder.node("Cast", tensor, to=element)

    def _imputed(self, fill: Sequence[float]) -> str:
        return self.builder.node(
            "Where", self.builder.node("IsNaN", self._numeric), self.builder.row(fill), self._numeric
        )

    def _block(self, columns: Columns) -> str:
        """Return number columns and indicators, as `Columns` does."""
        node, row = self.builder.node, self.builder.row
        parts = []
        if columns.d_numeric:
            scaled = self._imputed(columns.fill.tolist())
            plain = np.isnan(columns.shift)
            if not plain.all():
                above = node("Greater", scaled, row(columns.least.tolist()))
                shifted = node("Where", above, scaled, row(columns.floor.tolist()))
                shifted = node("Add", shifted, row(np.where(plain, 1.0, columns.shift).tolist()))
                scaled = node("Where", self.builder.flags(plain.tolist()), scaled, node("Log", shifted))
            scaled = node("Min", node("Max", scaled, row(columns.lower.tolist())), row(columns.upper.tolist()))
            scaled = node("Sub", scaled, row(columns.mean.tolist()))
            parts.append(node("Div", scaled, row(columns.spread.tolist())))
        if columns.missing:
            unknown = node("IsNaN", node("Gather", self._numeric, self.builder.integers(columns.missing), axis=1))
            parts.append(self._cast(unknown, TensorProto.DOUBLE))
        parts += [self._indicators(j, n) for j, n in enumerate(columns.n_codes) if n]
        return self.builder.join(parts)

    def _indicators(self, column: int, n_codes: int) -> str:
        codes = self.builder.integers(range(n_codes))
        return self._cast(self.builder.node("Equal", self._codes[column], codes), TensorProto.DOUBLE)

    def trunk(self, trunk: Trunk) -> str:
        """Return a trunk's answers, shape (batch, 1)."""
        if not trunk.terms:
            return self.linked(trunk, self.builder.filled(trunk.intercept))
        products, order = self.products(trunk)
        weights = self.builder.column_of(trunk.weights[order].tolist())
        total = self.builder.node("MatMul", products, weights)
        return self.linked(trunk, self.builder.node("Add", total, self.builder.number(trunk.intercept)))

    def products(self, trunk: Trunk) -> tuple[str, list[int]]:
        """Return the products of a trunk's factors, shape (batch, n_terms), and which term each of them is."""
        node = self.builder.node
        factors = self._block(trunk.columns)
        if trunk.hinges:
            bent = node("Gather", factors, self.builder.integers([h.column for h in trunk.hinges]), axis=1)
            bent = node("Sub", bent, self.builder.row([h.knot for h in trunk.hinges]))
            factors = self.builder.join([factors, node("Max", bent, self.builder.number(0.0))])
        if trunk.powers:
            base = node("Gather", factors, self.builder.integers([one.column for one in trunk.powers]), axis=1)
            base = node("Sub", base, self.builder.row([one.origin for one in trunk.powers]))
            above = node("Greater", base, self.builder.row([one.least for one in trunk.powers]))
            base = node("Where", above, base, self.builder.row([one.floor for one in trunk.powers]))
            exponents = self.builder.row([one.exponent for one in trunk.powers])
            factors = self.builder.join([factors, node("Pow", base, exponents)])
        # the network, then singles, then products: the weights are brought into the same order
        order = sorted(range(len(trunk.terms)), key=lambda i: len(trunk.terms[i]))
        parts = [] if trunk.network is None else [self.network(trunk.network, self._block(trunk.columns))]
        for size in sorted({len(term) for term in trunk.terms if term}):
            same = [trunk.terms[i] for i in order if len(trunk.terms[i]) == size]
            sides = [
                node("Gather", factors, self.builder.integers([term[side] for term in same]), axis=1)
                for side in range(size)
            ]
            product = sides[0]
            for side in sides[1:]:
                product = node("Mul", product, side)
            parts.append(product)
        return self.builder.join(parts), order

    def linked(self, trunk: Trunk, total: str) -> str:
        """Return a trunk's answers for its sums, intercept included, both of shape (batch, 1)."""
        node, number = self.builder.node, self.builder.number
        held = self.bounded(trunk, total)
        if trunk.kind.link == "identity":
            return held
        return node("Sub", node("Mul", node("Exp", held), number(trunk.factor)), number(trunk.shift))

    def bounded(self, trunk: Trunk, total: str) -> str:
        """Return a trunk's sums within its bounds, shape (batch, 1); a law has none."""
        if np.isinf(trunk.bounds).all():
            return total
        node, number = self.builder.node, self.builder.number
        low, high = trunk.bounds
        return node("Min", node("Max", total, number(low)), number(high))

    def committee(self, target: TargetModel) -> tuple[list[str], list[str]]:
        """Return the answers of a target's trunks, each of shape (batch, 1), and those at the border if it is wary."""
        answers = [self.trunk(one) for one in target.trunks]
        if not target.wary:
            return answers, []
        with self.at_border(target.reach):
            return answers, [self.trunk(one) for one in target.trunks]

    @contextmanager
    def at_border(self, reach: Reach) -> Iterator[None]:
        """Let everything asked for meanwhile take the number columns brought to the border of their ranges."""
        free = self._numeric
        if free:
            held = self.builder.node("Max", free, self.builder.row(reach.lower.tolist()))
            held = self.builder.node("Min", held, self.builder.row(reach.upper.tolist()))
            self._numeric = self.builder.node("Where", self.builder.node("IsNaN", free), free, held)
        yield
        self._numeric = free

    def ways(self, answers: Sequence[str], border: Sequence[str]) -> str:
        """Return how far each trunk goes beyond the border, shape (batch, n_trunks)."""
        return self.builder.node("Sub", self.builder.join(answers), self.builder.join(border))

    def agreed(self, ways: str, n_trunks: int) -> tuple[str, str]:
        """Return the median way and how much of it counts, both of shape (batch, 1), as `model.agreed` does."""
        node, number = self.builder.node, self.builder.number
        way = self._middle(ways, n_trunks)
        deviation = self._middle(node("Abs", node("Sub", ways, way)), n_trunks)
        spread = node("Mul", deviation, number(SPREAD_PER_DEVIATION))
        square = node("Mul", way, way)
        total = node("Max", node("Add", square, node("Mul", spread, spread)), number(SMALLEST_SQUARE))
        return way, node("Div", square, total)

    def _middle(self, block: str, n_answers: int) -> str:
        node, integers = self.builder.node, self.builder.integers
        if n_answers == 1:
            return block
        cut = left_out(n_answers)
        if cut:
            ordered = self.builder.nodes("TopK", 2, block, integers([n_answers]), axis=1)[0]
            block = node("Slice", ordered, integers([cut]), integers([n_answers - cut]), integers([1]))
        return node("ReduceMean", block, integers([1]), keepdims=1)

    def _distance(self, reach: Reach) -> str:
        node, row = self.builder.node, self.builder.row
        if not self._d_numeric:
            return self.builder.number(0.0)
        numeric = self._imputed(reach.lower.tolist())
        lower, upper = row(reach.lower.tolist()), row(reach.upper.tolist())
        beyond = node("Max", node("Sub", numeric, upper), node("Sub", lower, numeric))
        beyond = node("Div", beyond, row(reach.spread.tolist()))
        worst = node("ReduceMax", beyond, self.builder.integers([1]), keepdims=1)
        return node("Max", worst, self.builder.number(0.0))

    def held(self, target: TargetModel, answers: Sequence[str], border: Sequence[str]) -> str:
        """Return a committee's answers, from `committee`, as one, held within what the distance allows, or a law's."""
        if target.follows_law:
            return answers[0]
        node, number = self.builder.node, self.builder.number
        low, high = target.reach.target_range
        distance = self._distance(target.reach)
        if target.wary:
            way, share = self.agreed(self.ways(answers, border), len(answers))
            trunk = node("Add", self._middle(self.builder.join(border), len(border)), node("Mul", way, share))
        else:
            trunk = self._middle(self.builder.join(answers), len(answers))
        room = node("Add", node("Mul", distance, number(ROOM_PER_DISTANCE)), number(ROOM))
        room = node("Mul", room, number(high - low))
        return node("Min", node("Max", trunk, node("Sub", number(low), room)), node("Add", room, number(high)))

    def outside(self, reach: Reach, trunk: str) -> str:
        """Return how many ranges the worst of columns and trunk is outside, shape (batch, 1)."""
        node, number = self.builder.node, self.builder.number
        low, high = reach.target_range
        answer = node("Max", node("Sub", trunk, number(high)), node("Sub", number(low), trunk))
        return node("Max", self._distance(reach), node("Div", answer, number(reach.target_spread)))

    def _tree_features(self, columns: TreeColumns) -> str:
        parts = []
        if self._d_numeric:
            parts.append(self._cast(self._cast(self._numeric, TensorProto.FLOAT), TensorProto.DOUBLE))
        for j, (place, unseen) in enumerate(zip(columns.order, columns.unseen, strict=True)):
            # a level never seen has code −1, which gathers the last entry
            table = self.builder.vector([*place.tolist(), unseen])
            parts.append(self.builder.node("Gather", table, self._codes[j], axis=0))
        parts += [self._indicators(j, len(columns.order[j])) for j in columns.with_indicators]
        return self.builder.join(parts)
