"""Difficulty, trunk and terms of a tabular model → the companion graph, which a service runs when asked for them."""

from collections.abc import Sequence

import numpy as np

from models.contract.manifest import Dtype
from models.contract.trust import DIFFICULTY_TENSOR, TERMS_TENSOR, TRUNK_TENSOR
from training.export import Signature
from training.tabular.difficulty import MEAN_OF_NORMAL, Difficulty
from training.tabular.explaining import SMALL_SUM, Terms, TrunkTerms
from training.tabular.least_squares import StandardError
from training.tabular.lowering import TableLowering
from training.tabular.model import TabularModel, TargetModel
from training.tabular.rows import Floats, Rows
from training.tabular.trunks import Trunk
from training.tabular.trust import Trust


def lower_companion(
    model: TabularModel, trust: Trust, terms: Sequence[Terms], signature: Signature, dtype: Dtype
) -> bytes:
    """Lower what belongs to a fitted model.

    Args:
        model: The model.
        trust: Its intervals.
        terms: Terms of each target.
        signature: Its columns.
        dtype: Floating-point type of `numeric`; the outputs are of float64.

    Returns:
        The ONNX file, with outputs named as in `models.contract.trust`; equal models give equal bytes.
    """
    lowering = _CompanionLowering(signature, dtype, "float64")
    difficulty, trunks, parts = [], [], []
    for target, intervals, one in zip(model.targets, trust.intervals, terms, strict=True):
        answers, border = lowering.committee(target)
        trunk = lowering.held(target, answers, border)
        outside = lowering.outside(target.reach, trunk)
        difficulty.append(lowering.difficulty(intervals.difficulty, target, trunk, outside))
        trunks.append(trunk)
        parts.append(lowering.terms(one, answers, border))
    n_terms = sum(1 + len(one.names) for one in terms)
    join = lowering.builder.join
    return lowering.builder.finish_outputs(
        {
            DIFFICULTY_TENSOR: (lowering.own(join(difficulty)), len(difficulty)),
            TRUNK_TENSOR: (lowering.own(join(trunks)), len(trunks)),
            TERMS_TENSOR: (lowering.own(join(parts)), n_terms),
        }
    )


def companion_reference(model: TabularModel, trust: Trust, terms: Sequence[Terms], rows: Rows) -> dict[str, Floats]:
    """Return what a companion must answer, by output."""
    return {
        DIFFICULTY_TENSOR: np.stack(
            [one.width(rows, target) for one, target in zip(trust.intervals, model.targets, strict=True)], axis=1
        ),
        TRUNK_TENSOR: np.stack([target.trunk(rows) for target in model.targets], axis=1),
        TERMS_TENSOR: np.concatenate([one(rows) for one in terms], axis=1),
    }


class _CompanionLowering(TableLowering):
    def own(self, tensor: str) -> str:
        """Return a tensor that is nothing else's, so that it can be an output."""
        return self.builder.node("Identity", tensor)

    def difficulty(self, difficulty: Difficulty, target: TargetModel, trunk: str, outside: str) -> str:
        """Return the error expected, shape (batch, 1)."""
        node, number = self.builder.node, self.builder.number
        if difficulty.forest is None or difficulty.columns is None:
            expected = self.builder.filled(difficulty.mean)
        else:
            expected = node("Add", self.forest(difficulty.forest, difficulty.columns), number(difficulty.mean))
            expected = node("Max", expected, number(difficulty.least))
        if difficulty.least_answer is not None:
            expected = node("Mul", expected, node("Max", trunk, number(difficulty.least_answer)))
        law = target.trunks[0]
        if target.follows_law and law.error is not None:
            both = self.builder.join([expected, self._standard(law, law.error, trunk)])
            expected = node("ReduceL2", both, self.builder.integers([1]), keepdims=1)
        growth = node("Add", node("Mul", outside, number(difficulty.growth)), number(1.0))
        return node("Mul", expected, growth)

    def _standard(self, law: Trunk, error: StandardError, answer: str) -> str:
        """Return the absolute error expected of a law's answers for their standard error alone, both (batch, 1)."""
        node, row = self.builder.node, self.builder.row
        products, order = self.products(law)
        further = node("Sub", products, row(error.centre[order].tolist()))
        moved = node("MatMul", further, self.builder.matrix(MEAN_OF_NORMAL * error.root[:, 1:][:, order].T))
        moved = node("Add", moved, row((MEAN_OF_NORMAL * error.root[:, 0]).tolist()))
        standard = node("ReduceL2", moved, self.builder.integers([1]), keepdims=1)
        return standard if law.kind.link == "identity" else node("Mul", standard, answer)

    def terms(self, terms: Terms, answers: Sequence[str], border: Sequence[str]) -> str:
        """Return the constant and the terms of a committee, shape (batch, 1 + n_terms).

        Args:
            terms: The terms.
            answers: Of its trunks.
            border: The same at the border of the ranges seen, for a wary committee.
        """
        node, join = self.builder.node, self.builder.join
        n = len(terms.members)
        parts = self._members(terms)
        if terms.border is None:
            return self._weighted(parts, join(answers))
        with self.at_border(terms.border):
            held = self._members(terms)
        further = [node("Sub", there, here) for there, here in zip(parts, held, strict=True)]
        ways = self.ways(answers, border)
        _, share = self.agreed(ways, n)
        further_terms = node("Mul", self._weighted(further, ways), share)
        return node("Add", self._weighted(held, join(border)), further_terms)

    def _members(self, terms: Terms) -> list[str]:
        return [self._member(member, len(terms.names)) for member in terms.members]

    def _weighted(self, parts: Sequence[str], block: str) -> str:
        """Return the terms of those who gave the median of a block's columns, shape (batch, 1 + n_terms)."""
        node, integers, number = self.builder.node, self.builder.integers, self.builder.number
        n = len(parts)
        if n == 1:
            return parts[0]
        ordered = self.builder.nodes("TopK", 2, block, integers([n]), axis=1)[0]
        shares = []
        for middle in ((n - 1) // 2, n // 2):
            value = node("Gather", ordered, integers([middle]), axis=1)
            gave = node("Where", node("Equal", block, value), number(1.0), number(0.0))
            shares.append(node("Div", gave, node("ReduceSum", gave, integers([1]), keepdims=1)))
        share = node("Div", node("Add", *shares), number(2.0))
        total = ""
        for i, one in enumerate(parts):
            mine = node("Gather", share, integers([i]), axis=1)
            part = node("Mul", one, mine)
            total = node("Add", total, part) if total else part
        return total

    def _member(self, member: TrunkTerms, n_terms: int) -> str:
        node, trunk = self.builder.node, member.trunk
        base = self.builder.row([member.base, *[0.0] * n_terms])
        if not trunk.terms:
            return node("Mul", self.builder.filled(1.0), base)
        products, order = self.products(trunk)
        where = np.zeros((len(order), 1 + n_terms))
        where[np.arange(len(order)), 1 + member.places[order]] = trunk.weights[order]
        total = node("MatMul", products, self.builder.column_of(trunk.weights[order].tolist()))
        slope = self._slope(member, total)
        parts = node("Mul", node("MatMul", products, self.builder.matrix(where)), slope)
        return node("Add", parts, base)

    def _slope(self, member: TrunkTerms, total: str) -> str:
        """Return the quotient that `TrunkTerms` defines, shape (batch, 1)."""
        node, number = self.builder.node, self.builder.number
        trunk = member.trunk
        held = self.bounded(trunk, node("Add", total, number(trunk.intercept)))
        held = node("Sub", held, number(trunk.intercept))
        small = node("Less", node("Abs", total), number(SMALL_SUM))
        safe = node("Where", small, number(1.0), total)
        if trunk.kind.link == "identity":
            return node("Where", small, number(1.0), node("Div", held, safe))
        square = node("Div", node("Mul", total, total), number(6.0))
        series = node("Add", node("Add", number(1.0), node("Div", total, number(2.0))), square)
        quotient = node("Div", node("Sub", node("Exp", held), number(1.0)), safe)
        scale = float(trunk.factor * np.exp(trunk.intercept))
        return node("Mul", node("Where", small, series, quotient), number(scale))
