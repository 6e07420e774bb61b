"""Weights as text: sums such as `a - 2 * b` and products of powers such as `a * sqrt(b) / c^2`.

The notation is that of a calculator: `*`, `/`, `^` for powers, `sqrt` for the power 1/2. A name that is no plain
identifier stands in backticks. Numbers are rounded, so a formula is for reading; the graph is what computes.
"""

import math
from collections.abc import Sequence

from models.contract.errors import NaluError

DIGITS = 4
"""Significant digits that numbers are rounded to by default; fitted weights carry more only when they are exact."""

SUM_TOLERANCE = 1e-9
"""Share of the largest weight that is taken for zero in a sum by default: the rounding left by a float64 fit. Not
larger, because inputs in different units have weights of different sizes."""

POWER_TOLERANCE = 1e-6
"""Power that is taken for zero in a product by default: it changes numbers up to 1e9 by less than 3 parts in 100,000,
below the four digits shown."""


class FormulaError(NaluError, ValueError):
    """Weights and names that do not make a formula."""


def sum_text(
    weights: Sequence[float],
    names: Sequence[str],
    *,
    intercept: float = 0.0,
    digits: int = DIGITS,
    tolerance: float = SUM_TOLERANCE,
) -> str:
    """Return a weighted sum as text.

    Args:
        weights: Weight of each name.
        names: Names of the inputs.
        intercept: Number added to the sum.
        digits: Significant digits of numbers.
        tolerance: A term is left out when its weight is at most this share of the largest one, intercept included.

    Returns:
        The sum, "0" when it is empty.

    Raises:
        FormulaError: When there is not one weight per name, a weight is not finite, or an option is out of range.

    Example:
        >>> sum_text([1, -1], ["a", "b"])
        'a - b'
        >>> sum_text([-0.5, 0, 2.00001], ["a", "b", "Sn %"], intercept=-3)
        '-0.5 * a + 2 * `Sn %` - 3'
        >>> sum_text([0, 0], ["a", "b"])
        '0'
    """
    _check([*weights, intercept], [*names, "intercept"], digits, tolerance)
    least = tolerance * max(abs(weight) for weight in (*weights, intercept))
    text = ""
    for weight, name in [*zip(weights, map(name_text, names), strict=True), (intercept, "")]:
        if abs(weight) <= least or weight == 0:
            continue
        number = _number(abs(weight), digits)
        term = number if not name else name if number == "1" else f"{number} * {name}"
        sign = "-" if weight < 0 else "+"
        text = f"{text} {sign} {term}" if text else term if weight > 0 else f"-{term}"
    return text or "0"


def product_text(
    powers: Sequence[float],
    names: Sequence[str],
    *,
    coefficient: float = 1.0,
    digits: int = DIGITS,
    tolerance: float = POWER_TOLERANCE,
) -> str:
    """Return a product of powers as text.

    Args:
        powers: Power of each name.
        names: Names of the inputs.
        coefficient: Number that the product is multiplied by.
        digits: Significant digits of numbers.
        tolerance: A factor is left out when its power is at most this far from zero.

    Returns:
        The product, "1" when it is empty.

    Raises:
        FormulaError: When there is not one power per name, a power is not finite, or an option is out of range.

    Example:
        >>> product_text([1, -1], ["a", "b"])
        'a / b'
        >>> product_text([2, 0.5, -1, -1.5], ["a", "b", "c", "d"], coefficient=-3)
        '-3 * a^2 * sqrt(b) / (c * d^1.5)'
        >>> product_text([0, -0.5], ["a", "b"])
        '1 / sqrt(b)'
        >>> product_text([0, 0], ["a", "b"])
        '1'
    """
    _check([*powers, coefficient], [*names, "coefficient"], digits, tolerance)
    if coefficient == 0:
        return "0"
    above: list[str] = []
    below: list[str] = []
    for power, name in zip(powers, map(name_text, names), strict=True):
        if abs(power) > tolerance:
            (above if power > 0 else below).append(_power(name, _number(abs(power), digits)))
    number = _number(abs(coefficient), digits)
    if number != "1" or not above:
        above.insert(0, number)
    text = ("-" if coefficient < 0 else "") + " * ".join(above)
    if not below:
        return text
    return f"{text} / {below[0]}" if len(below) == 1 else f"{text} / ({' * '.join(below)})"


def name_text(name: str) -> str:
    r"""Return a name as it stands in a formula: in backticks unless it is a plain identifier.

    Backticks inside a name are doubled, characters that do not print are escaped.

    Example:
        >>> name_text("a"), name_text("yield strength [MPa]"), name_text("2nd\n"), name_text("")
        ('a', '`yield strength [MPa]`', '`2nd\\n`', '``')
    """
    if name.isidentifier() and name != "sqrt":
        return name
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
    return "`" + shown.replace("`", "``") + "`"


def _number(value: float, digits: int) -> str:
    return format(value, f".{digits}g")


def _power(name: str, power: str) -> str:
    match power:
        case "1":
            return name
        case "0.5":
            return f"sqrt({name})"
        case _:
            return f"{name}^{power}"


def _check(numbers: Sequence[float], names: Sequence[str], digits: int, tolerance: float) -> None:
    if len(numbers) != len(names):
        msg = f"a formula needs one weight per name, however: {len(numbers) - 1} weights for {len(names) - 1} names"
        raise FormulaError(msg)
    for number, name in zip(numbers, names, strict=True):
        if not math.isfinite(number):
            msg = f"a formula needs finite weights, however that of {name_text(name[:80])} is {number}"
            raise FormulaError(msg)
    if digits < 1:
        msg = f"`digits` must be positive, however: digits={digits}"
        raise FormulaError(msg)
    if not 0 <= tolerance < 1:
        msg = f"`tolerance` must be at least 0 and less than 1, however: tolerance={tolerance}"
        raise FormulaError(msg)
