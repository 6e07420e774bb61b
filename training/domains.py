"""Where a law has a real, finite result: by input, and as conditions on sums."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from models.contract.formula import PoweredSum, Term
from models.contract.manifest import Domain
from models.formula import terms_text
from models.simple_numbers import exact_value

_NO_ROOT = "the square root of a negative number is not real"
_NO_POWER = "a fractional power of a negative number is not real"
_NO_ZERO = "division by zero has no result"


@dataclass
class LawDomain:
    """Where a law has a result.

    Attributes:
        inputs: Input name → values with an answer; inputs without a limit are left out.
        conditions: What sums must be, such as "a - b != 0"; the service refuses results that are not finite.
    """

    inputs: dict[str, Domain] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)


def law_domain(terms: Sequence[Term]) -> LawDomain:
    """Return where a law has a result.

    Example:
        >>> from models.contract.formula import PoweredSum, Term
        >>> inner = (Term(coefficient=1, powers={"a": 1}), Term(coefficient=-1, powers={"b": 0.5}))
        >>> found = law_domain([Term(coefficient=1, sums=(PoweredSum(power=-1, terms=inner),))])
        >>> found.inputs["b"].minimum, found.conditions
        (0.0, ['a - sqrt(b) != 0'])
    """
    found = LawDomain()
    needs: dict[str, set[str]] = {}
    for factor in _factors(terms):
        match factor:
            case (str() as name, power):
                needs.setdefault(name, set()).update(_needs(power))
            case PoweredSum():
                _take_sum(factor, needs, found.conditions)
    for name, reasons in needs.items():
        if reasons:
            found.inputs[name] = Domain(
                minimum=None if reasons == {_NO_ZERO} else 0.0,
                nonzero=_NO_ZERO in reasons,
                reason=", and ".join(reason for reason in (_NO_ROOT, _NO_POWER, _NO_ZERO) if reason in reasons),
            )
    return found


def _factors(terms: Sequence[Term]) -> Iterator[tuple[str, float] | PoweredSum]:
    for term in terms:
        yield from term.powers.items()
        for factor in term.sums:
            yield factor
            yield from _factors(factor.terms)


def _needs(power: float) -> set[str]:
    denominator = exact_value(power).denominator
    fractional = {_NO_ROOT} if denominator == 2 else {_NO_POWER} if denominator != 1 else set()
    return fractional | ({_NO_ZERO} if power < 0 else set())


def _take_sum(factor: PoweredSum, needs: dict[str, set[str]], conditions: list[str]) -> None:
    reasons = _needs(factor.power)
    if len(factor.terms) == 1 and not factor.terms[0].sums and len(factor.terms[0].powers) == 1:
        term = factor.terms[0]
        ((name, power),) = term.powers.items()
        odd = exact_value(power).denominator == 1 and power % 2 == 1
        if term.coefficient > 0 or reasons <= {_NO_ZERO}:
            kept = reasons if odd else reasons & {_NO_ZERO}
            needs.setdefault(name, set()).update(kept)
            return
    signed = bool(reasons - {_NO_ZERO})
    if signed and _NO_ZERO not in reasons and all(map(_never_negative, factor.terms)):
        return
    relation = "!=" if not signed else ">" if _NO_ZERO in reasons else ">="
    condition = f"{terms_text(factor.terms)} {relation} 0"
    if reasons and condition not in conditions:
        conditions.append(condition)


def _never_negative(term: Term) -> bool:
    odd = any(power % 2 == 1 for power in term.powers.values())
    return term.coefficient >= 0 and not odd and all(factor.power % 2 != 1 for factor in term.sums)
