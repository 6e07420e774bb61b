"""A committee of trunks as text, in the columns' own units, for reading; the graph is what computes.

The notation is that of `models.formula`, with `log`, `exp`, `max`, `median`, `missing(x)`, and `(x = "level")`, which
is 1 where it holds and 0 elsewhere. Left out are what stands in for missing values, what holds columns and sums back
far outside the training range, and how far beyond the ranges seen a wary committee goes (`model.agreed`).
"""

from collections.abc import Sequence

import numpy as np

from models.contract.formula import MAX_TEXT, Formula
from models.formula import name_text
from training.tabular.model import TabularModel, TargetModel
from training.tabular.terms import NETWORK_TERM, Power, Term
from training.tabular.trunks import Trunk

_DIGITS = 4
"""Digits of a number whose rounding moves answers by a share of itself; others have as many more as move them no
further: 3.123456 * year, where years are 2000 and more and their spread is 6."""

_MOST_DIGITS = 15
_MOST_TERMS = 20
"""Terms of one trunk that are written; the rest, the smallest by their effect on a typical row, are counted."""

_LEAST = 1e-6
"""Share of the largest effect on a typical row below which a term is not written."""

_ROUNDING = 1e-12
"""Distance from a third within which a power is one."""

RESIDUAL = "residual"

NETWORK = "network(...)"
"""Stands for what an ensemble of networks answers for all columns."""


def model_formula(
    model: TabularModel, outputs: Sequence[str], numbers: Sequence[str], categories: Sequence[tuple[str, Sequence[str]]]
) -> Formula:
    """Return the formula of a model for its manifest.

    Args:
        model: The model.
        outputs: Names of its outputs; where there are several, each stands before its formula.
        numbers: Names of the number columns.
        categories: Name and levels of each category column.
    """
    texts = [target_text(target, numbers, categories) for target in model.targets]
    if len(texts) > 1:
        texts = [f"{name_text(name)} = {text}" for name, text in zip(outputs, texts, strict=True)]
    text = "; ".join(texts)
    return Formula(text=text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…")


def target_text(target: TargetModel, numbers: Sequence[str], categories: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return the formula of one target."""
    trunks = [trunk_text(trunk, numbers, categories) for trunk in target.trunks]
    text = trunks[0] if len(trunks) == 1 else f"median({', '.join(trunks)})"
    return text if target.forest is None and target.smooth is None else f"{text} + {RESIDUAL}"


def trunk_text(trunk: Trunk, numbers: Sequence[str], categories: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return one trunk.

    Example:
        >>> from training.tabular.rows import Rows
        >>> from training.tabular.trunks import KINDS, fit_trunk
        >>> x = np.random.default_rng(0).uniform(1, 9, (99, 2))
        >>> kind = next(kind for kind in KINDS if kind.name == "power law")
        >>> fit = fit_trunk(kind, Rows(x, np.zeros((99, 0), dtype=np.int64)), (), 3 * x[:, 0] ** 2 / x[:, 1])
        >>> trunk_text(fit.trunk, ["a", "b"], [])
        '3 * a^2 * b^-1'
    """
    writer = _Writer(trunk, numbers, categories)
    return writer.text()


class _Writer:
    def __init__(self, trunk: Trunk, numbers: Sequence[str], categories: Sequence[tuple[str, Sequence[str]]]) -> None:
        self._trunk = trunk
        self._columns = trunk.columns
        sizes = [self._size(term, abs(float(weight))) for term, weight in zip(trunk.terms, trunk.weights, strict=True)]
        self._sizes, self._effects = np.array(sizes).reshape(-1, 2).T
        self._effect = float(self._effects.max(initial=0.0))
        self._numbers = [name_text(name) for name in numbers]
        self._indicators = [f"missing({self._numbers[j]})" for j in trunk.columns.missing]
        for (name, levels), n in zip(categories, trunk.columns.n_codes, strict=True):
            known = [f'({name_text(name)} = "{level}")' for level in levels]
            self._indicators += known if n == len(levels) else [*known, f"missing({name_text(name)})"]

    def text(self) -> str:
        trunk = self._trunk
        order = np.argsort(-self._effects, kind="stable")
        constant, parts, powers = trunk.intercept, list[str](), list[str]()
        for i in order[self._effects[order] > _LEAST * self._effect]:
            term, weight, digits = trunk.terms[i], float(trunk.weights[i]), _digits(self._sizes[i], self._effect)
            if term == NETWORK_TERM:
                parts.append(_times(weight, NETWORK))
            elif len(term) == 1 and term[0] < self._columns.d_numeric:
                j = term[0]
                slope = weight / float(self._columns.spread[j])
                constant -= slope * float(self._columns.mean[j])
                if trunk.kind.link == "log" and self._columns.shift[j] == 0:
                    powers.append(self._power(j, slope, digits))
                    continue
                parts.append(_times(slope, self._scaled(j), digits))
            else:
                parts.append(self._term(term, weight, digits))
        parts, powers = ([part for part in some if part] for some in (parts, powers))
        if trunk.kind.link == "identity":
            negligible = abs(constant) < _LEAST * self._effect
            return _sum(0.0 if negligible else constant, parts, _digits(constant, self._effect))
        head = _number(float(trunk.factor * np.exp(constant)), _digits(1.0, self._effect))
        inner = [f"exp({_sum(0.0, parts)})"] if parts else []
        text = " * ".join([*([] if head == "1" and (powers or inner) else [head]), *powers, *inner])
        return text if trunk.shift == 0 else f"{text} - {_number(trunk.shift)}"

    def _power(self, j: int, power: float, digits: int = _DIGITS) -> str:
        thirds = round(3 * power)  # of simple exponents those that no four digits say
        shown = f"({thirds}/3)" if thirds % 3 and abs(3 * power - thirds) < _ROUNDING else _number(power, digits)
        return "" if shown == "0" else self._numbers[j] if shown == "1" else f"{self._numbers[j]}^{shown}"

    def _scaled(self, j: int) -> str:
        shift, name = float(self._columns.shift[j]), self._numbers[j]
        if np.isnan(shift):
            return name
        return f"log({name})" if shift == 0 else f"log({name} + {_number(shift)})"

    def _raised(self, factor: int) -> Power | None:
        place = factor - self._columns.width - len(self._trunk.hinges)
        return self._trunk.powers[place] if place >= 0 else None

    def _size(self, term: Term, weight: float) -> tuple[float, float]:
        """Return how large a term is on a typical row, and how far it varies."""
        varies = 0.0 if term else 1.0
        for factor in term:
            power = self._raised(factor)
            if power is None and (len(term) > 1 or factor >= self._columns.d_numeric):
                varies = 1.0
                continue
            j, exponent = (factor, 1.0) if power is None else (power.column, power.exponent)
            spreads = max(abs(float(self._columns.mean[j] / self._columns.spread[j])), 1.0)
            weight *= spreads**exponent
            varies = max(varies, abs(exponent) / spreads)
        return weight, weight * varies

    def _term(self, term: Term, weight: float, digits: int) -> str:
        """Return a term of hinges, powers, indicators or products."""
        factors = []
        for factor in term:
            j = factor if factor < self._columns.d_numeric else None
            knot = 0.0
            power = self._raised(factor)
            if power is not None:
                weight /= float(self._columns.spread[power.column]) ** power.exponent
                factors.append(self._power(power.column, power.exponent))
                continue
            if factor >= self._columns.width:
                hinge = self._trunk.hinges[factor - self._columns.width]
                j, knot = hinge.column, hinge.knot
            if j is None:
                factors.append(self._indicators[factor - self._columns.d_numeric])
                continue
            spread, mean = float(self._columns.spread[j]), float(self._columns.mean[j])
            weight /= spread
            place = mean + knot * spread
            distance = _minus(self._scaled(j), place, _digits(place, spread))
            factors.append(f"max({distance}, 0)" if factor >= self._columns.width else f"({distance})")
        return _times(weight, " * ".join(factors), digits)


def _digits(number: float, effect: float) -> int:
    """Return how many digits leave the rounding of a number as small as `_DIGITS` of an effect on the answer."""
    more = np.round(np.log10(abs(number) / effect)) if number and effect else 0.0
    return int(np.clip(_DIGITS + more, _DIGITS, _MOST_DIGITS))


def _number(value: float, digits: int = _DIGITS) -> str:
    text = f"{value:.{digits}g}"
    return "0" if float(text) == 0 else text


def _minus(name: str, value: float, digits: int) -> str:
    shown = _number(abs(value), digits)
    return name if shown == "0" else f"{name} {'-' if value > 0 else '+'} {shown}"


def _times(weight: float, name: str, digits: int = _DIGITS) -> str:
    shown = _number(weight, digits)
    return "" if shown == "0" else name if shown == "1" else f"-{name}" if shown == "-1" else f"{shown} * {name}"


def _sum(constant: float, parts: list[str], digits: int = _DIGITS) -> str:
    """Return a sum, its constant first; beyond `_MOST_TERMS` terms are counted."""
    shown = _number(constant, digits)
    listed = [*([] if shown == "0" and parts else [shown]), *parts[:_MOST_TERMS]]
    text = listed[0]
    for part in listed[1:]:
        text += f" - {part[1:]}" if part.startswith("-") else f" + {part}"
    more = len(parts) - _MOST_TERMS
    return f"{text} + … ({more} smaller terms)" if more > 0 else text
