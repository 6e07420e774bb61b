"""What every candidate gives on folds of the training rows: trunks, committees of them, and their residuals."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import numpy as np

from training.tabular.difficulty import Errors
from training.tabular.model import middle, wary_middle
from training.tabular.network_settings import NetworkSettings
from training.tabular.reach import Reach
from training.tabular.residual import QuickTrees, TreeColumns
from training.tabular.rows import Floats, Rows, mean_of
from training.tabular.tails import Fold, folds
from training.tabular.tree_settings import QUICK_TREES, TreeSettings
from training.tabular.trunks import KINDS, LINKS, Link, TrunkKind, find_law, fit_trunk
from training.threads import AT_A_TIME

WIDTHS = (np.inf, 0.2, 0.05)
"""Reaches of the residual that are offered: frozen outside, faded within a fifth or a twentieth of the range. Whether
there is any is left to the trees' own cross-validation on all rows: these quick ones, on few rows, say too often no."""

MOST_ROWS = 3000
"""Rows that the choice is made on, drawn at random: about a hundred quick fits of trees then take seconds."""

QUICK_NETWORK = NetworkSettings(n_members=3, d_hidden=64, n_steps=300, batch=128)
"""Networks for choosing: a quarter of a second a fold."""

NO_TRUNK = "mean"

_FIRST_LOOKS = 4
"""Folds that are looked at first: where no two of them find the same law, half of all hardly do."""


@dataclass(frozen=True)
class Candidate:
    """What one trunk or committee gave on one fold.

    `border` is the answer with columns brought to the border of their ranges, `wary` goes from there as far as the
    trunks agree; one trunk agrees with itself. A law alone has a standard error, and is followed wherever it leads.
    """

    left_out: Floats
    trunk: Floats
    border: Floats
    wary: Floats
    residual: Floats
    standard_error: Floats | None = None


class Trial:
    """All candidates on one fold.

    Args:
        fold: Which rows are fitted, and which are answered for.
        rows: The rows.
        n_codes: Codes of each category column.
        targets: Shape (n_rows,).
        seed: Seed of networks and trees.
        kinds: Kinds of trunk to try.
    """

    def __init__(
        self,
        fold: Fold,
        rows: Rows,
        n_codes: tuple[int, ...],
        targets: Floats,
        seed: int,
        kinds: Sequence[TrunkKind],
    ) -> None:
        self.fold = fold
        self._train, self._held_out = rows.take(fold.train), rows.take(fold.held_out)
        self._targets, self._expected = targets[fold.train], targets[fold.held_out]
        weights = self._train.weights
        columns = TreeColumns.fit(self._train.codes, n_codes, self._targets, weights)
        self._features, self._held_out_features = columns(self._train), columns(self._held_out)
        self._seed = seed
        self._residual = self._trees(QUICK_TREES)
        self._reach = Reach.fit(self._train, self._targets)
        self._distance = self._reach.distance(self._held_out)
        mean = float(mean_of(self._targets, weights))
        self.candidates: dict[TrunkKind | None, Candidate] = {}
        self._committees: dict[tuple[TrunkKind | None, ...], Candidate] = {}
        constant = np.full(len(self._expected), mean)
        self._add(None, np.full(len(self._targets), mean), constant, constant)
        self._n_codes = n_codes
        for kind in kinds:
            self.try_kind(kind)
        self.laws: dict[Link, TrunkKind] = {}
        self.reference = self.errors(self.candidates[None])[np.inf]

    def find_law(self, link: Link) -> TrunkKind | None:
        """Look for a law behind a link, keep it, and return it."""
        law = find_law(self._train, self._n_codes, self._targets, link)
        if law is not None:
            self.laws[link] = law
        return law

    def try_kind(self, kind: TrunkKind) -> None:
        """Fit a kind of trunk and make it a candidate, where the rows allow it."""
        fit = fit_trunk(kind, self._train, self._n_codes, self._targets, seed=self._seed, networks=QUICK_NETWORK)
        if fit is not None:
            border = fit.trunk.predict(self._reach.clipped(self._held_out))
            standard_error = fit.trunk.standard_error(self._held_out) if kind.law else None
            self._add(kind, fit.left_out, fit.trunk.predict(self._held_out), border, standard_error)

    def _add(
        self,
        kind: TrunkKind | None,
        left_out: Floats,
        trunk: Floats,
        border: Floats,
        standard_error: Floats | None = None,
    ) -> None:
        residual = self._residual(self._targets - left_out)
        self.candidates[kind] = Candidate(left_out, trunk, border, trunk, residual, standard_error)

    def _trees(self, settings: TreeSettings) -> QuickTrees:
        return QuickTrees(self._features, self._held_out_features, self._seed, self._train.weights, settings)

    def committee(self, kinds: Sequence[TrunkKind | None], trees: TreeSettings | None = None) -> Candidate:
        """Return the median of several trunks with a residual of its own, by quick trees or by those given."""
        if trees is not None:
            return self._together(kinds, self._trees(trees))
        if tuple(kinds) not in self._committees:
            self._committees[tuple(kinds)] = self._together(kinds, self._residual)
        return self._committees[tuple(kinds)]

    def _together(self, kinds: Sequence[TrunkKind | None], trees: QuickTrees) -> Candidate:
        members = [self.candidates[kind] for kind in kinds]
        left_out = middle([one.left_out for one in members])
        trunks, borders = [one.trunk for one in members], [one.border for one in members]
        wary = wary_middle(trunks, borders)
        residual = trees(self._targets - left_out)
        standard_error = members[0].standard_error if len(members) == 1 else None
        return Candidate(left_out, middle(trunks), middle(borders), wary, residual, standard_error)

    def errors(self, candidate: Candidate, wary: bool = False) -> dict[float, float]:
        """Return the root mean squared error by reach of the residual."""
        weights = self._held_out.weights
        trunk = self._trunk(candidate, wary)
        return {
            width: float(np.sqrt(mean_of((self._answers(candidate, trunk, width) - self._expected) ** 2, weights)))
            for width in WIDTHS
        }

    def trunk_error(self, candidate: Candidate) -> float:
        """Return the root mean squared error without any residual."""
        error = mean_of((self._trunk(candidate, wary=False) - self._expected) ** 2, self._held_out.weights)
        return float(np.sqrt(error))

    def outside_errors(self, kinds: Sequence[TrunkKind | None], width: float, wary: bool, has_residual: bool) -> Errors:
        """Return what a chosen model got wrong on the rows held out, and how far outside they were."""
        candidate = self.committee(kinds)
        trunk = self._trunk(candidate, wary)
        answers = self._answers(candidate, trunk, width) if has_residual else trunk
        return Errors(
            self._held_out,
            np.abs(answers - self._expected),
            trunk,
            np.zeros(len(trunk)) if candidate.standard_error is None else candidate.standard_error,
            self._reach.outside(trunk, self._distance),
        )

    def _trunk(self, candidate: Candidate, wary: bool) -> Floats:
        if candidate.standard_error is not None:
            return candidate.trunk
        return self._reach.held(candidate.wary if wary else candidate.trunk, self._distance)

    def _answers(self, candidate: Candidate, trunk: Floats, width: float) -> Floats:
        return trunk + self._reach.share(trunk, self._distance, width) * candidate.residual


def try_out(
    rows: Rows,
    n_codes: tuple[int, ...],
    targets: Floats,
    seed: int,
    names: Sequence[str] = (),
    tick: Callable[[str, int], object] = lambda _what, _done: None,
) -> list[Trial]:
    """Fit every candidate on every fold, two folds at a time.

    Args:
        rows: Training rows; nothing else is seen.
        n_codes: Codes of each category column.
        targets: Shape (n_rows,).
        seed: Seed of the rows drawn, of the folds and of the trees.
        names: Names of the number columns.
        tick: Told which fold begins, and how many began before.
    """
    smallest = targets.min()  # of the whole table, which has logarithms or not, whatever the rows drawn have
    kinds = [kind for kind in KINDS if smallest >= 0 or kind.link == "identity"]
    if len(rows) > MOST_ROWS:
        index = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False))
        rows, targets = rows.take(index), targets[index]
    begun: list[Future[Trial]] = []
    going: set[Future[Trial]] = set()
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        for fold in folds(rows, targets, seed, names):
            if np.ptp(targets[fold.train]) > 0:
                if len(going) == AT_A_TIME:
                    ended, going = wait(going, return_when=FIRST_COMPLETED)
                    for one in ended:
                        one.result()  # raises what was raised there, before more is begun
                tick(f"without the {fold.name}", len(begun))
                begun.append(threads.submit(Trial, fold, rows, n_codes, targets, seed, kinds))
                going.add(begun[-1])
    tried = [trial.result() for trial in begun]
    for link in LINKS:
        if smallest > 0 or link == "identity":
            _find_laws(tried, link)
    return tried


def _find_laws(tried: Sequence[Trial], link: Link) -> None:
    """Look for a law without each fold, and no further where the first find nothing in common."""
    look = partial(Trial.find_law, link=link)
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        first = list(threads.map(look, tried[:_FIRST_LOOKS]))
        if any(n_finds > 1 for law, n_finds in Counter(first).items() if law is not None):
            list(threads.map(look, tried[_FIRST_LOOKS:]))


def kind_name(kind: TrunkKind | None) -> str:
    """Return how reports call a kind of trunk; None is the mean."""
    return NO_TRUNK if kind is None else kind.name
