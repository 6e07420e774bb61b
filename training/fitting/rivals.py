"""Other formulas that rows with noise may come from: what a law must be told apart from before it counts as found.

A law that agrees with noisy labels says little where formulas outside its structures agree as well. So it is held
against many: sums of up to two terms, and powers of such sums, with simple or with free coefficients; and the plane,
which stands for any smooth function over a short range. Terms are powers, products and quotients, and sines,
exponentials and the like, whether or not a search has structures for them. The prior is a description length: what is
longer needs more evidence, and a free number costs what its sampling error leaves of its range.

Source of the price of a free number: Laplace's approximation of the marginal likelihood (MacKay, "Bayesian
Interpolation", Neural Computation 4, 1992, eq. 2.6: the Occam factor).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import log, pi

import numpy as np
from numpy.typing import NDArray

from models.formula import name_text
from training.fitting.evidence import LEVEL_WIDTH, NU, Likelihood, likelihood
from training.fitting.snapping import POWER_GRID, SUM_GRID

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

_POWERS = (1.0, 2.0, -1.0, 0.5, -2.0, -0.5, 3.0, 1.5)
_FACTOR_POWERS = (1.0, -1.0, 2.0, 0.5)
_OUTER_POWERS = (1.0, -1.0, 2.0, 0.5)

_FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "sin({})": np.sin,
    "cos({})": np.cos,
    "tanh({})": np.tanh,
    "exp({})": np.exp,
    "exp(-{})": lambda x: np.exp(-x),
    "log(abs({}))": lambda x: np.log(np.abs(x)),
    "log(1 + abs({}))": lambda x: np.log1p(np.abs(x)),
    "(1 + {})^-1": lambda x: 1 / (1 + x),
    "abs({})": np.abs,
    "sqrt(abs({}))": lambda x: np.sqrt(np.abs(x)),
}
"""How a function of an input is written → what it computes."""

_FUNCTION_COST = 6.0 + log(len(_FUNCTIONS))
"""Description length of a function in nats. All of them together have a prior of e^-6 against the input itself: near 0
a sine is its argument, and rows there can never tell a · b from sin(a) · b."""

_PRODUCT_COST = 0.7
_TWO_TERMS_COST = 3.0
"""Description length of a sum of two terms, in nats, and of a plane."""

_EXTENSION_COST = 5.0
"""Description length, in nats, of all terms together that may stand beside the law itself: a term much smaller than the
noise is never seen, and there are many."""

_OUTER_COST = 2.0

_FREE_COST = log(2 * log(1e60))
"""Nats of a free coefficient's sign and magnitude, evenly from 1e-30 to 1e30 on a logarithmic scale, before its
sampling error."""

_PLANE_SLOPE = 8.0
"""Width of the prior of a plane's slopes, which as powers would be are from −4 to 4."""

_MOST_INPUTS = 4
"""Inputs that terms are made of, at most: their number grows with the square."""

_FAR = 12.0
"""Nats behind the law beyond which a formula is not looked at."""

_N_PAIRS = 150
_N_RIVALS = 40
"""Pairs of terms whose coefficients are searched, and formulas whose likelihood is computed in full."""

_CHUNK = 4096
"""Rows whose terms are held at a time."""

_GRID = SUM_GRID.values[SUM_GRID.values != 0]
_GRID_COSTS = SUM_GRID.costs[SUM_GRID.values != 0]


@dataclass(frozen=True)
class Rival:
    """A formula beside a law.

    Attributes:
        text: The formula, for reading.
        predictions: Its results, shape (n,).
        score: Log-likelihood less the description length.
    """

    text: str
    predictions: Floats
    score: float


@dataclass(frozen=True)
class _Term:
    text: str
    values: Callable[[Floats], Floats]
    cost: float


@dataclass(frozen=True)
class _Sketch:
    """A formula before its likelihood is known: terms, coefficients, cost in nats and the score foretold.

    One of two terms, one of which is the law itself, costs `beyond` for the other.
    """

    terms: list[int]
    coefficients: list[float]
    cost: float
    foretold: float
    outer: float
    beyond: float | None = None


def rivals(
    inputs: Floats,
    targets: Floats,
    used: Integers,
    predictions: Floats,
    found: Likelihood,
    cost: float,
    names: Sequence[str],
) -> list[Rival]:
    """Return the likeliest formulas beside a law, its own results among them where terms can say them.

    Args:
        inputs: Shape (n, d).
        targets: Shape (n,).
        used: Inputs that the law uses.
        predictions: The law's results, shape (n,).
        found: Their likelihood.
        cost: The law's description length.
        names: Names of the inputs.
    """
    plane = _plane(inputs, targets, predictions, found)
    result = [] if plane is None else [plane]
    if len(used) > _MOST_INPUTS:
        return result
    with np.errstate(all="ignore"):
        columns = _columns(inputs, targets, used)
        terms = _terms(inputs, columns, [name_text(name) for name in names])
        sketches = [
            sketch
            for outer in _OUTER_POWERS
            if outer == 1 or (predictions > 0).all() or (outer == -1 and (predictions != 0).all())
            for sketch in _sketches(inputs, targets, predictions, found, terms, outer, found.total - cost - _FAR)
        ]
        for sketch in _chosen(sketches, cost, terms):
            values = np.column_stack([terms[k].values(inputs) for k in sketch.terms])
            own = (values @ np.array(sketch.coefficients)) ** sketch.outer
            told = likelihood(targets, own)
            if told is not None:
                result.append(Rival(_text(terms, sketch), own, told.total - sketch.cost))
    return sorted(result, key=lambda one: -one.score)


def _chosen(sketches: list[_Sketch], law_cost: float, terms: list[_Term]) -> list[_Sketch]:
    """Return the likeliest, and the likeliest extensions of the law at prices that sum up to the one they share."""
    ranked = sorted(sketches, key=lambda one: -one.foretold)
    others = [one for one in ranked if one.beyond is None][:_N_RIVALS]
    everything = np.logaddexp.reduce([-term.cost for term in terms]) + log(float(np.exp(-_GRID_COSTS).sum()) + 1.0)
    shared = law_cost + _EXTENSION_COST + float(everything)
    extensions = [replace(one, cost=shared + one.beyond) for one in ranked if one.beyond is not None][:_N_RIVALS]
    return [*others, *extensions]


def _columns(inputs: Floats, targets: Floats, used: Integers) -> list[int]:
    """Return the inputs used, and those that go with the results most, up to `_MOST_INPUTS`."""
    centred = inputs - inputs.mean(axis=0)
    size = np.sqrt(np.square(centred).sum(axis=0))
    along = np.nan_to_num(np.abs(centred.T @ (targets - targets.mean())) / size)
    others = [i for i in np.argsort(-along).tolist() if i not in used]
    return sorted([*used.tolist(), *others][:_MOST_INPUTS])


def _terms(inputs: Floats, columns: list[int], names: Sequence[str]) -> list[_Term]:
    """Return the terms that have a value for every row."""
    where = log(len(columns))
    one = [_Term("", lambda x: np.ones(len(x)), 1.0)]
    powers = {(i, p): _power(i, p, where, names[i]) for i in columns for p in (*_POWERS, *_FACTOR_POWERS)}
    functions = {(i, form): _function(i, form, where, names[i]) for i in columns for form in _FUNCTIONS}
    products = [
        _product(powers[i, p], powers[j, q])
        for i, j in combinations(columns, 2)
        for p in _FACTOR_POWERS
        for q in _FACTOR_POWERS
    ]
    products += [
        _product(functions[i, form], powers[j, q])
        for i in columns
        for j in columns
        for form in _FUNCTIONS
        for q in (1.0, -1.0)
        if i != j
    ]
    everything = [*one, *powers.values(), *functions.values(), *products]
    return [term for term in everything if np.isfinite(term.values(inputs)).all()]


def _power(i: int, p: float, where: float, name: str) -> _Term:
    text = name if p == 1 else f"{name}^{p:g}"
    return _Term(text, lambda x: x[:, i] ** p, float(POWER_GRID.cost(np.array([p]))) + where)


def _function(i: int, form: str, where: float, name: str) -> _Term:
    compute = _FUNCTIONS[form]
    return _Term(form.format(name), lambda x: compute(x[:, i]), _FUNCTION_COST + 1.0 + where)


def _product(a: _Term, b: _Term) -> _Term:
    return _Term(f"{a.text} * {b.text}", lambda x: a.values(x) * b.values(x), a.cost + b.cost + _PRODUCT_COST)


def _sketches(
    inputs: Floats,
    targets: Floats,
    predictions: Floats,
    found: Likelihood,
    terms: list[_Term],
    outer: float,
    least: float,
) -> Iterator[_Sketch]:
    """Yield the likeliest (c·t)^outer and (c·t + d·u)^outer by a likelihood that is quadratic near the law.

    What is foretold to score less than `least` is left out.
    """
    if outer == 1:
        inner, slope = predictions, np.ones_like(predictions)
    else:
        inner = predictions ** (1 / outer)
        slope = outer * inner ** (outer - 1)
    goal = inner + (targets - predictions) / slope
    weight = (NU + 1) / (NU + found.residuals**2) * (slope / found.widths) ** 2
    gram, moments, size = _moments(inputs, terms, goal, weight)
    height = float(weight @ goal**2)
    costs = np.array([term.cost for term in terms]) + (_OUTER_COST if outer != 1 else 0.0)
    base = -0.5 * height + 0.5 * float(weight @ (goal - inner) ** 2) + found.total

    # terms that the law is a simple multiple of, with that multiple and what it costs to say so
    along = _moments(inputs, terms, inner, weight)[1]
    laws: dict[int, tuple[float, float]] = {}
    for k in np.flatnonzero(along**2 > (1 - 1e-12) * float(weight @ inner**2)).tolist():
        multiple = SUM_GRID.round(along[k : k + 1] / size[k])
        laws[k] = float(multiple[0] * size[k]), float(SUM_GRID.cost(multiple) + costs[k] + _TWO_TERMS_COST)

    def sketch(picked: list[int], own: list[float], cost: float, gain: float) -> _Sketch:
        beyond = None
        for k, c in zip(picked, own, strict=True):
            if len(picked) > 1 and k in laws and abs(c - laws[k][0]) <= 1e-6 * abs(c):
                beyond = cost - laws[k][1]
        raw = [float(c / size[k]) for k, c in zip(picked, own, strict=True)]
        return _Sketch(picked, raw, cost, base + gain - cost, outer, beyond)

    # one term: gain(c) = c m − c²/2, c in units of a term's weighed length
    grid = _GRID[None] * size[:, None]
    gain = grid * moments[:, None] - 0.5 * grid**2
    price = costs[:, None] + np.where(_GRID == 1, 0.0, _GRID_COSTS)
    for k, g in zip(*_largest(gain - price, _N_RIVALS), strict=True):
        yield sketch([k], [grid[k, g]], price[k, g], gain[k, g])
    for k in np.argsort(costs - 0.5 * moments**2)[:_N_RIVALS].tolist():
        yield sketch([k], [moments[k]], costs[k] + _free(moments[k], 1.0), 0.5 * moments[k] ** 2)
    # two terms
    first, second = np.triu_indices(len(terms), 1)
    cosine = gram[first, second]
    apart = 1 - cosine**2
    best_first = (moments[first] - cosine * moments[second]) / apart
    best_second = (moments[second] - cosine * moments[first]) / apart
    most = 0.5 * (best_first * moments[first] + best_second * moments[second])
    price_of_terms = costs[first] + costs[second] + _TWO_TERMS_COST
    hope = np.where(apart > 1e-9, most - price_of_terms, -np.inf)
    for pair in np.argsort(-hope)[:_N_PAIRS].tolist():
        if not base + hope[pair] > least:
            return
        picked = [int(first[pair]), int(second[pair])]
        both = np.array([best_first[pair], best_second[pair]])
        yield from _coefficients(sketch, picked, size[picked], both, cosine[pair], most[pair], price_of_terms[pair])


def _coefficients(
    sketch: Callable[[list[int], list[float], float, float], _Sketch],
    picked: list[int],
    size: Floats,
    best: Floats,
    cosine: float,
    most: float,
    price: float,
) -> Iterator[_Sketch]:
    """Yield likely coefficients of two terms: both free, one on the grid, both on the grid."""
    apart = 1 - cosine**2
    free = 2 * _FREE_COST - log(2 * pi) + float(np.log(np.maximum(np.abs(best), 1.0)).sum()) + 0.5 * log(apart)
    yield sketch(picked, best.tolist(), price + free, most)
    for k in (0, 1):
        mine, other = _GRID * size[k], 1 - k
        conditional = best[other] - cosine * (mine - best[k])
        gain = most - 0.5 * apart * (mine - best[k]) ** 2
        for g in np.argsort(_GRID_COSTS - gain)[:3].tolist():
            coefficients = [0.0, 0.0]
            coefficients[k], coefficients[other] = mine[g], conditional[g]
            yield sketch(picked, coefficients, price + _GRID_COSTS[g] + _free(conditional[g], 1.0), gain[g])
    a, b = _GRID[:, None] * size[0] - best[0], _GRID[None] * size[1] - best[1]
    gain = most - 0.5 * (a**2 + b**2 + 2 * cosine * a * b)
    costs = price + _GRID_COSTS[:, None] + _GRID_COSTS[None]
    for g, h in zip(*_largest(gain - costs, 3), strict=True):
        yield sketch(picked, [_GRID[g] * size[0], _GRID[h] * size[1]], costs[g, h], gain[g, h])


def _free(coefficient: float, error: float) -> float:
    """Return the description length of a free coefficient with a sampling error."""
    return _FREE_COST - 0.5 * log(2 * pi) + log(max(abs(coefficient) / error, 1.0))


def _largest(values: Floats, n_most: int) -> tuple[list[int], list[int]]:
    flat = np.nan_to_num(values, nan=-np.inf).ravel()
    kept = np.argsort(-flat)[:n_most]
    rows, columns = np.divmod(kept, values.shape[1])
    return rows.tolist(), columns.tolist()


def _moments(inputs: Floats, terms: list[_Term], goal: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the weighed terms' cosines, their products with the goal, and their lengths."""
    gram, moments = np.zeros((len(terms), len(terms))), np.zeros(len(terms))
    for start in range(0, len(inputs), _CHUNK):
        rows = slice(start, start + _CHUNK)
        root = np.sqrt(weight[rows])
        columns = np.column_stack([term.values(inputs[rows]) for term in terms]) * root[:, None]
        gram += columns.T @ columns
        moments += columns.T @ (goal[rows] * root)
    size = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    return gram / np.outer(size, size), moments / size, size


def _plane(inputs: Floats, targets: Floats, predictions: Floats, found: Likelihood) -> Rival | None:
    """Return the affine function of greatest likelihood near the law, with the price of its numbers."""
    typical = float(np.median(np.abs(targets)))
    middle = np.median(np.abs(inputs), axis=0)
    if typical == 0 or not (middle > 0).all() or len(targets) < 2 * inputs.shape[1]:
        return None
    columns = np.column_stack([np.ones(len(inputs)), inputs / middle]) * typical
    columns[:, 1:] -= columns[:, 1:].mean(axis=0)
    own: Floats = predictions
    told = found
    for _ in range(3):
        weight = (NU + 1) / (NU + told.residuals**2) / told.widths**2
        root = np.sqrt(weight)
        weights = np.linalg.lstsq(columns * root[:, None], targets * root, rcond=1e-12)[0]
        own = np.asarray(columns @ weights, dtype=np.float64)
        better = likelihood(targets, own)
        if better is None:
            return None
        told = better
    curvature = columns.T @ (columns / (told.widths**2)[:, None]) * ((NU + 1) / (NU + 3))
    half = 0.5 * float(np.linalg.slogdet(curvature)[1])
    d = inputs.shape[1]
    price = log(LEVEL_WIDTH) + d * log(_PLANE_SLOPE) - 0.5 * (d + 1) * log(2 * pi) + half
    return Rival("a plane", own, told.total - price - _TWO_TERMS_COST)


def _text(terms: list[_Term], sketch: _Sketch) -> str:
    parts = [_times(f"{c:.4g}", terms[k].text) for k, c in zip(sketch.terms, sketch.coefficients, strict=True)]
    inner = " + ".join(parts)
    return inner if sketch.outer == 1 else f"({inner})^{sketch.outer:g}"


def _times(coefficient: str, text: str) -> str:
    """Return a term with its coefficient, which alone stands for the constant."""
    if not text:
        return coefficient
    return text if coefficient == "1" else f"{coefficient} * {text}"
