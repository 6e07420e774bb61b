"""A snapped network → a graph of Add, Sub, Mul, Div, Sqrt and Pow, so that 3 · 5 is 15 and −7 / 2 is −3.5.

| Weight | Operators |
|---|---|
| power 2, 3, 4, … | multiplications by squaring: x · x, (x · x) · x, … |
| power 1/2, 3/2, … | Sqrt(x), x · Sqrt(x), … |
| power 1/3, 2/3, … | Pow(x, 1/3) and one Newton step, since a float64 holds no 1/3 |
| another power | Pow(x, power), whose sign is by parity where the power is an integer |
| negative powers | Div by the product of their positive ones |
| two terms | Add or Sub |
| three terms and more | a tree of Add with the rounding of every Add carried along (`_compensated`) |
| a weight in a sum | exact: powers of two that add up to it, each a term; an odd denominator divides the whole sum |

An input of power or weight 0 is not read. A negative zero counts as the zero it equals, except that 1 / −0 is −∞ where
the unit gives ∞; neither reaches a caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

import torch

from models.contract.manifest import Dtype
from models.networks import ArithmeticNetwork
from models.simple_numbers import MAX_NUMERATOR, simple_fraction
from models.units import NAU, NMU, LinearUnit, SignedPower
from training.errors import ExportError
from training.graph_builder import GraphBuilder

_MAX_POWER = 64
"""Largest numerator of a power that is written as multiplications; beyond it Pow rounds less."""

Row = Sequence[float]


def lower_network(network: ArithmeticNetwork, dtype: Dtype) -> bytes:
    """Lower a network of NAU, linear, NMU and signed power units.

    Every operator is computed row by row and in one order, so a row's answer depends neither on its batch nor on the
    machine's vector width.

    Args:
        network: The network; the weights of a NMU must be 0 or 1, powers must be exact.
        dtype: Floating-point type of the graph.

    Returns:
        The ONNX file, with tensors named as in `models.contract.manifest`; equal networks give equal bytes.

    Raises:
        ExportError: When the network has another unit, or weights that no native operator stands for.

    Example:
        >>> import numpy as np
        >>> from training.parity import GraphRunner, RawRows
        >>> unit = SignedPower(2, 1, dtype=torch.float64)
        >>> with torch.no_grad():
        ...     _ = unit.P.copy_(torch.tensor([[1.0, -1.0]]))
        >>> graph = lower_network(ArithmeticNetwork([unit]), "float64")
        >>> GraphRunner(graph, "float64")(RawRows(np.array([[-7.0, 2.0]]))).tolist()
        [[-3.5]]
    """
    units = list(network.units)
    lowering = _Lowering(GraphBuilder(int(units[0].in_features), dtype))  # type: ignore[arg-type]
    columns: list[str] | None = None
    for unit in units:
        layer = _Columns(lowering.builder, columns)
        with torch.no_grad():
            columns = lowering.unit(unit, layer)
    return lowering.builder.finish(columns or [])


@dataclass(frozen=True)
class _Columns:
    """The columns that a layer takes: those of `numeric`, gathered when asked for, or computed ones."""

    builder: GraphBuilder
    computed: list[str] | None

    def one(self, index: int) -> str:
        return self.builder.column(index) if self.computed is None else self.computed[index]

    def block(self, indices: Sequence[int]) -> str:
        if self.computed is None:
            return self.builder.columns(indices)
        return self.builder.join([self.computed[index] for index in indices])


@dataclass
class _Terms:
    """Terms of a sum that are exact: an input (None for the constant 1) times a number."""

    inputs: list[int | None] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)

    def add(self, index: int | None, factor: float) -> None:
        self.inputs.append(index)
        self.factors.append(factor)


class _Lowering:
    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder

    def unit(self, unit: torch.nn.Module, layer: _Columns) -> list[str]:
        if isinstance(unit, SignedPower):
            _check_powers(unit)
            return [self.product(row, layer) for row in unit.P.tolist()]
        if isinstance(unit, NMU):
            weights = unit.effective_weight().tolist()
            if any(weight not in (0, 1) for row in weights for weight in row):
                msg = "a NMU must have weights of 0 and 1 to be lowered, however it has others; snap them first"
                raise ExportError(msg)
            return [self.product(row, layer) for row in weights]
        if isinstance(unit, NAU):
            return [self.sum(row, 0.0, layer) for row in unit.effective_weight().tolist()]
        if isinstance(unit, LinearUnit):
            rows = unit.W.tolist()
            bias = [0.0] * len(rows) if unit.b is None else unit.b.tolist()
            return [self.sum(row, constant, layer) for row, constant in zip(rows, bias, strict=True)]
        msg = f"a network must be of NAU, NMU, LinearUnit and SignedPower to be lowered, however: {type(unit).__name__}"
        raise ExportError(msg)

    def sum(self, weights: Row, constant: float, layer: _Columns) -> str:
        """Return Σ w_i x_i + constant, shape (batch, 1)."""
        used = [(i, weight) for i, weight in enumerate(weights) if weight]
        if not used:
            return self.builder.filled(constant)
        if len(used) == 1 and not constant:
            return self.scaled(layer.one(used[0][0]), used[0][1])
        terms, denominator = _exact_terms(used, constant)
        total = self.terms(terms, layer)
        return total if denominator == 1 else self.builder.node("Div", total, self.builder.number(denominator))

    def scaled(self, x: str, weight: float) -> str:
        """Return w · x with one rounding where w is simple."""
        node, number = self.builder.node, self.builder.number
        if weight == 1:
            return x
        if weight == -1:
            return node("Neg", x)
        fraction = simple_fraction(weight)
        if fraction is None or _is_power_of_two(fraction.denominator):
            return node("Mul", x, number(weight))
        return node("Div", self.scaled(x, float(fraction.numerator)), number(fraction.denominator))

    def terms(self, terms: _Terms, layer: _Columns) -> str:
        """Return the sum of exact terms."""
        builder = self.builder
        if len(terms.inputs) == 2 and None not in terms.inputs:
            first, second = (layer.one(index) for index in terms.inputs if index is not None)
            match terms.factors:
                case [1.0, -1.0]:
                    return builder.node("Sub", first, second)
                case [-1.0, 1.0]:
                    return builder.node("Sub", second, first)
        inputs = [index for index in terms.inputs if index is not None]
        factors = [factor for index, factor in zip(terms.inputs, terms.factors, strict=True) if index is not None]
        constants = [factor for index, factor in zip(terms.inputs, terms.factors, strict=True) if index is None]
        if len(terms.inputs) == 2:
            parts = [self.scaled(layer.one(index), factor) for index, factor in zip(inputs, factors, strict=True)]
            return builder.node("Add", *parts, *(builder.number(constant) for constant in constants))
        block = layer.block(inputs)
        if any(factor != 1 for factor in factors):
            block = builder.node("Mul", block, builder.row(factors))
        blocks = [block, *(builder.filled(constant) for constant in constants)]
        return self._compensated(builder.join(blocks), len(terms.inputs))

    def _compensated(self, block: str, n_terms: int) -> str:
        """Return the sum of a block's columns, rounded about once.

        Knuth's two-sum gives what every Add loses exactly (The Art of Computer Programming 2, 4.2.2, theorem B); the
        losses are summed by the same tree and added at the end, as in Ogita, Rump and Oishi, "Accurate sum and dot
        product", SIAM J. Sci. Comput. 26 (2005), algorithm 4.4, whose bound u|Σ| + n²u² Σ|x| holds for a tree too.
        An overflow makes the losses NaN; the plain sum stands then.
        """
        builder, node = self.builder, self.builder.node
        lost, width = [], n_terms
        while width > 1:
            a, b, *rest = self._halves(block, width)
            total = node("Add", a, b)
            b_kept = node("Sub", total, a)
            a_kept = node("Sub", total, b_kept)
            lost.append(node("Add", node("Sub", a, a_kept), node("Sub", b, b_kept)))
            block = builder.join([total, *rest])
            width = width - width // 2
        losses, width = builder.join(lost), n_terms - 1
        while width > 1:
            a, b, *rest = self._halves(losses, width)
            losses = builder.join([node("Add", a, b), *rest])
            width = width - width // 2
        return node("Where", node("IsNaN", losses), block, node("Add", block, losses))

    def _halves(self, block: str, width: int) -> tuple[str, ...]:
        half = width // 2
        return self.builder.split(block, [half, half] if width % 2 == 0 else [half, half, 1])

    def product(self, powers: Row, layer: _Columns) -> str:
        """Return ∏ x_i^p_i, shape (batch, 1)."""
        node = self.builder.node
        above: str | None = None
        below: str | None = None
        for index, power in enumerate(powers):
            if not power:
                continue
            x = layer.one(index)
            fraction = simple_fraction(power)
            if fraction is None or fraction.denominator > 3 or abs(fraction.numerator) > _MAX_POWER:
                factor = node("Pow", x, self.builder.number(power))
                above = factor if above is None else node("Mul", above, factor)
            elif power > 0:
                factor = self.power(x, fraction)
                above = factor if above is None else node("Mul", above, factor)
            else:
                factor = self.power(x, -fraction)
                below = factor if below is None else node("Mul", below, factor)
        if above is None and below is None:
            return self.builder.filled(1.0)
        if below is None:
            return str(above)
        return node("Div", self.builder.number(1.0) if above is None else above, below)

    def power(self, x: str, power: Fraction) -> str:
        """Return x^p for a positive multiple of 1, 1/2 or 1/3."""
        whole, part = divmod(power.numerator, power.denominator)
        if not part:
            return self._whole_power(x, whole)
        root = self.builder.node("Sqrt", x) if power.denominator == 2 else self._cube_root(x)
        rest = self._whole_power(root, part)
        return rest if not whole else self.builder.node("Mul", self._whole_power(x, whole), rest)

    def _whole_power(self, x: str, power: int) -> str:
        result: str | None = None
        square = x
        while power:
            if power & 1:
                result = square if result is None else self.builder.node("Mul", square, result)
            power >>= 1
            if power:
                square = self.builder.node("Mul", square, square)
        return str(result)

    def _cube_root(self, x: str) -> str:
        """Return x^(1/3): r − (r − x / r²) / 3, whose step is NaN for 0 and infinity and is left out there."""
        node, number = self.builder.node, self.builder.number
        root = node("Pow", x, number(1 / 3))
        step = node("Div", node("Sub", root, node("Div", x, node("Mul", root, root))), number(3))
        return node("Where", node("IsNaN", step), root, node("Sub", root, step))


def _check_powers(unit: SignedPower) -> None:
    nearest = unit.P.round()
    distance = (unit.P - nearest).abs()
    if bool(((distance > 0) & (distance <= unit.parity_tolerance)).any()):
        msg = (
            "powers must be exact to be lowered, however one lies next to an integer and takes its parity; "
            "snap the powers first"
        )
        raise ExportError(msg)


def _exact_terms(used: list[tuple[int, float]], constant: float) -> tuple[_Terms, int]:
    """Return the terms of a sum times a number that makes them exact, and that number.

    With weights p/q and m the least common multiple of the odd parts of all q, m p/q is a sum of few powers of two.
    Where a weight is not simple, every weight is one factor, and each term is rounded once.
    """
    weights = [weight for _, weight in used] + ([constant] if constant else [])
    inputs: list[int | None] = [i for i, _ in used]
    inputs += [None] if constant else []
    fractions = [simple_fraction(weight) for weight in weights]
    simple = [fraction for fraction in fractions if fraction is not None]
    denominator = lcm(*(_odd_part(fraction.denominator) for fraction in simple))
    terms = _Terms()
    if len(simple) < len(weights) or denominator > MAX_NUMERATOR:
        for index, weight in zip(inputs, weights, strict=True):
            terms.add(index, weight)
        return terms, 1
    for index, fraction in zip(inputs, simple, strict=True):
        factor = fraction * denominator
        for digit in [float(factor)] if index is None else _signed_powers_of_two(factor):
            terms.add(index, digit)
    return terms, denominator


def _signed_powers_of_two(factor: Fraction) -> list[float]:
    """Return few signed powers of two whose sum is a number with a denominator of 2^k, largest first."""
    rest, unit = factor.numerator, 1 / factor.denominator
    digits = []
    while rest:
        if rest % 2:
            digit = 2 - rest % 4  # 1 or −1, whichever leaves an even half
            digits.append(digit * unit)
            rest -= digit
        rest //= 2
        unit *= 2
    return digits[::-1]


def _odd_part(n: int) -> int:
    return n // (n & -n)


def _is_power_of_two(n: int) -> bool:
    return n & (n - 1) == 0
