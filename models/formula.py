"""Terms as text, such as `(a + b) * (c - d)` or `sqrt(a^2 + b^2)`, and as LaTeX.

The notation of the text is that of a calculator: `*`, `/`, `^` for powers, `sqrt` for the power 1/2. A name that is no
plain identifier stands in backticks. Simple numbers are written as they are, a third as `a / 3`; others are rounded, so
a formula is for reading; the graph is what computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from models.contract.formula import Formula, PoweredSum, Term
from models.simple_numbers import simple_fraction
from models.terms import FormulaError

DIGITS = 4
"""Significant digits that numbers are rounded to by default; fitted weights carry more only when they are exact."""


def formula_of(terms: Sequence[Term], *, digits: int = DIGITS) -> Formula:
    """Return terms with their text and LaTeX."""
    return Formula(text=terms_text(terms, digits=digits), latex=terms_latex(terms, digits=digits), terms=tuple(terms))


def terms_text(terms: Sequence[Term], *, digits: int = DIGITS) -> str:
    """Return a sum of terms as text, "0" when it is empty.

    Args:
        terms: The terms.
        digits: Significant digits of numbers that are not simple.

    Raises:
        FormulaError: When `digits` is not positive.

    Example:
        >>> a, b = Term(coefficient=1, powers={"a": 2}), Term(coefficient=-2 / 3, powers={"b": 1, "Sn %": -0.5})
        >>> terms_text([a, b, Term(coefficient=-3)])
        'a^2 - 2 * b / (3 * sqrt(`Sn %`)) - 3'
        >>> terms_text([Term(coefficient=1, sums=(PoweredSum(power=0.5, terms=(a, b)),))])
        'sqrt(a^2 - 2 * b / (3 * sqrt(`Sn %`)))'
    """
    return _Writer(digits, _TEXT).sum(terms)


def terms_latex(terms: Sequence[Term], *, digits: int = DIGITS) -> str:
    r"""Return a sum of terms as LaTeX, for math mode.

    Args:
        terms: The terms.
        digits: Significant digits of numbers that are not simple.

    Raises:
        FormulaError: When `digits` is not positive.

    Example:
        >>> terms_latex([Term(coefficient=0.5, powers={"a": 2, "b": -0.5})])
        '\\frac{0.5 \\cdot a^{2}}{\\sqrt{b}}'
    """
    return _Writer(digits, _LATEX).sum(terms)


def name_text(name: str) -> str:
    r"""Return a name as it stands in a formula: in backticks unless it is a plain identifier.

    Backticks inside a name are doubled, characters that do not print are escaped.

    Example:
        >>> name_text("a"), name_text("yield strength [MPa]"), name_text("2nd\n"), name_text("")
        ('a', '`yield strength [MPa]`', '`2nd\\n`', '``')
    """
    if name.isidentifier() and name != "sqrt":
        return name
    return "`" + _printable(name).replace("`", "``") + "`"


@dataclass(frozen=True)
class _Notation:
    """How one notation writes the parts of a formula."""

    latex: bool

    def name(self, name: str) -> str:
        return _latex_name(name) if self.latex else name_text(name)

    def number(self, number: str) -> str:
        mantissa, _, exponent = number.partition("e")
        return number if not exponent or not self.latex else rf"{mantissa} \cdot 10^{{{int(exponent)}}}"

    def times(self, factors: Sequence[str]) -> str:
        return (r" \cdot " if self.latex else " * ").join(factors)

    def over(self, above: Sequence[str], below: Sequence[str]) -> str:
        top, bottom = self.times(above), self.times(below)
        if self.latex:
            return rf"\frac{{{top}}}{{{bottom}}}"
        return f"{top} / {bottom}" if len(below) == 1 else f"{top} / ({bottom})"

    def bracket(self, inner: str) -> str:
        return rf"\left({inner}\right)" if self.latex else f"({inner})"

    def power(self, base: str, bare: str, power: str, fraction: Fraction | None) -> str:
        """Return base^power, where `bare` is the base without brackets."""
        if power == "1":
            return base
        if power == "0.5":
            return rf"\sqrt{{{bare}}}" if self.latex else f"sqrt({bare})"
        if fraction is not None and not _is_decimal(fraction):
            shown = f"{fraction.numerator}/{fraction.denominator}"
            return f"{base}^{{{shown}}}" if self.latex else f"{base}^({shown})"
        return f"{base}^{{{self.number(power)}}}" if self.latex else f"{base}^{power}"


_TEXT, _LATEX = _Notation(latex=False), _Notation(latex=True)


class _Writer:
    def __init__(self, digits: int, notation: _Notation) -> None:
        if digits < 1:
            msg = f"`digits` must be positive, however: digits={digits}"
            raise FormulaError(msg)
        self._digits = digits
        self._notation = notation

    def sum(self, terms: Sequence[Term]) -> str:
        text = ""
        for term in terms:
            shown = self._term(term)
            if not text:
                text = f"-{shown}" if term.coefficient < 0 else shown
            else:
                text += f" {'-' if term.coefficient < 0 else '+'} {shown}"
        return text or "0"

    def _term(self, term: Term) -> str:
        """Return a term without its sign."""
        above: list[str] = []
        below: list[str] = []
        for name, power in term.powers.items():
            shown = self._notation.name(name)
            (above if power > 0 else below).append(self._power(shown, shown, abs(power)))
        for factor in term.sums:
            (above if factor.power > 0 else below).append(self._sum_power(factor))
        fraction = simple_fraction(abs(term.coefficient))
        if fraction is None or _is_decimal(fraction):
            number = self._number(abs(term.coefficient), fraction)
            if number != "1" or not above:
                above.insert(0, self._notation.number(number))
        else:
            below.insert(0, str(fraction.denominator))
            if fraction.numerator != 1 or not above:
                above.insert(0, str(fraction.numerator))
        return self._notation.over(above, below) if below else self._notation.times(above)

    def _sum_power(self, factor: PoweredSum) -> str:
        bare = self.sum(factor.terms)
        return self._power(self._notation.bracket(bare), bare, abs(factor.power))

    def _power(self, base: str, bare: str, power: float) -> str:
        fraction = simple_fraction(power)
        return self._notation.power(base, bare, self._number(power, fraction), fraction)

    def _number(self, value: float, fraction: Fraction | None) -> str:
        if fraction is None or not _is_decimal(fraction):
            return format(value, f".{self._digits}g")
        return repr(value).removesuffix(".0")


def _is_decimal(fraction: Fraction) -> bool:
    """Return whether a fraction has finitely many decimals."""
    rest = fraction.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "{}_#$%&"},
}


def _latex_name(name: str) -> str:
    if len(name) == 1 and name.isalpha():
        return name
    escaped = "".join(_LATEX_ESCAPES.get(c, c) for c in _printable(name))
    return rf"\mathrm{{{escaped}}}" if name.isidentifier() else rf"\text{{{escaped}}}"
