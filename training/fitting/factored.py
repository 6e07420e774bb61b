"""Factored laws: y = c ∏ x_i^a_i ∏_j S_j^q_j, where each S_j is a sum of products of powers, with numbers of any size.

It is what physics is mostly written in: m (u² + v²) / 2, 1 / (1/a + n/b), m / √(1 − v²/c²), (x − u t) / √(1 − u²/c²).
For each pattern of sums, the simplest first, powers and numbers are fitted together as real numbers, from many starts
at once (`training.fitting.factored_model`). Where there is one sum, y^(1/q) is fitted first, which has no poles. The
powers near the fit that lie on the grid are then tried, the likeliest first by the fit's curvature, and for each the
numbers are fitted once more: a fit creeps along a valley whose end the grid shows.

Sums of many terms, such as squared distances, have no start by chance: all products of two inputs are offered at once,
and those that the rows do not need are left out.

Limits: inputs that take part are positive in every row, and there are at most 12 of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.fitting.factored_law import Factored
from training.fitting.factored_model import Batch, FactoredModel, Logs, Shape, improve
from training.fitting.snapping import Grid, lattice

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Bools = NDArray[np.bool_]

MOST_INPUTS = 12
"""Inputs beyond which the family is not offered: numbers to fit and starts needed both grow with them."""


def _power_grid() -> Grid:
    tiers = [(1.0, [1.0]), (2.0, [2.0, 0.5]), (4.0, [3.0, 1.5]), (6.0, [4.0, 2.5, 3.5, 5.0, 6.0, 1 / 3, 2 / 3, 4 / 3])]
    pairs = [(0.0, 0.0)]
    pairs += [(sign * value, cost) for cost, values in tiers for value in values for sign in (1.0, -1.0)]
    pairs.sort()
    return Grid(np.array([value for value, _ in pairs]), np.array([cost for _, cost in pairs]))


GRID = _power_grid()
"""Powers of the inputs: those of other laws, and up to 6, since a dipole's field falls with r⁵."""

N_STARTS = 16
_N_START_ROWS = 250
"""Starts of a pattern, and rows that its first steps see: what 71 equations of physics needed."""

_EXACT = 1e-9
"""Root mean squared relative residual of a fit to labels without noise; the next best pattern is 1e-6 off and more."""


@dataclass(frozen=True)
class Pattern:
    """Sums of a law and how a fit begins.

    Attributes:
        outer: Power p of the law that the first fit undoes: it is made to y^(1/p).
        shape: Shape of what is fitted then.
    """

    outer: float
    shape: Shape

    @property
    def final(self) -> Shape:
        """The shape of the law itself."""
        return Shape(tuple(self.outer * q for q in self.shape.outer), self.shape.extra)


_ONE, _TWO = Shape((1.0,), (1,)), Shape((1.0,), (2,))

PATTERNS = (
    Pattern(1.0, Shape()),
    *(Pattern(p, _ONE) for p in (1.0, -1.0, 0.5, -0.5, 2.0, -2.0)),
    *(Pattern(p, _TWO) for p in (1.0, -1.0, 0.5, -0.5)),
    Pattern(1.0, Shape((1.0, -1.0), (1, 1))),
    Pattern(1.0, Shape((1.0, -0.5), (1, 1))),
    Pattern(0.5, Shape((1.0, -1.0), (1, 1))),
)
"""Sums tried, the simplest first. A square root of a quotient is a quotient for y²."""

FORM_OUTER = (1.0, -1.0, 0.5, -0.5)
"""Powers of a sum of many terms."""

_MOST_NEGATIVE = 0.1
"""Share of negative results, which noise may make of small ones, up to which a root of the results is taken."""

_N_PRUNINGS = 8
_SURE = 4.0
_KEPT_SHARE = 0.6
"""Times that terms are left out of it, standard errors that a term must be off 0 to stay, and the share that stays each
time at least: without one term another is surer."""


@dataclass(frozen=True)
class Fitted:
    """A member of the family after its fit.

    Attributes:
        model: The family on the rows fitted.
        logs: These rows.
        sign: Sign of the results.
        member: Parameters.
        cost: Mean squared residual over width.
        free: Parameters that were fitted.
        snapped: Whether the powers lie on the grid.
    """

    model: FactoredModel
    logs: Logs
    sign: float
    member: Floats
    cost: float
    free: Bools
    snapped: bool = False

    def formula(self) -> Factored:
        """Return it as a formula."""
        return Factored.of(self.model, self.member, self.logs.middle, self.sign)

    def covariance(self, widths: Floats) -> Floats:
        """Return the covariance of the logarithms of its numbers, the one in front first, its powers held."""
        scales = _scales(self.model, self.member)
        curvature = _curvature(self.model, self.member, self.cost, widths, scales)
        numbers = self.member[scales].copy()
        numbers[0] = 1.0  # the first is a logarithm already
        return np.asarray(_inverse(curvature) / np.outer(numbers, numbers), dtype=np.float64)


class Search:
    """The fits of one set of rows.

    Args:
        inputs: Positive inputs, shape (n, d).
        targets: Shape (n,).
        widths: What an error counts as one of, shape (n,).
        generator: Source of the starts.
        n_rows: Rows that are fitted, at most.
    """

    def __init__(
        self, inputs: Floats, targets: Floats, widths: Floats, generator: np.random.Generator, n_rows: int
    ) -> None:
        rows = np.arange(min(len(inputs), n_rows))
        self.logs = Logs.of(inputs[rows])
        self.targets, self.widths = targets[rows], widths[rows]
        self.n_starts = 0
        self._generator = generator
        self._seed: Floats | None = None

    def patterns(self, patterns: Sequence[Pattern] = PATTERNS) -> Iterator[list[Fitted]]:
        """Yield the fits of patterns, the simplest first."""
        for pattern in patterns:
            yield self.fit(pattern)

    def forms(self) -> Iterator[list[Fitted]]:
        """Yield the fits of powers of sums of many terms."""
        for outer in FORM_OUTER:
            yield self.fit_form(outer)

    def again(self) -> Iterator[list[Fitted]]:
        """Yield the fits of the patterns with many local minima, from twice as many new starts."""
        for pattern in PATTERNS:
            if pattern.shape.n_extra > 1:
                yield self.fit(pattern, 2 * N_STARTS)

    def fit(self, pattern: Pattern, n_starts: int = N_STARTS, *, snap: bool = True) -> list[Fitted]:
        """Return the best members of a pattern and those on the grid near them, the best first.

        Returns:
            Nothing where the signs of the results do not allow the pattern's power.
        """
        begun = self._begin(pattern, n_starts)
        if begun is None:
            return []
        sign, members = begun
        model = FactoredModel(pattern.final, self.logs, sign)
        enough = (0.01 * _EXACT) ** 2
        free = np.ones(members.shape[1], dtype=bool)
        found = improve(model, members, self.targets, self.widths, n_steps=60, enough=enough).best(2)
        raw = [
            Fitted(model, self.logs, sign, m, float(c), free) for m, c in zip(found.members, found.costs, strict=True)
        ]
        if pattern.outer == 1 and pattern.shape == _ONE:
            self._seed = raw[0].member
        return [*raw, *self.snap(raw)] if snap else raw

    def fit_form(self, outer: float) -> list[Fitted]:
        """Return a power of a sum of many products of two inputs, and the same on the grid."""
        d = self.logs.centred.shape[1]
        undone = _undone(self.targets, self.widths, outer)
        if undone is None or d < 2:
            return []
        rows, inner, widths, sign = undone
        powers = np.array([np.eye(d)[i] + np.eye(d)[j] for i in range(d) for j in range(i, d)])
        logs = self.logs.take(rows)
        products = np.exp(logs.centred @ powers.T)
        results = []
        for front in (np.zeros(d), np.round(_power_law(logs.centred, inner)[1:])):
            scale = np.exp(logs.centred @ front)
            given = np.linalg.lstsq(products * (scale / widths)[:, None], inner / widths, rcond=1e-12)[0]
            base = int(np.argmax(sign * given))
            if sign * given[base] <= 0:
                continue
            others = [k for k in range(len(powers)) if k != base]
            rest = [np.concatenate([[given[k] / given[base]], powers[k] - powers[base]]) for k in others]
            member = np.concatenate([[np.log(abs(given[base]))], front + powers[base], *rest])
            results += self._prune(outer, member, rows, inner, widths, sign)
        return sorted(results, key=lambda one: one.cost)

    def snap(self, raw: list[Fitted]) -> list[Fitted]:
        """Return members with powers on the grid, their numbers fitted anew."""
        result = []
        for one in raw:
            if not np.isfinite(one.cost):
                continue
            free = _scales(one.model, one.member) & one.free
            members = _near_grid(one, self.widths)
            if members is not None:
                found = improve(
                    one.model, members, self.targets, self.widths, n_steps=20, free=free, enough=(1e-4 * _EXACT) ** 2
                )
                result += [
                    Fitted(one.model, one.logs, one.sign, m, float(c), free, snapped=True)
                    for m, c in zip(found.members, found.costs, strict=True)
                ]
        return sorted(result, key=lambda one: one.cost)

    def _begin(self, pattern: Pattern, n_starts: int) -> tuple[float, Floats] | None:
        """Return the sign of the results and members after the first steps, in the law's own shape."""
        undone = _undone(self.targets, self.widths, pattern.outer)
        if undone is None:
            return None
        rows, inner, widths, sign = undone
        few = rows[np.linspace(0, len(rows) - 1, min(len(rows), _N_START_ROWS)).astype(np.intp)]
        within = np.searchsorted(rows, few)
        logs = self.logs.take(few)
        model = FactoredModel(pattern.shape, logs, sign)
        members = self._starts(model, logs, inner[within], n_starts if pattern.shape.n_extra else 1)
        self.n_starts += len(members)
        batch = Batch(members, np.zeros(len(members)))
        for n_kept, n_steps in ((8, 15), (4, 30)):
            batch = improve(
                model, batch.members, inner[within], widths[within], n_steps=n_steps, enough=(0.1 * _EXACT) ** 2
            ).best(n_kept)
        members = batch.members[np.isfinite(batch.costs)]
        if not len(members):
            return None
        d = logs.centred.shape[1]
        members = members.copy()
        members[:, : 1 + d] *= pattern.outer
        return sign, members

    def _starts(self, model: FactoredModel, logs: Logs, inner: Floats, n_starts: int) -> Floats:
        """Draw sums; the product in front is the power law of what they leave."""
        generator, d, shape = self._generator, model.d, model.shape
        members = np.zeros((n_starts, shape.n_parameters(d)))
        for member in members:
            k = 0
            for q, n_terms in zip(shape.outer, shape.extra, strict=True):
                for _ in range(n_terms):
                    start = (1 + d) * (1 + k)
                    powers = np.zeros(d)
                    used = generator.choice(d, size=min(d, int(generator.integers(1, 4))), replace=False)
                    powers[used] = generator.choice([-2, -1, 1, 2], len(used)) * generator.uniform(0.5, 1, len(used))
                    largest = float(np.exp(logs.centred @ powers).max())
                    member[start] = self._ratio(q, n_terms, largest)
                    member[start + 1 : start + 1 + d] = powers
                    k += 1
        if self._seed is not None and shape.n_extra > 1:
            members[::2, 1 + d : 2 * (1 + d)] = self._seed[1 + d :]
        sums = model.sums(members)
        with np.errstate(all="ignore"):
            for i, member in enumerate(members):
                rest = np.log(np.abs(inner))
                for q, one in zip(shape.outer, sums, strict=True):
                    rest = rest - q * np.log(np.abs(one[i]))
                design = np.column_stack([np.ones(len(rest)), logs.centred])
                usable = np.isfinite(rest)
                member[: 1 + d] = np.linalg.lstsq(design[usable], rest[usable], rcond=None)[0]
        return members

    def _ratio(self, power: float, n_terms: int, largest: float) -> float:
        """Draw the weight of a product beside the 1; sums raised to other powers than 1 begin without a zero."""
        generator = self._generator
        if generator.random() < 0.5:
            return float(np.exp(generator.uniform(np.log(0.05), np.log(3))))
        if power == 1 and generator.random() < 0.5:
            return -float(generator.uniform(0.2, 1))
        return -float(generator.uniform(0.1, 0.9)) / n_terms / largest

    def _prune(
        self, outer: float, member: Floats, rows: Integers, inner: Floats, widths: Floats, sign: float
    ) -> list[Fitted]:
        """Fit numbers and the product in front; leave out what the rows do not need, twice."""
        d = self.logs.centred.shape[1]
        logs = self.logs.take(rows)
        for _ in range(_N_PRUNINGS):
            blocks = member[1 + d :].reshape(-1, 1 + d)
            model = FactoredModel(Shape((1.0,), (len(blocks),)), logs, sign)
            free = _front(model, member) | _scales(model, member)
            found = improve(model, member[None], inner, widths, n_steps=40, free=free)
            member = found.members[0]
            curvature = _curvature(model, member, float(found.costs[0]), widths, free)
            errors = np.sqrt(np.maximum(np.diag(_inverse(curvature)), 0.0))[1 + d :]
            blocks = member[1 + d :].reshape(-1, 1 + d)
            doubt = np.maximum(_SURE * errors, 1e-7) / np.maximum(np.abs(blocks[:, 0]), 1e-300)
            needed = doubt < max(1.0, float(np.quantile(doubt, _KEPT_SHARE)))
            if (doubt < 1).all() or not needed.any():
                break
            member = np.concatenate([member[: 1 + d], blocks[needed].ravel()])
        blocks = member[1 + d :].reshape(-1, 1 + d)
        member = np.concatenate([outer * member[: 1 + d], blocks.ravel()])
        final = FactoredModel(Shape((outer,), (len(blocks),)), self.logs, sign)
        free = _front(final, member) | _scales(final, member)
        found = improve(final, member[None], self.targets, self.widths, n_steps=40, free=free)
        raw = [Fitted(final, self.logs, sign, found.members[0], float(found.costs[0]), free)]
        return [*raw, *self.snap(raw)]


def _scales(model: FactoredModel, member: Floats) -> Bools:
    """Return which parameters are numbers: the logarithm of the one in front and the weights in sums."""
    return np.asarray(np.arange(len(member)) % (1 + model.d) == 0, dtype=np.bool_)


def _front(model: FactoredModel, member: Floats) -> Bools:
    """Return which parameters are powers of the product in front."""
    place = np.arange(len(member))
    return np.asarray((place >= 1) & (place <= model.d), dtype=np.bool_)


def _undone(targets: Floats, widths: Floats, outer: float) -> tuple[Integers, Floats, Floats, float] | None:
    """Return rows, y^(1/p), widths of that and its sign; None where the results have no such power."""
    whole = outer in (1.0, -1.0)
    if not whole and np.mean(targets < 0) > _MOST_NEGATIVE:
        return None
    rows = np.flatnonzero(np.ones(len(targets), dtype=bool) if outer == 1 else targets != 0 if whole else targets > 0)
    y = targets[rows]
    if len(rows) < 0.5 * len(targets):
        return None
    with np.errstate(all="ignore"):
        inner = y ** (1 / outer)
        spread = np.abs(inner / (outer * y)) * widths[rows] if outer != 1 else widths[rows]
    sign = 1.0 if np.sign(inner).sum() >= 0 else -1.0
    return rows, inner, spread, sign


def _power_law(logs: Floats, targets: Floats) -> Floats:
    rest = np.log(np.abs(targets))
    usable = np.isfinite(rest)
    design = np.column_stack([np.ones(len(logs)), logs])
    return np.asarray(np.linalg.lstsq(design[usable], rest[usable], rcond=None)[0], dtype=np.float64)


def _curvature(model: FactoredModel, member: Floats, cost: float, widths: Floats, free: Bools) -> Floats:
    """Return the precision of the free parameters, shape (n_free, n_free)."""
    slopes = model.slopes(member[None], free)[1][0] / widths[:, None]
    return np.asarray(slopes.T @ slopes / max(cost, 1e-30), dtype=np.float64)


def _inverse(curvature: Floats) -> Floats:
    size = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    return np.asarray(
        np.linalg.pinv(curvature / np.outer(size, size), hermitian=True) / np.outer(size, size), dtype=np.float64
    )


def _near_grid(fitted: Fitted, widths: Floats) -> Floats | None:
    """Return the members with powers on the grid that lie nearest to a fit by its curvature, the numbers left free."""
    curvature = _curvature(fitted.model, fitted.member, fitted.cost, widths, fitted.free)
    if not np.isfinite(curvature).all():
        return None
    scales = _scales(fitted.model, fitted.member)
    powers, others = ~scales[fitted.free], scales[fitted.free]
    own, cross = curvature[np.ix_(powers, powers)], curvature[np.ix_(powers, others)]
    inner = curvature[np.ix_(others, others)]
    inner[np.diag_indices(len(inner))] *= 1 + 1e-9
    try:
        marginal = own - cross @ np.linalg.solve(inner, cross.T)
    except np.linalg.LinAlgError:
        return None
    marginal = (marginal + marginal.T) / 2
    if not np.isfinite(marginal).all() or not (np.diag(marginal) > 0).all():
        return None
    place = np.flatnonzero(fitted.free & ~scales)
    points = lattice(fitted.member[place], marginal, [GRID] * len(place))
    result = np.repeat(fitted.member[None], len(points), axis=0)
    result[:, place] = points
    return result


def positive_columns(inputs: Floats) -> Integers:
    """Return the inputs that are positive in every row."""
    return np.flatnonzero((inputs > 0).all(axis=0))
