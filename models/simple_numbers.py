"""Simple numbers: weights such as 2, 1/2 or −2/3, which a float64 holds, exactly or rounded, in place of a fraction."""

from fractions import Fraction

MAX_DENOMINATOR = 100
MAX_NUMERATOR = 1000
"""Limits of what counts as simple: 9.81 does, and a fitted weight meets one of these 6 · 10⁶ numbers to the last bit
with a probability of about one in a billion."""


def simple_fraction(value: float) -> Fraction | None:
    """Return the simple fraction whose nearest float64 is `value`, or None where there is none.

    Example:
        >>> simple_fraction(-0.5), simple_fraction(2 / 3), simple_fraction(0.123456789)
        (Fraction(-1, 2), Fraction(2, 3), None)
    """
    if not abs(value) <= MAX_NUMERATOR:
        return None
    fraction = Fraction(value).limit_denominator(MAX_DENOMINATOR)
    simple = abs(fraction.numerator) <= MAX_NUMERATOR and float(fraction) == value
    return fraction if simple else None


def exact_value(value: float) -> Fraction:
    """Return what a weight stands for: its simple fraction, else the float64 itself.

    Raises:
        OverflowError: When the value is infinite.
        ValueError: When it is NaN.

    Example:
        >>> exact_value(1 / 3), exact_value(1 + 2**-52) == 1 + Fraction(1, 2**52)
        (Fraction(1, 3), True)
    """
    return simple_fraction(value) or Fraction(value)
