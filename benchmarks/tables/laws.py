"""Made-up laws through noise: what the default model of a table makes of them, inside and outside.

Twelve columns between 1 and 10, outside between 10 and 20, and a category of three levels, of which a law takes a few;
targets with normal noise of a share of their spread, or with a factor that is lognormal. Errors are root mean squares
against the law without noise, over its spread inside, beside gradient-boosted trees (scikit-learn) and ridge regression
fitted to the same rows; then the shares of targets, with noise, within the model's intervals of 90 %.

With `--random N` another table follows: of N laws drawn at random, how many the default model answers with, and how
many laws it answers with that are not the one drawn. Sums are of one to four products of powers of one to four of six
columns, their noise is added; power laws are of one to four of six columns with powers of any size and of the category,
their noise is a factor.

    python -m benchmarks.tables.laws --random 40
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.evaluation.leaderboard import BASELINES, TableRows
from training.tabular.fit import fit_table_model
from training.tabular.rows import Rows
from training.tabular.selection import choose
from training.tabular.trials import try_out
from training.tabular.trunks import Link, TrunkKind, law_kind
from training.tabular.trust import fit_trust

Floats = NDArray[np.float64]

_N_COLUMNS: Final = 12
_N_LEVELS: Final = 3
_N_TEST: Final = 1000
_PEERS: Final = ("gradient-boosted trees", "linear (ridge)")

LAWS: Final[dict[str, tuple[Link, Callable[[Floats, NDArray[np.int64]], Floats]]]] = {
    "a b / c + 5 [level]": ("identity", lambda x, g: x[:, 0] * x[:, 1] / x[:, 2] + 5.0 * (g == 0)),
    "a b − c √d + 3 e": ("identity", lambda x, _: x[:, 0] * x[:, 1] - x[:, 2] * np.sqrt(x[:, 3]) + 3 * x[:, 4]),
    "20 + a² / b − 2 c": ("identity", lambda x, _: 20 + x[:, 0] ** 2 / x[:, 1] - 2 * x[:, 2]),
    "a b c / d² − 4 e f": (
        "identity",
        lambda x, _: x[:, 0] * x[:, 1] * x[:, 2] / x[:, 3] ** 2 - 4 * x[:, 4] * x[:, 5],
    ),
    "a b / c, noise a factor": ("log", lambda x, _: x[:, 0] * x[:, 1] / x[:, 2]),
    "a¹·³ / b⁰·⁴ · 1.3 [level], noise a factor": (
        "log",
        lambda x, g: x[:, 0] ** 1.3 / x[:, 1] ** 0.4 * np.where(g == 0, 1.3, 1.0),
    ),
}
"""Name → how noise comes in, and the law."""

_EXPONENTS: Final = (1.0, 1.0, 1.0, 2.0, 3.0, 0.5, -1.0, -1.0, -2.0, -3.0, -0.5)

_FACTORS: Final = np.array([1.0, 1.3, 0.7])
"""What the levels of the category do to a power law."""


Draw = Callable[[int], tuple[TrunkKind, Callable[[Rows], Floats]]]
"""Seed → a law, and its value of each row."""


def random_sum(seed: int) -> tuple[TrunkKind, Callable[[Rows], Floats]]:
    """Draw a sum of products, and weights that give each term between half and one and a half of one spread."""
    rng = np.random.default_rng(seed)
    terms = set()
    for _ in range(rng.integers(1, 5)):
        columns = rng.choice(6, rng.integers(1, 5), replace=False)
        terms.add(tuple(sorted((int(column), float(rng.choice(_EXPONENTS))) for column in columns)))
    law = tuple(sorted(terms))
    weights = rng.choice([-1, 1], len(law)) * rng.uniform(0.5, 1.5, len(law))

    def value(rows: Rows) -> Floats:
        products = [np.prod([rows.numeric[:, column] ** exponent for column, exponent in term], axis=0) for term in law]
        return np.asarray(sum(weight * one / one.std() for weight, one in zip(weights, products, strict=True)))

    return law_kind(law), value


def random_power_law(seed: int) -> tuple[TrunkKind, Callable[[Rows], Floats]]:
    """Draw a power law of columns and of the category, with powers between 0.3 and 2.5 of either sign."""
    rng = np.random.default_rng(seed)
    columns = np.sort(rng.choice(6, rng.integers(1, 5), replace=False))
    exponents = rng.choice([-1, 1], len(columns)) * rng.uniform(0.3, 2.5, len(columns))
    law = tuple(((int(k), 1.0),) for k in (*columns, *range(2 * _N_COLUMNS + 1, 2 * _N_COLUMNS + _N_LEVELS)))

    def value(rows: Rows) -> Floats:
        return np.asarray(_FACTORS[rows.codes[:, 0]] * np.prod(rows.numeric[:, columns] ** exponents, axis=1))

    return law_kind(law, "log"), value


def answered(draw: Draw, n_rows: int, noise: float, seed: int) -> tuple[bool, bool]:
    """Return whether the model answers with a law drawn at random, and whether with another law."""
    law, value = draw(seed)
    rows = drawn(n_rows, seed, 1, 10)
    truths = value(rows)
    targets = with_noise(truths, law.link, noise, float(truths.std()), 2000 + seed)
    kind = choose(try_out(rows, (_N_LEVELS,), targets, seed), "balanced").kinds[0]
    return kind == law, kind is not None and bool(kind.law) and kind != law


def with_noise(truths: Floats, link: Link, noise: float, spread: float, seed: int) -> Floats:
    """Return targets: with noise of a share of the spread, or behind the logarithmic link with a lognormal factor."""
    scatter = noise * np.random.default_rng(seed).normal(size=len(truths))
    return truths * np.exp(scatter) if link == "log" else truths + spread * scatter


def drawn(n_rows: int, seed: int, low: float, high: float) -> Rows:
    """Draw rows of all columns."""
    rng = np.random.default_rng(seed)
    return Rows(rng.uniform(low, high, (n_rows, _N_COLUMNS)), rng.integers(0, _N_LEVELS, (n_rows, 1)))


@dataclass(frozen=True)
class Measured:
    """What was measured on one draw, each a pair: inside and outside.

    Attributes:
        found: Whether a law was found.
        errors: Model → error.
        covered: Shares of targets within intervals of 90 %.
    """

    found: bool
    errors: dict[str, tuple[float, float]]
    covered: tuple[float, float]


def measure(name: str, n_rows: int, noise: float, seed: int) -> Measured:
    """Fit to one draw."""
    link, law = LAWS[name]
    rows, inside, outside = drawn(n_rows, seed, 1, 10), drawn(_N_TEST, 1000 + seed, 1, 10), drawn(_N_TEST, seed, 10, 20)
    truths = [law(one.numeric, one.codes[:, 0]) for one in (rows, inside, outside)]
    spread = float(truths[0].std())
    targets = with_noise(truths[0], link, noise, spread, 2000 + seed)[:, None]
    fit = fit_table_model(rows, (_N_LEVELS,), targets, seed=seed)
    trust = fit_trust(rows, (_N_LEVELS,), targets, fit, seed)
    train = TableRows(rows.numeric, rows.codes, targets)
    errors: dict[str, list[float]] = {model: [] for model in ("this model", *_PEERS)}
    covered = []
    for one, truth in ((inside, truths[1]), (outside, truths[2])):
        test = TableRows(one.numeric, one.codes, truth[:, None])
        answers = {"this model": fit.model.predict(one)} | {peer: BASELINES[peer](train, test, seed) for peer in _PEERS}
        for model, answer in answers.items():
            errors[model].append(float(np.sqrt(np.mean((answer[:, 0] - truth) ** 2))) / spread)
        half = trust.intervals[0].score(0.9) * trust.intervals[0].width(one, fit.model.targets[0])
        off = with_noise(truth, link, noise, spread, 3000 + seed) - answers["this model"][:, 0]
        covered.append(float(np.mean(np.abs(off) <= half)))
    return Measured(
        any(kind is not None and kind.law for kind in fit.choices[0].kinds),
        {model: (pair[0], pair[1]) for model, pair in errors.items()},
        (covered[0], covered[1]),
    )


def main() -> None:
    """Print Markdown tables: errors are medians over seeds, shares are means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.01, 0.1, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=0, help="laws drawn at random")
    given = parser.parse_args()
    print("| law | noise | law found | this model, inside; outside | boosted trees | ridge | within 90 % |")
    print("|---|---|---|---|---|---|---|")
    for name in LAWS:
        for noise in given.noise:
            results = [measure(name, given.rows, noise, seed) for seed in range(given.seeds)]
            n_found = sum(one.found for one in results)
            cells = [
                "; ".join(f"{np.median([one.errors[model][side] for one in results]):.2g}" for side in (0, 1))
                for model in ("this model", *_PEERS)
            ]
            cells.append("; ".join(f"{np.mean([one.covered[side] for one in results]):.1%}" for side in (0, 1)))
            print(f"| {name} | {noise:.0%} | {n_found} of {given.seeds} | {' | '.join(cells)} |", flush=True)
    if given.random:
        print("\n| drawn | noise | rows | found | other laws |\n|---|---|---|---|---|")
    for sort, draw in {"sum": random_sum, "power law": random_power_law}.items() if given.random else ():
        for noise in given.noise:
            laws = [answered(draw, given.rows, noise, seed) for seed in range(given.random)]
            found, other = (sum(column) for column in zip(*laws, strict=True))
            print(f"| {sort} | {noise:.0%} | {given.rows} | {found} of {given.random} | {other} |", flush=True)


if __name__ == "__main__":
    main()
